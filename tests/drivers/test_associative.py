"""The associative driver: whom it serves, what passes a reset, derivatives, precision, devices."""

import re

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import seqmodels as sm
from seqmodels.drivers.associative import linear_recurrence

T, D, H = cases.T, cases.D, cases.H
NAMES = ["min_gru", "min_lstm", "lru"]
every_cell = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize(
    ("cell", "others"),
    [
        (sm.lstm(D, H), "'scan', 'fused' or 'chunked'"),
        (sm.lstm(D, H)._replace(stages=()), "'scan'"),
        (sm.min_gru(D, H)._replace(output=None), "'scan'"),
    ],
)
def test_other_cells_are_told_where_to_go(cell, others):
    params = cell.init(jax.random.key(0))
    with pytest.raises(TypeError, match="associative: got a cell without elements") as error:
        sm.unroll(cell, params, cases.inputs(), method="associative")
    assert str(error.value).endswith(f"for this cell method={others}")
    assert "\n" not in str(error.value)


def test_recurrence_by_hand():
    a = jnp.array([[2.0], [3.0], [0.0], [-1.0]])
    b = jnp.array([[1.0, 1.0], [0.0, 2.0], [5.0, 5.0], [1.0, 1.0]])
    state = jnp.array([1.0, 10.0])
    run = lambda a=a, **rest: linear_recurrence(a, b, state, **rest).tolist()  # noqa: E731
    assert run() == [[3, 21], [9, 65], [5, 5], [-4, -4]]
    assert run(reverse=True) == [[31, 35], [15, 17], [5, 5], [0, -9]]
    resets = jnp.array([[False, True], [True, False], [False, False], [False, True]])
    fresh = jnp.array([100.0, 7.0])
    assert run(resets=resets, fresh=fresh) == [[3, 15], [300, 47], [5, 5], [-4, -6]]
    assert run(resets=resets, fresh=fresh, reverse=True) == [[601, 15], [300, 17], [5, 5], [0, -6]]
    assert run(a=jnp.full((1, 1), 2.0)) == [[3, 21], [6, 44], [17, 93], [35, 187]]


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_nan_before_a_reset_stays_there(name, reverse):
    """In the values wherever it comes from, in gradients where no parameter meets it."""
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs((2,))
    resets = np.zeros((T, 2), bool)
    resets[3] = True
    bad = T - 1 if reverse else 0
    clean, dirty = (slice(0, 4), slice(4, T)) if reverse else (slice(3, T), slice(0, 3))
    contract = {"resets": resets, "reverse": reverse, "method": "associative"}
    want = sm.unroll_full(cell, params, xs, **contract)
    got = sm.unroll_full(cell, params, xs.at[bad].set(jnp.nan), **contract)
    assert np.isnan(got.ys[dirty]).all()
    cases.assert_close(got.ys[clean], want.ys[clean])
    kept = lambda states: jax.tree.map(lambda a: a[clean], states)  # noqa: E731
    cases.assert_close(kept(got.states), kept(want.states))

    def score(xs):  # of outputs after the reset, by inputs on both sides of it
        return jnp.sum(sm.unroll(cell, params, xs, **contract)[1][clean])

    gradient = jax.grad(score)(xs.at[bad].set(jnp.nan))
    cases.assert_close(gradient[clean], jax.grad(score)(xs)[clean])
    assert not np.any(jax.grad(score)(xs)[dirty])
    _, slope = jax.jvp(score, (xs.at[bad].set(jnp.nan),), (jnp.ones_like(xs),))
    cases.assert_close(slope, jnp.sum(gradient[clean]), 1e-5)

    first = np.zeros((T, 2), bool)
    first[bad] = True
    nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), cases.state_of(cell, params, (2,)))

    def loss(params, state):
        contract = {"resets": first, "reverse": reverse, "method": "associative"}
        return jnp.sum(sm.unroll(cell, params, xs, state, **contract)[1])

    cases.assert_close(jax.grad(loss)(params, nan), jax.grad(loss)(params, None))


