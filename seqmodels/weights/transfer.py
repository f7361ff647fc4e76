"""Reading and writing the weights of all layers of a cell; shared by all frameworks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqmodels.types import Cell, Params
from seqmodels.weights.layouts import (
    LAYOUTS,
    Layout,
    Tensor,
    block_names,
    fill_biases,
    join_blocks,
    shape_of,
    split_blocks,
)
from seqmodels.weights.structure import (
    Leaf,
    NoCounterpartError,
    Structure,
    combine_params,
    recurrent_params,
    structure_of,
)

# The allowed activations of a simple RNN; other frameworks take any function.
_ACTIVATIONS = {"torch": ("tanh", "relu"), "onnx": ("tanh", "relu"), "haiku": ("relu",)}
# Frameworks whose layers can be made without biases.
_WITHOUT_BIASES = ("torch", "keras", "equinox")


class Framework(NamedTuple):
    """The framework that a function converts from or to.

    Attributes:
      function: its name, for messages, such as "from_torch".
      name: as in `LAYOUTS`.
    """

    function: str
    name: str

    def structure(self, cell: Cell) -> Structure:
        """Returns the layers of a cell.

        Raises:
          TypeError: if the framework has no such cell.
        """
        try:
            structure = structure_of(cell)
        except NoCounterpartError as error:
            raise TypeError(f"{self.function}: cell: {error}") from None
        for leaf in structure.leaves:
            known = _ACTIVATIONS.get(self.name)
            fits = leaf.kind != "rnn" or known is None or leaf.activation in known
            if (self.name, leaf.kind) not in LAYOUTS or not fits:
                raise TypeError(
                    f"{self.function}: cell: got {leaf.name}, which {self.name} lacks, expected "
                    f"{' or '.join(_supported(self.name))}"
                )
        return structure

    def layout(self, leaf: Leaf) -> Layout:
        """Returns where the framework keeps the weights of a recurrent cell."""
        return LAYOUTS[self.name, leaf.kind]


class Slot(NamedTuple):
    """A recurrent cell and the names of its tensors.

    Attributes:
      leaf: the cell.
      layout: where the framework keeps its weights.
      names: the name of each tensor among all that are read, by its name in the layout.
    """

    leaf: Leaf
    layout: Layout
    names: dict[str, str]


def slot(leaf: Leaf, layout: Layout, prefix: str = "", suffix: str = "") -> Slot:
    """Returns a `Slot` whose names are prefix, name in the layout, suffix.

    Examples:
      >>> (leaf,) = structure_of(sm.lstm(3, 4)).leaves
      >>> slot(leaf, LAYOUTS["torch", "lstm"], suffix="_l0").names["weight_ih"]
      'weight_ih_l0'
    """
    return Slot(leaf, layout, {t.name: f"{prefix}{t.name}{suffix}" for t in layout})


def read(
    framework: Framework, structure: Structure, given: Mapping[str, Any], slots: Sequence[Slot]
) -> Params:
    """Returns the parameters of a cell.

    Args:
      framework: for messages and for optional tensors.
      structure: the structure of the cell.
      given: all arrays by name.
      slots: one for each of `structure.leaves`.

    Raises:
      ValueError: in one line, with every tensor that is missing, unexpected or of a wrong shape.
    """
    arrays = {name: to_numpy(value) for name, value in given.items()}
    biases = {s.names[t.name] for s in slots for t in s.layout if t.is_bias}
    absent = biases if framework.name in _WITHOUT_BIASES and not biases & {*arrays} else set()
    expected = {
        s.names[t.name]: (t, shape_of(t, s.leaf.input_size, s.leaf.hidden_size))
        for s in slots
        for t in s.layout
        if s.names[t.name] not in absent
    }
    _check(framework.function, arrays, expected)
    return combine_params(structure, [_read_leaf(s, arrays) for s in slots])


def write(
    framework: Framework, structure: Structure, params: Params, layouts: Sequence[Layout]
) -> list[dict[str, np.ndarray]]:
    """Returns the tensors of each recurrent cell, by name in the layout, new and writable.

    Args:
      framework: for messages.
      structure: the structure of the cell.
      params: its parameters.
      layouts: one for each of `structure.leaves`.

    Raises:
      ValueError: if the parameters are not those of the cell, or the framework has no place for
        one of them.
    """
    check_params(framework.function, structure, params)
    found = recurrent_params(structure, params)
    for number, leaf_params in enumerate(found):
        if leaf_params.initial is not None:
            raise ValueError(
                f"{framework.function}: params: got a learned initial state in cell {number}, "
                f"expected None: {framework.name} has no place for it"
            )
    cells = zip(structure.leaves, found, layouts, strict=True)
    return [write_leaf(framework, leaf, p, layout) for leaf, p, layout in cells]


def write_leaf(
    framework: Framework, leaf: Leaf, params: Any, layout: Layout
) -> dict[str, np.ndarray]:
    """Returns the tensors of one recurrent cell, by name in the layout.

    Args:
      framework: for messages.
      leaf: the cell.
      params: its parameters.
      layout: where the framework keeps its weights.

    Raises:
      ValueError: if a bias that the framework lacks is not zero.
    """
    ours = LAYOUTS["seqmodels", leaf.kind]
    blocks = split_blocks([(t, np.asarray(getattr(params, t.name))) for t in ours])
    dtypes = {name: block.dtype for name, block in blocks.items()}
    for name in {*blocks} - {*block_names(layout)}:
        if np.any(blocks[name] != 0):
            raise ValueError(
                f"{framework.function}: params: got values other than zero in b_n, expected zeros, "
                f"because the GRU of {framework.name} lacks this bias (Flax issue 5594)"
            )
    return {
        t.name: np.array(join_blocks(t, blocks), dtypes[t.rows[0][0].name], order="C")
        for t in layout
    }


def check_params(function: str, structure: Structure, params: Params) -> None:
    """Raises ValueError, in one line, unless params have the paths and shapes of the cell's."""
    given, expected = (_shapes(tree) for tree in (params, structure.params))
    wrong = [
        f"{path or 'params'}: got {given.get(path, 'nothing')}, "
        f"expected {expected.get(path, 'nothing')}"
        for path in dict.fromkeys([*expected, *given])
        if given.get(path) != expected.get(path)
    ]
    if wrong:
        raise ValueError(f"{function}: params: {'; '.join(wrong)}")
    got, tree = (str(jax.tree.structure(tree)) for tree in (params, structure.params))
    if got != tree:
        raise ValueError(f"{function}: params: got {got}, expected {tree}")


