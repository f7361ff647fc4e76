"""What the README shows runs as it stands."""

import pathlib
import re

import contract_cases as cases
import jax
import pytest

import seqmodels as sm
from seqmodels.parallel import cores

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_examples_run(monkeypatch):
    # Of the devices of the tests, which have started.
    monkeypatch.setattr(cores, "available_cores", jax.local_device_count)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 8
    names = {}
    with jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, names)
    assert names["ys"].shape == (100, 32, 8)
    assert names["info"].method == "fused"
    assert names["info"].reason == "auto: the cell is in stages, so its backward pass can be fused"
    cases.assert_close(names["same"], names["gradient"])
    want = jax.value_and_grad(names["mean_square"])(names["lstm_params"], names["xs"])
    cases.assert_close((names["value"], names["gradients"]), want)
    assert names["predicted_ys"].shape == (100, 5, 8)
    assert names["linen_ys"].shape == (32, 100, 128)
    assert names["nnx_ys"].shape == (32, 100, 16)
    assert names["read"].shape == (2, 8)
    assert int(names["done"].state.step) == 40


def test_weights_of_torch():
    pytest.importorskip("torch")
    (block,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(block, names)
    xs = names["torch"].randn(5, 2, 64)
    want = names["module"](xs)[0].detach().numpy()
    _, ys = sm.unroll(names["cell"], names["params"], xs.numpy())
    cases.assert_close(ys, want, 1e-5)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) >= 4
    root = pathlib.Path(__file__).parents[1]
    here = [link for link in links if not link.startswith("https://")]
    assert not [link for link in here if not (root / link).exists()]
