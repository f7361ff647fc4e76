"""The fused backward pass where the shared suite does not go: updates, chunks, transforms."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqmodels as sm
from seqmodels.drivers.fused.linear_program import compress

D, H = cases.D, cases.H
LSTM = sm.lstm(D, H)


def loss_of(cell, method, **contract):
    def loss(params, xs, state):
        final, ys = sm.unroll(cell, params, xs, state, method=method, **contract)
        return sum(
            jnp.sum(
                jnp.sin(leaf.astype(jnp.float32))
                * jnp.arange(1.0, leaf.size + 1).reshape(leaf.shape)
            )
            / leaf.size
            for leaf in jax.tree.leaves((final, ys))
            if jnp.issubdtype(leaf.dtype, jnp.floating)
        )

    return loss


def assert_same_gradients(cell, params, xs, method="fused", tolerance=1e-5, **contract):
    state = cell.initial_state(params, xs.shape[1:-1])
    floats = [jnp.issubdtype(a.dtype, jnp.floating) for a in (xs, *jax.tree.leaves(state))]
    argnums = (0, *([1] if floats[0] else []), *([2] if all(floats[1:]) else []))
    got, want = (
        jax.jit(jax.value_and_grad(loss_of(cell, m, **contract), argnums))(params, xs, state)
        for m in (method, "scan")
    )
    cases.assert_close(got, want, tolerance)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("num_steps", "chunk"), [(13, 1), (12, 4), (13, 5), (13, 6), (12, 12), (13, 100)]
)
def test_any_chunk_and_any_length(num_steps, chunk, reverse):
    xs = cases.inputs((3,), num_steps)
    resets = np.zeros((num_steps, 3), bool)
    resets[[0, 5, 5, 11], [0, 0, 1, 2]] = True
    contract = {"lengths": [num_steps, 0, 7], "resets": resets, "reverse": reverse}
    assert_same_gradients(LSTM, cases.params_of(LSTM), xs, sm.fused(chunk=chunk), **contract)


def lifted(vector, like):
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def layer_norm(p, s, g):
    g = (g - jnp.mean(g, -1, keepdims=True)) / jnp.sqrt(jnp.var(g, -1, keepdims=True) + 1e-3)
    h = 0.5 * s + jnp.tanh(g * lifted(p["scale"], g))
    return h, h


def branches(p, s, g):
    h = jnp.where(g > 0, jax.nn.relu(g - 0.1) / (1 + jnp.abs(s)), jnp.maximum(-g, s) - s * g)
    return h, h


def slices(p, s, g):
    left, right = g[..., : H // 2], g[..., H // 2 :]
    h = jnp.concatenate([jnp.tanh(right) * s[..., : H // 2], -left + s[..., 1:2]], -1)
    return h, {"sum": jnp.sum(h, -1), "all": h * 2}


def softmax(p, s, g):
    h = jax.nn.softmax(g, -1) * s + jax.nn.log_softmax(s, -1) / 9
    return h, h


def matrix(p, s, g):
    h = jnp.tanh(g @ p["inner"] + s)  # a matrix where none belongs: slower, and right
    return h, h


def scaled(p, s, g):
    i, f = jnp.split(2.0 * g, 2, -1)  # a number without axes in the program
    h = jnp.concatenate([jnp.tanh(-i) * s[..., : H // 2], f / 3], -1)
    return h, h


def no_memory(p, s, g):
    return jnp.ones_like(s), jnp.sin(g)


def own(update=layer_norm, project=None, state=lambda batch: jnp.zeros((*batch, H)), extra=None):
    def init(key):
        params = {"w_x": jax.random.normal(key, (D, H)), "w_h": jax.random.normal(key, (H, H)) / 2}
        return params | (extra or {})

    project = project or (lambda p, s, x_t: x_t @ p["w_x"] + s @ p["w_h"])
    return sm.make_cell(init, lambda p, batch: state(batch), (project, update))


@pytest.mark.parametrize(
    "update", [layer_norm, branches, slices, softmax, matrix, scaled, no_memory]
)
def test_any_update(update):
    extra = {"scale": jnp.linspace(0.5, 2, H), "inner": jnp.linspace(-1, 1, H * H).reshape(H, H)}
    cell = own(update, extra=extra)
    with jax.enable_x64(True):
        params, xs = cases.to64(cases.init(cell)), cases.to64(cases.inputs())
        assert_same_gradients(cell, params, xs, sm.fused(chunk=3), 1e-10, lengths=cases.LENGTHS)


def test_gates_and_state_between_stages_may_be_pytrees():
    def project(p, s, x_t):
        return {"a": x_t @ p["w_x"] + s["h"], "b": (s["h"] @ p["w_h"], x_t[..., :1])}

    def update(p, s, g):
        return (g["a"] * s["h"], jnp.tanh(g["b"][0]), g["b"][1], s["n"])

    def second(p, s, x_t):
        return s[0] @ p["w_h"]

    def finish(p, s, g):
        h = jnp.tanh(g) * s[1] + s[2]
        return {"h": h, "n": s[3] + 1}, h

    def initial_state(p, batch):
        return {"h": jnp.ones((*batch, H)), "n": jnp.zeros(batch, jnp.int32)}

    cell = own()
    cell = sm.make_cell(cell.init, initial_state, (project, update), (second, finish))
    params = cases.init(cell)
    assert_same_gradients(cell, params, cases.inputs(), sm.fused(chunk=3), resets=cases.RESETS)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_counter_that_the_matrices_see(reverse):
    """An integer leaf that changes: the matrix of a step depends on it."""

    def project(p, s, x_t):
        odd = (s["n"] % 2 == 1)[..., None]
        return x_t @ p["w_x"] + jnp.where(odd, s["h"] @ p["w_h"], s["h"])

    def update(p, s, g):
        h = jnp.tanh(g)
        return {"h": h, "n": s["n"] + 1}, h

    cell = own(
        update, project, lambda batch: {"h": jnp.ones((*batch, H)), "n": jnp.zeros(batch, int)}
    )
    params = cases.init(cell)
    contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS, "reverse": reverse}
    assert_same_gradients(cell, params, cases.inputs(), sm.fused(chunk=3), **contract)
    full = sm.unroll_full(cell, params, cases.inputs(), method="fused", **contract)
    want = sm.unroll_full(cell, params, cases.inputs(), method="scan", **contract)
    np.testing.assert_array_equal(full.states["n"], want.states["n"])


def test_a_key_that_is_split_at_every_step():
    def update(p, s, g):
        keys = jax.vmap(jax.random.split)(s["key"].reshape(-1)).reshape((*s["key"].shape, 2))
        draw = lambda key: jax.random.normal(key, (H,))  # noqa: E731
        noise = jax.vmap(draw)(keys[..., 1].reshape(-1)).reshape(g.shape)
        h = jnp.tanh(g + noise)
        return {"h": h, "key": keys[..., 0]}, h

    cell = own(
        update,
        lambda p, s, x_t: x_t @ p["w_x"] + s["h"] @ p["w_h"],
        lambda batch: {
            "h": jnp.zeros((*batch, H)),
            "key": jax.random.split(jax.random.key(7), batch),
        },
    )
    params = cases.init(cell)
    assert_same_gradients(cell, params, cases.inputs(), sm.fused(chunk=3), resets=cases.RESETS)


@pytest.mark.parametrize(
    ("make", "recurrent", "method"),
    [
        (sm.lstm, False, "fused"),
        (sm.lstm, True, "fused"),
        (sm.gru, True, "fused"),
        (sm.gru, True, sm.chunked(segment=3)),
    ],
)
def test_dropout_masks_are_constants(make, recurrent, method):
    cell = sm.dropout(make(D, H), 0.5, recurrent=recurrent)
    params = cases.init(cell)

    def gradient(method):
        def loss(params):
            contract = {"lengths": cases.LENGTHS, "resets": cases.RESETS}
            key = jax.random.key(3)
            run = functools.partial(sm.unroll_full, cell, params, cases.inputs(), key=key)
            full = run(method=method, **contract)
            return jnp.sum(full.ys**2) + jnp.sum(full.states.cell.h**3), full.ys

        return jax.grad(loss, has_aux=True)(params)

    cases.assert_close(gradient(method), gradient("scan"), 1e-5)


@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3)])
def test_auto_takes_it_for_any_batch(batch_shape):
    info = sm.unroll_full(LSTM, cases.params_of(LSTM), cases.inputs(batch_shape)).info
    assert info.method == "fused"


def test_integer_inputs():
    cell = own(
        lambda p, s, g: (jnp.tanh(g), jnp.tanh(g)),
        lambda p, s, x_t: x_t.astype(jnp.float32) @ p["w_x"] + s @ p["w_h"],
    )
    xs = jnp.arange(cases.T * 4 * D).reshape(cases.T, 4, D) % 3
    assert_same_gradients(cell, cases.init(cell), xs, lengths=cases.LENGTHS)
    info = sm.unroll_full(cell, cases.init(cell), xs).info
    assert info.method == "fused"


@pytest.mark.parametrize("method", ["fused", sm.chunked(segment=3)])
def test_words_that_choose_the_matrix(method):
    """Affine in the state for every word, with another matrix for each."""

    def project(p, s, x_t):
        word = x_t[..., 0]
        return jnp.einsum("...h,...hk->...k", s, p["e"][word]) + p["v"][word]

    extra = {"e": jax.random.normal(jax.random.key(1), (5, H, H)) / 2, "v": jnp.ones((5, H))}
    cell = own(lambda p, s, g: (jnp.tanh(g), jnp.tanh(g)), project, extra=extra)
    words = jax.random.randint(jax.random.key(2), (cases.T, 4, 1), 0, 5)
    assert_same_gradients(cell, cases.init(cell), words, method, lengths=cases.LENGTHS)


def test_an_output_that_is_a_constant_of_the_state():
    def update(p, s, g):
        return {"h": jnp.tanh(g) * s["m"], "m": s["m"]}, {"y": jnp.tanh(g), "m": s["m"]}

    cell = own(
        update,
        lambda p, s, x_t: x_t @ p["w_x"] + s["h"] @ p["w_h"],
        lambda batch: {"h": jnp.zeros((*batch, H)), "m": jnp.ones((*batch, H), jnp.int32)},
    )
    params, xs = cases.init(cell), cases.inputs()
    got, want = (sm.unroll_full(cell, params, xs, method=m)[:3] for m in ("fused", "scan"))
    cases.assert_close(got, want)
    assert_same_gradients(cell, params, xs)


def test_a_straight_through_estimator():
    @jax.custom_vjp
    def spike(a):
        return (a > 0).astype(a.dtype)

    spike.defvjp(lambda a: (spike(a), a), lambda a, d: (d * jax.nn.relu(1 - jnp.abs(a)),))

    def update(p, s, g):
        s = 0.9 * s + g
        return s - spike(s), spike(s)

    cell = own(update)
    assert_same_gradients(cell, cases.init(cell), cases.inputs())


def test_a_traced_array_that_a_cell_closes_over():
    def loss(w, method):
        cell = own(lambda p, s, g: (jnp.tanh(g * lifted(w, g)),) * 2)
        params = cases.init(cell)
        return jnp.sum(sm.unroll(cell, params, cases.inputs(), method=method)[1] ** 2)

    w = jnp.linspace(0.5, 1, H)
    for transform in (jax.grad, lambda f: jax.jit(jax.grad(f))):
        with pytest.raises(TypeError, match=r"closes over a traced array.* method='scan'"):
            transform(functools.partial(loss, method="fused"))(w)
        auto, scan = (transform(functools.partial(loss, method=m))(w) for m in ("auto", "scan"))
        cases.assert_close(auto, scan)


def test_inputs_with_several_feature_axes():
    def project(p, s, x_t):
        return jnp.sum(x_t, axis=(-2, -1))[..., None] * lifted(p["w_x"][0], s) + s @ p["w_h"]

    cell = own(lambda p, s, g: (jnp.tanh(g), jnp.tanh(g)), project)
    cell = sm.make_cell(cell.init, cell.initial_state, *cell.stages, x_ndim=2)
    params = cases.init(cell)
    xs = jax.random.normal(jax.random.key(1), (cases.T, 2, 2, 3, 5))

    def gradient(method):
        loss = lambda p, x: jnp.sum(sm.unroll(cell, p, x, method=method)[1] ** 2)  # noqa: E731
        return jax.grad(loss, (0, 1))(params, xs)

    cases.assert_close(gradient(sm.fused(chunk=3)), gradient("scan"), 1e-5)


BILINEAR = own(
    lambda p, s, g: (jnp.tanh(g), jnp.tanh(g)),
    lambda p, s, x_t: (x_t @ p["w_x"]) * (1 + s) + s @ p["w_h"],
)
CURVED = own(lambda p, s, g: (g, g), lambda p, s, x_t: jax.nn.relu(x_t @ p["w_x"]) + s @ p["w_h"])


@pytest.mark.parametrize("cell", [BILINEAR, CURVED])
@pytest.mark.parametrize("method", ["fused", "chunked"])
def test_a_project_that_is_not_affine_is_named(cell, method):
    params = cases.init(cell)
    with pytest.raises(TypeError, match=r"stage 0: project is not affine .* method='scan'") as e:
        sm.unroll(cell, params, cases.inputs(), method=method)
    assert "\n" not in str(e.value)
    info = sm.unroll_full(cell, params, cases.inputs()).info
    assert info.method == "scan"
    assert info.reason.startswith("auto: stage 0: project is not affine")


def test_a_leaf_without_batch_axes_is_named():
    update = lambda p, s, g: (g, lifted(jnp.ones(H), g))  # noqa: E731
    finish = (lambda p, s, x_t: s[0], lambda p, s, g: (s[0], g))
    cell = own()
    project = lambda p, s, x_t: x_t @ p["w_x"] + s @ p["w_h"]  # noqa: E731
    cell = sm.make_cell(cell.init, cell.initial_state, (project, update), finish)
    with pytest.raises(TypeError, match="stage 0: the state after it has a leaf without the batch"):
        sm.unroll(cell, cases.init(cell), cases.inputs(), method="fused")
    assert sm.unroll_full(cell, cases.init(cell), cases.inputs()).info.method == "scan"


def test_a_cell_without_stages_is_told_where_to_go():
    for cell, drivers in [
        (LSTM._replace(stages=()), "method='scan'"),
        (sm.min_gru(D, H), "method='scan' or 'associative'"),
    ]:
        with pytest.raises(TypeError, match="fused: got a cell without stages.*" + drivers):
            sm.unroll(cell, cases.init(cell), cases.inputs(), method="fused")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"chunk": 0}, "fused: chunk: got 0, expected a positive integer"),
        ({"chunk": 2.0}, "fused: chunk: got 2.0, expected a positive integer"),
        ({"save": "yes"}, "fused: save: got 'yes', expected True, False or None"),
    ],
)
def test_settings_are_checked(settings, line):
    with pytest.raises(ValueError, match=line):
        sm.fused(**settings)


def test_an_lstm_has_the_coefficients_of_its_derivation():
    """Of i, f, g, o, of the old cell state, and from h to c: six, peepholes or not."""
    for cell in (LSTM, cases.peephole_lstm()):
        params = cases.init(cell)
        state = cases.state_of(cell, params)
        (project, update), gates = cell.stages[0], cases.inputs((4,))[0]
        gates = project(params, state, gates)
        out, pull_back = jax.vjp(lambda s, g, u=update, p=params: u(p, s, g), state, gates)
        coefficients, rebuild = compress(pull_back, out)
        assert len(coefficients) == 6
        cases.assert_close(rebuild(coefficients)(out), pull_back(out), 1e-6)
