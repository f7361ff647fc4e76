"""The sky task: clue, filler, question; test clues unseen, test words seen."""

import re

import jax
import numpy as np
import pytest

from seqmodels.tasks.sky import clues
from seqmodels.tasks.sky import sentences as texts
from seqmodels.tasks.sky import task as sky
from seqmodels.tasks.sky.filler import FILLER

CORPUS = sky.make_corpus()
COLOR_WORDS = {
    *clues.COLORS,
    *("gray", "pink", "violet", "yellow", "golden", "brown", "silver", "gold", "lilac"),
    *("lavender", "sky", "skies", "colour", "color"),
}


def sentences(distance, split, size=400, corpus=CORPUS):
    task = sky.sky(distance, corpus)
    batch = task.sample(jax.random.key(distance), size, split)
    assert batch.inputs.shape == (task.num_steps, size)
    for row, target in zip(batch.inputs.T, batch.targets[0], strict=True):
        words = [corpus.words[token] for token in row]
        begun = next(n for n, word in enumerate(words) if word != sky.PAD)
        assert sky.PAD not in words[begun:]
        assert task.far_step == task.num_steps - len(sky.QUESTION) - distance - 1
        yield words[begun:], clues.COLORS[int(target)]


def all_clues(templates):
    slots = list(zip(clues.DAYS, clues.PLACES, strict=True))
    return {
        tuple(sky.split_words(template.format(day=day, place=place)))
        for template in templates
        for day, place in slots
    }


def test_the_sentence_of_the_introduction():
    clue = clues.TRAIN_CLUES["red"][0].format(day="10th", place=clues.PLACES[0])
    assert clue == "This is the 10th day of wildfires in the San Francisco bay area."


@pytest.mark.parametrize("distance", [0, 1, 40])
def test_samples_read_as_they_should(distance):
    flowing = [sky.split_words(sentence) for sentence in FILLER]
    for words, color in sentences(distance, "test"):
        assert words[-3:] == ["the", "sky", "is"]
        clue = words[: len(words) - 3 - distance]
        assert tuple(clue) in all_clues(clues.TEST_CLUES[color])
        filler = words[len(clue) : -3]
        assert len(filler) == distance
        while filler:  # whole sentences, the last one cut
            whole = [s for s in flowing if filler[: len(s)] == s]
            if not whole:
                assert any(s[: len(filler)] == filler for s in flowing)
                break
            filler = filler[len(max(whole, key=len)) :]


def test_training_clues_are_not_test_clues():
    seen, unseen = (
        {tuple(words[:-3]) for words, _ in sentences(0, split, 3000)} for split in ("train", "test")
    )
    assert len(seen) > 1000
    assert len(unseen) > 250
    assert not seen & unseen
    assert {w for clue in unseen for w in clue} <= {w for clue in seen for w in clue}


def test_every_color_is_drawn_alike():
    colors = [color for _, color in sentences(0, "train", 4000)]
    shares = [colors.count(color) / 4000 for color in clues.COLORS]
    assert shares == pytest.approx([1 / 8] * 8, abs=0.02)


def test_text_gives_no_color_away():
    templates = [
        template
        for color in clues.COLORS
        for template in (*clues.TRAIN_CLUES[color], *clues.TEST_CLUES[color])
    ]
    texts = [*FILLER, *templates, *clues.FRAMES, *clues.PLACES]
    texts += [p for phenomena in clues.PHENOMENA.values() for p in phenomena]
    assert not COLOR_WORDS & {word for text in texts for word in sky.split_words(text)}
    assert len(set(FILLER)) == len(FILLER) >= 150
    # A word of one color's phenomena stands in no other's and in no filler.
    own = {
        color: {w for p in phenomena for w in p.split()} - {"the", "a", "an", "of", "day", "air"}
        for color, phenomena in clues.PHENOMENA.items()
    }
    everyday = {word for sentence in FILLER for word in sky.split_words(sentence)}
    for color, words in own.items():
        others = set().union(*(own[other] for other in own if other != color))
        assert not words & (everyday | others), color


def test_own_filler(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("One two three. Four, five!\n\nSix", encoding="utf-8")
    filler = sky.read_filler(path)
    assert filler == ("One two three.", "Four, five!", "Six")
    corpus = sky.make_corpus(filler)
    for words, _ in sentences(7, "train", 50, corpus):
        assert set(words[-10:-3]) <= {"one", "two", "three", "four", "five", "six"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "holds no words"),
        (b" . ! \n", "holds no words"),
        (b"\xff\xfe\x00abc", "is not UTF-8 text"),
        (b"abc\x00def", "is not text"),
    ],
)
def test_filler_that_is_not_text(tmp_path, content, line):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=line) as error:
        sky.read_filler(path)
    assert str(path) in str(error.value)


def test_filler_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        sky.read_filler(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        sky.read_filler(tmp_path)


def test_negative_distance():
    with pytest.raises(ValueError, match="got -1, expected at least 0"):
        sky.sky(-1)


@pytest.mark.parametrize("distance", [0, 1, 20, 64])
def test_texts_of_each_color(distance):
    found = texts.examples(distance)
    assert [color for _, color in found] == ["red", *(c for c in clues.COLORS if c != "red")]
    endings = set()
    for text, _ in found:
        words = sky.split_words(text)
        assert set(words) <= set(CORPUS.words)
        assert words[-3:] == ["the", "sky", "is"]
        clue = sky.split_words(text.split(". ")[0])
        assert len(words) == len(clue) + distance + 3
        endings.add(tuple(words[len(clue) :]))
    assert len(endings) == (len(found) if distance > 1 else len(endings))
    assert texts.examples(distance) == found


def test_words_are_split_at_punctuation_alone():
    assert sky.split_words("It's the 10th, (old) well-kept día.") == re.split(
        " ", "it's the 10th old well-kept día"
    )
    assert np.all(CORPUS.filler_lengths == [len(sky.split_words(s)) for s in FILLER])
