"""The whole page in headless Chromium: pointing, typing and turning gates change what is shown."""

import json
import pathlib
import re
from collections.abc import Iterator

import chromium
import numpy as np
import pytest

from experiments.microscope.page import (
    Adding,
    Numbers,
    PageModel,
    Sentence,
    Subject,
    WordNgrams,
    Words,
    write,
)
from seqmodels.cells.gru import GRUParams
from seqmodels.cells.lstm import LSTMParams
from seqmodels.cells.rnn import RNNParams
from seqmodels.combinators.bidirectional import Bidirectional
from seqmodels.models.sequence_model import SequenceModelParams
from seqmodels.models.text_classifier import TextClassifierParams
from seqmodels.tasks.sky import clues
from seqmodels.tasks.sky.task import make_corpus, split_words

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="chromium is not installed"),
]

CORPUS = make_corpus()
SIZE = len(clues.COLORS)
LONG = "The cook chopped the onions and stirred the soup slowly. "
TEXT = f"This is the 10th day of wildfires in the San Francisco bay area. {LONG * 2}The sky is"


def color_words() -> np.ndarray:
    """Returns embeddings (V, 8): 1 for a color at the words that only its clues have, else 0."""
    found = {row for sentence in CORPUS.filler for row in sentence}
    groups = [
        {int(row) for array in (CORPUS.train_clues, CORPUS.test_clues) for row in array[k].ravel()}
        for k in range(SIZE)
    ]
    embedding = np.zeros((len(CORPUS.words), SIZE), np.float32)
    for k, group in enumerate(groups):
        others = set().union(*groups[:k], *groups[k + 1 :])
        embedding[sorted(group - others - found), k] = 1
    return embedding


def lstm_by_hand() -> SequenceModelParams:
    """Returns an LSTM whose unit k stores the words of color k, and keeps f of it at every word.

    The readout has a bias for the first color, which wins when the memory is below a tenth.
    """
    eye, zeros, ones = np.eye(SIZE), np.zeros((SIZE, SIZE)), np.ones(SIZE)
    w_x = np.concatenate([12 * eye, zeros, 2 * eye, zeros], axis=1)
    b = np.concatenate([-6 * ones, 8 * ones, 0 * ones, 6 * ones])
    cell = LSTMParams(w_x, np.zeros((SIZE, 4 * SIZE)), b)
    return SequenceModelParams(color_words(), cell, 4 * eye, 0.4 * eye[0])


def rnn_by_hand() -> SequenceModelParams:
    """Returns an RNN whose units keep 0.6 of their state at every word."""
    eye = np.eye(SIZE)
    cell = RNNParams(eye, 0.6 * eye, np.zeros(SIZE))
    return SequenceModelParams(color_words(), cell, 4 * eye, 0.4 * eye[0])


def gru_by_hand() -> SequenceModelParams:
    """Returns a GRU that takes over the words of colors and keeps 0.99 of its state otherwise."""
    eye, zeros = np.eye(SIZE), np.zeros((SIZE, SIZE))
    w_x = np.concatenate([zeros, -12 * eye, 2 * eye], axis=1)
    b = np.concatenate([np.zeros(SIZE), np.full(SIZE, 4.6), np.zeros(SIZE)])
    cell = GRUParams(w_x, np.zeros((SIZE, 2 * SIZE)), zeros, b)
    return SequenceModelParams(color_words(), cell, 4 * eye, 0.4 * eye[0])


SKY = Subject(
    title="What color is the sky?",
    task="sky",
    tokens=Words(CORPUS.words),
    classes=clues.COLORS,
    models=(
        PageModel("LSTM", "lstm", lstm_by_hand(), 16, accuracy=1.0),
        PageModel("RNN", "rnn", rnn_by_hand(), 16),
        PageModel("GRU", "gru", gru_by_hand(), 16),
    ),
    sentences=(Sentence(TEXT, "red"), Sentence("Rain and a storm. The sky is", "grey")),
    generator=CORPUS,
    distances=(0, 2, 4, 8, 16, 32),
)


