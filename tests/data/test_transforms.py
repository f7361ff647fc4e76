"""Transforms of values and their inverses."""

import numpy as np
import pytest

from seqmodels.data.transforms import TRANSFORMS, restored, transformed


@pytest.mark.parametrize("name", TRANSFORMS)
def test_restored_inverts_transformed(name):
    values = np.array([[0.25, 3.0], [1.0, np.nan]])
    np.testing.assert_allclose(restored(transformed(values, name), name), values)


@pytest.mark.parametrize(("name", "inverse"), [("sqrt", np.square), ("log", np.exp)])
def test_restored_means_are_unbiased(name, inverse):
    z = 3 + 0.4 * np.random.default_rng(0).normal(size=200_000)
    assert restored(np.array(3.0), name, 0.16) == pytest.approx(inverse(z).mean(), rel=2e-3)
