"""The page's file, and its tokens and sentences under Node against Python's."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from page_models import NODE, D, H, V, cases, in_node, needs_node, spread, subject_of

import seqmodels as sm
from experiments.long_context.texts import encode_numbers
from experiments.microscope.page import PageModel, WordNgrams, Words, assemble, write
from experiments.microscope.page.encoding import array, encoded
from seqmodels.data import word_features
from seqmodels.models.sequence_model import sequence_model
from seqmodels.tasks.sky.task import make_corpus, split_words

ODD_TEXTS = (
    "This is the 10th day of wildfires in the San Francisco bay-area!",
    "Don't stop, O\u2019Brien: co\u00adop http://x.y/z?a=b na\u00efve CAFE\u0301 it's",
    "\u0939\u093f\u0928\u094d\u0926\u0940 x\u200by \u2460 \u24b6 \u00bd 3.14",
    ":-) \U0001f44d\U0001f3fd \U0001f469\u200d\U0001f4bb ... #tag @user_name",
    "\ufeffA\tb\nc\u00a0d </script><!-- & \u2028 \u0130stanbul \u1e9e",
    "",
)


@needs_node
def test_tokens_are_those_of_python() -> None:
    features = word_features.train([*ODD_TEXTS, "a b c wildfires"], least_count=1, buckets=50)
    tokenizer = features.tokenizer
    vocabulary = [str(tokenizer.id_to_token(k)) for k in range(tokenizer.get_vocab_size())]
    kept = tuple(vocabulary[:12])
    # Of a shorter vocabulary, so that there are words which it lacks.
    tokens = WordNgrams(kept, 50, features.sizes, features.width)
    plain = Words(("<pad>", *sorted({word for text in ODD_TEXTS for word in split_words(text)})))
    code = """
    return data.tokens.map((tokens) => {
      const encode = Tokenize.make(tokens);
      return data.texts.map((text) => encode(text).map(({text, token}) => [text, token]));
    });
    """
    subject = subject_of(cases()[:1])
    given = [encoded(subject._replace(tokens=one))["tokens"] for one in (tokens, plain)]
    with_ngrams, words = in_node(code, {"tokens": given, "texts": ODD_TEXTS})
    for text, got in zip(ODD_TEXTS, with_ngrams, strict=True):
        assert [word for word, _ in got] == word_features.words(features, text)
        rows = word_features.encode(features, [text])[0]
        for (word, token), row in zip(got, rows, strict=True):
            first = row[0] if row[0] < len(kept) else word_features.UNKNOWN
            grams = [int(k) - len(vocabulary) + len(kept) for k in row[1:] if k]
            assert token == [first, *grams], word
    for text, got in zip(ODD_TEXTS, words, strict=True):
        assert [word for word, _ in got] == split_words(text)
        assert [plain.vocabulary[token[0]] for _, token in got] == split_words(text)


@needs_node
def test_fresh_sentences_are_those_of_the_task() -> None:
    corpus = make_corpus(("One two three.", "Four five six seven."))
    found = subject_of(cases()[:1])._replace(generator=corpus, classes=tuple("abcdefgh"))
    code = """
    const task = Horizon.load(data), random = Horizon.randomOf(3);
    const sky = Array.from({length: 40}, (_, k) => Horizon.sky(task, k % 9, random));
    const adding = Array.from({length: 20}, () => Horizon.adding(7, random));
    return {sky, adding, crossings: [
      Horizon.crossing([0, 10, 20], [1, 0.8, 0.2], 0.5), Horizon.crossing([0, 10], [1, 1], 0.5),
      Horizon.crossing([0, 10], [0.2, 0.1], 0.5)]};
    """
    generator = encoded(found._replace(models=_wider(found.models)))["generator"]
    got = in_node(code, generator)
    fillers = [
        row[:n].tolist() for row, n in zip(corpus.filler, corpus.filler_lengths, strict=True)
    ]
    for k, one in enumerate(got["sky"]):
        assert one["clue"] in corpus.test_clues[one["answer"]].tolist()
        assert [corpus.words[row] for row in one["question"]] == ["the", "sky", "is"]
        assert len(one["filler"]) == k % 9
        rest = one["filler"]
        while rest:
            start = next(f for f in fillers if f[: len(rest)] == rest[: len(f)])
            rest = rest[len(start) :]
    for one in got["adding"]:
        marks = [t for t, token in enumerate(one["tokens"]) if token["x"][1] == 1]
        first, second = marks
        assert first < 3 <= second
        assert one["answer"] == pytest.approx(sum(one["tokens"][t]["x"][0] for t in marks))
    assert got["crossings"] == [pytest.approx(15), None, 0]


def _wider(models: tuple[PageModel, ...]) -> tuple[PageModel, ...]:
    """Returns models with a readout of 8 classes."""
    wide = np.zeros((H, 8), np.float32), np.zeros(8, np.float32)
    return tuple(
        one._replace(parameters=one.parameters._replace(w_out=wide[0], b_out=wide[1]))
        for one in models
    )


@needs_node
def test_the_horizon_is_measured_as_the_model_answers() -> None:
    """The words that are read once for all distances give what whole sentences give."""
    corpus = make_corpus(("One two three.", "Four five six seven."))
    cell = sm.lstm(D, H)
    model = sequence_model(
        cell, hidden_size=H, output_size=8, vocabulary_size=len(corpus.words), embedding_size=D
    )
    params = spread(model.init(jax.random.key(0)), 0)
    subject = subject_of(cases()[:1])._replace(
        tokens=Words(corpus.words),
        classes=tuple("abcdefgh"),
        models=(PageModel("m", "lstm", params),),
        generator=corpus,
    )
    code = """
    const model = Engine.loadModel(data.models[0]), task = Horizon.load(data.generator);
    const held = new Float64Array(model.layers[0][0].H).fill(0.9);
    const change = {scale: 0.7, reset: -1, clamps: {"0.0": {f: held}}}, distances = [0, 3, 11];
    return Array.from({length: 30}, (_, number) => {
      const right = Horizon.trial(model, task, distances, Horizon.stream(model, change), number);
      const all = Horizon.sky(task, 11, Horizon.randomOf(7919 * (number + 1)));
      const whole = distances.map((distance) => {
        const rows = [...all.clue, ...all.filler.slice(0, distance), ...all.question];
        const trace = Engine.run(model, rows.map((row) => [row]), change);
        const outputs = Engine.outputsByWord(model, trace)[rows.length - 1];
        return outputs.indexOf(Math.max(...outputs)) === all.answer;
      });
      return [right, whole];
    });
    """
    got = in_node(code, encoded(subject))
    assert [right for right, _ in got] == [whole for _, whole in got]
    assert {ok for right, _ in got for ok in right} == {True, False}


@needs_node
def test_numbers_are_those_of_python() -> None:
    """Those that the command reads; a word that it refuses is not read on the page."""
    words = ["0.31", "0.87*", "-0.3", "+.5*", "1e-3", "2.", "7E2*", "1-2", "a1", "0.5**", "*"]
    words += ["nan", "inf", "1e999", "0x10", "--1"]
    code = "return Tokenize.make({kind: 'numbers'})(data).map(({text, token}) => [text, token])"
    got = in_node(code, f" {words[0]},{words[1]}, " + "\n".join(words[2:]))
    assert [word for word, _ in got] == words
    for word, token in got:
        try:
            want = encode_numbers(word).inputs[0, 0]
        except ValueError:
            assert token is None, word
        else:
            np.testing.assert_allclose(token["x"], want, rtol=1e-6, err_msg=word)


def test_numbers_that_a_page_cannot_hold() -> None:
    for values, kind in (([np.nan], "f4"), ([[np.inf]], "i1"), ([70_000.0], "f2")):
        with pytest.raises(ValueError, match=f"subject: got numbers that are not finite in {kind}"):
            array(values, kind)


def test_arrays_keep_their_values() -> None:
    values = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    tokens = np.array([0, 40_000, 2**31 - 1])  # of a vocabulary of any size
    exact, half, byte = (array(values, kind) for kind in ("f4", "f2", "i1"))
    assert [one["type"] for one in (exact, half, byte)] == ["f4", "f2", "i1"]
    if NODE is None:
        pytest.skip("node is not installed")
    code = "return data.map((one) => Array.from(Engine.decode(one).values))"
    *got, whole = in_node(code, [exact, half, byte, array(tokens, "i4")])
    assert whole == tokens.tolist()
    got = [np.reshape(one, values.shape) for one in got]
    np.testing.assert_array_equal(got[0].astype(np.float32), values)
    np.testing.assert_array_equal(got[1], values.astype(np.float16))
    steps = np.abs(values).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(got[2] - values) <= steps / 2 + 1e-7)


def test_no_text_breaks_out_of_the_page(tmp_path: pathlib.Path) -> None:
    found = cases()[:1]
    odd = "</script><script>alert(1)</script><!-- <<scripts>> \u2028"
    words = (odd, *(f"w{k}" for k in range(1, V)))
    subject = subject_of(found)._replace(tokens=Words(words), title=odd)
    path = tmp_path / "page.html"
    size = write(subject, path)
    page = path.read_text()
    assert size == path.stat().st_size
    assert page.count("</script>") == 2
    assert "<!--" not in page
    inside = page.split('id="subject">')[1].split("</script>")[0]
    assert json.loads(inside)["tokens"]["vocabulary"][0] == odd
    for address in ("http:", "https:", "src=", "@import", "fetch("):
        assert address not in page.replace("https?:", "").replace("img-src", "")


def test_large_embeddings_are_stored_in_fewer_bits(tmp_path: pathlib.Path) -> None:
    subject = subject_of(cases()[:1])
    wide = subject.models[0].parameters._replace(embedding=np.ones((V, 100), np.float32))
    subject = subject._replace(models=(subject.models[0]._replace(parameters=wide),))
    sizes = {
        kind: len(assemble.html(encoded(subject, kind)).encode()) for kind in ("f4", "f2", "i1")
    }
    assert sizes["f4"] > sizes["f2"] > sizes["i1"]
    for kind, size in sizes.items():
        assert write(subject, tmp_path / "page.html", limit=size) == size
        assert f'"precision":"{kind}"' in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ()}, "models: got none"),
        ({"distances": (4, 2)}, "distances: got"),
        ({"classes": ("a", "b")}, r"b_out: got shape \(3,\)"),
        ({"generator": object()}, "generator: got object"),
    ],
)
def test_a_subject_that_cannot_be_shown(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoded(subject_of(cases()[:1])._replace(**change))


def test_a_cell_that_cannot_run() -> None:
    subject = subject_of(cases()[:1])
    other = sm.mgu(D, H).init(jax.random.key(0))
    params = subject.models[0].parameters._replace(cell=(other,))
    for model, message in (
        (subject.models[0]._replace(parameters=params), "got MGUParams"),
        (subject.models[0]._replace(cell="mgu"), "cell: got 'mgu'"),
        (subject.models[0]._replace(parameters={}), "parameters: got dict"),
    ):
        with pytest.raises(ValueError, match=message):
            encoded(subject._replace(models=(model,)))
