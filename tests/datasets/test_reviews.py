"""The file of reviews: two sources in one CSV."""

import pytest

from seqmodels.datasets import fetching, reviews

MINIATURE = (
    'text,label,source\n"a ""fine"" film,<br /><br />really",1,imdb\n'
    'too tepid ,0,rotten_tomatoes\n"good\nfun",1,rotten_tomatoes\n'
)


def test_parse():
    data = reviews.parse(MINIATURE, "rotten_tomatoes")
    assert (data.texts, data.labels.tolist()) == (["too tepid", "good\nfun"], [0, 1])
    assert data.classes == ("negative", "positive")
    assert reviews.parse(MINIATURE, "imdb").texts == ['a "fine" film,  really']


def test_what_cannot_be():
    with pytest.raises(ValueError, match="source: got 'imbd', expected one of"):
        reviews.parse(MINIATURE, "imbd")
    for text in ("a,b\n1,2\n", "text,label,source\nx,2,imdb\n", "text,label,source\nx\n"):
        with pytest.raises(ValueError, match="expected CSV with the columns"):
            reviews.parse(text, "imdb")


def test_load_reads_the_artifact(tmp_path, monkeypatch):
    (tmp_path / "r.csv").write_text(MINIATURE, encoding="utf-8")
    monkeypatch.setattr(fetching, "fetch", lambda name, data_dir: tmp_path / "r.csv")
    assert len(reviews.load("imdb").texts) == 1
