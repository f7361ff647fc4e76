"""The file of tweets: unescaped, and labeled by its mean ratings."""

import numpy as np
import pytest

from seqmodels.datasets import fetching, tweets

MINIATURE = (
    "1\t2.7\tlove &amp; &lt;3 it\n2\t-0.5\tmeh :(\n3\t0.49\tit is\ttabbed \n"
    "4\t0.5\tfine 😍\n5\t-0.4\tso\n"
)


def test_parse():
    data = tweets.parse(MINIATURE)
    assert data.texts == ["love & <3 it", "meh :(", "it is\ttabbed", "fine 😍", "so"]
    assert [data.classes[label] for label in data.labels] == [
        "positive", "negative", "neutral", "positive", "neutral",
    ]  # fmt: skip
    np.testing.assert_allclose(data.ratings, [2.7, -0.5, 0.49, 0.5, -0.4], rtol=1e-6)
    assert (data.labels.dtype, data.ratings.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("line", ["", "1\t2.0", "1\tgood\tday"])
def test_a_line_that_is_none(line):
    with pytest.raises(ValueError, match="tweets: line 2: got"):
        tweets.parse("1\t0\tx\n" + line + "\n")


def test_load_reads_the_artifact(tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text(MINIATURE, encoding="utf-8")
    monkeypatch.setattr(fetching, "fetch", lambda name, data_dir: tmp_path / "t.txt")
    assert len(tweets.load().texts) == 5
