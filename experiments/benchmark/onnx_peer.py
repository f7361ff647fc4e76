"""onnxruntime in the benchmark: single steps of the model that `sm.weights.to_onnx` writes."""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark.arrays import inputs
from experiments.benchmark.cases import Case


def start(framework: str, count: str) -> dict[str, Any]:
    """Imports onnxruntime and returns its version and that of onnx, which the export needs."""
    del count
    import onnxruntime  # noqa: F401

    if importlib.util.find_spec("onnx") is None:
        raise ModuleNotFoundError("onnx is missing", name="onnx")
    return {"versions": {name: importlib.metadata.version(name) for name in (framework, "onnx")}}


def build(
    case: Case, budget: str | None
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Returns one step of a session with one thread; it keeps its state."""
    del budget
    import onnxruntime

    import seqmodels as sm
    from experiments.benchmark.ours import make

    cell, params = make(case.cell, case.shape.D, case.shape.H)
    model = sm.weights.to_onnx(params, cell, lengths=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # without warnings about optional inputs
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    # final_state.0.h is the next step's state.0.h
    names = [value.name.removeprefix("final_") for value in session.get_outputs()[1:]]
    zeros = np.zeros((case.shape.B, case.shape.H), np.float32)
    held = dict.fromkeys(names, zeros)

    def step(xs: np.ndarray) -> np.ndarray:
        ys, *state = session.run(None, held | {"xs": xs})
        held.update(zip(names, state, strict=True))
        return ys[0]

    return step, (inputs(case.shape),), {}


def verdict(case: Case, result: Any) -> tuple[float, float | None, tuple[int, ...]]:
    """Returns the mean square of y_t; there is no gradient."""
    del case
    return float(np.mean(np.square(result, dtype=np.float64))), None, ()


def wait(result: Any) -> Any:
    """Returns the result, which is ready."""
    return result


def forget() -> None:
    """Does nothing: sessions end with their functions."""