def test_a_state_of_matrices_and_elements_of_fewer_entries():
    cell = cases.linear_attention()
    contract = {"lengths": cases.LENGTHS.reshape(2, 2), "resets": cases.RESETS.reshape(T, 2, 2)}

    def loss(params, xs, state, method, options):
        final, ys = sm.unroll(cell, params, xs, state, method=method, **options)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(final["memory"] ** 2), (final, ys)

    with jax.enable_x64(True):
        params, xs = cases.to64((cell.init(jax.random.key(0)), cases.inputs((2, 2))))
        state = cases.to64(cases.state_of(cell, params, (2, 2)))
        for options in ({}, contract, {**contract, "reverse": True}):
            got, want = (
                jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
                    params, xs, state, method, options
                )
                for method in ("associative", "scan")
            )
            cases.assert_close(got, want, 1e-11)


@every_cell
def test_forward_and_second_derivatives(name):
    cell, _ = cases.CELLS[name]
    with jax.enable_x64(True):
        params, xs = cases.to64((cases.params_of(cell), cases.inputs((4,))))
        contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS}

        def derivatives(method):
            def loss(params):
                return jnp.sum(sm.unroll(cell, params, xs, method=method, **contract)[1] ** 2)

            def directional(params):
                return jax.jvp(loss, (params,), (jax.tree.map(jnp.ones_like, params),))[1]

            return directional(params), jax.grad(directional)(params)

        cases.assert_close(derivatives("associative"), derivatives("scan"), 1e-10)


@every_cell
def test_under_jit_grad_and_vmap(name):
    cell, _ = cases.CELLS[name]
    params = jax.vmap(lambda s: cell.init(jax.random.key(s)))(jnp.arange(3))
    xs = cases.inputs((2,))
    resets = jnp.asarray(cases.RESETS[:, :2])

    def loss(params):
        contract = {"lengths": jnp.array([T, 2]), "resets": resets}
        return jnp.sum(sm.unroll(cell, params, xs, method="associative", **contract)[1] ** 2)

    batched = jax.jit(jax.vmap(jax.grad(loss)))(params)
    for n in range(3):
        one = jax.grad(loss)(jax.tree.map(lambda a, n=n: a[n], params))
        cases.assert_close(jax.tree.map(lambda a, n=n: a[n], batched), one, 5e-6)


@every_cell
def test_weight_gradients_accumulate_in_float32(name):
    """Of bfloat16 parameters over 2,048 steps, against the same numbers in float32."""
    size = 16
    make = {"min_gru": sm.min_gru, "min_lstm": sm.min_lstm, "lru": sm.lru}[name]
    low, high = make(size, size, param_dtype=jnp.bfloat16), make(size, size)
    params = low.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (2048, 2, size), jnp.bfloat16)

    def gradient(cell, params, xs):
        def loss(params):
            ys = sm.unroll(cell, params, xs, method="associative")[1]
            return jnp.mean((ys.astype(jnp.float32) - 1) ** 2)

        return jax.grad(loss)(params)

    to32 = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32), tree)  # noqa: E731
    got, want = to32(gradient(low, params, xs)), gradient(high, to32(params), to32(xs))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert jnp.linalg.norm(a - b) < 0.02 * jnp.linalg.norm(b)
    # A CPU adds bfloat16 numbers up in float32 anyway; other backends are not asked to.
    program = str(jax.make_jaxpr(lambda params: gradient(low, params, xs))(params))
    assert "reduce_sum" in program
    assert not re.search(r"bf16\[\S*\] = reduce_sum", program)


