"""Converts pages of the site to Jupyter notebooks: every Python block becomes a code cell.

    python docs/notebooks.py                                  # the tutorial, to build/notebooks/
    python docs/notebooks.py docs/guides/*.md --to=notebooks  # other pages
    python docs/notebooks.py --run docs/tutorial/7*.md        # runs its blocks; writes its pictures

The pages are the source; notebooks are not kept in the repository.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import time
from typing import Any

TUTORIAL = pathlib.Path(__file__).parent / "tutorial"
_PYTHON = re.compile(r"^```python\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
_PAGE_LINK = re.compile(r"(\]\(\w+)\.md\)")
_OTHER_FOLDER = re.compile(r"\]\((?=\.\./)")


def notebook(text: str, folder: str = ".") -> dict[str, Any]:
    r"""Returns the notebook (nbformat 4.5, without outputs) of the Markdown text of a page.

    Text between Python blocks becomes a Markdown cell. Blocks of other languages stay in the text.
    Links to pages of the same folder become links to notebooks; links to other folders (`../`)
    start at `folder`, the path from the notebook's folder to the page's.

    Examples:
      >>> [cell["cell_type"] for cell in notebook("# A\n```python\n1 + 1\n```\n")["cells"]]
      ['markdown', 'code']
    """
    cells: list[dict[str, Any]] = []
    # A pattern with one group: texts and blocks take turns.
    for number, part in enumerate(_PYTHON.split(text)):
        is_code = number % 2 == 1
        source = part.strip("\n")
        if not source:
            continue
        if not is_code:
            source = _PAGE_LINK.sub(r"\1.ipynb)", source)
            source = _OTHER_FOLDER.sub(lambda link: f"{link[0]}{folder}/", source)
        cell: dict[str, Any] = {
            "cell_type": "code" if is_code else "markdown",
            "id": f"cell-{len(cells)}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if is_code else {}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def run(page: pathlib.Path) -> float:
    """Runs the blocks of a page in the page's folder, where its pictures are; returns seconds."""
    page = page.resolve()
    names: dict[str, Any] = {"__name__": page.stem}
    start = time.perf_counter()
    with contextlib.chdir(page.parent):
        for cell in notebook(page.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), str(page), "exec"), names)
    return time.perf_counter() - start


def main() -> None:
    """Writes the notebooks of the pages that the command names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pages", nargs="*", type=pathlib.Path, help="default: the tutorial")
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path("build/notebooks"))
    parser.add_argument("--run", action="store_true", help="run the pages instead")
    options = parser.parse_args()
    pages = options.pages or sorted(TUTORIAL.glob("*.md"))
    if options.run:
        for page in pages:
            print(f"{page.name}: {run(page):.1f} s")
        return
    options.to.mkdir(parents=True, exist_ok=True)
    for page in pages:
        path = options.to / f"{page.stem}.ipynb"
        folder = pathlib.PurePath(os.path.relpath(page.parent, options.to)).as_posix()
        cells = notebook(page.read_text("utf-8"), folder)
        content = json.dumps(cells, indent=1, ensure_ascii=False)
        path.write_text(content + "\n", "utf-8")
        print(path)


if __name__ == "__main__":
    main()
