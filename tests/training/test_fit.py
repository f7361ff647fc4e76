"""The training loop: exact resume, records, evaluation, stopping, what is not finite."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqmodels.data.batches import shuffled
from seqmodels.training import loop as loops
from seqmodels.training.checkpointing.checkpoints import Checkpoints
from seqmodels.training.errors import RunError
from seqmodels.training.fit import fit
from seqmodels.training.interruption import Interrupted, Interruption
from seqmodels.training.metrics import MetricsLog
from seqmodels.training.nonfinite import NonFiniteError
from seqmodels.training.optimizers import OptimizerSettings, averaged_params, make_optimizer
from seqmodels.training.parallel.mesh import make_mesh
from seqmodels.training.prefetch import prefetch_dispatches
from seqmodels.training.settings import FitSettings, steps_per_dispatch
from seqmodels.training.state import create_train_state
from seqmodels.training.steps import Loss, make_train_steps, over_seeds
from seqmodels.training.stopping import is_chosen, patience, reached

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X @ [1.0, -2.0, 0.5]).astype(np.float32)
PLAIN = FitSettings(steps=60, steps_per_dispatch=3, log_every=6, eval_every=12)
OPTIMIZER = OptimizerSettings(0.05, steps=60, warmup=6, schedule="cosine", average=0.9)


def init(key):
    return {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())}


def loss(params, batch, key, carry):
    """Noise from the key, and a carry, so that both must be resumed."""
    x, y = batch
    error = x @ params["w"] + params["b"] + 0.1 * jax.random.normal(key, y.shape) - y
    return Loss(jnp.sum(error**2), len(y), {"bias": jnp.sum(error)}, carry + 1)


class Killed(BaseException):
    """Ends training where it stands, as SIGKILL would."""


def run(
    folder=None, settings=PLAIN, optimizer=OPTIMIZER, *, x=X, killed_at=None, saved=None, **more
):
    """Trains; killed at a record, if so asked, after the last save has been written."""
    optax_optimizer = make_optimizer(optimizer)
    train = make_train_steps(loss, optax_optimizer, settings.steps_per_dispatch)
    state = create_train_state(
        init, optax_optimizer, jax.random.key(0), carry=jnp.zeros((), jnp.int32)
    )
    data = shuffled((x, Y), 8, seed=1)

    def evaluate(state):
        params = averaged_params(state.opt_state, state.params, optimizer.average)
        return {"error": jnp.mean((X @ params["w"] + params["b"] - Y) ** 2)}

    def watch(progress):
        if progress.step == killed_at:
            checkpoints.wait()
            raise Killed

    settings = settings._replace(checkpoint_every=0.0 if saved is None else saved)
    arguments = {
        "batches": prefetch_dispatches(data.at, settings.steps_per_dispatch),
        "evaluate": evaluate,
        "watch": watch,
    }
    train = jax.jit(train, donate_argnums=0)
    if folder is None:
        return fit(state, train, settings, **arguments | more)
    with (
        Checkpoints(folder / "checkpoints") as checkpoints,
        MetricsLog(folder / "metrics.jsonl") as log,
    ):
        return fit(
            state, train, settings, checkpoints=checkpoints, log=log, about={"of": "me"},
            **arguments | more,
        )  # fmt: skip


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(_plain(tree))]


def _plain(tree):
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_records_are_means_over_the_steps_between():
    """Against the same steps one by one."""
    optimizer = make_optimizer(OPTIMIZER)
    state = create_train_state(init, optimizer, jax.random.key(0), carry=jnp.zeros((), jnp.int32))
    one = jax.jit(make_train_steps(loss, optimizer, 1))
    data, seen = shuffled((X, Y), 8, seed=1), []
    for step in range(12):
        state, metrics = one(state, jax.tree.map(lambda a: a[None], data.at(step)))
        seen.append((metrics.loss[0], metrics.grad_norm[0], metrics.metrics["bias"][0]))
    shown = []
    done = run(settings=PLAIN._replace(steps=12), watch=shown.append)
    for number, record in enumerate(shown):
        means = np.mean(seen[6 * number : 6 * number + 6], axis=0)
        got = [record.values[name] for name in ("loss", "grad_norm", "bias")]
        np.testing.assert_allclose(got, means, rtol=1e-5)
        assert record.values["step"] == record.step == 6 * number + 6
    assert ["error" in record.values for record in shown] == [False, True]
    np.testing.assert_allclose(done.state.params["w"], state.params["w"], rtol=1e-5)
    assert int(done.state.carry) == 12


@pytest.mark.parametrize("killed_at", [6, 24, 54])
def test_a_killed_run_ends_as_if_nothing_had_been(tmp_path, killed_at):
    alone, again = tmp_path / "alone", tmp_path / "again"
    for folder in (alone, again):
        folder.mkdir()
    want = run(alone)
    with pytest.raises(Killed):
        run(again, killed_at=killed_at)
    got = run(again)
    assert 0 < got.resumed < killed_at + 6
    assert bits(got.state) == bits(want.state)
    assert (again / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()
    assert got.progress.values == want.progress.values
    assert [r["step"] for r in records(again)] == list(range(6, 61, 6))


def test_killed_between_two_records(tmp_path):
    """What was summed up since the last record comes from the checkpoint."""
    alone, again = tmp_path / "alone", tmp_path / "again"
    for folder in (alone, again):
        folder.mkdir()
    settings = PLAIN._replace(log_every=30, eval_every=30)
    run(alone, settings)
    calls = iter(range(7))

    class At:
        """Batches of five dispatches, then the end."""

        def __init__(self, at):
            self._at = at

        def __call__(self, cursor):
            for batch in self._at(cursor):
                if next(calls, None) is None:
                    raise Killed
                yield batch

    batches = At(prefetch_dispatches(shuffled((X, Y), 8, seed=1).at, 3))
    with pytest.raises(Killed):
        run(again, settings, batches=batches)
    assert not records(again)
    got = run(again, settings)
    assert got.resumed in (18, 21)
    assert (again / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()


def test_a_finished_run_is_not_run_again(tmp_path):
    want = run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    got = run(tmp_path, batches=lambda cursor: pytest.fail("asked for a batch"))
    assert got.resumed == 60
    assert bits(got.state) == bits(want.state)
    assert got.progress.values == want.progress.values
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("made", [False, True])
def test_a_killed_run_on_a_mesh(tmp_path, made):
    """Batches and carry are spread over two devices; the carry begins as NumPy's."""
    mesh, optimizer = make_mesh(2, "batch"), make_optimizer(OPTIMIZER)
    data = shuffled((X, Y), 8, seed=1)

    def one(params, batch, key, carry):
        x, y = batch
        error = x @ params["w"] + params["b"] - y + 0.01 * carry
        return Loss(jnp.sum(error**2), len(y), {}, carry + y)

    def train_in(folder, until):
        def watch(progress):
            if progress.step == until:
                checkpoints.wait()
                raise Killed

        sample = {"sample": lambda key: (jax.random.normal(key, (8, 3)), jnp.ones(8))}
        train = make_train_steps(one, optimizer, 3, mesh=mesh, **sample if made else {})
        state = create_train_state(
            init, optimizer, jax.random.key(0), carry=np.zeros(8, np.float32)
        )
        batches = {} if made else {"batches": prefetch_dispatches(data.at, 3)}
        with (
            Checkpoints(folder / "checkpoints") as checkpoints,
            MetricsLog(folder / "metrics.jsonl") as log,
        ):
            return fit(
                state, jax.jit(train, donate_argnums=0), PLAIN._replace(checkpoint_every=0.0),
                checkpoints=checkpoints, log=log, watch=watch, **batches,
            )  # fmt: skip

    for name in ("alone", "again"):
        (tmp_path / name).mkdir()
    want = train_in(tmp_path / "alone", None)
    with pytest.raises(Killed):
        train_in(tmp_path / "again", 24)
    got = train_in(tmp_path / "again", None)
    assert got.resumed == 21
    assert bits(got.state) == bits(want.state)
    assert records(tmp_path / "again") == records(tmp_path / "alone")


