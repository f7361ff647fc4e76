"""What torch.nn computes, values and gradients in float64; run as a script it stores them.

    python tests/cells/torch_reference.py

writes torch_reference.npz next to this file, for machines without torch.
"""

import pathlib

import numpy as np

STORED = pathlib.Path(__file__).with_suffix(".npz")
KINDS = ("rnn", "rnn_relu", "lstm", "gru_after")
T, B, D, H = 6, 3, 2, 4


def reference(kind: str) -> dict[str, np.ndarray]:
    """Returns inputs, weights, outputs and gradients of a torch layer for a fixed score."""
    import torch

    generator = torch.Generator().manual_seed(KINDS.index(kind))

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    layer = {
        "rnn": lambda: torch.nn.RNN(D, H),
        "rnn_relu": lambda: torch.nn.RNN(D, H, nonlinearity="relu"),
        "lstm": lambda: torch.nn.LSTM(D, H),
        "gru_after": lambda: torch.nn.GRU(D, H),
    }[kind]().double()
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    weights = {name: draw(*getattr(layer, name).shape) for name in names}
    inputs = {"xs": draw(T, B, D), "h": draw(1, B, H)}
    if kind == "lstm":
        inputs["c"] = draw(1, B, H)
    state = (inputs["h"], inputs["c"]) if kind == "lstm" else inputs["h"]
    ys, final = torch.func.functional_call(layer, weights, (inputs["xs"], state))
    final = dict(zip(["h", "c"], final if kind == "lstm" else [final], strict=False))
    steps = torch.arange(1, T + 1, dtype=torch.float64)[:, None, None]
    score = (torch.sin(ys) * steps).sum() + sum((a**2).sum() for a in final.values())
    variables = {**weights, **inputs}
    gradients = torch.autograd.grad(score, list(variables.values()))
    out = dict(variables)
    out |= {f"final_{name}": value for name, value in final.items()} | {"ys": ys}
    out |= {f"grad_{name}": g for name, g in zip(variables, gradients, strict=True)}
    return {name: value.detach().numpy() for name, value in out.items()}


if __name__ == "__main__":
    everything = {f"{k}/{n}": a for k in KINDS for n, a in reference(k).items()}
    np.savez_compressed(STORED, **everything)
    print(f"{len(everything)} arrays in {STORED}")
