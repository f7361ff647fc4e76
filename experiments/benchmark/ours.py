"""Our side of the benchmark: every cell under every driver, on one device or on several.

On several devices every one takes its share of the sequences through time.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqmodels as sm
from experiments.benchmark.arrays import fields, inputs, weights
from experiments.benchmark.cases import GATES, STEP, Case
from experiments.benchmark.shares import LEFT_OUT
from experiments.benchmark.substitution import check_parts, without
from seqmodels.cells import catalog
from seqmodels.cells.gru import GRUParams
from seqmodels.cells.lstm import LSTMParams, LSTMState
from seqmodels.cells.rnn import RNNParams
from seqmodels.cells.stages import lift
from seqmodels.drivers.auto import DRIVERS
from seqmodels.training.parallel.mesh import largest_divisor, make_mesh, place
from seqmodels.types import Array, Cell, Driver

Function = Callable[..., Any]
Built = tuple[Function, tuple[Any, ...], dict[str, Any]]  # function, arguments, remarks


class PeepholeParams(NamedTuple):
    """w_x: (D, 4H). w_h: (H, 4H). b: (4H,). p: (3, H), the peepholes of i, f and o."""

    w_x: Array
    w_h: Array
    b: Array
    p: Array


def peephole_lstm(input_size: int, hidden_size: int) -> Cell:
    """Returns an LSTM whose gates see the cell state, as a user would write it with `make_cell`.

        i, f, g, o = split(x_t W_x + h_tm1 W_h + b)
        c_t = sigmoid(f + p_f c_tm1) c_tm1 + sigmoid(i + p_i c_tm1) tanh(g)
        h_t = sigmoid(o + p_o c_t) tanh(c_t),    y_t = h_t

    Gers, Schraudolph, Schmidhuber 2002, "Learning Precise Timing with LSTM Recurrent Networks".
    """

    def init(key: Array) -> PeepholeParams:
        del key  # all competitors start from the same weights
        return PeepholeParams(**weights("peephole", input_size, hidden_size))

    def initial_state(params: PeepholeParams, batch_shape: Sequence[int] = ()) -> LSTMState:
        zeros = jnp.zeros((*batch_shape, params.w_h.shape[0]))
        return LSTMState(zeros, zeros)

    def project(params: PeepholeParams, state: LSTMState, x_t: Array) -> Array:
        gates = x_t @ params.w_x + state.h @ params.w_h
        return gates + lift(params.b, gates)

    def update(params: PeepholeParams, state: LSTMState, gates: Array) -> tuple[LSTMState, Array]:
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        p_i, p_f, p_o = (lift(params.p[n], state.c) for n in range(3))
        keep, take = jax.nn.sigmoid(f + p_f * state.c), jax.nn.sigmoid(i + p_i * state.c)
        c = keep * state.c + take * jnp.tanh(g)
        h = jax.nn.sigmoid(o + p_o * c) * jnp.tanh(c)
        return LSTMState(h, c), h

    return sm.make_cell(init, initial_state, (project, update))


def make(
    name: str, input_size: int, hidden_size: int, precision: str = "float32"
) -> tuple[Cell, Any]:
    """Returns the cell of that name and its parameters.

    Parameters of the cells in `GATES` are from `weights`, others from the cell itself.
    """
    dtype = {"dtype": jnp.bfloat16} if precision == "bfloat16" else {}
    if name not in GATES:
        cell = catalog.CELLS[name](input_size, hidden_size, **dtype)
        return cell, cell.init(jax.random.key(0))
    w = fields(name, input_size, hidden_size)
    if name == "peephole":
        return peephole_lstm(input_size, hidden_size), PeepholeParams(**w)
    cell = catalog.CELLS[name](input_size, hidden_size, **dtype)
    if name == "rnn":
        return cell, RNNParams(**w)
    if name == "lstm":
        return cell, LSTMParams(**w)
    return cell, GRUParams(**w)


def loss_of(cell: Cell, method: str | Driver) -> Function:
    """Returns (params, xs) -> mean of squares of all outputs, in float32."""

    def loss(params: Any, xs: Array) -> Array:
        ys = sm.unroll(cell, params, xs, method=method)[1]
        return jnp.mean(jnp.square(ys.astype(jnp.float32)))

    return loss


def forward(cell: Cell, method: str | Driver) -> Function:
    """Returns (params, xs) -> ys."""
    return lambda params, xs: sm.unroll(cell, params, xs, method=method)[1]


def build(case: Case, budget: str | None = None) -> Built:
    """Returns the jitted function of a case, its arguments, and remarks on it.

    On several devices as many are used as divide the batch.

    Raises:
      TypeError: if the driver does not run the cell.
    """
    shape, mode, num_devices = case.shape, case.mode, case.worker.number
    if case.method == "limit":
        return build_limit(case)
    cell, params = make(case.cell, shape.D, shape.H, case.precision)
    params = jax.tree.map(jnp.asarray, params)
    xs = jax.ShapeDtypeStruct(shape[:3], jnp.float32)
    method = driver(case.method, budget, case.precision)
    if case.variant:
        method = _with_the_plan(_info(cell, params, xs, method), method)
        left_out = LEFT_OUT[case.variant]
        x_t = jnp.zeros((1, shape.D))
        check_parts(cell.step, params, cell.initial_state(params, (1,)), x_t, **left_out)
        cell = without(cell, **left_out)
    if mode == STEP:
        return build_step(cell, params, case)
    info = _info(cell, params, xs, method)
    used = largest_divisor(shape.B, num_devices)
    about = {"method": info.method, "plan": info.plan, "devices": used}
    mesh = make_mesh(used, "batch")
    arguments = place(params, mesh, None), place(inputs(shape), mesh, 1)
    run, loss = forward(cell, method), loss_of(cell, method)
    function = run if mode == "forward" else jax.value_and_grad(loss)
    if used > 1:
        out, devices = 1 if mode == "forward" else "mean", list(mesh.devices.flat)
        function = sm.data_parallel(function, batch_axis=1, out_axes=out, devices=devices)
    return jax.jit(function), arguments, about


def _info(cell: Cell, params: Any, xs: Any, method: str | Driver) -> Any:
    return jax.eval_shape(
        lambda p, x: sm.unroll_full(cell, p, x, method=method, states=False).info, params, xs
    )


def _with_the_plan(info: Any, method: str | Driver) -> str | Driver:
    """Returns the driver with the plan of the whole cell, for a cell without some of its parts.

    `fused` chooses by the size of the products, which are small in such a cell.
    """
    if info.method != "fused":
        return method
    plan = dict(item.split("=") for item in info.plan.split(", "))
    return sm.fused(
        chunk=int(plan["chunk"]),
        save=plan["save"] == "True",
        batch_last=plan.get("batch_last") == "True",
    )


def build_step(cell: Cell, params: Any, case: Case) -> Built:
    """Returns a function that takes one step from the state of its last call.

    case.method: "stream" is `sm.stream`; "bare" is the step under jit with the state donated.
    """
    batch_shape = (case.shape.B,)
    state, step = sm.stream(cell, params, batch_shape=batch_shape)
    if case.method == "bare":
        step = functools.partial(jax.jit(cell.step, donate_argnums=1), params)
    return stepping(step, state), (inputs(case.shape)[0],), {}


def stepping(step: Callable[[Any, Any], tuple[Any, Any]], state: Any) -> Function:
    """Returns x_t -> y_t, which keeps the state from call to call."""
    held = [state]

    def call(x_t: Any) -> Any:
        held[0], y_t = step(held[0], x_t)
        return y_t

    return call


def build_limit(case: Case) -> Built:
    """Returns one large product with the multiply-adds of a cell's forward pass.

    (T B, D + H) @ (D + H, G H): no recurrence, no activations; in bfloat16 the sums are float32.
    Training takes three such products: the forward pass, the gradient of the states, and the
    gradient of the weights.
    """
    shape = case.shape
    w = weights(case.cell, shape.D, shape.H)
    matrix = jnp.concatenate([w["w_x"], w["w_h"]])
    rows = shape.T * shape.B
    xs = jax.random.normal(jax.random.key(0), (rows, shape.D + shape.H))
    if case.precision == "bfloat16":
        matrix, xs = matrix.astype(jnp.bfloat16), xs.astype(jnp.bfloat16)
    product = jax.jit(
        lambda xs, matrix, old: jnp.matmul(xs, matrix, preferred_element_type=jnp.float32),
        donate_argnums=2,
        keep_unused=True,
    )
    # Each product is written over the one before: fresh memory would cost a page fault every 4 KiB.
    held = [jnp.zeros((rows, matrix.shape[1]))]

    def call(xs: Array, matrix: Array) -> Array:
        held.append(product(xs, matrix, held.pop()))
        return held[0]

    return call, (xs, matrix), {}


def driver(method: str, memory_budget: str | None = None, precision: str = "") -> str | Driver:
    """Returns the argument `method`: the name, or the driver with its settings."""
    make_driver: Any = DRIVERS.get(method)
    takes = inspect.signature(make_driver).parameters if make_driver else ()
    if memory_budget and "memory_budget" in takes:
        return make_driver(memory_budget=memory_budget)
    if precision == "tf32" and "precision" in takes:
        return make_driver(precision=precision)
    return method
