"""Batches ahead: in order, no more than asked for, and nothing left behind."""

import contextlib
import gc
import threading

import jax
import numpy as np
import pytest

from seqmodels.training.prefetch import prefetch, prefetch_dispatches

PATIENCE = 30.0  # seconds after which a test that hangs fails


class Source:
    """Counts what is made; lets batch n be made once `allow` was called for it."""

    def __init__(self, fails_at=None):
        self.made = []
        self.threads = set()
        self.fails_at = fails_at
        self.error = OSError("the disk is gone")

    def at(self, cursor):
        self.threads.add(threading.current_thread())
        if cursor == self.fails_at:
            raise self.error
        self.made.append(cursor)
        return np.full(3, cursor)

    def ended(self):
        for thread in self.threads:
            thread.join(PATIENCE)
        return not any(thread.is_alive() for thread in self.threads)


@pytest.mark.parametrize("cursor", [0, 3, 5])
def test_dispatches_begin_at_any_batch(cursor):
    with contextlib.closing(prefetch_dispatches(Source().at, 2)(cursor)) as batches:
        for first in (cursor, cursor + 2, cursor + 4):
            assert next(batches)[:, 0].tolist() == [first, first + 1]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_in_order_and_once(depth):
    source = Source()
    seen = list(prefetch(source.at, 4, 11, depth=depth))
    assert [cursor for cursor, _ in seen] == list(range(4, 11)) == source.made
    for cursor, batch in seen:
        assert isinstance(batch, jax.Array)
        assert batch.tolist() == [cursor] * 3
    assert len(source.threads) == 1
    assert threading.current_thread() not in source.threads
    assert source.ended()


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_never_more_than_depth_ahead(depth):
    """Each batch says, as it is begun, how far it is ahead of the one last asked for."""
    asked_for, ahead, reached = [0], [], threading.Semaphore(0)

    def at(cursor):
        ahead.append(cursor - asked_for[0])
        reached.release()
        return cursor

    with contextlib.closing(prefetch(at, 0, place=lambda x: x, depth=depth)) as batches:
        for n in range(20):
            asked_for[0] = n
            assert next(batches) == (n, n)
            for _ in range(1 if n else 1 + depth):  # all that may be made, while nobody asks
                assert reached.acquire(timeout=PATIENCE)
        assert not reached.acquire(timeout=0.05)
    assert len(ahead) == 20 + depth
    assert max(ahead) == depth


def test_made_in_the_meantime():
    """While the caller has batch 0, batch 1 is made, also where no more may be ahead."""
    begun = [threading.Event() for _ in range(3)]
    with contextlib.closing(
        prefetch(lambda n: begun[n].set(), 0, 3, place=lambda x: x, depth=1)
    ) as batches:
        next(batches)
        assert begun[1].wait(PATIENCE)


@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_an_error_comes_as_itself_and_in_its_place(fails_at):
    source = Source(fails_at)
    batches = prefetch(source.at, 0, depth=3)
    seen = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        seen.extend(cursor for cursor, _ in batches)
    assert caught.value is source.error
    assert seen == list(range(fails_at))
    assert source.ended()
    assert list(batches) == []


def test_an_error_of_place_too():
    def place(batch):
        raise ValueError("no such device")

    with pytest.raises(ValueError, match="no such device"):
        next(prefetch(Source().at, 0, place=place))


def test_closing_ends_the_thread():
    source = Source()
    with contextlib.closing(prefetch(source.at, 0, depth=2)) as batches:
        next(batches)
    assert not any(thread.is_alive() for thread in source.threads)
    made = list(source.made)
    assert len(made) <= 3
    assert list(batches) == []
    assert source.made == made


def test_an_iterator_that_is_lost_ends_the_thread():
    source = Source()
    batches = prefetch(source.at, 0)
    next(batches)
    del batches
    gc.collect()
    assert source.ended()


def test_an_iterator_that_is_never_used_has_no_thread():
    source = Source()
    before = threading.active_count()
    prefetch(source.at, 0).close()
    assert threading.active_count() == before
    assert source.made == []


def test_nothing_to_make():
    assert list(prefetch(Source().at, 3, 3)) == []
    assert list(prefetch(Source().at, 5, 3)) == []


def test_mistakes_get_one_line_at_once():
    with pytest.raises(ValueError, match="depth: got 0, expected at least 1"):
        prefetch(Source().at, 0, depth=0)
    with pytest.raises(ValueError, match="start: got -1, expected at least 0"):
        prefetch(Source().at, -1)