@every_cell
@pytest.mark.parametrize("num_devices", [1, 2])
def test_inside_shard_map(name, num_devices):
    """Gradients of replicated parameters are summed over the devices once."""
    mesh = jax.make_mesh(
        (num_devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:num_devices]
    )
    cell, _ = cases.CELLS[name]
    params, xs = cases.params_of(cell), cases.inputs()

    def loss(params, xs, contract):
        _, ys = sm.unroll(cell, params, xs, method="associative", **contract)
        return jnp.sum(ys**2)

    over = PartitionSpec(None, "data")
    masks = {"lengths": jnp.asarray(cases.LENGTHS), "resets": jnp.asarray(cases.RESETS)}
    for contract, specs in [
        ({}, {}),
        (masks, {"lengths": PartitionSpec("data"), "resets": over}),
    ]:
        sharded = jax.jit(
            jax.shard_map(
                jax.value_and_grad(lambda *a: jax.lax.psum(loss(*a), "data")),
                mesh=mesh,
                in_specs=(PartitionSpec(), over, specs),
                out_specs=PartitionSpec(),
            )
        )
        want = jax.value_and_grad(loss)(params, xs, contract)
        cases.assert_close(sharded(params, xs, contract), want, 1e-5)


def test_elements_without_a_derivative_at_zero():
    """The padding is computed with something, and that must not reach the parameters."""
    cell = sm.make_linear_cell(
        lambda key: jnp.eye(D),
        lambda params, batch_shape: jnp.zeros((*batch_shape, D)),
        lambda params, x_t: (0.5, jnp.log(x_t) @ params),
        lambda params, state, x_t: state / jnp.linalg.norm(x_t @ params, axis=-1, keepdims=True),
    )
    xs = 1 + jnp.abs(cases.inputs())

    def loss(params, xs, method, **contract):
        return jnp.sum(sm.unroll(cell, params, xs, method=method, **contract)[1])

    got = jax.grad(loss)(jnp.eye(D), xs, "associative", lengths=cases.LENGTHS)
    want = sum(
        jax.grad(loss)(jnp.eye(D), xs[:length, n], "scan") for n, length in enumerate(cases.LENGTHS)
    )
    cases.assert_close(got, want, 1e-5)


def test_in_combinators():
    """Every layer runs under the driver, and gives what the steps give."""
    cell = sm.bidirectional(
        sm.stack([sm.min_gru(D, H), sm.residual(sm.lru(H, H))]), sm.dropout(sm.min_lstm(D, H), 0.5)
    )
    params, xs = cases.params_of(cell), cases.inputs()
    contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS, "key": jax.random.key(3)}
    got, want = (
        sm.unroll_full(cell, params, xs, method=method, **contract)
        for method in ("associative", "scan")
    )
    cases.assert_close(got.ys, want.ys)
    cases.assert_close(got.states.forward, want.states.forward)
    cases.assert_close(got.states.backward.cell, want.states.backward.cell)
    infos = jax.tree.leaves(got.info, is_leaf=lambda info: isinstance(info, sm.Info))
    assert [info.method for info in infos] == ["associative"] * 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_a_leaf_that_no_derivative_reaches(dtype):
    """A normaliser beside what it normalises."""

    def initial_state(params, batch_shape):
        return {"h": jnp.zeros((*batch_shape, D)), "n": jnp.zeros(batch_shape, dtype)}

    def elements(params, x_t):
        return {"h": params, "n": 1}, {"h": x_t, "n": 1}

    cell = sm.make_linear_cell(
        lambda key: jnp.full(D, 0.5), initial_state, elements,
        lambda params, s, x_t: s["h"] / s["n"][..., None],
    )  # fmt: skip
    xs = cases.inputs()

    def loss(params, method):
        return jnp.sum(sm.unroll(cell, params, xs, method=method, lengths=cases.LENGTHS)[1] ** 2)

    for derivative in (jax.grad, jax.jacfwd, jax.hessian):
        got, want = (derivative(loss)(jnp.full(D, 0.5), m) for m in ("associative", "scan"))
        cases.assert_close(got, want, 1e-5)
