"""Flax's own tests of its recurrent modules, run with the classes of this library.

They need a checkout of Flax at the version that is installed: `FLAX_CHECKOUT=/path/to/flax pytest
tests/linen/test_flax_suite.py`.
"""

import importlib.util
import os
import pathlib
import unittest

import flax.linen as nn
import flax.linen.recurrent
import jax
import pytest

import seqmodels.linen

CHECKOUT = os.environ.get("FLAX_CHECKOUT")
FILE = pathlib.Path(CHECKOUT or "") / "tests" / "linen" / "linen_recurrent_test.py"


def test_flax_tests_pass_with_our_classes(monkeypatch):
    if CHECKOUT is None:
        pytest.skip("FLAX_CHECKOUT is not set")
    for name in ("RNN", "Bidirectional"):
        for module in (nn, flax.linen.recurrent):
            monkeypatch.setattr(module, name, getattr(seqmodels.linen, name))
    monkeypatch.setattr(jax.config, "parse_flags_with_absl", lambda: None)
    spec = importlib.util.spec_from_file_location("flax_recurrent_tests", FILE)
    module = importlib.util.module_from_spec(spec)
    with jax.numpy_rank_promotion("allow"):
        spec.loader.exec_module(module)
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        result = unittest.TestResult()
        suite.run(result)
    assert result.testsRun > 20
    assert not result.errors + result.failures + result.skipped