def to_numpy(value: Any) -> np.ndarray:
    """Returns an array, a torch tensor or a variable of nnx as a NumPy array, maybe a view.

    Examples:
      >>> to_numpy(jnp.ones(3)).shape
      (3,)
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # unknown to NumPy
            value = value.float()
        return value.numpy()
    if hasattr(value, "get_value"):
        value = value.get_value()
    return np.asarray(value)


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the paths, joined by "/", and the leaves of nested mappings and lists.

    Args:
      tree: mappings and lists.
      path: the path of the tree itself, with a "/" at its end, or "".

    Examples:
      >>> dict(flatten({"cell": {"w": 1}, "layers": [2, 3]}))
      {'cell/w': 1, 'layers/0': 2, 'layers/1': 3}
    """
    items: Iterable[tuple[Any, Any]]
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        yield path.removesuffix("/"), tree
        return
    for key, value in items:
        yield from flatten(value, f"{path}{key}/")


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested dicts of paths joined by "/".

    Examples:
      >>> unflatten({"cell/w": 1, "cell/b": 2})
      {'cell': {'w': 1, 'b': 2}}
    """
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *above, last = path.split("/")
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = array
    return tree


def check_container(function: str, name: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raises TypeError unless a value is of one of some types.

    Examples:
      >>> check_container("from_torch", "state_dict", {}, (dict,))  # raises nothing
    """
    if not isinstance(value, kinds):
        names = " or a ".join(kind.__name__.lower() for kind in kinds)
        raise TypeError(f"{function}: {name}: got a {type(value).__name__}, expected a {names}")


def _supported(name: str) -> list[str]:
    kinds = [kind for framework, kind in LAYOUTS if framework == name]
    names = {"rnn": "sm.rnn", "lstm": "sm.lstm", "gru": "sm.gru"}
    names["gru_after"] = "sm.gru(reset_after=True)"
    if name in _ACTIVATIONS:
        options = " or ".join(repr(activation) for activation in _ACTIVATIONS[name])
        names["rnn"] = f"sm.rnn(activation={options})"
    return [names[kind] for kind in kinds]


def _check(
    function: str,
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[Tensor, tuple[int, ...]]],
) -> None:
    wrong = []
    for name, (tensor, shape) in expected.items():
        if name in arrays:
            array = arrays[name]
            is_real = jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "iu"
            if array.shape != shape or not is_real:
                kind = "" if is_real else array.dtype.name
                wrong.append(f"{name}: got {kind}{array.shape}, expected {shape}")
        elif not tensor.optional:
            wrong.append(f"{name}: got nothing, expected {shape}")
    wrong += [
        f"{name}: got {array.shape}, expected nothing"
        for name, array in arrays.items()
        if name not in expected
    ]
    if wrong:
        raise ValueError(f"{function}: {'; '.join(wrong)}")


def _read_leaf(slot: Slot, arrays: Mapping[str, np.ndarray]) -> Any:
    """Returns the parameters of one cell; a learned initial state is zeros."""
    template = slot.leaf.params
    # Sums are taken in the wider of the dtypes.
    wide = {
        t.name: arrays[slot.names[t.name]].astype(
            jnp.promote_types(arrays[slot.names[t.name]].dtype, template.w_x.dtype)
        )
        for t in slot.layout
        if slot.names[t.name] in arrays
    }
    blocks = split_blocks([(t, wide[t.name]) for t in slot.layout if t.name in wide])
    ours = LAYOUTS["seqmodels", slot.leaf.kind]
    fill_biases(blocks, ours)
    # New arrays, because `jnp.asarray` may keep a view of its argument.
    fields = {
        t.name: jnp.asarray(np.array(join_blocks(t, blocks), getattr(template, t.name).dtype))
        for t in ours
    }
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), template.initial)
    return type(template)(**fields, initial=zeros)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(np.shape(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
