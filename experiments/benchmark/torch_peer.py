"""torch in the benchmark: torch.nn.RNN, LSTM and GRU on the CPU, given our weights."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark.cases import Case, inputs, weights
from seqmodels.weights.layouts import LAYOUTS, convert


def start(framework: str, count: str) -> dict[str, Any]:
    """Imports torch, sets the number of its threads and returns its version."""
    del framework
    import torch

    torch.set_num_threads(int(count))
    return {"versions": {"torch": str(torch.__version__)}}


def build(
    case: Case, budget: str | None
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Returns the function, which blocks until it is done, its arguments, and nothing to add.

    "train" gives (loss, gradients in our layout), "forward" gives ys.
    """
    del budget
    import torch

    D, H = case.shape.D, case.shape.H
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru_after": torch.nn.GRU}[case.cell]
    module = kind(D, H)
    ours, theirs = (LAYOUTS[name, case.cell] for name in ("seqmodels", "torch"))
    tensors = convert(weights(case.cell, D, H), ours, theirs)
    values = {f"{name}_l0": array for name, array in tensors.items()}
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.tensor(np.ascontiguousarray(value)))
    xs = torch.tensor(inputs(case.shape))

    def forward(xs: Any) -> Any:
        with torch.inference_mode():
            return module(xs)[0]

    def train(xs: Any) -> Any:
        module.zero_grad(set_to_none=True)
        loss = module(xs)[0].square().mean()
        loss.backward()
        return loss, {name: getattr(module, name).grad for name in values}

    return (train if case.mode == "train" else forward), (xs,), {}


def verdict(case: Case, result: Any) -> tuple[float, float | None, tuple[int, ...]]:
    """Returns loss, norm of the gradient of our parameters, and the shape of ys, () in training."""
    if case.mode == "forward":
        return float(result.square().mean()), None, tuple(result.shape)
    loss, gradients = result
    # The second bias has the gradient of the first but for a GRU's candidate, where ours has b_n.
    parts = [gradients["weight_ih_l0"], gradients["weight_hh_l0"], gradients["bias_ih_l0"]]
    if case.cell == "gru_after":
        parts.append(gradients["bias_hh_l0"][2 * case.shape.H :])
    squares = sum(float(part.double().square().sum()) for part in parts)
    return float(loss.detach()), squares**0.5, ()


def wait(result: Any) -> Any:
    """Returns the result, which is there already."""
    return result


def forget() -> None:
    """Does nothing: torch compiles nothing here."""


def compiled(function: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], int | None]:
    """Returns the function; there is nothing to compile, and nobody who says what it takes."""
    del arguments
    return function, None
