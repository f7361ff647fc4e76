"""A package index on this machine with one small package, and processes that fetch from it."""

import contextlib
import hashlib
import http.server
import io
import os
import pathlib
import subprocess
import sys
import threading
import zipfile

ROOT = pathlib.Path(__file__).parents[1]
NAME = "phrases-1.0"  # the folder of the data set in a cache
FILES = {"p/en.json": b"{}", "p/de.json": b'{"a": "b"}'}
_WHEEL = "killed_fetch-1.0-py3-none-any.whl"
_INFORMATION = {
    "METADATA": "Metadata-Version: 2.1\nName: killed-fetch\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}
_PROGRAM = """
import sys
from seqmodels.datasets import fetching, registry
entry = registry.Artifact(
    distribution="killed-fetch", version="1.0", kind="wheel", sha256=sys.argv[2],
    members=("p/*.json",), description="phrases", rows="2 files", megabytes=0.1,
    license="a licence", citation="a source",
)
registry.ARTIFACTS["phrases"] = entry
print(fetching.fetch("phrases", sys.argv[1], report=lambda line: None), flush=True)
"""


def _wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in FILES.items():
            file.writestr(name, data)
        for name, text in _INFORMATION.items():
            file.writestr(f"killed_fetch-1.0.dist-info/{name}", text)
    return content.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """The index; it sends half of the package and waits until `may_go_on` is set.

    Attributes:
      at_half: is set when half is sent.
      may_go_on: when the rest is sent.
    """

    def __init__(self):
        self.wheel = _wheel()
        self.at_half, self.may_go_on = threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)

    def start_fetch(self, cache):
        """Returns the running process that fetches the package into a cache."""
        settings = {
            "PYTHONPATH": str(ROOT),
            "PIP_INDEX_URL": f"http://127.0.0.1:{self.server_port}/simple",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(cache), hashlib.sha256(self.wheel).hexdigest()],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_wheel = self.path.endswith(_WHEEL)
        link = f'<a href="/{_WHEEL}">{_WHEEL}</a>'.encode()
        content = self.server.wheel if is_wheel else link
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if is_wheel else "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[:half])
            self.wfile.flush()
            if is_wheel:
                self.server.at_half.set()
                self.server.may_go_on.wait(60)
            self.wfile.write(content[half:])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running():
    """Runs an `Index` in a thread."""
    with Index() as index:
        thread = threading.Thread(target=index.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield index
        finally:
            index.may_go_on.set()
            index.shutdown()
            thread.join()


def pips(cache):
    """Returns the ids of the processes of pip that write into a cache."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"--dest={cache}" in path.read_text():
                found.append(path.parent.name)
    return found


def faults(cache):
    """Returns how a cache differs from one into which the package was fetched, as lines."""
    found = {path.name for path in cache.iterdir()} ^ {NAME, f".{NAME}.lock"}
    lines = [f"{name} is left, or lacks" for name in sorted(found)]
    for name, content in FILES.items():
        path = cache / NAME / name
        if not path.is_file() or path.read_bytes() != content:
            lines.append(f"{name} is not what was fetched")
    if (cache / f".{NAME}.lock").read_bytes():
        lines.append("the lock names a folder")
    return lines
