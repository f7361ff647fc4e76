"""The matrix that cells and drivers go through: structures x drivers x cases of the contract."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import seqmodels as sm
from seqmodels.cells import catalog

T, D, H = 7, 3, 4


def peephole_lstm():
    """A cell of a user's own, in 14 lines."""

    def init(key):
        shapes = {"w_x": (D, 4 * H), "w_h": (H, 4 * H), "peep": (3, H)}
        return {name: jax.random.normal(key, shape) / 2 for name, shape in shapes.items()}

    def project(p, s, x):
        return x @ p["w_x"] + s["h"] @ p["w_h"]

    def update(p, s, gates):
        i, f, g, o = jnp.split(gates, 4, -1)
        peep = p["peep"].reshape((3,) + (1,) * (g.ndim - 1) + (H,))
        i, f = jax.nn.sigmoid(i + peep[0] * s["c"]), jax.nn.sigmoid(f + peep[1] * s["c"])
        c = f * s["c"] + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o + peep[2] * c) * jnp.tanh(c)
        return {"h": h, "c": c}, h

    def initial_state(p, batch_shape):
        return {name: jnp.zeros((*batch_shape, H), p["w_x"].dtype) for name in "hc"}

    return sm.make_cell(init, initial_state, (project, update))


def linear_attention():
    """A cell of a user's own: a state that is a matrix, decayed by one number a head and a step."""

    def initial_state(params, batch_shape):
        dtype = params["key"].dtype
        return {
            "memory": jnp.zeros((*batch_shape, H, H), dtype),
            "norm": jnp.zeros((*batch_shape, H), dtype),
        }

    def elements(params, x_t):
        key, value, gate = (x_t @ w for w in (params["key"], params["value"], params["gate"]))
        decay = jax.nn.sigmoid(gate)
        b_t = {"memory": value[..., None] * key[..., None, :], "norm": key}
        return {"memory": decay[..., None], "norm": decay}, b_t

    def output(params, state, x_t):
        query = x_t @ params["query"]
        read = jnp.sum(state["memory"] * query[..., None, :], -1)
        return read / (1 + jnp.abs(jnp.sum(state["norm"] * query, -1, keepdims=True)))

    def init(key):
        names = {"key": H, "value": H, "query": H, "gate": 1}
        keys = jax.random.split(key, len(names))
        return {
            name: jax.random.normal(k, (D, size))
            for k, (name, size) in zip(keys, names.items(), strict=True)
        }

    return sm.make_linear_cell(init, initial_state, elements, output)


# name -> (cell, the same step in NumPy): every cell of the catalog with the oracle's step of its
# name, and these
CELLS = {
    name: (make(D, H), getattr(oracle, f"{name}_step")) for name, make in catalog.CELLS.items()
} | {
    "lstm_learned": (sm.lstm(D, H, learn_initial_state=True, chrono=9), oracle.lstm_step),
    "lstm_variant": (
        sm.lstm_variant(D, H, peepholes=True, gate_recurrence=True),
        oracle.lstm_variant_step,
    ),
    "peephole": (peephole_lstm(), oracle.peephole_step),
    "min_gru": (sm.min_gru(D, H, learn_initial_state=True), oracle.min_gru_step),
    "min_gru_positive": (sm.min_gru(D, H, positive=True), oracle.min_gru_positive_step),
}
# And with those that are for the drivers' sake.
ALL = CELLS | {
    "attention": (linear_attention(), oracle.attention_step),
    "step_alone": (peephole_lstm()._replace(stages=()), oracle.peephole_step),
}

# Settings under which a short sequence has chunks, segments and steps that are left over.
METHODS = {
    "scan": sm.scan(),
    "fused": sm.fused(chunk=3, save=True),
    "chunked": sm.chunked(segment=3),
    "associative": sm.associative(),
    "newton": sm.newton(),
}


def serves(method, name):
    """Whether a driver is for a cell."""
    cell, _ = ALL[name]
    return {
        "scan": True,
        "fused": bool(cell.stages),
        "chunked": bool(cell.stages),
        "associative": cell.elements is not None,
        "newton": name != "lru",  # whose state is complex
    }[method]


# What a driver sees of a cell is its structure, so that a cell stands for all that are built alike:
# two stages; gates that are a pytree; an update with parameters, a state that is a dict; a learned
# initial state of two leaves; linear elements; a complex state, an output with parameters; a state
# with a matrix, elements of fewer entries than the state; a step alone.
STRUCTURES = {
    "scan": ("lstm_learned", "step_alone", "lru"),
    "fused": ("gru", "gru_after", "peephole", "lstm_learned"),
    "chunked": ("gru", "peephole"),
    "associative": ("min_gru", "lru", "attention"),
    "newton": ("gru", "step_alone"),
}
# For what depends on the driver alone.
ONE_CELL = {
    "scan": "lstm_learned",
    "fused": "lstm_learned",
    "chunked": "gru",
    "associative": "min_gru",
    "newton": "lstm_learned",
}


def pairs():
    """Test parameters (name, method); all but the structures are slow tests."""
    return [
        pytest.param(name, method, marks=[] if name in STRUCTURES[method] else [pytest.mark.slow])
        for name in ALL
        for method in METHODS
        if serves(method, name)
    ]


def _resets(*steps):
    mask = np.zeros((T, 4), bool)
    for t, n in steps:
        mask[t, n] = True
    return mask


LENGTHS = np.array([T, 0, 1, 4])
RESETS = _resets(
    (0, 0), (3, 0), (T - 1, 0), (0, 2), (2, 3), (5, 3), (3, 1), (4, 3), (1, 2)
)  # the last two where row 3 and row 2 have just ended

