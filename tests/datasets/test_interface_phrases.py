"""Pairs out of translation files and out of a user's own file."""

import json

import pytest

from seqmodels.data.sentence_pairs import Pair, read_tsv
from seqmodels.datasets import fetching, interface_phrases
from seqmodels.datasets.interface_phrases import parse


def as_json(english, german):
    return json.dumps(english), json.dumps(german)


def test_pairs_are_joined_by_key():
    english = {"title": "one two three", "config": {"a": "open the door", "only": "in this one"}}
    german = {"config": {"a": "öffne die Tür", "other": "nur in diesem"}, "title": "eins zwei drei"}
    assert parse([as_json(english, german)]) == [
        Pair("one two three", "eins zwei drei"),
        Pair("open the door", "öffne die Tür"),
    ]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("two words", False),
        ("three words here", True),
        (" ".join("abcdefghijkl"), True),
        (" ".join("abcdefghijklm"), False),
        ("the {name} is open", False),
        ("see [the link] for more", False),
        ("all of 100% is used", False),
        ("look at https://example.org now", False),
        ("first line\nsecond line", False),
        ("", False),
        ("  spaces   are  single ", True),
    ],
)
def test_what_is_left_out(source, kept):
    found = parse([as_json({"k": source}, {"k": "Ziel"})])
    assert found == ([Pair(" ".join(source.split()), "Ziel")] if kept else [])
    assert parse([as_json({"k": "three words here"}, {"k": "ein {name}"})]) == []


def test_a_pair_is_there_once_and_other_values_are_passed_over():
    one = as_json({"a": "one two three", "b": ["no text"], "c": 3}, {"a": "x", "b": ["y"], "c": 3})
    assert parse([one, one]) == [Pair("one two three", "x")]
    assert parse([]) == []


def test_load_reads_both_files_of_each_component(tmp_path, monkeypatch):
    for name, languages in {"b": ("en", "de"), "a": ("en", "de"), "c": ("en",)}.items():
        folder = tmp_path / "components" / name / "translations"
        folder.mkdir(parents=True)
        for language in languages:
            text = json.dumps({"k": f"{name} in {language}"})
            (folder / f"{language}.json").write_text(text, "utf-8")
    monkeypatch.setattr(fetching, "fetch", lambda name, data_dir, **_: tmp_path)
    assert interface_phrases.load() == [Pair("a in en", "a in de"), Pair("b in en", "b in de")]


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("\ufeffhello\thallo\n\nسلم\tFrieden\tnote\nhello\thallo\r\n", "utf-8")
    assert read_tsv(path) == [Pair("hello", "hallo"), Pair("سلم", "Frieden")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello\n", r"line 1: got 'hello', expected a source, a tab"),
        (b"a\tb\n\tc\n", r"line 2: got '\\tc', expected a source, a tab"),
        (b"\n\n", "got no pairs, expected at least one"),
        (b"a\tb\n\xff\t", "is not UTF-8 text: byte 0xff at position 4, line 2"),
    ],
)
def test_a_file_that_will_not_do(tmp_path, data, message):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_tsv(path)