def random_params(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tweets() -> Subject:
    """Returns a subject with bidirectional cells and n-grams."""
    size, buckets = 6, 40
    vocabulary = ("<pad>", "<unk>", "the", "film", "is", "</script>")
    pair = [
        LSTMParams(random_params((4, 24), k), random_params((size, 24), k + 2), np.zeros(24))
        for k in range(2)
    ]
    embedding = random_params((len(vocabulary) + buckets, 4), 5)
    w_out = random_params((4 * size, 3), 6)
    params = TextClassifierParams(embedding, Bidirectional(*pair), w_out, np.zeros(3))
    return Subject(
        title="</script> How does it feel?",
        task="tweets",
        tokens=WordNgrams(vocabulary, buckets, (3, 4), 16),
        classes=("negative", "neutral", "</script><b>positive</b>"),
        models=(PageModel("bidirectional", "bilstm", params),),
        sentences=(Sentence("The film is :-) zzxqy </script><img src=x>"),),
    )


def adding() -> Subject:
    """Returns the adding problem with a model by hand: c sums the marked numbers."""
    w_x = np.zeros((2, 4), np.float32)
    w_x[1, 0], w_x[0, 2] = 20, 0.01
    cell = LSTMParams(w_x, np.zeros((1, 4)), np.array([-10.0, 12, 0, 12]))
    params = SequenceModelParams(None, cell, np.array([[100.0]]), np.zeros(1))
    return Subject(
        title="Add two numbers",
        task="adding",
        tokens=Numbers(),
        classes=(),
        models=(PageModel("LSTM", "lstm", params, 10),),
        sentences=(Sentence("0.5 0.25* 0.9 0.5* 0.1", "0.75"),),
        generator=Adding(),
        distances=(2, 10, 40),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.Page(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def show(page: chromium.Page, subject: Subject, folder: pathlib.Path) -> None:
    page.problems.clear()
    page.resize(1280, 900)
    write(subject, folder / "page.html")
    page.open(folder / "page.html")
    page.wait("'ready' in document.documentElement.dataset")


def text(page: chromium.Page, selector: str) -> str:
    return page.value(f"document.querySelector({json.dumps(selector)}).innerText")


def changes(page: chromium.Page, selector: str, before: str) -> str:
    page.wait(f"document.querySelector('{selector}').innerText !== {json.dumps(before)}")
    return text(page, selector)


def type_text(page: chromium.Page, written: str) -> None:
    page.value("document.querySelector('#text').select()")
    page.call("Input.insertText", text=written)


def slide(page: chromium.Page, selector: str, value: float) -> None:
    page.value(
        f"(() => {{ const e = document.querySelector('{selector}'); e.value = {value};"
        "e.dispatchEvent(new Event('input')); })()"
    )


def word_number(figures: str) -> int:
    found = re.search(r"word (\d+)", figures)
    assert found, figures
    return int(found[1])


def horizon(page: chromium.Page, column: int) -> str:
    """Returns the measured horizon, 1 as trained, 2 with gates turned, once it is measured."""
    cell = f"document.querySelector('#effect tbody tr:nth-child(2)').cells[{column}].innerText"
    page.wait(
        f"!'\u2026\u2013'.includes({cell}) && !document.querySelector("
        "'#horizon-caption').innerText.includes('measuring')"
    )
    return page.value(cell)


def test_pointing_typing_and_turning(page: chromium.Page, tmp_path: pathlib.Path) -> None:
    show(page, SKY, tmp_path)
    assert ">99%" not in text(page, "#answer").split("blue")[1]
    assert text(page, "#answer").startswith("red (right)")
    assert "horizon" in text(page, "#horizon-caption").lower()
    assert horizon(page, 1) == "more than 32 words"

    before = text(page, "#figures")
    page.point("#maps canvas[data-gate=c]", 0.3, 0.4)
    pointed = changes(page, "#figures", before)
    page.point("#maps canvas[data-gate=c]", 0.3, 0.9)
    assert changes(page, "#figures", pointed) != before
    held = text(page, "#figures")
    page.value("document.querySelector('#by-word').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft")
    moved = changes(page, "#figures", held)
    assert word_number(moved) == word_number(held) - 1
    page.value("document.querySelector('#strip span').click()")
    assert "\u201cthis\u201d word 1" in changes(page, "#figures", moved)

    # The LSTM keeps sigmoid(8) of its memory, so with f = 0.5 it is below a tenth in 6 words.
    slide(page, "#clamp-f", 0.5)
    measured = horizon(page, 2)
    assert measured == "none" or float(measured.split()[0]) < 4
    assert text(page, "#flag-text") == "Turned: f held at 0.50 in all units."
    table = text(page, "#effect")
    assert "1.4 words" in table.split("\n")[-1]
    gradient = next(line for line in table.split("\n") if "1/e" in line)
    assert gradient.split("\t")[-1] == "1.4 words"
    slide(page, "#clamp-f", 0.9)
    assert float(horizon(page, 2).split()[0]) > 5
    page.value("document.querySelector('#flag .undo').click()")
    page.wait("document.querySelector('#flag').hidden")
    slide(page, "#reset", 20)
    assert "memory emptied before" in text(page, "#flag-text")
    page.wait("document.querySelector('#effect tbody').rows[0].cells[2].innerText.includes('red')")

    answer = text(page, "#answer")
    type_text(page, "Rain, rain and an unheardof storm, the sky is")
    assert changes(page, "#answer", answer)
    assert text(page, "#strip .unread") == "unheardof"
    assert "unheardof" in text(page, "#reading-note")
    assert page.problems == []


def test_every_model_and_width(page: chromium.Page, tmp_path: pathlib.Path) -> None:
    show(page, SKY, tmp_path)
    readings = [text(page, "#reading")]
    for number in (1, 2):
        page.value(
            f"(() => {{ const e = document.querySelector('#model'); e.value = {number};"
            "e.dispatchEvent(new Event('change')); })()"
        )
        readings.append(changes(page, "#reading", readings[-1]))
        horizon(page, 1)
    assert len(set(readings)) == 3
    page.resize(390, 844, scale=2, mobile=True)
    page.value("new Promise((done) => setTimeout(done, 200))")
    assert page.value("document.documentElement.scrollWidth") <= 390
    before = text(page, "#figures")
    page.touch("#maps canvas", 0.3, 0.5)
    changes(page, "#figures", before)
    assert page.problems == []


def test_a_text_is_data(page: chromium.Page, tmp_path: pathlib.Path) -> None:
    show(page, tweets(), tmp_path)
    assert text(page, "h1") == "</script> How does it feel?"
    assert "</script><b>positive</b>" in text(page, "#answer")
    assert page.value("document.querySelectorAll('main img, main b img').length") == 0
    before = text(page, "#answer")
    type_text(page, "the film </script><script>alert(1)</script>")
    assert changes(page, "#answer", before)
    assert page.value("document.querySelectorAll('#strip .unknown').length") > 0
    assert page.value("document.querySelector('#layer').options.length") == 2
    type_text(page, "")
    page.wait("document.querySelector('#reading-note').innerText.includes('no word')")
    assert page.problems == []


def test_the_adding_problem(page: chromium.Page, tmp_path: pathlib.Path) -> None:
    show(page, adding(), tmp_path)
    assert abs(float(text(page, "#answer").split("\n")[1]) - 0.75) < 0.02
    assert horizon(page, 1) == "more than 40 steps"
    slide(page, "#clamp-f", 0.5)
    assert horizon(page, 2) != "more than 40 steps"
    before = text(page, "#strip")
    page.value("document.querySelector('#new').click()")
    changed = changes(page, "#strip", before)
    assert changed.count("*") == 2
    assert page.problems == []


def test_five_hundred_words(page: chromium.Page, tmp_path: pathlib.Path) -> None:
    show(page, SKY._replace(sentences=(Sentence(LONG * 49 + TEXT, "red"),)), tmp_path)
    assert page.value("document.querySelectorAll('#strip span').length") > 500
    assert int(page.value("document.documentElement.dataset.ready")) > 0
    assert len(split_words(LONG * 49 + TEXT)) > 500
    assert page.problems == []
