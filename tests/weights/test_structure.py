"""What a cell is found to be, what is refused, and what the written arrays are."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import weights_cases as cases

import seqmodels as sm
from seqmodels.types import Unrolled
from seqmodels.weights.structure import structure_of

D, H = cases.D, cases.H
WRITERS = {
    name: getattr(sm.weights, f"to_{name}")
    for name in ("torch", "keras", "linen", "nnx", "haiku", "equinox")
}


def lstm(input_size=D):
    return sm.lstm(input_size, H)


def summing_pair():
    """A cell of a user's own that looks like a pair of directions, and adds their outputs."""
    pair = sm.bidirectional(lstm(), lstm())

    def unroll(run, call):
        full = pair.unroll(run, call)
        return full._replace(ys=sum(jnp.split(full.ys, 2, axis=-1)))

    return pair._replace(unroll=unroll)


def swapped_stack():
    """A cell of a user's own with the parameters of a stack, which runs it from above."""
    cells = lstm(H), lstm(H)
    stack = sm.stack(cells)

    def unroll(run, call):
        xs, layers = call.xs, []
        for n in (1, 0):
            inner = call._replace(cell=cells[n], params=call.params[n], state=call.state[n], xs=xs)
            layers.append(run(inner))
            xs = layers[-1].ys
        return Unrolled(tuple(layer.final_state for layer in layers[::-1]), xs, None, None)

    return stack._replace(unroll=unroll)


def no_counterparts():
    return {
        "not a cell": 3,
        "mgu": sm.mgu(D, H),
        "min_gru": sm.min_gru(D, H),
        "lru": sm.lru(D, H),
        "residual": sm.residual(lstm(H)),
        "residual of other sizes": sm.residual(lstm()),
        "residual in a stack": sm.stack([lstm(), sm.residual(lstm(H))]),
        "pair of stacks": sm.bidirectional(
            sm.stack([lstm(), lstm(H)]), sm.stack([lstm(), lstm(H)])
        ),
        "pair of pairs": sm.bidirectional(sm.bidirectional(lstm(), lstm()), lstm()),
        "summing pair": summing_pair(),
        "swapped stack": swapped_stack(),
    }


@pytest.mark.parametrize("name", list(no_counterparts()))
def test_cells_without_a_counterpart(name):
    cell = no_counterparts()[name]
    with pytest.raises(TypeError, match=r"^from_keras: cell: got ") as error:
        sm.weights.from_keras([], cell)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("framework", "cell", "message"),
    [
        ("torch", sm.gru(D, H), "got sm.gru, which torch lacks"),
        ("torch", sm.rnn(D, H, activation=jnp.sin), "which torch lacks"),
        ("linen", sm.gru(D, H), "got sm.gru, which linen lacks"),
        ("nnx", sm.gru(D, H), "got sm.gru, which nnx lacks"),
        ("haiku", sm.gru(D, H, reset_after=True), r"got sm.gru\(reset_after=True\), which haiku"),
        ("haiku", sm.rnn(D, H), "got sm.rnn, which haiku lacks"),
        ("equinox", sm.rnn(D, H), "got sm.rnn, which equinox lacks"),
        ("equinox", sm.gru(D, H), "got sm.gru, which equinox lacks"),
    ],
)
def test_cells_that_one_framework_lacks(framework, cell, message):
    with pytest.raises(TypeError, match=message):
        WRITERS[framework](cases.params_of(cell), cell)


def test_what_is_found():
    inner = sm.dropout(sm.dropout(sm.gru(2 * H, H), 0.1, recurrent=True), 0.2)
    pair = sm.bidirectional(lstm(), sm.dropout(sm.rnn(D, H, activation=jax.nn.relu), 0.3))
    found = structure_of(sm.stack([pair, sm.dropout(sm.stack([inner, lstm(H)]), 0.1)]))
    kinds = [[leaf.kind for leaf in layer] for layer in found.layers]
    assert kinds == [["lstm", "rnn"], ["gru"], ["lstm"]]
    assert found.leaves[1].activation == "relu"
    assert found.is_stack
    assert not structure_of(lstm()).is_stack


@pytest.mark.parametrize("framework", list(WRITERS))
def test_params_of_another_cell(framework):
    cell = cases.make_cell("lstm", 2)
    params = cases.params_of(cell)
    wrong = (params[0]._replace(b=jnp.zeros(5)), params[1])
    with pytest.raises(ValueError, match=r"params: 0\.b: got \(5,\), expected \(12,\)$"):
        WRITERS[framework](wrong, cell)
    with pytest.raises(ValueError, match=r"params: "):
        WRITERS[framework](list(params), cell)
    with pytest.raises(ValueError, match=r"1\.w_x: got nothing, expected \(3, 12\)"):
        WRITERS[framework](params[:1], cell)


@pytest.mark.parametrize("framework", list(WRITERS))
def test_written_arrays_are_new(framework):
    cell = cases.make_cell("lstm", 2, 2, param_dtype=jnp.bfloat16)
    params = jax.tree.map(np.asarray, cases.params_of(cell))
    arrays = jax.tree.leaves(WRITERS[framework](params, cell))
    for number, array in enumerate(arrays):
        assert isinstance(array, np.ndarray)
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.dtype == ml_dtypes.bfloat16
        others = [*arrays[:number], *jax.tree.leaves(params)]
        assert not any(np.shares_memory(array, other) for other in others)


@pytest.mark.parametrize("framework", list(WRITERS))
def test_parameters_share_no_memory_with_what_was_read(framework):
    cell = cases.make_cell("lstm")
    written = WRITERS[framework](cases.params_of(cell), cell)
    params = getattr(sm.weights, f"from_{framework}")(written, cell)
    before = jax.tree.map(np.array, params)
    for array in jax.tree.leaves(written):
        array[...] = 7
    cases.assert_same_bits(params, before)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_arrays_are_cast_to_the_cells_dtype(dtype):
    cell = cases.make_cell("lstm")
    arrays = [np.arange(a.size).reshape(a.shape).astype(dtype) for a in
              sm.weights.to_keras(cases.params_of(cell), cell)]  # fmt: skip
    params = sm.weights.from_keras(arrays, cell)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(params.w_h, arrays[1].astype(np.float32))


def test_sums_are_taken_in_the_wider_dtype():
    cell = cases.make_cell("rnn")
    arrays = sm.weights.to_torch(cases.params_of(cell), cell)
    arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
    arrays["bias_ih_l0"][:], arrays["bias_hh_l0"][:] = 2048, 1
    np.testing.assert_array_equal(sm.weights.from_torch(arrays, cell).b, 2049)


def test_not_a_container():
    with pytest.raises(TypeError, match="from_torch: state_dict: got a list, expected a mapping"):
        sm.weights.from_torch([], lstm())
    with pytest.raises(TypeError, match="from_keras: arrays: got a dict, expected a list or a tup"):
        sm.weights.from_keras({}, lstm())


def test_nothing_is_imported():
    code = (
        "import sys, numpy as np, seqmodels as sm\n"
        "cell = sm.stack([sm.lstm(2, 3), sm.lstm(3, 3)])\n"
        "params = cell.init(__import__('jax').random.key(0))\n"
        "for name in ('torch', 'keras', 'linen', 'nnx', 'haiku', 'equinox'):\n"
        "  written = getattr(sm.weights, f'to_{name}')(params, cell)\n"
        "  getattr(sm.weights, f'from_{name}')(written, cell)\n"
        "peers = {'torch', 'keras', 'flax', 'haiku', 'equinox', 'onnx', 'onnxruntime'}\n"
        "assert not peers & {*sys.modules}, peers & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
