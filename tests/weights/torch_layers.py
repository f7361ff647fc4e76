"""Outputs of torch.nn modules with random weights; run as a script it stores them.

    python tests/weights/torch_layers.py

writes torch_layers.npz next to this file, for machines without torch.
"""

import pathlib

import numpy as np

STORED = pathlib.Path(__file__).with_suffix(".npz")
T, B, D, H = 5, 3, 2, 3
LENGTHS = [5, 1, 3]
KINDS = ("rnn", "rnn_relu", "lstm", "gru_after")
STORED_DEPTHS = ((1, 1), (2, 2), (3, 1))


def module_of(kind: str, layers: int, directions: int, **options):
    """Returns a torch module of random weights."""
    import torch

    name = {"rnn": "RNN", "rnn_relu": "RNN", "lstm": "LSTM", "gru_after": "GRU"}[kind]
    if kind == "rnn_relu":
        options["nonlinearity"] = "relu"
    module = getattr(torch.nn, name)(
        D, H, num_layers=layers, bidirectional=directions == 2, **options
    )
    generator = torch.Generator().manual_seed(10 * layers + directions)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return module


def layers_of(kind: str, layers: int, directions: int) -> dict[str, np.ndarray]:
    """Returns weights, inputs, outputs, outputs under lengths, and final states under lengths."""
    import torch

    module = module_of(kind, layers, directions)
    xs = torch.randn(T, B, D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ys = module(xs)[0]
        packed = torch.nn.utils.rnn.pack_padded_sequence(xs, LENGTHS, enforce_sorted=False)
        padded, final = module(packed)
        padded = torch.nn.utils.rnn.pad_packed_sequence(padded, total_length=T)[0]
    final = dict(zip("hc", final if kind == "lstm" else [final], strict=False))
    arrays = {"xs": xs, "ys": ys, "padded": padded}
    arrays |= {f"final_{name}": state for name, state in final.items()}
    weights = {f"weights/{name}": tensor for name, tensor in module.state_dict().items()}
    return {name: tensor.numpy() for name, tensor in (arrays | weights).items()}


if __name__ == "__main__":
    everything = {
        f"{kind}_{layers}_{directions}/{name}": array
        for kind in KINDS
        for layers, directions in STORED_DEPTHS
        for name, array in layers_of(kind, layers, directions).items()
    }
    np.savez_compressed(STORED, **everything)
    print(f"{len(everything)} arrays in {STORED}")
