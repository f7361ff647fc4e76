"""Every public name has a page of the reference and a docstring."""

import importlib.util
import pathlib

import seqmodels as sm

_SPEC = importlib.util.spec_from_file_location(
    "reference", pathlib.Path(__file__).with_name("reference.py")
)
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)


def test_every_public_name_has_a_page():
    assert reference.missing_names() == []
    names = reference.public_names()
    functions = {name for name in sm.__all__ if callable(getattr(sm, name))}
    assert {f"seqmodels.{name}" for name in functions} <= set(names)
    assert "seqmodels.analysis.trace" in names
    assert "seqmodels.training.fit.fit" in names


def test_a_name_without_a_page_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(reference, "PAGES", tmp_path)
    (tmp_path / "page.md").write_text("# A page\n\n::: seqmodels.lstm\n\n::: seqmodels.plots\n")
    missing = reference.missing_names()
    assert "seqmodels.gru" in missing
    assert not {"seqmodels.lstm", "seqmodels.plots.save"} & set(missing)
