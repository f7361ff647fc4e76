"""The process in which one competitor of the benchmark runs, driven over a pipe.

torch and XLA in one process sometimes stall by a factor of 10 to 40, and thread pools that share
cores disturb each other. So every framework has a process of its own, which loads no other,
and the parent lets one of them compute at a time. Requests and replies are lines of JSON.

    python -m experiments.benchmark.worker FRAMEWORK COUNT
"""

import importlib
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmark import memory as benchmark_memory
from experiments.benchmark.cases import Shape, decode

Reply = dict[str, Any]
BACKENDS = {"torch": "torch_peer", "torch.cuda": "torch_peer", "onnxruntime": "onnx_peer"}
PROBED = ("torch", "onnxruntime")  # packages that need no JAX


class Server:
    """Answers requests: start, prepare, run, drop, compile, memory, check."""

    def __init__(self, framework: str, count: str):
        """Prepares for a framework and "auto" or a number of devices (ours) or threads (torch)."""
        self._framework = framework
        self._count = count
        self._backend: Any = None
        self._prepared: dict[int, Callable[[], Any]] = {}

    def answer(self, request: Reply) -> Reply:
        """Returns the reply to a request; an error becomes one line of `error`."""
        try:
            return getattr(self, f"_{request.pop('do')}")(**request)
        except ModuleNotFoundError as error:
            return {"error": f"{error.name} is not installed", "kind": "ModuleNotFoundError"}
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            return {"error": f"{type(error).__name__}: {text}", "kind": type(error).__name__}

    def _start(self) -> Reply:
        """Imports the framework and starts its backend."""
        name = BACKENDS.get(self._framework, "jax_peers")
        self._backend = importlib.import_module(f"experiments.benchmark.{name}")
        installed = [name for name in PROBED if importlib.util.find_spec(name)]
        return {"installed": installed} | self._backend.start(self._framework, self._count)

    def _prepare(self, number: int, case: list[Any], budget: str | None = None) -> Reply:
        """Builds a case, runs it once, which compiles it, and returns loss and gradient norm."""
        what = decode(case)
        function, arguments, about = self._backend.build(what, budget)
        wait = self._backend.wait
        self._prepared[number] = lambda: wait(function(*arguments))
        result = self._prepared[number]()
        if what.method == "limit":
            return {"about": about}
        loss, norm, shape = self._backend.verdict(what, result)
        expected = (*what.shape[:2], what.shape.H)
        if what.variant and math.isfinite(loss):
            return {"about": about}
        if not math.isfinite(loss) or shape not in ((), expected):
            raise ValueError(f"loss {loss}, outputs {shape}, expected a number and {expected}")
        return {"about": about, "loss": loss, "norm": norm}

    def _run(self, number: int, repeats: int) -> Reply:
        """Runs a prepared case; every call ends when its result is there."""
        call, seconds = self._prepared[number], []
        for _ in range(repeats):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
        return {"seconds": seconds}

    def _drop(self) -> Reply:
        """Forgets all that was prepared."""
        self._prepared.clear()
        self._backend.forget()
        return {}

    def _compile(self, case: list[Any], budget: str | None = None) -> Reply:
        """Traces, lowers and compiles a training step a few times; nothing is executed."""
        return {"seconds": self._backend.compile_seconds(decode(case), budget)}

    def _check(self, cell: str, method: str, precision: str, shape: list[int]) -> Reply:
        """Compares a driver with scan."""
        from experiments.benchmark.gpu import equivalence

        return {"errors": equivalence.differences(cell, method, precision, Shape(*shape))}

    def _memory(self, case: list[Any], budget: str | None = None) -> Reply:
        """Compiles a case, then runs it once and returns the growth of memory."""
        what = decode(case)
        # Libraries load and make their thread pools at the first call; that is not the case's.
        function, arguments, _ = self._backend.build(
            what._replace(shape=what.shape._replace(T=2)), None
        )
        self._backend.wait(function(*arguments))
        function, arguments, about = self._backend.build(what, budget)
        call, said = self._backend.compiled(function, arguments)
        growth = benchmark_memory.growth_of(lambda: self._backend.wait(call(*arguments)))
        return {"about": about, "compiler": said} | growth._asdict()


def serve(framework: str, count: str) -> None:
    """Answers one request a line until standard input ends, which it does with the parent."""
    # A library that prints must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server(framework, count)
    for line in sys.stdin:
        replies.write(json.dumps(server.answer(json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
