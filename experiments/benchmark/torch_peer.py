"""torch in the benchmark: torch.nn.RNN, LSTM and GRU, given our weights.

"torch" runs on the CPU. "torch.cuda" runs on a GPU, where these modules are cuDNN's. bfloat16 is
torch.autocast.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark.arrays import fields, inputs
from experiments.benchmark.cases import STEP, Case
from seqmodels.weights.layouts import LAYOUTS, convert

MODULES = {"rnn": "RNN", "lstm": "LSTM", "gru_after": "GRU"}
Built = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def start(framework: str, count: str) -> dict[str, Any]:
    """Imports torch, sets the number of its threads and returns its version."""
    import torch

    if framework == "torch":
        torch.set_num_threads(int(count))
    elif not torch.cuda.is_available():
        raise ModuleNotFoundError("torch has no GPU", name="torch with CUDA")
    return {"versions": {"torch": str(torch.__version__)}}


def _device(framework: str) -> str:
    return "cuda" if framework == "torch.cuda" else "cpu"


def _module(case: Case, name: str) -> tuple[Any, list[str]]:
    """Returns torch's module of that name with our weights, and the names of its parameters."""
    import torch

    D, H = case.shape.D, case.shape.H
    module = getattr(torch.nn, name)(D, H)
    ours, theirs = (LAYOUTS[framework, case.cell] for framework in ("seqmodels", "torch"))
    tensors = convert(fields(case.cell, D, H), ours, theirs)
    suffix = "" if name.endswith("Cell") else "_l0"
    with torch.no_grad():
        for tensor, value in tensors.items():
            parameter = getattr(module, f"{tensor}{suffix}")
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))
    return module.to(_device(case.worker.framework)), [f"{tensor}{suffix}" for tensor in tensors]


def build(case: Case, budget: str | None) -> Built:
    """Returns the function, its arguments, and remarks.

    "train" gives (loss, gradients in our layout), "forward" gives ys, "step" y_t.
    """
    del budget
    import torch

    if case.mode == STEP:
        return _build_step(case)
    device = _device(case.worker.framework)
    module, names = _module(case, MODULES[case.cell])
    xs = torch.tensor(inputs(case.shape)).to(device)
    torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = case.precision == "tf32"

    def cast() -> contextlib.AbstractContextManager[Any]:
        if case.precision == "bfloat16":
            return torch.autocast(device, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def forward(xs: Any) -> Any:
        with torch.inference_mode(), cast():
            return module(xs)[0]

    def train(xs: Any) -> Any:
        module.zero_grad(set_to_none=True)
        with cast():
            ys = module(xs)[0]
        loss = ys.float().square().mean()
        loss.backward()
        return loss, {name: getattr(module, name).grad for name in names}

    return (train if case.mode == "train" else forward), (xs,), {}


def _build_step(case: Case) -> Built:
    """Returns one step of nn.LSTM or nn.GRU with T = 1 ("module"), or of their cells ("cell")."""
    import torch

    name = MODULES[case.cell]
    x_t = torch.tensor(inputs(case.shape)[0])
    zeros = torch.zeros(case.shape.B, case.shape.H)
    if case.method == "cell":
        cell, _ = _module(case, f"{name}Cell")
        held = [(zeros, zeros) if case.cell == "lstm" else zeros]

        def step(x_t: Any) -> Any:
            with torch.inference_mode():
                held[0] = cell(x_t, held[0])
                return held[0][0] if case.cell == "lstm" else held[0]

    else:
        module, _ = _module(case, name)
        held = [(zeros[None], zeros[None]) if case.cell == "lstm" else zeros[None]]

        def step(x_t: Any) -> Any:
            with torch.inference_mode():
                y, held[0] = module(x_t[None], held[0])
                return y[0]

    return step, (x_t,), {}


def verdict(case: Case, result: Any) -> tuple[float, float | None, tuple[int, ...]]:
    """Returns loss, norm of the gradient of our parameters, and the shape of ys.

    The shape is () in training and of a step.
    """
    if case.mode != "train":
        shape = () if case.mode == STEP else tuple(result.shape)
        return float(result.float().square().mean()), None, shape
    loss, gradients = result
    # The second bias has the gradient of the first but for a GRU's candidate, where ours has b_n.
    parts = [gradients["weight_ih_l0"], gradients["weight_hh_l0"], gradients["bias_ih_l0"]]
    if case.cell == "gru_after":
        parts.append(gradients["bias_hh_l0"][2 * case.shape.H :])
    squares = sum(float(part.double().square().sum()) for part in parts)
    return float(loss.detach()), squares**0.5, ()


def wait(result: Any) -> Any:
    """Returns the result when it is ready."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def forget() -> None:
    """Does nothing: torch compiles nothing here."""


def compiled(function: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], int | None]:
    """Returns the function. Eager: no compilation, no memory estimate."""
    del arguments
    return function, None
