"""Every Python block of every page runs, and every command of a page is one that exists."""

import pages
import pytest

DOCS = pages.ROOT / "docs"
ALL = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", [n for n in ALL if "```python" in (DOCS / n).read_text()])
def test_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.run_blocks(DOCS / name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ALL if pages.LONG.search((DOCS / n).read_text())])
def test_blocks_run_in_full(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.run_blocks(DOCS / name, monkeypatch, in_full=True)


@pytest.mark.parametrize("name", [n for n in ALL if pages.commands((DOCS / n).read_text())])
def test_commands_exist(name, monkeypatch):
    monkeypatch.chdir(pages.ROOT)
    for command in pages.commands((DOCS / name).read_text()):
        pages.check_command(command)


@pytest.mark.parametrize("name", ALL)
def test_links_lead_somewhere(name):
    assert not pages.dead_links(DOCS / name)


def test_faults_of_a_page_are_found(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    skipped = "text\n\n<!-- skip: slow -->\n```python\n1 / 0\n```\n"
    page.write_text(f"{skipped}\n```python\na = 1\nb\n```\n")
    with pytest.raises(NameError) as error:
        pages.run_blocks(page, monkeypatch)
    assert error.traceback[-1].lineno + 1 == 10
    for command in ("python -m experiments.parity --hiden=1", "python examples/none.py"):
        with pytest.raises(AssertionError):
            pages.check_command(command)
    page.write_text("[a](https://example.org) [b](page.md#part) ![c](no.png)")
    assert pages.dead_links(page) == ["no.png"]
