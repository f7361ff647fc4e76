"""Plays without Markdown, held out whole, and characters as numbers."""

import numpy as np
import pytest

from seqmodels.datasets.plays import TEST, UNKNOWN, VALIDATION, CharacterSet, character_set, parse

MARKDOWN = (
    "# Title\n\n## ACT I\n\n_Enter ANN_\n\n**ANN**  \r\nGood morrow,  \nsir.\n\n\n\n**BOB**\nAy."
)
PLAIN = "Title\n\nACT I\n\nEnter ANN\n\nANN:\nGood morrow,\nsir.\n\nBOB:\nAy.\n"


def test_markdown_is_taken_away_and_plays_are_held_out_whole():
    files = {name: f"{MARKDOWN} {name}" for name in (*VALIDATION, *TEST, "b", "a")}
    found = parse(files)
    assert found.train == PLAIN.replace("Ay.", "Ay. a") + "\n" + PLAIN.replace("Ay.", "Ay. b")
    assert all(found.validation.count(f"Ay. {name}") == 1 for name in VALIDATION)
    assert all(found.test.count(f"Ay. {name}") == 1 for name in TEST)
    with pytest.raises(ValueError, match="got 1 files, expected plays of the split validation"):
        parse({"a": MARKDOWN})


def test_characters():
    known = character_set("banana" + UNKNOWN)
    assert known.known == UNKNOWN + "abn"
    assert known.encode("ban\U0001f680").tolist() == [2, 1, 3, 0]
    assert known.encode("").shape == (0,)
    assert known.encode("a").dtype == np.int32
    assert CharacterSet(known.known).decode(known.encode("nab")) == "nab"