def test_other_settings_of_the_loop_are_refused_but_for_more_steps(tmp_path):
    run(tmp_path)
    with pytest.raises(RunError, match="other settings: steps_per_dispatch 3 there, 2 got"):
        run(tmp_path, PLAIN._replace(steps_per_dispatch=2))
    longer = run(tmp_path, PLAIN._replace(steps=72))
    assert (longer.resumed, longer.progress.step) == (60, 72)
    assert [r["step"] for r in records(tmp_path)] == list(range(6, 73, 6))


def test_another_inspection_on_resume_begins_with_a_whole_interval(tmp_path):
    """Interrupted at step 21, between the records of 18 and 24; all steps are clipped by 0.001."""
    names = ("gradients/clipped", "gradients/clip_factor")
    clips = loops.Inspection(lambda state: {}, clip_norm=1e-3)

    def interrupted(progress):
        if progress.step == 18:
            signal.raise_signal(signal.SIGTERM)

    for folder, before, after in (("off-on", None, clips), ("on-off", clips, None)):
        place = tmp_path / folder
        place.mkdir()
        with Interruption() as interruption, pytest.raises(Interrupted):
            run(
                place, PLAIN._replace(steps=36), saved=float("inf"), watch=interrupted,
                interruption=interruption, inspection=before,
            )  # fmt: skip
        run(place, PLAIN._replace(steps=36), inspection=after)
        found = {r["step"]: [r.get(name) for name in names] for r in records(place)}
        assert all((values[0] is None) == (values[1] is None) for values in found.values())
        shares = {step: values[0] for step, values in found.items()}
        on = [6, 12, 18] if before else [30, 36]
        assert shares == {step: 1 if step in on else None for step in range(6, 37, 6)}


