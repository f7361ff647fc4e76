"""Training steps against a Python loop over optax; on several devices; with a carried state."""

import functools

import contract_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqmodels as sm
from seqmodels.training.optimizers import OptimizerSettings, make_optimizer
from seqmodels.training.parallel.mesh import make_mesh, place
from seqmodels.training.state import create_train_state
from seqmodels.training.steps import Loss, leaf_names, make_train_steps, over_seeds

OPTIMIZER = make_optimizer(OptimizerSettings(0.05, steps=100, clip_norm=1.0))
T, B, D, H = 6, 8, 3, 5
CELL = sm.lstm(D, H)


def init(key):
    return {"cell": CELL.init(key), "b": jnp.zeros(H)}


@jax.jit
def start_of(key):
    return create_train_state(init, OPTIMIZER, key)


def start(seed):
    """A state before the first step; the caller may donate it."""
    return start_of(jax.random.key(seed))


def loss(params, batch, key, carry):
    """Mean over valid steps, so that devices with different lengths have different weights."""
    del key
    _, ys = sm.unroll(CELL, params["cell"], batch["xs"], lengths=batch["lengths"])
    valid = jnp.arange(T)[:, None] < batch["lengths"][None]
    error = jnp.sum((ys + params["b"][None, None] - 1) ** 2, axis=-1) * valid
    return Loss(jnp.sum(error), jnp.sum(valid), {"large": jnp.sum((error > 3) & valid)}, carry)


AXES = {"xs": 1, "lengths": 0}


def make_batches(steps, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "xs": rng.normal(size=(steps, T, B, D)).astype(np.float32),
        "lengths": rng.integers(0, T + 1, (steps, B)),
    }


@functools.cache
def by_hand(steps):
    """The parameters and what is recorded after single steps on the batches of seed 0."""
    batches = make_batches(steps)

    def mean(params, batch):
        found = loss(params, batch, None, ())
        return found.total / found.weight, found.metrics["large"] / found.weight

    @jax.jit
    def update(params, opt_state, batch):
        (value, large), gradient = jax.value_and_grad(mean, has_aux=True)(params, batch)
        updates, opt_state = OPTIMIZER.update(gradient, opt_state, params)
        seen = (value, optax.tree.norm(gradient), large)
        return optax.apply_updates(params, updates), opt_state, seen

    state = start(0)
    params, opt_state, columns = state.params, state.opt_state, []
    for step in range(steps):
        batch = jax.tree.map(lambda a, n=step: a[n], batches)
        params, opt_state, seen = update(params, opt_state, batch)
        columns.append(seen)
    return params, [np.array(column, np.float32) for column in zip(*columns, strict=True)]


def test_accumulated_batches_are_one_batch():
    """Rows of different lengths in two batches give the update of all rows at once."""
    batches = make_batches(2)
    batches["lengths"] = np.array([[1] * B, [T] * B])
    both = {
        "xs": np.concatenate([batches["xs"][0], batches["xs"][1]], axis=1)[None],
        "lengths": batches["lengths"].reshape(1, -1),
    }
    settings = OptimizerSettings(0.05, steps=100, clip_norm=1.0)
    results = []
    for accumulate, data in ((2, batches), (1, both)):
        optimizer = make_optimizer(settings._replace(accumulate=accumulate))
        train = make_train_steps(loss, optimizer, accumulate, batch_axes=AXES)
        state = create_train_state(init, optimizer, jax.random.key(0))
        results.append(jax.jit(train)(state, data)[0].params)
    cases.assert_close(*results, 1e-5)


def test_the_sample_and_the_loss_draw_from_different_keys():
    """However a sample derives keys: as itself, by split, by fold_in."""

    def keys(key):
        derived = [key, *jax.random.split(key, 3), *(jax.random.fold_in(key, n) for n in range(3))]
        return jnp.stack([jax.random.key_data(k) for k in derived])

    def observed(params, batch, key, carry):
        return Loss(jnp.sum(params["b"]), metrics={"keys": jnp.sum(0 * batch)}, carry=keys(key))

    optimizer = optax.sgd(0.0)
    start = create_train_state(init, optimizer, jax.random.key(0))
    start = start._replace(carry=jnp.zeros((7, 2), jnp.uint32))
    seen = []
    for step in range(3):
        state = start._replace(step=jnp.int32(step))
        after, _ = make_train_steps(observed, optimizer, 1, sample=keys)(state)
        seen.append(np.asarray(after.carry))
        seen.append(np.asarray(keys(jax.random.fold_in(state.key, step))))
    for number, mine in enumerate(seen):
        for other in seen[number + 1 :]:
            assert not {tuple(k) for k in mine} & {tuple(k) for k in other}


