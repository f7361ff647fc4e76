"""Models and inputs that compare `seqmodels.linen.RNN` with Flax's."""

import itertools
import math
import random
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import seqmodels.linen

T, D, H = 5, 2, 4
CELLS = {
    "simple": lambda **kw: nn.SimpleCell(H, **kw),
    "residual": lambda **kw: nn.SimpleCell(H, residual=True, activation_fn=nn.soft_sign, **kw),
    "lstm": lambda **kw: nn.LSTMCell(H, gate_fn=nn.hard_sigmoid, **kw),
    "optimized": lambda **kw: nn.OptimizedLSTMCell(H, bias_init=nn.initializers.normal(), **kw),
    "gru": lambda **kw: nn.GRUCell(H, activation_fn=lambda x: jnp.sin(x), **kw),
    "mgu": lambda **kw: nn.MGUCell(H, **kw),
    "mgu-no-reset": lambda **kw: nn.MGUCell(H, reset_gate=False, **kw),
}


class Case(NamedTuple):
    """One way to call an RNN; `where` says whether options are given to the call or before."""

    cell: str
    lengths: bool
    order: str  # "forward", "reverse", "kept"
    time_major: bool
    return_carry: bool
    carry: str  # "zero", "given", "drawn"
    batch: tuple
    inputs: str  # "float", "integer", "numpy"
    where: str  # "constructor", "call"


CHOICES = Case(
    cell=("residual", "lstm", "gru", "mgu-no-reset"),
    lengths=(True, False),
    order=("forward", "reverse", "kept"),
    time_major=(True, False),
    return_carry=(True, False),
    carry=("zero", "given", "drawn"),
    batch=((3,), (2, 3), ()),
    inputs=("float", "integer", "numpy"),
    where=("constructor", "call"),
)


def pairwise(choices=CHOICES):
    """Cases in which every two values of two options meet at least once."""
    draw = random.Random(0)
    numbers = list(itertools.combinations(range(len(choices)), 2))
    missing = {
        (i, a, j, b) for i, j in numbers for a, b in itertools.product(choices[i], choices[j])
    }
    cases = []

    def met(case):
        return missing & {(i, case[i], j, case[j]) for i, j in numbers}

    while missing:
        i, a, j, b = min(missing, key=str)
        samples = []
        for _ in range(40):
            values = [draw.choice(options) for options in choices]
            values[i], values[j] = a, b
            samples.append(Case(*values))
        best = max(samples, key=lambda case: len(met(case)))
        missing -= met(best)
        cases.append(best)
    rest = [
        Case(cell, True, "kept", False, True, "zero", (3,), "numpy", "call")
        for cell in CELLS
        if cell not in choices.cell
    ]
    return cases + rest


def every():
    """All structurally different cases of three cells."""
    few = CHOICES._replace(cell=("residual", "lstm", "gru"), inputs=("float",), where=("call",))
    return [Case(*values) for values in itertools.product(*few)]


def name(case):
    return "-".join(str(value) for value in case).replace(" ", "")


class Problem(NamedTuple):
    """Flax's module, ours, their inputs and keyword arguments."""

    flax: nn.Module
    ours: nn.Module
    inputs: object
    call: dict


def problem(case):
    options = {
        "return_carry": case.return_carry,
        "time_major": case.time_major,
        "reverse": case.order != "forward",
        "keep_order": case.order == "kept",
    }
    build, call = (options, {}) if case.where == "constructor" else ({}, options)
    draws = {"carry_init": nn.initializers.normal(1.0)} if case.carry == "drawn" else {}
    cell = CELLS[case.cell](**draws)
    key = jax.random.key(3)
    if case.carry == "drawn":
        call = {**call, "init_key": key}
    if case.carry == "given":
        carry = cell.initialize_carry(key, (*case.batch, D))
        call = {**call, "initial_carry": jax.tree.map(lambda a: a + 0.5, carry)}
    if case.lengths:
        lengths = np.resize([T, 2, 3, 1, 4, T], case.batch)
        call = {**call, "seq_lengths": jnp.asarray(lengths)}
    shape = (T, *case.batch, D) if case.time_major else (*case.batch, T, D)
    inputs = np.random.default_rng(5).normal(size=shape)
    if case.inputs == "integer":
        inputs = np.round(inputs).astype(np.int32)
    inputs = inputs if case.inputs == "numpy" else jnp.asarray(inputs)
    return Problem(nn.RNN(cell, **build), seqmodels.linen.RNN(cell, **build), inputs, call)


def flat_batch(case, call, inputs):
    """The call with one batch axis, as Flax needs it for lengths with a carry."""
    size, num_axes = math.prod(case.batch), len(case.batch)

    def flatten(array, at=0):
        array = jnp.asarray(array)
        return array.reshape((*array.shape[:at], size, *array.shape[at + num_axes :]))

    call = dict(call)
    for key in ("initial_carry", "seq_lengths"):
        if key in call:
            call[key] = jax.tree.map(flatten, call[key])
    return call, flatten(inputs, 1 if case.time_major else 0)


def leaves_sum(tree):
    """A scalar in which every entry has its own weight."""
    leaves = [jnp.asarray(leaf, jnp.float32) for leaf in jax.tree.leaves(tree)]
    return sum(jnp.sum(jnp.sin(jnp.arange(a.size) + 1.0) * a.reshape(-1)) for a in leaves)
