"""What the README shows runs as it stands."""

import contract_cases as cases
import jax
import pages
import pytest

import seqmodels as sm

README = pages.ROOT / "README.md"


def test_examples_run(monkeypatch):
    assert len(pages.python_blocks(README.read_text())) == 8
    names = pages.run_blocks(README, monkeypatch)
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
    (block,) = pages.python_blocks(README.read_text(), "py")
    names = {}
    exec(block.code, names)
    xs = names["torch"].randn(5, 2, 64)
    want = names["module"](xs)[0].detach().numpy()
    _, ys = sm.unroll(names["cell"], names["params"], xs.numpy())
    cases.assert_close(ys, want, 1e-5)


def test_commands_exist(monkeypatch):
    monkeypatch.chdir(pages.ROOT)
    commands = pages.commands(README.read_text())
    assert len(commands) > 20
    for command in commands:
        pages.check_command(command)


def test_links_lead_somewhere():
    assert not pages.dead_links(README)
