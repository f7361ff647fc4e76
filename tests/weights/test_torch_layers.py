"""Weights of torch: outputs, lengths and states as torch.nn has them, there and back."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights_cases as cases

import seqmodels as sm
from seqmodels.cells import LSTMState

_path = __file__.replace("test_torch_layers.py", "torch_layers.py")
_spec = importlib.util.spec_from_file_location("torch_layers", _path)
torch_layers = sys.modules["torch_layers"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(torch_layers)
KINDS, STORED_DEPTHS = torch_layers.KINDS, torch_layers.STORED_DEPTHS


def load(kind, depth, source):
    if source == "live":
        pytest.importorskip("torch")
        return torch_layers.layers_of(kind, *depth)
    if depth not in STORED_DEPTHS:
        pytest.skip("not stored")
    start = f"{kind}_{depth[0]}_{depth[1]}/"
    with np.load(torch_layers.STORED) as stored:
        return {name.removeprefix(start): stored[name] for name in stored if name.startswith(start)}


def state_dict_of(arrays):
    start = "weights/"
    return {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}


@pytest.mark.parametrize("source", ["stored", "live"])
@pytest.mark.parametrize("depth", cases.depths())
@pytest.mark.parametrize("kind", KINDS)
def test_equals_torch(kind, depth, source):
    arrays = load(kind, depth, source)
    state_dict, cell = state_dict_of(arrays), cases.make_cell(kind, *depth)
    params = sm.weights.from_torch(state_dict, cell)
    final, ys = cases.outputs(cell, params, arrays["xs"], np.array(torch_layers.LENGTHS))
    np.testing.assert_allclose(ys, arrays["padded"], rtol=0, atol=1e-5)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(final)]  # h, or h, c of each cell
    step = 2 if kind == "lstm" else 1
    np.testing.assert_allclose(np.stack(leaves[::step]), arrays["final_h"], rtol=0, atol=1e-5)
    if kind == "lstm":
        np.testing.assert_allclose(np.stack(leaves[1::2]), arrays["final_c"], rtol=0, atol=1e-5)
    written = sm.weights.to_torch(params, cell)
    assert list(written) == list(state_dict)
    cases.assert_same_bits(sm.weights.from_torch(written, cell), params)
    for name, array in state_dict.items():
        if name.startswith("weight"):
            cases.assert_same_bits(written[name], array)


def test_torch_runs_what_is_written():
    torch = pytest.importorskip("torch")
    cell = cases.make_cell("gru_after", 2, 2)
    params = cases.params_of(cell)
    module = torch_layers.module_of("gru_after", 2, 2)
    arrays = sm.weights.to_torch(params, cell)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    with torch.no_grad():
        ys = module(torch.from_numpy(cases.inputs()))[0].numpy()
    cases.assert_equals(cell, params, ys)


def test_a_module_that_trains_on_does_not_change_our_parameters():
    torch = pytest.importorskip("torch")
    module, cell = torch_layers.module_of("lstm", 1, 1), cases.make_cell("lstm")
    params = sm.weights.from_torch(module.state_dict(), cell)
    before = jax.tree.map(np.array, params)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7)
    cases.assert_same_bits(params, before)


def test_bfloat16_comes_through_float32():
    torch = pytest.importorskip("torch")
    module = torch_layers.module_of("lstm", 1, 1).to(torch.bfloat16)
    params = sm.weights.from_torch(module.state_dict(), cases.make_cell("lstm"))
    assert params.w_x.dtype == jnp.float32
    np.testing.assert_array_equal(params.w_x, module.weight_ih_l0.detach().float().numpy().T)
    total = module.bias_ih_l0.detach().float() + module.bias_hh_l0.detach().float()
    np.testing.assert_array_equal(params.b, total.numpy())


def test_without_biases():
    cell = cases.make_cell("lstm", 2)
    params = cases.params_of(cell)
    kernels = {k: a for k, a in sm.weights.to_torch(params, cell).items() if "weight" in k}
    got = sm.weights.from_torch(kernels, cell)
    assert not any(np.any(layer.b) for layer in got)
    cases.assert_same_bits([p.w_x for p in got], [p.w_x for p in params])
    some = kernels | {"bias_ih_l1": np.zeros(4 * cases.H, np.float32)}
    with pytest.raises(ValueError, match="bias_ih_l0: got nothing") as error:
        sm.weights.from_torch(some, cell)
    assert str(error.value).count("got nothing") == 3


def test_one_error_names_every_wrong_tensor():
    cell = cases.make_cell("lstm", 2)
    state_dict = sm.weights.to_torch(cases.params_of(cell), cell)
    del state_dict["weight_hh_l0"]
    state_dict["bias_ih_l1"] = np.zeros((2, 2), np.float32)
    state_dict["weight_ih_l1"] = np.zeros((12, 3), np.complex64)
    state_dict["decoder.weight"] = np.zeros((9, 3), np.float32)
    with pytest.raises(ValueError, match=r"^from_torch: ") as error:
        sm.weights.from_torch(state_dict, cell)
    assert str(error.value) == (
        "from_torch: weight_hh_l0: got nothing, expected (12, 3); "
        "weight_ih_l1: got complex64(12, 3), expected (12, 3); "
        "bias_ih_l1: got (2, 2), expected (12,); decoder.weight: got (9, 3), expected nothing"
    )


def test_prefix_takes_only_the_names_that_begin_so():
    cell = cases.make_cell("lstm")
    params = cases.params_of(cell)
    arrays = {f"encoder.{name}": a for name, a in sm.weights.to_torch(params, cell).items()}
    arrays["decoder.weight"] = np.zeros(3)
    cases.assert_same_bits(sm.weights.from_torch(arrays, cell, prefix="encoder."), params)
    with pytest.raises(ValueError, match=r"coder\.weight_ih_l0: got nothing"):
        sm.weights.from_torch(arrays, cell, prefix="coder.")


def test_projections_are_refused():
    cell = cases.make_cell("lstm")
    state_dict = sm.weights.to_torch(cases.params_of(cell), cell)
    state_dict["weight_hh_l0"] = np.zeros((12, 2), np.float32)
    state_dict["weight_hr_l0"] = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"weight_hh_l0.*; weight_hr_l0"):
        sm.weights.from_torch(state_dict, cell)


def test_negative_zeros_come_back():
    cell = cases.make_cell("gru_after")
    params = jax.tree.map(lambda a: -jnp.zeros_like(a), cases.params_of(cell))
    arrays = sm.weights.to_torch(params, cell)
    cases.assert_same_bits(sm.weights.from_torch(arrays, cell), params)


def test_a_learned_initial_state_is_read_as_zeros_and_not_written():
    cell = cases.make_cell("lstm", learn_initial_state=True)
    plain = cases.make_cell("lstm")
    params = cases.params_of(plain)
    got = sm.weights.from_torch(sm.weights.to_torch(params, plain), cell)
    zeros = np.zeros(cases.H, np.float32)
    cases.assert_same_bits(got, params._replace(initial=LSTMState(zeros, zeros)))
    with pytest.raises(ValueError, match="to_torch: params: got a learned initial state"):
        sm.weights.to_torch(got, cell)