def dispatch_of(step):
    data = shuffled((X, Y), 8, seed=1)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *[data.at(step + k) for k in range(3)])


def test_batches_that_end_too_soon():
    with pytest.raises(ValueError, match="batches: got those of 6 steps, expected more"):
        run(batches=lambda cursor: iter([dispatch_of(0), dispatch_of(3)]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_checkpoint_of_this_step(tmp_path, number):
    again, alone = tmp_path / "again", tmp_path / "alone"
    for folder in (alone, again):
        folder.mkdir()
    want = run(alone)
    before = signal.getsignal(number)
    with Interruption() as interruption:

        def watch(progress):
            if progress.step == 18:
                signal.raise_signal(number)

        with pytest.raises(Interrupted, match="interrupted at step 21") as stopped:
            run(again, saved=float("inf"), watch=watch, interruption=interruption)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is before
    got = run(again)
    assert got.resumed == 21
    assert bits(got.state) == bits(want.state)
    assert (again / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()


def test_a_second_ctrl_c_does_not_wait():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal == signal.SIGINT
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_best_is_kept(tmp_path):
    settings = PLAIN._replace(best="error", eval_every=6)
    optimizer = OPTIMIZER._replace(learning_rate=0.5, schedule="constant", average=0.0, warmup=0)
    done = run(tmp_path, settings, optimizer)
    errors = {r["step"]: r["error"] for r in records(tmp_path)}
    best = min(errors, key=errors.get)
    assert best < 60  # else the test shows nothing
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        found = checkpoints.best(done.state)
        assert found.step == best
        assert checkpoints.restore(done.state).step == 60
    x = found.state.params
    assert np.mean((X @ x["w"] + x["b"] - Y) ** 2) == pytest.approx(errors[best], rel=1e-5)


def test_killed_before_the_first_checkpoint(tmp_path):
    """Its records are written once; those of a training before it in the same file stay."""
    alone = tmp_path / "alone"
    alone.mkdir()
    run(alone)
    (tmp_path / "metrics.jsonl").write_text('{"of": "somebody else"}\n')
    with pytest.raises(Killed):
        run(tmp_path, killed_at=24, saved=1e9)
    assert len(records(tmp_path)) == 5
    run(tmp_path, saved=1e9)
    assert records(tmp_path) == [{"of": "somebody else"}, *records(alone)]


@pytest.mark.parametrize(
    ("mode", "values", "chosen"),
    [
        ("max", [[0.0, 1.0], [0.0, 3.0], [0.0, 2.0], [0.0, 3.0]], [0, 1, 3]),
        ("min", [[2.0, 1.0], [2.0, 1.5], [1.0, 9.0]], [0, 2]),
        ("max", [[0.5], [0.5], [0.4], [0.5]], [0, 1, 3]),
        ("max", [[np.nan], [0.5], [np.nan], [0.5]], [1, 3]),
        ("max", [[0.5, np.nan], [0.5, 0.1], [0.5, np.nan]], [0, 1]),
        ("min", [[np.inf], [3.0]], [1]),
    ],
)
def test_the_later_of_equal_parameters_is_chosen(mode, values, chosen):
    best, found = None, []
    for number, value in enumerate(values):
        if is_chosen("error", mode, value, best):
            best = value
            found.append(number)
    assert found == chosen


def test_evaluated_values_are_those_of_process_0(monkeypatch):
    """Another process computes other last digits; it stops when process 0 does."""
    received = []

    def broadcast(value):
        received.append(value)
        return dict.fromkeys(value, 0.25) if isinstance(value, dict) else value

    monkeypatch.setattr(loops.processes, "process_count", lambda: 2)
    monkeypatch.setattr(loops.processes, "broadcast_json", broadcast)
    values = loops._values_of_process_0({"error": jnp.float32(0.1)})
    assert values == {"error": 0.25}
    assert received == [{"error": float(np.float32(0.1))}]


def test_patience_stops_and_resumes(tmp_path):
    rule = patience("error", "min", 2)
    optimizer = OPTIMIZER._replace(learning_rate=1.0, schedule="constant", average=0.0, warmup=0)
    settings = PLAIN._replace(eval_every=6)
    done = run(tmp_path, settings, optimizer, stopping=rule)
    errors = [r["error"] for r in records(tmp_path)]
    best = np.minimum.accumulate(errors)
    since = [n - max(k for k in range(n + 1) if errors[k] == best[k]) for n in range(len(errors))]
    assert since[-1] == 2
    assert max(since[:-1]) < 2
    assert done.progress.step == 6 * len(errors) < 60
    assert bool(done.state.stopped)
    assert run(tmp_path, settings, optimizer, stopping=rule).resumed == done.progress.step


def test_a_metric_that_is_not_there():
    with pytest.raises(ValueError, match="metric: got 'eror', expected one of step, loss, grad_no"):
        run(stopping=reached("eror", 1.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_are_not_finite(tmp_path, value):
    x = X.copy()
    x[17, 2] = value
    numbers = shuffled((np.arange(40), Y), 8, seed=1)
    first = min(cursor for cursor in range(60) if 17 in numbers.at(cursor)[0])
    row = numbers.at(first)[0].tolist().index(17)
    with pytest.raises(NonFiniteError) as error:
        run(tmp_path, x=x)
    message = str(error.value)
    assert message.startswith(f"step {first + 1}: loss {value}, gradient not finite in b, w; ")
    assert message.endswith(
        f"the batch is not finite: batch[0][{row}, 2] is {value}; correct the data"
    )
    assert "\n" not in message
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert all(step <= first for step in checkpoints.steps())


def exploding(params, batch, key, carry):
    """Finite until a step, then not, in one parameter alone."""
    del key, batch
    grown = jnp.where(carry < 7, 10.0**carry, jnp.nan)
    return Loss(jnp.sum(params["b"] * grown) + jnp.sum(params["w"]), 1.0, {}, carry + 1)


def explode(settings, optimizer=OPTIMIZER):
    optimizer = make_optimizer(optimizer)
    state = create_train_state(init, optimizer, jax.random.key(0), carry=jnp.zeros(()))
    train = make_train_steps(exploding, optimizer, 3, sample=lambda key: ())
    return fit(state, jax.jit(train), settings)


def test_a_gradient_that_explodes_is_told_with_what_led_there():
    with pytest.raises(NonFiniteError) as error:
        explode(PLAIN)
    line = str(error.value)
    assert line.startswith("step 8: loss nan, gradient not finite in b; gradient norms of the last")
    assert "1e+03, 1e+04, 1e+05, 1e+06, nan; the gradient grew before: clip it" in line


def test_skipping_leaves_updates_out_and_gives_up_in_the_end():
    settings = PLAIN._replace(on_nonfinite="skip")
    with pytest.raises(
        NonFiniteError, match=r"10 updates in a row left out; step 1[678]: loss nan"
    ):
        explode(settings, OPTIMIZER._replace(skip=True))
    shown = []
    x = X.copy()
    x[3] = np.nan
    done = run(settings=settings, optimizer=OPTIMIZER._replace(skip=True), x=x, watch=shown.append)
    assert sum(one.values["skipped"] for one in shown) == 12  # once an epoch of five batches
    assert all(np.isfinite(one.values["loss"]) for one in shown)
    assert np.all(np.isfinite(done.state.params["w"]))


def test_seeds_stop_and_diverge_one_by_one(tmp_path):
    mesh = make_mesh(2, "seeds")
    optimizer = make_optimizer(OPTIMIZER._replace(skip=True))
    keys = jax.vmap(jax.random.key)(jnp.arange(4))

    def one(params, batch, key, carry):
        """Seed 2 diverges at step 8; the others learn."""
        del batch, key
        bad = jnp.where((carry[0] == 2) & (carry[1] > 6), jnp.nan, 1.0)
        target = carry[0].astype(jnp.float32)
        return Loss(bad * jnp.sum((params["w"] - target) ** 2), 1.0, {}, carry + jnp.array([0, 1]))

    def begin(number, key):
        return create_train_state(
            init, optimizer, key, carry=jnp.array([0, 0]) + number * jnp.array([1, 0])
        )

    state = over_seeds(begin, mesh)(jnp.arange(4), keys)
    train = make_train_steps(one, optimizer, 3, sample=lambda key: ())
    train = over_seeds(train, mesh, donate=(0,))

    def evaluate(state):
        return {"score": jnp.array([0.0, 1.0, 0.0, 0.0])}

    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        done = fit(
            state, train, PLAIN._replace(on_nonfinite="skip"), log=log, evaluate=evaluate,
            stopping=reached("score", 1.0, 2),
        )  # fmt: skip
    assert done.diverged.tolist() == [False, False, True, False]
    assert done.state.stopped.tolist() == [False, True, True, False]
    assert done.progress.values["step"] == [60, 24, 18, 60]
    assert np.isfinite(np.array(done.state.params["w"])).all()
    assert records(tmp_path)[-1]["step"] == [60, 24, 18, 60]
    assert records(tmp_path)[-1]["loss"][1] == records(tmp_path)[4]["loss"][1]


def test_data_that_are_not_finite_for_one_of_several_seeds():
    mesh, optimizer = make_mesh(2, "seeds"), make_optimizer(OPTIMIZER)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))

    def begin(key):
        return create_train_state(init, optimizer, key, carry=jnp.zeros((), jnp.int32))

    state = over_seeds(begin, mesh)(keys)
    train = over_seeds(make_train_steps(loss, optimizer, 3), mesh)
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), dispatch_of(0))
    batch[0][1, 2, 5, 1] = np.nan
    expected = r"step 3 of training 2 of 2: .*: batch\[0\]\[5, 1\] is nan"
    with pytest.raises(NonFiniteError, match=expected):
        fit(state, train, PLAIN, batches=lambda cursor: iter([batch, batch]))


def test_the_last_seed_to_diverge_is_evaluated_still():
    """Skipping, with the evaluations further apart than the records."""
    mesh, optimizer = make_mesh(1, "seeds"), make_optimizer(OPTIMIZER._replace(skip=True))
    keys = jax.vmap(jax.random.key)(jnp.arange(1))

    def broken(params, batch, key, carry):
        return Loss(jnp.nan * jnp.sum(params["w"]), 1.0, {}, carry)

    state = over_seeds(lambda key: create_train_state(init, optimizer, key), mesh)(keys)
    train = over_seeds(make_train_steps(broken, optimizer, 3, sample=lambda key: ()), mesh)
    done = fit(
        state, train, PLAIN._replace(on_nonfinite="skip", eval_every=60),
        evaluate=lambda state: {"score": jnp.ones(1)},
    )  # fmt: skip
    assert done.diverged.tolist() == [True]
    assert done.progress.step < 60
    assert done.progress.values["score"] == [1.0]
    assert np.isnan(done.progress.values["loss"]).all()
    assert np.isfinite(np.array(done.state.params["w"])).all()


@pytest.mark.parametrize(
    ("total", "scale", "finite"),
    [(jnp.inf, 1.0, False), (1.0, 1e20, True), (1.0, jnp.inf, False), (jnp.nan, 0.0, False)],
)
def test_what_counts_as_finite_is_what_is_left_out(total, scale, finite):
    """Of the loss and of the gradient alike; a norm whose squares overflow is finite."""
    optimizer = make_optimizer(OPTIMIZER._replace(skip=True, warmup=0))

    def one(params, batch, key, carry):
        return Loss(total + scale * jnp.sum(params["w"]), 1.0, {}, carry)

    state = create_train_state(init, optimizer, jax.random.key(0))
    new, metrics = jax.jit(make_train_steps(one, optimizer, sample=lambda key: ()))(state)
    assert bool(metrics.finite[0]) is finite
    if not finite:
        np.testing.assert_array_equal(new.params["w"], state.params["w"])
    else:
        assert metrics.grad_norm[0] == pytest.approx(3**0.5 * 1e20, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"steps": 0}, "steps: got 0, expected at least 1"),
        ({"steps": 61}, r"steps: got 61, expected a multiple of steps_per_dispatch \(3\)"),
        ({"log_every": 0}, "log_every: got 0, expected at least 1"),
        ({"eval_every": 9}, r"eval_every: got 9, expected a multiple of log_every \(6\)"),
        ({"on_nonfinite": "go"}, "on_nonfinite: got 'go', expected stop or skip"),
        ({"best_mode": "most"}, "best_mode: got 'most', expected min or max"),
    ],
)
def test_settings_that_cannot_be(change, line):
    with pytest.raises(ValueError, match=line):
        run(settings=PLAIN._replace(**change))


def test_steps_per_dispatch():
    settings = FitSettings(steps=1000, log_every=100, eval_every=200)
    assert [steps_per_dispatch(settings, n) for n in (1, 25, 30, 1000)] == [1, 25, 25, 100]
    assert steps_per_dispatch(settings._replace(steps=997), 25) == 1