@pytest.mark.parametrize("devices", [0, 1, 2, 4])
def test_steps_equal_a_python_loop_on_any_number_of_devices(devices):
    batches = make_batches(4)
    params, (values, norms, large) = by_hand(4)
    mesh = make_mesh(devices, "batch") if devices else None
    train = make_train_steps(loss, OPTIMIZER, 4, mesh=mesh, batch_axes=AXES)
    state = start(0)
    state, metrics = jax.jit(train, donate_argnums=0)(state, batches)
    cases.assert_close(state.params, params, 1e-5)
    cases.assert_close(metrics.loss, values, 1e-5)
    cases.assert_close(metrics.grad_norm, norms, 1e-5)
    cases.assert_close(metrics.metrics["large"], large, 1e-5)
    assert (int(state.step), int(state.cursor), bool(state.stopped)) == (4, 4, False)
    assert metrics.leaf_norms.shape == (4, len(leaf_names(state.params)))
    cases.assert_close(jnp.sqrt(jnp.sum(metrics.leaf_norms**2, -1)), norms, 1e-5)


def test_names_are_those_of_the_leaves():
    params = init(jax.random.key(0))
    assert leaf_names(params) == ["b", "cell.w_x", "cell.w_h", "cell.b"]


def test_many_steps_at_once_are_single_steps():
    batches = make_batches(6)
    state = start(0)
    together, metrics = jax.jit(make_train_steps(loss, OPTIMIZER, 6))(state, batches)
    one = jax.jit(make_train_steps(loss, OPTIMIZER, 1))
    for n in range(6):
        state, single = one(state, jax.tree.map(lambda a, n=n: a[n : n + 1], batches))
        cases.assert_close(single.loss[0], metrics.loss[n], 1e-6)
    cases.assert_close(state.params, together.params, 1e-6)


def test_a_batch_without_items_has_no_loss_and_no_gradient():
    batches = make_batches(1) | {"lengths": np.zeros((1, B), int)}
    state = start(0)
    new, metrics = jax.jit(make_train_steps(loss, OPTIMIZER, 1))(state, batches)
    cases.assert_close(new.params, state.params, 0)
    assert metrics.loss[0] == 0
    assert metrics.grad_norm[0] == 0


def sample(key):
    keys = jax.random.split(key)
    return {
        "xs": jax.random.normal(keys[0], (T, B, D)),
        "lengths": jax.random.randint(keys[1], (B,), 0, T + 1),
    }


@functools.cache
def on_batches_made_before():
    """(parameters, metrics) of three steps on the batches that the steps would draw themselves."""
    state = start(0)
    made = [sample(jax.random.fold_in(state.key, step)) for step in range(3)]
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *made)
    done, metrics = jax.jit(make_train_steps(loss, OPTIMIZER, 3))(state, batches)
    return done.params, metrics


@pytest.mark.parametrize("devices", [0, 2])
def test_batches_made_on_the_device(devices):
    """Step n draws from fold_in(key, n), the same rows on any number of devices."""
    state = start(0)
    mesh = make_mesh(devices, "batch") if devices else None
    settings = {"sample": sample, "mesh": mesh, "batch_axes": AXES}
    got, seen = jax.jit(make_train_steps(loss, OPTIMIZER, 3, **settings))(state)
    cases.assert_close((got.params, seen), on_batches_made_before(), 1e-5)


def test_a_stopped_state_stays():
    state = start(0)._replace(stopped=jnp.array(True))
    new, metrics = jax.jit(make_train_steps(loss, OPTIMIZER, 3, sample=sample))(state)
    cases.assert_close(new.params, state.params, 0)
    assert int(new.step) == 0
    assert not np.any(metrics.loss)
    assert metrics.loss.shape == (3,)


def test_dropout_draws_differ_by_step_and_by_device():
    def noisy(params, batch, key, carry):
        return Loss(jax.random.uniform(key) + 0 * params["b"][0], 1.0, {}, carry)

    seen = {}
    for devices in (0, 2):
        mesh = make_mesh(devices, "batch") if devices else None
        train = make_train_steps(noisy, OPTIMIZER, 3, mesh=mesh, batch_axes=AXES)
        state = start(0)
        seen[devices] = np.array(jax.jit(train)(state, make_batches(3))[1].loss)
        assert len(set(seen[devices].tolist())) == 3
    assert not np.allclose(seen[0], seen[2])  # the mean of two devices' own draws


