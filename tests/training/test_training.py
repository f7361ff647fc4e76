"""Optimiser steps, seeds over devices, run folders."""

import json

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqmodels as sm
from seqmodels.training.losses import cross_entropy, squared_error
from seqmodels.training.mesh import data_parallel, largest_divisor, make_mesh, place, use_devices
from seqmodels.training.run_folder import RunFolder
from seqmodels.training.steps import adam, make_train_steps, over_seeds, start


def init(key):
    return {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())}


def loss(params, key):
    x = jax.random.normal(key, (8, 3))
    return jnp.mean((x @ params["w"] + params["b"] - (x[:, 0] - 2)) ** 2)


def test_steps_equal_a_python_loop_over_optax():
    optimizer = adam(0.1, clip_norm=1.0, warmup_steps=3)
    state = start(init, optimizer, jax.random.key(0))
    got, metrics = make_train_steps(loss, optimizer, 5)(state)
    params, opt_state = state.params, state.opt_state
    for step in range(5):
        key = jax.random.fold_in(state.key, step)
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(params, updates)
        assert metrics.loss[step] == pytest.approx(float(value), rel=1e-5)
        assert metrics.grad_norm[step] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-5)
    cases.assert_close(got.params, params)
    assert got.step == 5


def test_warmup_starts_at_nothing_and_no_warmup_does_not():
    for warmup, moves in [(0, True), (5, False)]:
        optimizer = adam(0.1, 1.0, warmup)
        state = start(init, optimizer, jax.random.key(0))
        first, _ = make_train_steps(loss, optimizer, 1)(state)
        assert bool(np.any(first.params["w"] != state.params["w"])) is moves


def test_it_learns():
    optimizer = adam(0.05, 10.0)
    state, metrics = make_train_steps(loss, optimizer, 400)(
        start(init, optimizer, jax.random.key(0))
    )
    assert metrics.loss[-1] < 1e-3 < 1 < metrics.loss[0]
    cases.assert_close(state.params, {"b": jnp.array(-2.0), "w": jnp.array([1.0, 0.0, 0.0])}, 0.05)


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_seeds_do_not_touch_each_other(num_devices):
    optimizer = adam(0.1, 1.0)
    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    mesh = make_mesh(num_devices, "seeds")
    state = over_seeds(lambda key: start(init, optimizer, key), mesh)(keys)
    train = make_train_steps(loss, optimizer, 3)
    together, _ = over_seeds(train, mesh)(state)
    for n in range(4):
        alone, _ = train(start(init, optimizer, keys[n]))
        cases.assert_close(jax.tree.map(lambda a, n=n: a[n], together.params), alone.params)


def test_losses():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    want = -(np.log(0.25) + np.log(0.8)) / 2
    assert cross_entropy(logits, jnp.array([2, 1])) == pytest.approx(want, rel=1e-6)
    assert squared_error(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])) == pytest.approx(2.0)


def test_devices():
    # The four devices of the tests have started already, so use_devices can only count them.
    assert use_devices(4) == 4
    assert use_devices("3") == 3
    assert use_devices("auto") == 4
    with pytest.raises(ValueError, match="devices: given 5, wanted at most the 4 there are"):
        use_devices(5)
    assert [largest_divisor(6, n) for n in (1, 2, 4, 9)] == [1, 2, 3, 6]


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "2.5", ""])
def test_devices_that_are_no_number(wrong):
    with pytest.raises(ValueError, match=r"devices: given .*, wanted auto or a positive number"):
        use_devices(wrong)


def test_run_folder(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    folder.append_metrics({"loss": float("nan"), "x": [1.0, float("inf")]})
    folder.append_metrics({"loss": 1})
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"loss": None, "x": [1.0, None]}, {"loss": 1}]
    folder.write_json("results.json", {"a": (1, 2)})
    (folder.path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match=r"already holds a run .*; give another name, or --over"):
        RunFolder(folder.path)
    assert json.loads((folder.path / "results.json").read_text()) == {"a": [1, 2]}
    RunFolder(folder.path, overwrite=True)
    assert not (folder.path / "results.json").exists()
    assert (folder.path / "mine.txt").read_text() == "keep"


def test_run_folder_that_cannot_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("keep")
    for path in (file, file / "below"):
        with pytest.raises(ValueError, match=r"run_dir: .* cannot be written: "):
            RunFolder(path)
    assert file.read_text() == "keep"


@pytest.mark.parametrize("method", ["scan", sm.fused(chunk=4), sm.chunked(segment=4), sm.newton()])
@pytest.mark.parametrize("num_steps", [8, 7])
def test_any_number_of_devices_gives_the_same(method, num_steps):
    """Loss and every gradient on 1, 2 and 4 devices, with lengths, resets and a learned state."""
    cell = sm.lstm(cases.D, cases.H, learn_initial_state=True)
    params, xs = cases.params_of(cell), cases.inputs((4,), num_steps)
    resets = jnp.zeros((num_steps, 4), bool).at[3].set(True)
    lengths = jnp.array([num_steps, 0, 3, 5])

    def one(params, xs, lengths, resets):
        run = {"lengths": lengths, "resets": resets, "method": method}
        return jnp.mean(sm.unroll(cell, params, xs, **run)[1] ** 2)

    want = jax.value_and_grad(one)(params, xs, lengths, resets)
    for devices in (1, 2, 4):
        mesh = make_mesh(devices, "batch")
        step = jax.jit(data_parallel(one, mesh, batch_axes=(1, 0, 1)))
        arguments = place(xs, mesh, 1), place(lengths, mesh, 0), place(resets, mesh, 1)
        got = step(place(params, mesh, None), *arguments)
        cases.assert_close(got, want, 1e-6)


def test_what_the_devices_cannot_share_is_named():
    step = data_parallel(lambda p, xs: jnp.mean(p * xs), make_mesh(4, "batch"), batch_axes=(1,))
    with pytest.raises(ValueError, match="batch: given 6 rows, wanted a multiple of the 4 devices"):
        step(jnp.ones(()), jnp.ones((3, 6)))
    with pytest.raises(ValueError, match="batch_axes: given 1, wanted one for each of the 2 arg"):
        step(jnp.ones(()), jnp.ones((3, 4)), jnp.ones(4))