# Gaps at the start, inside, at the end; in a row of length 0; where a piece begins; a whole row.
MASK = ~_resets(
    *((t, 0) for t in (0, 2, 3, T - 1)), (1, 1), (0, 2), (2, 3), (3, 3), *((t, 3) for t in (5, 6))
)

# name -> arguments of unroll, for xs (T, 4, D)
CASES = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "resets": {"resets": RESETS},
    "both": {"lengths": LENGTHS, "resets": RESETS},
    "reverse": {"reverse": True},
    "reverse_both": {"lengths": LENGTHS, "resets": RESETS, "reverse": True},
    "reset_every_step": {"resets": np.ones((T, 4), bool)},
    "all_empty": {"lengths": np.zeros(4, int)},
    "mask": {"mask": MASK},
    "all": {"lengths": LENGTHS, "resets": RESETS, "mask": MASK},
    "reverse_all": {"lengths": LENGTHS, "resets": RESETS, "mask": MASK, "reverse": True},
    "nothing_counts": {"resets": RESETS, "mask": np.zeros((T, 4), bool)},
}


def as_arrays(lengths=None, resets=None, mask=None, num_steps=T):
    """A contract that is arrays in every case, so that all cases are one program."""
    lengths = np.full(4, num_steps) if lengths is None else lengths
    resets = np.zeros((num_steps, 4), bool) if resets is None else resets
    mask = np.ones((num_steps, 4), bool) if mask is None else mask
    return {"lengths": np.asarray(lengths, np.int32), "resets": resets, "mask": mask}


def init(cell, seed=0):
    """Fresh parameters; under jit, because outside of it every call compiles its loops anew."""
    return jax.jit(cell.init)(jax.random.key(seed))


def compiled(model):
    """The model (a NamedTuple) with its functions compiled; else each operation is a program."""
    return model._replace(**{k: jax.jit(f) for k, f in model._asdict().items() if callable(f)})


def params_of(cell, seed=0):
    """Parameters with no zero among them, so that every term counts."""
    return _shaken(init(cell, seed), 0.3, seed)


def inputs(batch_shape=(4,), num_steps=T, seed=1):
    return jax.random.normal(jax.random.key(seed), (num_steps, *batch_shape, D))


def state_of(cell, params, batch_shape=(4,), seed=2):
    """A state that is not the cell's own."""
    return _shaken(cell.initial_state(params, batch_shape), 0.5, seed)


def _shaken(tree, scale, seed):
    """The tree with a draw of its own added to every leaf."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return structure.unflatten(
        a + scale * jax.random.normal(k, a.shape, a.dtype)
        for a, k in zip(leaves, keys, strict=True)
    )


def to64(tree):
    """The tree in float64 or complex128."""
    return jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float64)), tree)


def reals(tree):
    """The leaves of the tree, a complex one as its real and its imaginary part."""
    parts = [(a.real, a.imag) if jnp.iscomplexobj(a) else (a,) for a in jax.tree.leaves(tree)]
    return [part for leaf in parts for part in leaf]


def weighted(tree):
    """A number on which every entry of a result has an influence of its own."""
    return sum(
        jnp.sum(jnp.sin(a) * jnp.arange(1.0, a.size + 1).reshape(a.shape) / a.size)
        for leaf in jax.tree.leaves(tree)
        for a in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))
    )


def cotangents(tree):
    """The gradient of `weighted`, in NumPy; of a complex leaf as jax.grad has it, conjugate."""

    def one(a):
        a = np.asarray(a)
        weights = np.arange(1.0, a.size + 1).reshape(a.shape) / a.size
        if np.iscomplexobj(a):
            return (np.cos(a.real) - 1j * np.cos(a.imag)) * weights
        return np.cos(a) * weights

    return jax.tree.map(one, tree)


def as_dict(state):
    return state._asdict() if hasattr(state, "_asdict") else state


def fresh_of(cell, params):
    return as_dict(cell.initial_state(params, ()))


def padded_with_nan(xs, lengths, mask=True):
    """xs with NaN where lengths and mask say that nothing is."""
    t = np.arange(xs.shape[0]).reshape((-1,) + (1,) * (xs.ndim - 2))
    valid = (t < jnp.asarray(lengths)[None]) & mask
    return jnp.where(valid[..., None], xs, jnp.nan)


def assert_close(got, want, tolerance=2e-6):
    """Asserts that two pytrees of arrays agree, absolutely and relatively."""
    trees = [[np.asarray(a, np.float64) for a in reals(tree)] for tree in (got, want)]
    chex.assert_trees_all_equal_shapes(*trees)
    chex.assert_trees_all_close(*trees, rtol=tolerance, atol=tolerance)


@functools.cache
def arguments(name, batch_shape=(4,), num_steps=T):
    """(params, xs, state) in float64, state not the cell's own."""
    cell, _ = ALL[name]
    params = to64(params_of(cell))
    xs = to64(inputs(batch_shape, num_steps))
    return params, xs, to64(state_of(cell, params, batch_shape))


def loops(name, params, xs, state, **contract):
    """(final_state, ys, states) by the loop in NumPy, states as the cell has them."""
    cell, step = ALL[name]
    if state is None:
        state = cell.initial_state(params, xs.shape[1:-1])
    fresh = fresh_of(cell, params)
    final, ys, states = oracle.visit(step, params, xs, as_dict(state), fresh, **contract)
    remade = (lambda d: type(state)(**d)) if hasattr(state, "_asdict") else dict
    return remade(final), ys, remade(states)
