"""Flax's own tests of its recurrent NNX modules, with our classes in the place of Flax's.

They run if FLAX_CHECKOUT names a checkout of Flax, such as the unpacked source distribution.
"""

import importlib.util
import os
import pathlib
import unittest

import flax.nnx
import pytest

import seqmodels.nnx

CHECKOUT = os.environ.get("FLAX_CHECKOUT")
FILE = "tests/nnx/nn/recurrent_test.py"


def flax_tests():
    if CHECKOUT is None:
        return [pytest.param(None, marks=pytest.mark.skip("FLAX_CHECKOUT is not set"))]
    spec = importlib.util.spec_from_file_location("flax_nnx_tests", pathlib.Path(CHECKOUT) / FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    return [pytest.param(case, id=case.id().split(".", 1)[1]) for part in suite for case in part]


@pytest.mark.filterwarnings("ignore")  # Flax's tests use names that Flax deprecates
@pytest.mark.parametrize("case", flax_tests())
def test_flax(case, monkeypatch):
    monkeypatch.setattr(flax.nnx, "RNN", seqmodels.nnx.RNN)
    monkeypatch.setattr(flax.nnx, "Bidirectional", seqmodels.nnx.Bidirectional)
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1
    assert not result.errors + result.failures, (result.errors + result.failures)[0][1]
