"""Layouts of weights in each framework, as one table used in both directions.

The weights of a cell are blocks, one for each gate: x (D, H) multiplies the input, h (H, H)
multiplies the state, and b (H,) is the bias. m (H,) is the bias inside the reset gate's product of
a reset-after GRU. A tensor of a framework is a grid of blocks. The table writes a block as its
letter and its gate, and a grid as rows with "/" between them:

    xi xf xg xo             four blocks of (D, H) next to one another
    xi xg / hi hg           two blocks of (D, H) above two blocks of (H, H)
    -xz                     the framework's block is ours with the opposite sign
    bf-1                    the framework's block is ours minus 1
    +bi                     a second block that is added to bi; written as zeros

Our own parameters are one more framework of the table. A conversion splits the tensors of one
framework into blocks and joins the blocks into the tensors of the other.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Block(NamedTuple):
    """One gate's share of a tensor.

    Attributes:
      name: letter and gate, such as "xi".
      sign: 1, or -1 if the framework's block has the opposite sign.
      offset: the framework's block minus ours.
      added: whether it is added to the block of that name, which another tensor holds.
    """

    name: str
    sign: int
    offset: float
    added: bool


class Tensor(NamedTuple):
    """One array of a framework.

    Attributes:
      name: within the cell; "/" between the levels of a tree.
      rows: the grid of its blocks.
      transposed: whether it is stored as (outputs, inputs).
      optional: whether it may be missing, which means zeros.
    """

    name: str
    rows: tuple[tuple[Block, ...], ...]
    transposed: bool = False
    optional: bool = False

    @property
    def is_bias(self) -> bool:
        """True if it holds biases, not kernels."""
        return self.rows[0][0].name[0] in "bm"


Layout = tuple[Tensor, ...]
Blocks = dict[str, Any]

_BLOCK = re.compile(r"([+-]?)([xhbm][a-z])([+-]\d+)?")


def _tensor(name: str, grid: str, *, transposed: bool = False, optional: bool = False) -> Tensor:
    rows = tuple(tuple(_block(text) for text in row.split()) for row in grid.split("/"))
    return Tensor(name, rows, transposed, optional)


def _block(text: str) -> Block:
    match = _BLOCK.fullmatch(text)
    assert match is not None, text
    sign, name, offset = match.groups()
    return Block(name, -1 if sign == "-" else 1, float(offset or 0), sign == "+")


def _torch(gates: str, hidden_bias: str) -> Layout:
    return (
        _tensor("weight_ih", _side("x", gates), transposed=True),
        _tensor("weight_hh", _side("h", gates), transposed=True),
        _tensor("bias_ih", _side("b", gates)),
        _tensor("bias_hh", hidden_bias),
    )


def _keras(gates: str, bias: str) -> Layout:
    return (
        _tensor("kernel", _side("x", gates)),
        _tensor("recurrent_kernel", _side("h", gates)),
        _tensor("bias", bias),
    )


def _equinox(gates: str, *more: Tensor) -> Layout:
    return (
        _tensor("weight_ih", _side("x", gates), transposed=True),
        _tensor("weight_hh", _side("h", gates), transposed=True),
        _tensor("bias", _side("b", gates)),
        *more,
    )


def _onnx(gates: str, biases: str) -> Layout:
    return (
        _tensor("W", _side("x", gates), transposed=True),
        _tensor("R", _side("h", gates), transposed=True),
        _tensor("B", f"{_side('b', gates)} {biases}"),
    )


def _dense(gates: str, biases: str, *, after: str = "") -> Layout:
    """Flax: a dense layer for each gate and side, "ii", "hi", ...; `after` follows "if"."""
    tensors = []
    for letter, side in (("i", "x"), ("h", "h")):
        for gate in gates:
            layer = f"{letter}{gate}" + (after if letter + gate == "if" else "")
            tensors.append(_tensor(f"{layer}/kernel", side + gate))
            tensors += [
                _tensor(f"{layer}/bias", bias[-2:])
                for bias in biases.split()
                if bias.startswith(f"{letter}{gate}:")
            ]
    return tuple(tensors)


def _side(letter: str, gates: str) -> str:
    return " ".join(letter + gate for gate in gates)


_LSTM_BIASES = "hi:bi hf:bf hg:bg ho:bo"
_GRU_BIASES = "ir:br iz:bz in:bn hn:mn"

# The gate of the simple RNN is called n.
LAYOUTS: dict[tuple[str, str], Layout] = {
    ("seqmodels", "rnn"): (_tensor("w_x", "xn"), _tensor("w_h", "hn"), _tensor("b", "bn")),
    ("seqmodels", "lstm"): (
        _tensor("w_x", "xi xf xg xo"),
        _tensor("w_h", "hi hf hg ho"),
        _tensor("b", "bi bf bg bo"),
    ),
    ("seqmodels", "gru"): (
        _tensor("w_x", "xr xz xn"),
        _tensor("w_h", "hr hz"),
        _tensor("w_n", "hn"),
        _tensor("b", "br bz bn"),
    ),
    ("seqmodels", "gru_after"): (
        _tensor("w_x", "xr xz xn"),
        _tensor("w_h", "hr hz"),
        _tensor("w_n", "hn"),
        _tensor("b", "br bz bn"),
        _tensor("b_n", "mn"),
    ),
    ("torch", "rnn"): _torch("n", "+bn"),
    ("torch", "lstm"): _torch("ifgo", "+bi +bf +bg +bo"),
    ("torch", "gru_after"): _torch("rzn", "+br +bz mn"),
    ("keras", "rnn"): _keras("n", "bn"),
    ("keras", "lstm"): _keras("ifgo", "bi bf bg bo"),
    ("keras", "gru"): _keras("zrn", "bz br bn"),
    ("keras", "gru_after"): _keras("zrn", "bz br bn / +bz +br mn"),
    ("linen", "rnn"): (
        _tensor("i/kernel", "xn"),
        _tensor("i/bias", "bn"),
        _tensor("h/kernel", "hn"),
    ),
    ("linen", "lstm"): _dense("ifgo", _LSTM_BIASES),
    ("linen", "gru_after"): _dense("rzn", _GRU_BIASES),
    ("nnx", "rnn"): (
        _tensor("dense_i/kernel", "xn"),
        _tensor("dense_i/bias", "bn"),
        _tensor("dense_h/kernel", "hn"),
    ),
    ("nnx", "lstm"): _dense("ifgo", _LSTM_BIASES, after="_"),
    ("nnx", "gru_after"): (  # nnx.GRUCell has no bias inside of the reset gate's product
        _tensor("dense_i/kernel", "xr xz xn"),
        _tensor("dense_i/bias", "br bz bn"),
        _tensor("dense_h/kernel", "hr hz hn"),
    ),
    ("nnx_optimized", "lstm"): (
        _tensor("dense_i/kernel", "xi xf xg xo"),
        _tensor("dense_h/kernel", "hi hf hg ho"),
        _tensor("dense_h/bias", "bi bf bg bo"),
    ),
    ("haiku", "rnn"): (
        _tensor("linear/w", "xn"),
        _tensor("linear/b", "bn"),
        _tensor("linear_1/w", "hn"),
        _tensor("linear_1/b", "+bn", optional=True),  # double_bias=False
    ),
    ("haiku", "lstm"): (
        _tensor("linear/w", "xi xg xf xo / hi hg hf ho"),
        _tensor("linear/b", "bi bg bf-1 bo"),
    ),
    ("haiku", "gru"): (  # its z is the share of the state that is replaced, 1 - ours
        _tensor("w_i", "-xz xr xn"),
        _tensor("w_h", "-hz hr hn"),
        _tensor("b", "-bz br bn"),
    ),
    ("equinox", "lstm"): _equinox("ifgo"),
    ("equinox", "gru_after"): _equinox("rzn", _tensor("bias_n", "mn")),
    ("onnx", "rnn"): _onnx("n", "+bn"),
    ("onnx", "lstm"): _onnx("iofg", "+bi +bo +bf +bg"),
    ("onnx", "gru"): _onnx("zrn", "+bz +br +bn"),
    ("onnx", "gru_after"): _onnx("zrn", "+bz +br mn"),
}


def shape_of(tensor: Tensor, input_size: int, hidden_size: int) -> tuple[int, ...]:
    """Returns the shape of a tensor.

    Args:
      tensor: one of a layout.
      input_size: D.
      hidden_size: H.

    Examples:
      >>> shape_of(LAYOUTS["torch", "lstm"][0], input_size=3, hidden_size=4)
      (16, 3)
    """
    columns = len(tensor.rows[0]) * hidden_size
    if tensor.is_bias:
        return (columns,) if len(tensor.rows) == 1 else (len(tensor.rows), columns)
    rows = sum(_height(row, input_size, hidden_size) for row in tensor.rows)
    return (columns, rows) if tensor.transposed else (rows, columns)


def split_blocks(tensors: Iterable[tuple[Tensor, Any]], xp: Any = np) -> Blocks:
    """Returns our blocks by name, from the tensors of a framework.

    Args:
      tensors: pairs of a tensor of the layout and its array.
      xp: `numpy`, or `jax.numpy` for traced arrays.

    Examples:
      >>> (w_x, *_) = LAYOUTS["seqmodels", "lstm"]
      >>> {name: block.shape for name, block in split_blocks([(w_x, np.ones((3, 16)))]).items()}
      {'xi': (3, 4), 'xf': (3, 4), 'xg': (3, 4), 'xo': (3, 4)}
    """
    blocks: Blocks = {}
    added: list[tuple[str, Any]] = []
    for tensor, array in tensors:
        for block, value in _pieces(tensor, array):
            if block.offset:
                value = value - value.dtype.type(block.offset)
            value = -value if block.sign < 0 else value
            if block.added:
                added.append((block.name, value))
            else:
                blocks[block.name] = value
    for name, value in added:
        first = blocks[name]
        # Adding +0 would turn -0 into +0, and writing and reading again must change no bit.
        blocks[name] = xp.where(value == 0, first.astype((first + value).dtype), first + value)
    return blocks


def join_blocks(tensor: Tensor, blocks: Mapping[str, Any], xp: Any = np) -> Any:
    """Returns the array of a tensor, from our blocks by name.

    Args:
      tensor: one of a layout.
      blocks: the result of `split_blocks`.
      xp: `numpy`, or `jax.numpy` for traced arrays.

    Examples:
      >>> (w_x, *_) = LAYOUTS["seqmodels", "lstm"]
      >>> join_blocks(w_x, {name: np.ones((3, 4)) for name in ("xi", "xf", "xg", "xo")}).shape
      (3, 16)
    """
    rows = []
    for row in tensor.rows:
        values = []
        for block in row:
            value = blocks[block.name]
            if block.added:
                value = xp.zeros_like(value)
            value = -value if block.sign < 0 else value
            if block.offset:
                value = value + value.dtype.type(block.offset)
            values.append(value)
        rows.append(xp.concatenate(values, axis=-1))
    if tensor.is_bias:
        return rows[0] if len(rows) == 1 else xp.stack(rows)
    array = xp.concatenate(rows, axis=0)
    return array.T if tensor.transposed else array


def convert(
    arrays: Mapping[str, Any], source: Layout, target: Layout, xp: Any = np
) -> dict[str, Any]:
    """Returns the tensors of one framework, from those of another.

    Args:
      arrays: by name, those of `source`; biases may be missing, which means zeros.
      source: the layout of `arrays`.
      target: the layout of the result; blocks that it lacks are dropped.
      xp: `numpy`, or `jax.numpy` for traced arrays.

    Examples:
      >>> source, target = LAYOUTS["seqmodels", "rnn"], LAYOUTS["torch", "rnn"]
      >>> arrays = {"w_x": np.ones((3, 4)), "w_h": np.ones((4, 4)), "b": np.ones(4)}
      >>> {name: array.shape for name, array in convert(arrays, source, target).items()}
      {'weight_ih': (4, 3), 'weight_hh': (4, 4), 'bias_ih': (4,), 'bias_hh': (4,)}
    """
    blocks = split_blocks([(t, arrays[t.name]) for t in source if t.name in arrays], xp)
    fill_biases(blocks, target, xp)
    return {tensor.name: join_blocks(tensor, blocks, xp) for tensor in target}


def fill_biases(blocks: Blocks, layout: Layout, xp: Any = np) -> None:
    """Adds zeros for the biases of a layout that are not among the blocks.

    Examples:
      >>> blocks = {"xn": np.ones((3, 4)), "hn": np.ones((4, 4))}
      >>> fill_biases(blocks, LAYOUTS["seqmodels", "rnn"])
      >>> blocks["bn"].shape
      (4,)
    """
    like = next(value[0] for name, value in blocks.items() if name[0] == "h")
    for name in block_names(layout):
        if name not in blocks:
            blocks[name] = xp.zeros_like(like)


def block_names(layout: Layout) -> list[str]:
    """Returns the names of all blocks of a layout, each once.

    Examples:
      >>> block_names(LAYOUTS["seqmodels", "rnn"])
      ['xn', 'hn', 'bn']
    """
    return list(dict.fromkeys(b.name for t in layout for row in t.rows for b in row))


def _height(row: tuple[Block, ...], input_size: int, hidden_size: int) -> int:
    return input_size if row[0].name[0] == "x" else hidden_size


def _pieces(tensor: Tensor, array: Any) -> Iterable[tuple[Block, Any]]:
    """Yields the blocks of a tensor and their parts of the array, kernels as (inputs, H)."""
    array = array.T if tensor.transposed else array
    width = array.shape[-1] // len(tensor.rows[0])
    grid = array.reshape(len(tensor.rows), -1) if tensor.is_bias else array
    top = 0
    for number, row in enumerate(tensor.rows):
        if tensor.is_bias:
            part = grid[number]
        else:
            height = _height(row, grid.shape[0] - (len(tensor.rows) - 1) * width, width)
            part, top = grid[top : top + height], top + height
        for column, block in enumerate(row):
            yield block, part[..., column * width : (column + 1) * width]
