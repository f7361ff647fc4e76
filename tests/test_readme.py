"""What the README shows runs as it stands."""

import pathlib
import re

import contract_cases as cases
import jax

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 6
    names = {}
    with jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, names)
    assert names["ys"].shape == (100, 32, 8)
    assert names["info"].method == "fused"
    assert names["info"].reason == "auto: the cell is in stages, so its backward pass can be fused"
    cases.assert_close(names["same"], names["gradient"])
    assert names["read"].shape == (2, 8)
    assert int(names["done"].state.step) == 40


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) >= 4
    root = pathlib.Path(__file__).parents[1]
    here = [link for link in links if not link.startswith("https://")]
    assert not [link for link in here if not (root / link).exists()]