@pytest.mark.parametrize("devices", [0, 2])
def test_truncated_backpropagation_hands_the_state_on(devices):
    """Against a loop over pieces with stop_gradient; the state is spread with its rows."""
    pieces, steps = 3, 3
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(pieces, T, B, D)).astype(np.float32)
    begins = np.array([True, False, True])

    def piece(params, batch, key, carry):
        del key
        fresh = CELL.initial_state(params["cell"], carry[0].shape[:1])
        carry = jax.tree.map(lambda a, b: jnp.where(batch["begins"], a, b), fresh, carry)
        state, ys = sm.unroll(CELL, params["cell"], batch["xs"], carry)
        return Loss(jnp.sum((ys - 1) ** 2), ys.size, {}, state)

    batches = {"xs": xs, "begins": begins}
    axes = {"xs": 1, "begins": None}
    mesh = make_mesh(devices, "batch") if devices else None
    train = make_train_steps(piece, OPTIMIZER, steps, mesh=mesh, batch_axes=axes)
    params = init(jax.random.key(3))
    first = CELL.initial_state(params["cell"], (B,))
    state = create_train_state(init, OPTIMIZER, jax.random.key(0), carry=first)
    if mesh:
        state = state._replace(carry=place(first, mesh, 0))
    got, metrics = jax.jit(train)(state, batches)

    params, opt_state, carry = state.params, OPTIMIZER.init(state.params), first

    def mean(params, before, xs):
        after, ys = sm.unroll(CELL, params["cell"], xs, jax.lax.stop_gradient(before))
        return jnp.mean((ys - 1) ** 2), after

    gradient_of = jax.jit(jax.value_and_grad(mean, has_aux=True))
    for n in range(pieces):
        before = first if begins[n] else carry
        (value, carry), gradient = gradient_of(params, before, xs[n])
        updates, opt_state = OPTIMIZER.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        assert metrics.loss[n] == pytest.approx(float(value), rel=1e-5)
    cases.assert_close((got.params, got.carry), (params, carry), 1e-5)


@pytest.mark.parametrize("made", [False, True])
def test_devices_that_do_not_divide_the_rows(made):
    settings = {"sample": sample} if made else {}
    mesh = make_mesh(3, "batch")
    train = make_train_steps(loss, OPTIMIZER, 1, mesh=mesh, batch_axes=AXES, **settings)
    state = start(0)
    with pytest.raises(ValueError, match="batch: got 8 rows, expected a multiple of the 3 devices"):
        jax.jit(train)(state, *([] if made else [make_batches(1)]))


def test_loss_that_returns_a_number():
    train = make_train_steps(lambda params, *_: jnp.sum(params["b"]), OPTIMIZER)
    state = create_train_state(init, OPTIMIZER, jax.random.key(0))
    with pytest.raises(TypeError, match=r"loss: got a \w+, expected a Loss"):
        jax.eval_shape(train, state, make_batches(1))


@functools.cache
def seeds_alone():
    """(parameters, losses) of three steps of each seed that is trained alone."""
    train = jax.jit(make_train_steps(loss, OPTIMIZER, 3, sample=sample))
    done = [train(start(seed)) for seed in range(4)]
    return [(state.params, seen.loss) for state, seen in done]


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_seeds_do_not_touch_each_other(devices):
    mesh = make_mesh(devices, "seeds")
    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    states = over_seeds(lambda key: create_train_state(init, OPTIMIZER, key), mesh)(keys)
    states = states._replace(stopped=place(jnp.array([False, False, True, False]), mesh, 0))
    train = make_train_steps(loss, OPTIMIZER, 3, sample=sample)
    first = jax.tree.map(np.array, states.params)
    together, metrics = over_seeds(train, mesh, donate=(0,))(states)
    assert metrics.loss.shape == (4, 3)
    for n in range(4):
        alone, losses = seeds_alone()[n]
        own = jax.tree.map(lambda a, n=n: a[n], together.params)
        if n == 2:
            cases.assert_close(own, jax.tree.map(lambda a: a[2], first), 0)
        else:
            cases.assert_close(own, alone, 1e-5)
            cases.assert_close(metrics.loss[n], losses, 1e-5)
