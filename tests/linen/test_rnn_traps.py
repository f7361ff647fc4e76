"""Where Flax has to run the cell, and where Flax's results are wrong."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import seqmodels.linen

B, T, D, H = 3, 5, 2, 4
KEY = jax.random.key


@pytest.fixture(scope="module")
def xs():
    return jax.random.normal(KEY(1), (B, T, D))


class DoubledGRU(nn.GRUCell):
    """Not Flax's GRU, though a subclass of it."""

    def __call__(self, carry, inputs):
        carry, y = super().__call__(carry, inputs)
        return carry, 2 * y


class Counter(nn.RNNCellBase):
    """A cell of a user: a carry of several dtypes, two outputs, a variable of its own."""

    @nn.compact
    def __call__(self, carry, inputs):
        count, total = carry
        calls = self.variable("calls", "count", lambda: jnp.int32(0))
        if not self.is_initializing():
            calls.value += 1
        count, total = count + 1, total + nn.Dense(1)(inputs)[..., 0]
        return (count, total), {"count": count, "total": total}

    def initialize_carry(self, rng, input_shape):
        return jnp.zeros(input_shape[:-1], jnp.int32), jnp.zeros(input_shape[:-1])

    @property
    def num_feature_axes(self):
        return 1


FOREIGN = {
    "subclass": (lambda: DoubledGRU(H), {}),
    "remat": (lambda: nn.remat(nn.GRUCell)(H), {}),
    "activation of rows": (lambda: nn.GRUCell(H, activation_fn=nn.softmax), {}),
    "activation with parameters": (lambda: nn.GRUCell(H, activation_fn=nn.PReLU()), {}),
    "convolution": (lambda: nn.ConvLSTMCell(H, kernel_size=(2,)), {}),
    "user": (Counter, {"variable_axes": {"calls": 0}}),
    "parameters a step": (
        lambda: nn.SimpleCell(H),
        {"variable_axes": {"params": 0}, "variable_broadcast": False},
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_flax_runs_what_is_not_known(name, xs, unrolled):
    make, options = FOREIGN[name]
    if name == "convolution":
        xs = jnp.stack([xs, -xs], axis=2)
    if name == "parameters a step":
        options = {**options, "split_rngs": {"params": True}}
    call = {"mutable": ["calls"], "return_carry": True}
    models = [library.RNN(make(), **options) for library in (nn, seqmodels.linen)]
    variables = [model.init(KEY(0), xs) for model in models]
    chex.assert_trees_all_equal(*variables)
    chex.assert_trees_all_equal(*(m.apply(variables[0], xs, **call) for m in models))
    assert not unrolled


def test_observed_calls_are_flax_calls(xs, unrolled):
    models = [
        library.RNN(nn.GRUCell(H), variable_axes={"intermediates": 1})
        for library in (nn, seqmodels.linen)
    ]
    variables = models[0].init(KEY(0), xs)
    captured = [m.apply(variables, xs, capture_intermediates=True) for m in models]
    chex.assert_trees_all_equal(*captured)
    assert len(captured[1][1]["intermediates"]["__call__"]) == 1
    seen = []

    def interceptor(next_function, args, kwargs, context):
        seen.append(type(context.module).__name__)
        return next_function(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        models[1].apply(variables, xs)
    assert "GRUCell" in seen
    assert "GRUCell" in nn.tabulate(models[1], KEY(0))(xs)
    assert not unrolled
    models[1].apply(variables, xs, mutable=["intermediates"])  # nobody captures
    assert unrolled


def test_parameters_that_flax_would_not_make(xs, unrolled):
    """An unusual tree is Flax's to judge: what it ignores and what it raises."""
    model = seqmodels.linen.RNN(nn.GRUCell(H))
    variables = model.init(KEY(0), xs)
    tree = variables["params"]["cell"]
    more = {"params": {"cell": {**tree, "lora": {"kernel": jnp.ones(3)}}}}
    chex.assert_trees_all_equal(model.apply(more, xs), nn.RNN(nn.GRUCell(H)).apply(more, xs))
    fewer = {"params": {"cell": {k: v for k, v in tree.items() if k != "hn"}}}
    with pytest.raises(nn.module.errors.ScopeParamNotFoundError):
        model.apply(fewer, xs)
    with pytest.raises(nn.module.errors.ScopeParamShapeError):
        model.apply(variables, jnp.ones((B, T, D + 1)))
    with pytest.raises(nn.module.errors.ScopeParamShapeError):
        model.apply(variables, xs, initial_carry=jnp.ones((B, H + 1)))
    assert not unrolled


def test_the_hidden_size_is_the_carry_s(xs, unrolled):
    models = [library.RNN(nn.GRUCell(9)) for library in (nn, seqmodels.linen)]
    carry = jnp.ones((B, H))
    variables = models[0].init(KEY(0), xs, initial_carry=carry)
    expected, given = (m.apply(variables, xs, initial_carry=carry) for m in models)
    chex.assert_trees_all_close(given, expected, atol=1e-6)
    assert unrolled


def by_rows(model, variables, xs, lengths, **options):
    """Carries and outputs of each row alone, cut to its length; the oracle of lengths."""
    carries, outputs = [], []
    for row, length in zip(xs, lengths, strict=True):
        if length == 0:
            carry = model.cell.initialize_carry(KEY(0), (D,))
            carries.append(carry)
            outputs.append(None)
            continue
        carry, ys = model.apply(variables, row[:length], return_carry=True, **options)
        carries.append(carry)
        outputs.append(ys)
    return carries, outputs


@pytest.mark.parametrize(
    ("cell", "reverse", "zero_padding"),
    [
        (nn.OptimizedLSTMCell, False, False),
        (nn.OptimizedLSTMCell, True, True),
        (DoubledGRU, True, False),
        (DoubledGRU, False, True),
    ],
)
def test_lengths_out_of_the_ordinary(cell, reverse, zero_padding, xs):
    """Length 0 and lengths above T, in both paths."""
    options = {"reverse": reverse, "keep_order": True}
    model = seqmodels.linen.RNN(cell(H), zero_padding=zero_padding)
    variables = model.init(KEY(0), xs)
    lengths = jnp.array([0, T + 3, 2])
    carry, ys = model.apply(variables, xs, seq_lengths=lengths, return_carry=True, **options)
    carries, outputs = by_rows(nn.RNN(cell(H)), variables, xs, [0, T, 2], **options)
    for row in range(B):
        chex.assert_trees_all_close(
            jax.tree.map(lambda a, row=row: a[row], carry), carries[row], atol=1e-6
        )
    chex.assert_trees_all_close(ys[1], outputs[1], atol=1e-6)
    chex.assert_trees_all_close(ys[2, :2], outputs[2], atol=1e-6)
    assert bool(jnp.any(ys[2, 2:] != 0)) is not zero_padding


@pytest.mark.parametrize("cell", [nn.OptimizedLSTMCell, DoubledGRU])
def test_several_batch_axes_with_lengths_and_carry_of_a_foreign_cell(cell):
    xs = jax.random.normal(KEY(1), (2, B, T, D))
    lengths = jnp.array([[5, 2, 0], [1, 3, 4]])
    model = seqmodels.linen.RNN(cell(H), return_carry=True, time_major=True)
    time_major = jnp.moveaxis(xs, 2, 0)
    variables = model.init(KEY(0), time_major, seq_lengths=lengths)
    carry, ys = model.apply(variables, time_major, seq_lengths=lengths)
    flat = xs.reshape(-1, T, D)
    carries, _ = by_rows(nn.RNN(cell(H)), variables, flat, lengths.reshape(-1).tolist())
    expected = jax.tree.map(lambda *rows: jnp.stack(rows).reshape(2, B, H), *carries)
    chex.assert_trees_all_close(carry, expected, atol=1e-6)
    assert ys.shape == (T, 2, B, H)


@pytest.mark.parametrize("cell", [nn.GRUCell, DoubledGRU])
def test_no_steps(cell, xs):
    model = seqmodels.linen.RNN(cell(H), return_carry=True, reverse=True)
    variables = model.init(KEY(0), xs)
    initial = jnp.full((B, H), 0.5)
    carry, ys = model.apply(
        variables, xs[:, :0], seq_lengths=jnp.zeros(B, int), initial_carry=initial
    )
    assert ys.shape == (B, 0, H)
    chex.assert_trees_all_equal(carry, initial)


@pytest.mark.parametrize(
    ("cell", "keep_order"), [(nn.OptimizedLSTMCell, False), (DoubledGRU, True)]
)
def test_nan_in_the_padding(cell, keep_order, xs):
    """With `zero_padding` it has no effect on outputs and gradients."""
    lengths = jnp.array([5, 2, 0])
    valid = jnp.arange(T)[None, :, None] < lengths[:, None, None]
    model = seqmodels.linen.RNN(cell(H), zero_padding=True, reverse=True, keep_order=keep_order)
    variables = model.init(KEY(0), xs)

    @jax.jit
    def grad(variables, xs):
        def loss(variables, xs):
            carry, ys = model.apply(variables, xs, seq_lengths=lengths, return_carry=True)
            return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves((carry, ys))), ys

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, xs)

    clean, ys = grad(variables, jnp.where(valid, xs, 0))
    dirty, same = grad(variables, jnp.where(valid, xs, jnp.nan))
    chex.assert_trees_all_equal(dirty, clean)
    chex.assert_trees_all_equal(same, ys)
    assert not jnp.any(jnp.where(valid, 0, ys))
    assert not jnp.any(jnp.where(valid, 0, dirty[1]))


def test_odd_arguments_are_flax_s(xs, unrolled):
    flax, ours = (library.RNN(nn.GRUCell(H)) for library in (nn, seqmodels.linen))
    variables = flax.init(KEY(0), xs)
    for kwargs in ({"initial_carry": jnp.zeros((B, H), jnp.int32)}, {"seq_lengths": jnp.ones(B)}):
        errors = []
        for model in (flax, ours):
            with pytest.raises((TypeError, ValueError)) as caught:
                model.apply(variables, xs, reverse=True, **kwargs)
            errors.append(str(caught.value))
        assert errors[0].splitlines()[0] == errors[1].splitlines()[0]


def test_inputs_of_other_kinds(xs, unrolled):
    flax, ours = (library.RNN(nn.GRUCell(H)) for library in (nn, seqmodels.linen))
    variables = flax.init(KEY(0), xs)
    expected, given = (model.apply(variables, xs > 0) for model in (flax, ours))
    chex.assert_trees_all_close(given, expected, atol=1e-6)
    assert unrolled
    for model in (flax, ours):
        with pytest.raises(TypeError, match="carry"):
            model.apply(variables, xs.astype(jnp.complex64))
