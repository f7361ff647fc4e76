"""Code and commands of the README and of the pages, for the tests that run them.

A Python block of a page runs unless the line before its fence is one of

    <!-- skip: minutes of training -->    compiled alone
    <!-- needs: torch -->                 run where the modules are installed

Trainings of 100 steps or more take 4, unless a page is run in full. Their number is found as
`def train(model, steps=400)`, `lax.scan(..., length=400)` or `jax.random.split(key, 400)`.
"""

import importlib
import importlib.util
import pathlib
import re
import shlex
from typing import NamedTuple

import jax
from absl import flags

from experiments.common import app
from seqmodels.parallel import cores

ROOT = pathlib.Path(__file__).parents[1]
_FENCE = re.compile(
    r"(?:^<!-- *(?P<mark>skip|needs): *(?P<why>[^>]*?) *-->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *``` *$",
    re.MULTILINE | re.DOTALL,
)
LONG = re.compile(r"(^def .*\bsteps=|\blength=|\bsplit\(key, )\d{3,}\b", re.MULTILINE)
_COMMAND = re.compile(r"python (-m (experiments\.[a-z]\w*)|examples/\w+\.py)(?P<rest>[^\n`]*)")


class Block(NamedTuple):
    """A Python block: line of its first line of code, the code, modules it needs, if it runs."""

    line: int
    code: str
    needs: tuple[str, ...]
    runs: bool


def python_blocks(text, language="python"):
    """Returns the blocks of a page in their order."""
    blocks = []
    for fence in _FENCE.finditer(text):
        if fence["language"] != language:
            continue
        indent = fence["indent"]
        lines = [line.removeprefix(indent) for line in fence["code"].splitlines(keepends=True)]
        needs = tuple(re.findall(r"\w+", fence["why"])) if fence["mark"] == "needs" else ()
        line = text.count("\n", 0, fence.start("code")) + 1
        blocks.append(Block(line, "".join(lines), needs, fence["mark"] != "skip"))
    return blocks


def run_blocks(path, monkeypatch, *, in_full=False):
    """Runs the blocks of a page in one namespace, which it returns."""
    # Of the devices of the tests, which have started.
    monkeypatch.setattr(cores, "available_cores", jax.local_device_count)
    names = {"__name__": "page"}
    with jax.numpy_rank_promotion("allow"):
        for block in python_blocks(path.read_text()):
            text = block.code if in_full else LONG.sub(r"\g<1>4", block.code)
            # Empty lines in front, so that an error names the line of the page.
            code = compile("\n" * (block.line - 1) + text, str(path), "exec")
            if block.runs and all(map(_is_installed, block.needs)):
                exec(code, names)
    return names


def commands(text):
    """Returns the commands of a page that run an experiment or an example."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [f"python {found[1]}{found['rest']}" for found in _COMMAND.finditer(joined)]


def check_command(command):
    """Fails if a command names a module, an option, a value or a file that is not there."""
    words = shlex.split(command, comments=True)
    for number, word in enumerate(words):
        if word in ("&&", "|", ";", ">", "..."):
            words = words[:number]
            break
    if words[1] != "-m":
        assert (ROOT / words[1]).is_file(), command
        return
    module = importlib.import_module(f"{words[2]}.__main__")
    # The folder of --resume is one that the reader has.
    arguments = [word for word in words[3:] if not word.startswith("--resume=")]
    try:
        app._parsed(module.EXPERIMENT, [words[2], *arguments], flags.FlagValues())
    except SystemExit as end:
        if end.code:  # --help has 0
            raise AssertionError(command) from end


def dead_links(path, base=None):
    """Returns the links and pictures of a page, seen from `base`, that lead nowhere."""
    text = _FENCE.sub("", path.read_text())
    found = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    inside = [link for link in found if link and not re.match(r"https?://|mailto:", link)]
    return [link for link in inside if not ((base or path).parent / link).exists()]


def _is_installed(name):
    return importlib.util.find_spec(name) is not None
