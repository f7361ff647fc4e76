"""What every kind of batches is checked for."""

import jax
import numpy as np


def epoch_of(batches, epoch):
    """All batches of an epoch."""
    return [batches.at(epoch * batches.per_epoch + n) for n in range(batches.per_epoch)]


def assert_equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def assert_shares_make_the_whole(make, cursors):
    """The batches of 1, 2 and 4 processes, side by side, are those of one."""
    whole = make(process=0, num_processes=1)
    axes = jax.tree.broadcast(whole.batch_axes, whole.at(0))
    for num_processes in (1, 2, 4):
        parts = [make(process=p, num_processes=num_processes) for p in range(num_processes)]
        for cursor in cursors:
            batches = [part.at(cursor) for part in parts]
            joined = jax.tree.map(lambda axis, *a: np.concatenate(a, axis), axes, *batches)
            assert_equal(joined, whole.at(cursor))
            assert len({str(jax.tree.map(np.shape, batch)) for batch in batches}) == 1
