"""Checkpoints: exact, proven, of the right run, and as many as are to be kept."""

import asyncio
import math
import os
import pathlib
import re
import shutil
import threading
import time
from typing import NamedTuple

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from seqmodels.training.checkpointing import array_files, manifest
from seqmodels.training.checkpointing.checkpoints import Checkpoints
from seqmodels.training.parallel.mesh import make_mesh


class Params(NamedTuple):
    w: object
    b: object


def same(got, want):
    """Structure, type, shape, dtype and bits."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        if jnp.issubdtype(theirs.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(ours) == jax.random.key_impl(theirs)
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        else:
            assert isinstance(ours, np.ndarray)
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def simple(value):
    return {"w": np.full(3, value, np.float32), "n": np.array(value)}


def line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def everything():
    mesh = make_mesh(4, "data")
    spread = NamedSharding(mesh, PartitionSpec("data"))
    copied = NamedSharding(mesh, PartitionSpec())
    params = Params({"a/c/0": jnp.arange(6.0).reshape(2, 3), "": jnp.array(2.5)}, [None, ()])
    nans = np.array([0x7FC00001, 0xFF800001, 0x80000000, 0x00000001], np.uint32).view(np.float32)
    return {
        "params": params,
        "optimizer": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(params),
        "nothing": None,
        "empty": optax.EmptyState(),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), (2, 3)),
        "no keys": jax.random.split(jax.random.key(5), 4)[:0],
        "old key": jax.random.PRNGKey(6),
        "bfloat16": jnp.array([1.5, -0.0, jnp.nan], jnp.bfloat16),
        "float8": np.array([1.5, -0.0], jnp.float8_e4m3fn),
        "int4": np.array([-8, 7], jnp.int4),
        "uint4": np.array([15, 0, 3], jnp.uint4),
        "another float8": np.array([[0.5], [-2]], jnp.float8_e4m3),
        "bits": nans,
        "zeros": np.zeros((3, 3)),
        "bool": np.array([True, False]),
        "int64": np.array(2**62 + 1),
        "scalar": np.int64(-(2**62) - 1),
        "uint8": np.arange(5, dtype=np.uint8),
        "complex": np.array([1 + 2j, complex(math.nan, -0.0)], np.complex64),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "view": np.arange(12)[::-3],
        "no rows": jnp.zeros((0, 5), jnp.bfloat16),
        "spread": jax.device_put(jnp.arange(8.0), spread),
        "copied": jax.device_put(jnp.arange(3, dtype=jnp.int8), copied),
        "spread keys": jax.device_put(jax.random.split(jax.random.key(7), 4), spread),
    }


def test_everything_comes_back_exactly(tmp_path):
    state = everything()
    before = jax.tree.map(np.array, {k: v for k, v in state.items() if "key" not in k})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(state) is None
        checkpoints.save(7, state, {})
        found = checkpoints.restore(state)
    assert (found.step, found.progress) == (7, {})
    same(found.state, state)
    same(jax.tree.map(np.array, {k: v for k, v in state.items() if "key" not in k}), before)
    # A template without arrays, in another process as it were.
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), state)
    same(Checkpoints(tmp_path, writes=False).restore(shapes).state, state)
    # What comes back can be placed and used, also written to.
    jax.block_until_ready(jax.device_put(found.state, jax.devices()[1]))
    found.state["zeros"][0] = 1


def test_a_state_that_is_one_array_and_one_without_any(tmp_path):
    for n, state in enumerate([np.arange(3), (), {"a": None}, np.zeros((2, 0)), jax.random.key(1)]):
        with Checkpoints(tmp_path / str(n)) as checkpoints:
            checkpoints.save(0, state, {})
            same(checkpoints.restore(state).state, state)


DTYPES = ["bool", "int8", "uint16", "int32", "uint64", "float16", "bfloat16", "float32", "float64"]
DTYPES += ["complex128", "float8_e5m2", "uint4", "int2"]


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_any_bits_of_any_dtype_come_back(tmp_path_factory, data):
    shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
    state = {}
    for name, shape in data.draw(st.dictionaries(st.text(max_size=3), shapes, max_size=4)).items():
        dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
        size = math.prod(shape) * dtype.itemsize
        raw = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
        # Other bytes are no truth values, and have bits that no small integer has.
        raw = raw & 1 if dtype.name in ("bool", "uint4", "int2") else raw
        state[name] = raw.view(dtype).reshape(shape)
    with Checkpoints(tmp_path_factory.mktemp("any")) as checkpoints:
        checkpoints.save(1, state, {})
        same(checkpoints.restore(state).state, state)


def test_what_was_saved_stays_when_its_buffers_are_donated_or_written_to(tmp_path):
    """Were the copy the buffer itself, it could not be donated, or would be overwritten."""
    step = jax.jit(lambda a: a * 2, donate_argnums=0)
    state, ours = jnp.arange(100_000.0), np.zeros(100_000)
    with Checkpoints(tmp_path, keep=10) as checkpoints:
        for n in range(6):
            before = state
            checkpoints.save(n, {"a": state, "ours": ours}, {})
            state = step(state)
            assert before.is_deleted()
            ours += 1
    for n in reversed(range(6)):
        found = Checkpoints(tmp_path, writes=False).restore({"a": state, "ours": ours})
        assert found.step == n
        assert (found.state["ours"] == n).all()
        assert (found.state["a"] == np.arange(1e5) * 2.0**n).all()
        shutil.rmtree(tmp_path / str(n))


def test_another_byte_order_becomes_that_of_this_machine(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, [np.arange(4, dtype=">f8"), np.arange(3, dtype="<i4")], {})
        got = checkpoints.restore([np.zeros(4), np.zeros(3, np.int32)]).state
    same(got, [np.arange(4.0), np.arange(3, dtype=np.int32)])


@hypothesis.given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_progress_comes_back_exactly(tmp_path_factory, value):
    folder = tmp_path_factory.getbasetemp() / "progress"
    folder.mkdir(exist_ok=True)
    progress = manifest.normalize_json_object("progress", {"value": value})
    written = manifest.Manifest(3, True, {}, progress, (), {}, {})
    manifest.write_manifest(folder, written)
    got = manifest.read_manifest(folder)
    # repr, because NaN differs from itself and 0 and 1 equal False and True.
    assert repr(got.progress["value"]) == repr(value)
    assert got._replace(progress=None) == written._replace(progress=None)


def test_progress_keeps_infinities_and_numpy_floats(tmp_path):
    progress = {"a": [math.inf, -math.inf, math.nan, -0.0, 0.1 + 0.2], "b": (np.float64(0.1), 1)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, simple(1), progress)
        progress["a"].clear()
        got = checkpoints.restore(simple(0)).progress
    assert repr(got) == f"{{'a': [inf, -inf, nan, -0.0, {0.1 + 0.2!r}], 'b': [0.1, 1]}}"


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ({"a": {"b": np.zeros(2)}}, "progress['a']['b']: got ndarray, expected a value of JSON"),
        ({"a": [np.float32(1)]}, "progress['a'][0]: got float32, expected a value of JSON"),
        ({1: 2}, "progress: got the key 1, expected text for every key"),
        ([1], "progress: got list, expected a dict"),
    ],
)
def test_progress_that_is_not_json(tmp_path, progress, text):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="progress") as error:
            checkpoints.save(1, simple(1), progress)
        assert line(error) == text
        assert checkpoints.restore(simple(0)) is None


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"a": 1.5}, "state['a']: got float, expected a JAX or NumPy array of numbers"),
        ({"a": np.array(["x"])}, "state['a']: got an array of <U1, expected a JAX or NumPy"),
        (Params(np.array([None]), None), "state.w: got an array of object, expected"),
        ([np.zeros(1, np.longdouble)], "state[0]: got an array of float128, expected"),
        ([np.zeros(1, [("f", int)])], "state[0]: got an array of [('f', '<i8')], expected"),
    ],
)
def test_states_that_cannot_be_saved(tmp_path, state, text):
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(ValueError, match=re.escape(text)) as error,
    ):
        checkpoints.save(1, state, {})
    line(error)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="keep: got 0, expected a positive number"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(ValueError, match=r"settings\['a'\]: got set, expected a value of JSON"):
        Checkpoints(tmp_path, settings={"a": {1}})
    (tmp_path / "file").write_text("keep")
    with pytest.raises(ValueError, match=r"checkpoints: .*/file cannot be written: File exists"):
        Checkpoints(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep"
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="got step -1, expected one that is not negative"):
        checkpoints.save(-1, simple(1), {})
    checkpoints.close()
    checkpoints.close()
    with pytest.raises(ValueError, match=r"checkpoints: .* is closed"):
        checkpoints.save(1, simple(1), {})


def test_another_run_is_not_continued(tmp_path):
    settings = {"hidden": 64, "task": "sky", "rate": math.nan, "sizes": (1, 2), "old": None}
    with Checkpoints(tmp_path / "c", settings=settings) as checkpoints:
        checkpoints.save(300, simple(1), {})
    same_again = {**dict(reversed(settings.items())), "sizes": [1, 2]}
    assert Checkpoints(tmp_path / "c", settings=same_again, writes=False).restore(simple(0))
    other = {"hidden": 128, "task": "copy", "rate": math.nan, "sizes": (1, 2), "new": True}
    with pytest.raises(ValueError, match="another run") as error:
        Checkpoints(tmp_path / "c", settings=other, writes=False).restore(simple(0))
    assert line(error) == (
        f"checkpoints: {tmp_path}/c/300 is of another run: hidden 64 there, 128 got; new nothing "
        "there, True got; old None there, nothing got; task 'sky' there, 'copy' got"
    )
    with pytest.raises(ValueError, match=r"hidden 64 there, 64\.0 got"):
        Checkpoints(tmp_path / "c", settings={**settings, "hidden": 64.0}).restore(simple(0))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ({"w": np.zeros(4, np.float32), "n": np.array(1)}, "['w']: float32[3] there, float32[4] "),
        ({"w": np.zeros(3, np.float16), "n": np.array(1)}, "['w']: float32[3] there, float16[3] "),
        ({"w": np.zeros(3, np.float32)}, "['n']: int64[] there, nothing "),
        ({**simple(1), "x": np.zeros(1)}, "['x']: nothing there, float64[1] "),
        ({**simple(1), "n": None}, "['n']: int64[] there, nothing "),
        ({**simple(1), "n": jax.random.key(0)}, "['n']: int64[] there, key<fry>[] "),
        (np.zeros(3), "the array: nothing there, float64[3] "),
    ],
)
def test_another_state_is_not_continued(tmp_path, template, text):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(300, simple(1), {})
        with pytest.raises(ValueError, match="another state") as error:
            checkpoints.restore(template)
    assert line(error) == f"checkpoints: {tmp_path}/300 is of another state: {text}expected"


def test_keys_of_another_implementation_are_another_state(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"k": jax.random.key(0, impl="rbg")}, {})
        with pytest.raises(ValueError, match=r"'k'\]: key<rbg>\[\] there, key<urbg>\[\] expected"):
            checkpoints.restore({"k": jax.random.key(0, impl="unsafe_rbg")})


def spoil(path, how):
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "longer":
        path.write_bytes(data + b"\0")
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["missing", "truncated", "longer", "flipped"])
def test_any_damage_to_any_file_is_found(tmp_path, how):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(200, simple(2), {"n": 2})
        checkpoints.save(300, simple(3), {"n": 3})
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "c" / "300", kept)
    names = [path.relative_to(kept) for path in files_of(kept)]
    assert len(names) > 3
    assert pathlib.Path("manifest.json") in names
    for name in names:
        spoil(tmp_path / "c" / "300" / name, how)
        lines = []
        found = Checkpoints(tmp_path / "c", writes=False, report=lines.append).restore(simple(0))
        assert (found.step, found.progress, len(lines)) == (200, {"n": 2}, 1), name
        same(found.state, simple(2))
        reasons = {
            "missing": "No such file or directory",
            "flipped": "its contents have changed",
            "truncated": "bytes there, ",
            "longer": "bytes there, ",
        }
        reason = reasons[how] if name.name != "manifest.json" else name.name
        assert lines[0].startswith(f"checkpoints: {tmp_path}/c/300 is damaged ({name}: ")
        assert lines[0].endswith("); using step 200")
        assert reason in lines[0]
        shutil.copyfile(kept / name, tmp_path / "c" / "300" / name)
    assert Checkpoints(tmp_path / "c", writes=False).restore(simple(0)).step == 300


def test_any_flipped_byte_of_a_manifest_is_found_or_harmless(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, simple(3), {"n": 3, "text": "é", "x": [math.inf, 0.1]})
    want = manifest.read_manifest(tmp_path / "3")
    data = (tmp_path / "3" / "manifest.json").read_bytes()
    found = 0
    for n in range(len(data)):
        flipped = data[n] ^ (1, 4, 128)[n % 3]
        (tmp_path / "3" / "manifest.json").write_bytes(data[:n] + bytes([flipped]) + data[n + 1 :])
        try:
            assert manifest.read_manifest(tmp_path / "3") == want
        except manifest.DamageError:
            found += 1
    assert found > len(data) / 2


def test_where_all_are_damaged_none_is_begun_anew(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (200, 300):
            checkpoints.save(step, simple(step), {})
    for step in (200, 300):
        spoil(tmp_path / str(step) / "manifest.json", "flipped")
    before = files_of(tmp_path)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="none is left") as error:
            checkpoints.restore(simple(0))
        text = line(error)
        assert text.index("/300 is damaged (manifest.json") < text.index("/200 is damaged (manife")
        with pytest.raises(ValueError, match="none is left"):
            checkpoints.best(simple(0))
    assert files_of(tmp_path) == before


def test_one_under_the_name_of_another_step_is_not_believed(tmp_path):
    lines = []
    with Checkpoints(tmp_path, report=lines.append) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, simple(step), {})
        checkpoints.wait()
        (tmp_path / "2").rename(tmp_path / "3")
        assert checkpoints.restore(simple(0)).step == 1
    assert lines == [
        f"checkpoints: {tmp_path}/3 is damaged (manifest.json: it is that of step 2); using step 1"
    ]


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Checkpoints(tmp_path / "file", writes=False).restore(simple(0))


def test_a_damaged_one_stays_and_is_not_in_the_way(tmp_path):
    lines = []
    for name in ("300.damaged", "300.damaged.2"):
        for step in ("250", "300"):
            shutil.rmtree(tmp_path / step, ignore_errors=True)
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            checkpoints.save(200, simple(2), {})
        (tmp_path / "300").mkdir()
        (tmp_path / "300" / "mine").write_text(name)
        with Checkpoints(tmp_path, keep=2, report=lines.append) as checkpoints:
            assert checkpoints.restore(simple(0)).step == 200
            checkpoints.save(250, simple(25), {})
            checkpoints.wait()
            # It does not count as one of those to keep, nor is it deleted.
            assert checkpoints.steps() == [200, 250, 300]
            checkpoints.save(300, simple(3), {})
            same(checkpoints.restore(simple(0)).state, simple(3))
            assert checkpoints.steps() == [250, 300]
        assert (tmp_path / name / "mine").read_text() == name
    assert (tmp_path / "300.damaged" / "mine").read_text() == "300.damaged"
    assert len(lines) == 2


def test_a_clock_that_went_backwards(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, simple(1), {}, best=True)
    path = tmp_path / "1" / "manifest.json"
    checkpoints = Checkpoints(tmp_path, writes=False)
    for ahead in (-1e6, 0, 250):
        os.utime(path, (0, time.time() + ahead))
        assert checkpoints.restore(simple(0)).step == 1
    os.utime(path, (0, time.time() + 7200.5))
    before = path.stat().st_mtime_ns
    for restore in (checkpoints.restore, checkpoints.best):
        with pytest.raises(ValueError, match="future") as error:
            restore(simple(0))
        assert re.fullmatch(
            rf"checkpoints: {path} was written [12]:[05]\d:\d\d in the future of this machine's "
            r"clock; set the clock, or if the clock is right: touch that file",
            line(error),
        )
    assert path.stat().st_mtime_ns == before
    path.touch()
    assert checkpoints.restore(simple(0)).step == 1


@hypothesis.settings(max_examples=6, deadline=None, derandomize=True)
@hypothesis.given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), min_size=2, max_size=6),
)
def test_the_newest_and_the_best_stay(tmp_path_factory, keep, saves):
    folder = tmp_path_factory.mktemp("keep")
    checkpoints, step, all_steps, best_step = Checkpoints(folder, keep=keep), 0, [], None
    for increase, best, restarted in saves:
        if restarted:
            checkpoints.close()
            checkpoints = Checkpoints(folder, keep=keep)
        step += increase
        checkpoints.save(step, simple(step), {}, best=best)
        checkpoints.wait()
        all_steps.append(step)
        best_step = step if best else best_step
        assert checkpoints.steps() == sorted({*all_steps[-keep:]} | {best_step} - {None})
        found = checkpoints.best(simple(0))
        assert (found and found.step) == best_step
        assert checkpoints.restore(simple(0)).step == step
    checkpoints.close()


def test_the_order_is_that_of_steps_not_of_names_or_dates(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (9, 10, 100):
            checkpoints.save(step, simple(step), {})
        checkpoints.wait()
        os.utime(tmp_path / "9" / "manifest.json")
        os.utime(tmp_path / "100" / "manifest.json", (0, 0))
        for name in ("011", "12x", "-5", "tmp"):
            (tmp_path / name).mkdir()
        (tmp_path / "200").write_text("a file")
        assert checkpoints.steps() == [9, 10, 100]
        assert checkpoints.restore(simple(0)).step == 100
        checkpoints.save(101, simple(101), {})
    assert checkpoints.steps() == [10, 100, 101]
    assert (tmp_path / "011").exists()


def test_one_written_below_the_newest_is_not_deleted_at_once(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(5, simple(5), {})
        checkpoints.save(2, simple(2), {})
    assert checkpoints.steps() == [2, 5]


def test_the_same_step_again_replaces_it_and_stays_the_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, simple(1), {}, best=True)
        checkpoints.save(1, simple(10), {"again": True})
        found = checkpoints.best(simple(0))
    assert found.progress == {"again": True}
    same(found.state, simple(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "1"]


def test_a_best_one_that_is_damaged_is_told(tmp_path):
    lines = []
    with Checkpoints(tmp_path, keep=5, report=lines.append) as checkpoints:
        for step, best in [(1, True), (2, True), (3, False)]:
            checkpoints.save(step, simple(step), {}, best=best)
        checkpoints.wait()
        spoil(files_of(tmp_path / "2" / "arrays")[0], "flipped")
        assert checkpoints.best(simple(0)).step == 1
    assert len(lines) == 1
    assert re.search(r"/2 is damaged \(arrays/.*\); using step 1", lines[0])


def test_a_busy_writer_is_waited_for(tmp_path, monkeypatch):
    go_on = threading.Event()
    real = array_files.write_arrays

    def slow(*arguments):
        assert go_on.wait(60)
        real(*arguments)

    monkeypatch.setattr(array_files, "write_arrays", slow)
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        checkpoints.save(1, simple(1), {})
        assert checkpoints.steps() == []
        threading.Timer(0.2, go_on.set).start()
        checkpoints.save(2, simple(2), {})
        assert go_on.is_set()
        assert checkpoints.steps()[:1] == [1]
    assert checkpoints.steps() == [1, 2]


def test_a_process_that_does_not_write_changes_nothing(tmp_path):
    reader = Checkpoints(tmp_path / "c", writes=False)
    reader.save(1, {"not even": "arrays"}, {})
    assert reader.restore(simple(0)) is None
    assert reader.steps() == []
    reader.close()
    assert not (tmp_path / "c").exists()
    (tmp_path / "c" / ".1.partial").mkdir(parents=True)
    Checkpoints(tmp_path / "c", writes=False).close()
    assert (tmp_path / "c" / ".1.partial").exists()


def test_it_is_silent_and_works_beside_an_event_loop(tmp_path, capfd):
    async def main():
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, simple(1), {})
            return checkpoints.restore(simple(0))

    same(asyncio.run(main()).state, simple(1))
    assert capfd.readouterr() == ("", "")
