"""A fixture that says who ran the cell."""

import pytest

import seqmodels.linen.rnn


@pytest.fixture
def unrolled(monkeypatch):
    """The calls of our drivers: empty if Flax ran the cell."""
    calls = []
    original = seqmodels.linen.rnn.unroll_vmapped

    def spy(*args, **kwargs):
        calls.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(seqmodels.linen.rnn, "unroll_vmapped", spy)
    return calls
