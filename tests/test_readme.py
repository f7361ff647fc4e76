"""What the README shows runs as it stands."""

import contract_cases as cases
import jax
import pages

import seqmodels as sm

README = pages.ROOT / "README.md"


def test_examples_run(monkeypatch):
    assert len(pages.python_blocks(README.read_text())) == 1
    names = pages.run_blocks(README, monkeypatch)
    assert names["ys"].shape == (100, 32, 8)
    cell, xs, lengths = names["cell"], names["xs"], names["lengths"]

    def loss(params):
        ys = sm.unroll(cell, params, xs, lengths=lengths, method="scan")[1]
        return jax.numpy.mean(ys**2)

    cases.assert_close(names["gradient"], jax.grad(loss)(names["params"]))


def test_it_is_one_page():
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    assert lines.index("```python") < 35


def test_commands_exist(monkeypatch):
    monkeypatch.chdir(pages.ROOT)
    commands = pages.commands(README.read_text())
    assert len(commands) > 10
    for command in commands:
        pages.check_command(command)


def test_links_lead_somewhere():
    assert not pages.dead_links(README)
