"""The notebook of every page is valid and holds the page's blocks, in order and unchanged."""

import json
import pathlib
import re
import runpy

import nbformat
import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "tutorial").glob("*.md"))
notebook = runpy.run_path(str(DOCS / "notebooks.py"))["notebook"]


def cells_by_line(text):
    """Returns (type, source) of every cell, read line by line."""
    cells, lines, in_code = [], [], False

    def close(kind):
        source = "\n".join(lines).strip("\n")
        if source:
            cells.append((kind, source))
        lines.clear()

    for line in text.split("\n"):
        if line == "```python":
            close("markdown")
            in_code = True
        elif in_code and line == "```":
            close("code")
            in_code = False
        else:
            lines.append(line)
    close("markdown")
    return cells


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    text = page.read_text()
    cells = nbformat.reads(json.dumps(notebook(text)), as_version=4)
    nbformat.validate(cells)
    found = [(cell.cell_type, cell.source) for cell in cells.cells]
    as_page = [
        (kind, source.replace(".ipynb)", ".md)").replace("](./../", "](../"))
        for kind, source in found
    ]
    assert as_page == cells_by_line(text)
    for kind, source in found:
        if kind == "code":
            compile(source, page.name, "exec")


def test_tutorial_is_there():
    assert [page.stem.partition("_")[0] for page in PAGES] == [*"12345678", "index"]


def test_other_languages_stay_in_the_text():
    cells = notebook("a\n\n```bash\npython x\n```\n\n```python\nb = '''\n`'''\n```\n")["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code"]
    assert "".join(cells[0]["source"]) == "a\n\n```bash\npython x\n```"
    assert "".join(cells[1]["source"]) == "b = '''\n`'''"


def test_links():
    text = "[a](a.md), [b](../guides/b.md), [c](https://c.org/c.md)"
    cells = notebook(text, "../../docs/tutorial")["cells"]
    assert "".join(cells[0]["source"]) == (
        "[a](a.ipynb), [b](../../docs/tutorial/../guides/b.md), [c](https://c.org/c.md)"
    )


def test_every_link_of_a_written_notebook_leads_to_a_file(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    monkeypatch.setattr("sys.argv", ["notebooks.py", f"--to={folder}"])
    runpy.run_path(str(DOCS / "notebooks.py"), run_name="__main__")
    links = []
    for path in folder.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            links += re.findall(r"\]\(([\w./]+\.(?:md|ipynb))\)", "".join(cell["source"]))
    assert [link for link in links if not (folder / link).exists()] == []
    assert {pathlib.PurePath(link).suffix for link in links} == {".md", ".ipynb"}
