"""Decoding against exhaustive search, hand-worked sequences and the model's own probabilities."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqmodels.models.decoding import beam_search, gnmt_penalty, greedy, sample

BOS, EOS, PAD = 1, 2, 0


def one_program(decode, step, carry, *rest, **options):
    """The result of a method of decoding that is compiled as a whole."""
    return jax.jit(lambda carry: decode(step, carry, *rest, **options))(carry)


def mixing_step(weights):
    """A step whose predictions depend on all tokens so far through a mixing carry."""
    embedding, mix, out = weights

    def step(carry, token):
        h = jnp.tanh(carry["h"] @ mix + jnp.asarray(embedding)[token])
        return {"h": h, "row": carry["row"]}, jax.nn.log_softmax(h @ out)

    return step


@functools.cache
def program_of(decode, max_steps, **static):
    """(weights of `mixing_step`, carry, **options) -> what is decoded, one program for a shape."""
    return jax.jit(
        lambda weights, carry, **options: decode(
            mixing_step(weights), carry, BOS, EOS, max_steps, **static, **options
        )
    )


def random_model(seed, vocabulary, rows, scale=1.5):
    """(weights of `mixing_step`, carry, the same in NumPy)."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(vocabulary, 4)).astype(np.float32)
    mix = rng.normal(size=(4, 4)).astype(np.float32)
    out = (scale * rng.normal(size=(4, vocabulary))).astype(np.float32)
    carry = {"h": rng.normal(size=(rows, 4)).astype(np.float32), "row": np.arange(rows)}

    def log_probs(row, tokens):
        """NumPy's: log-probability of every token after `tokens`."""
        h = carry["h"][row]
        for token in (BOS, *tokens):
            h = np.tanh(h @ mix + embedding[token])
        logits = (h @ out).astype(np.float64)
        return logits - np.log(np.sum(np.exp(logits)))

    return (embedding, mix, out), carry, log_probs


def every_sequence(vocabulary, steps):
    """All token sequences that end at their first eos, or unended at the last step."""
    for n in range(1, steps + 1):
        for tokens in itertools.product(range(vocabulary), repeat=n):
            if EOS not in tokens[:-1] and (tokens[-1] == EOS or n == steps):
                yield tokens


def exhaustive(log_probs, row, vocabulary, steps, alpha):
    """Every sequence with its score, ended ones first, by descending score / penalty."""
    found = []
    for tokens in every_sequence(vocabulary, steps):
        score = sum(log_probs(row, tokens[:n])[token] for n, token in enumerate(tokens))
        found.append((tokens[-1] != EOS, -score / ((5 + len(tokens)) / 6) ** alpha, tokens, score))
    return [(tokens, score) for _, _, tokens, score in sorted(found)]


def table_model(table):
    """A step that looks its probabilities up by the time and the last token."""
    logs = jnp.log(jnp.asarray(table, jnp.float32))

    def step(t, token):
        return t + 1, logs[t, token]

    return step


def scored(step, carry, tokens, length):
    """The sum of log-probabilities of the first row, by feeding the tokens one at a time."""
    total, last = 0.0, BOS
    for token in np.asarray(tokens)[:length]:
        carry, log_probs = step(carry, np.array([last]))
        total, last = total + float(np.asarray(log_probs)[0, token]), int(token)
    return total


@pytest.mark.parametrize(("vocabulary", "steps"), [(3, 4), (4, 3), (5, 2), (3, 1)])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_beam_as_wide_as_there_are_prefixes_is_exhaustive_search(vocabulary, steps, alpha):
    B, W = 2, vocabulary**steps
    weights, carry, log_probs = random_model(vocabulary + steps, vocabulary, B)
    found = program_of(beam_search, steps, width=W)(weights, carry, length_penalty=alpha)
    for row in range(B):
        want = exhaustive(log_probs, row, vocabulary, steps, alpha)
        assert int(np.sum(np.isfinite(found.scores[row]))) == len(want) <= W
        for n, (tokens, score) in enumerate(want):
            got = np.asarray(found.tokens[row, n])
            assert tuple(got[: len(tokens)]) == tokens
            assert not got[len(tokens) :].any()
            assert found.lengths[row, n] == len(tokens)
            np.testing.assert_allclose(found.scores[row, n], score, rtol=1e-4)
        assert not found.tokens[row, len(want) :].any()
        assert not found.lengths[row, len(want) :].any()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_width_one_is_greedy(seed, alpha):
    weights, carry, log_probs = random_model(seed, 5, 8)
    one = program_of(greedy, 9)(weights, carry)
    found = program_of(beam_search, 9, width=1)(weights, carry, length_penalty=alpha)
    np.testing.assert_array_equal(found.tokens[:, 0], one.tokens)
    np.testing.assert_array_equal(found.lengths[:, 0], one.lengths)
    np.testing.assert_allclose(found.scores[:, 0], one.scores, rtol=1e-6)
    for row in range(8):
        tokens = []
        while len(tokens) < 9 and EOS not in tokens:
            tokens.append(int(np.argmax(log_probs(row, tokens))))
        assert tokens == one.tokens[row, : len(tokens)].tolist()
        assert one.lengths[row] == len(tokens)


def test_scores_are_sums_of_log_probabilities():
    weights, carry, _ = random_model(0, 6, 5)
    step = mixing_step(weights)
    results = [
        one_program(greedy, step, carry, BOS, EOS, 7),
        one_program(
            sample, step, carry, BOS, EOS, 7, key=jax.random.key(0), temperature=2.0, top_k=3
        ),
        one_program(beam_search, step, carry, BOS, EOS, 7, width=4),
    ]
    step = jax.jit(step)
    for found in results:
        tokens = found.tokens.reshape(5, -1, 7)
        lengths, scores = found.lengths.reshape(5, -1), found.scores.reshape(5, -1)
        for row, n in itertools.product(range(5), range(tokens.shape[1])):
            start = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], carry)
            want = scored(step, start, tokens[row, n], int(lengths[row, n]))
            np.testing.assert_allclose(scores[row, n], want, rtol=1e-5)


def test_a_beam_of_two_by_hand():
    """The greedy path begins with 3 and ends up less probable than 4, eos."""
    table = np.full((3, 5, 5), 1e-9)
    table[0, BOS] = [0, 0, 0.1, 0.5, 0.4]
    table[1, 3] = [0, 0, 0.3, 0.35, 0.35]
    table[1, 4] = [0, 0, 0.9, 0.05, 0.05]
    table[2, :, EOS] = 1
    step, carry = table_model(table), jnp.zeros(1, int)
    one = one_program(greedy, step, carry, BOS, EOS, 3)
    assert one.tokens.tolist() == [[3, 3, EOS]]
    np.testing.assert_allclose(np.exp(one.scores), [0.175], rtol=1e-5)
    two = one_program(beam_search, step, carry, BOS, EOS, 3, width=2, length_penalty=0.0)
    # Step 1 finishes (4, eos) with .36; (3, 3) and (3, 4), of .175 each, go on and end.
    assert two.tokens.tolist() == [[[4, EOS, PAD], [3, 3, EOS]]]
    assert two.lengths.tolist() == [[2, 3]]
    np.testing.assert_allclose(np.exp(two.scores), [[0.36, 0.175]], rtol=1e-5)


def test_a_finished_sequence_takes_no_prefix_place():
    """eos is likely at once; both other prefixes are kept, and one of them is found."""
    table = np.zeros((2, 5, 5))
    table[0, BOS] = [0, 0, 0.4, 0.35, 0.25]
    table[1, 3] = [0, 0, 0.2, 0.4, 0.4]
    table[1, 4] = [0, 0, 1, 0, 0]
    step, carry = table_model(table), jnp.zeros(1, int)
    found = one_program(beam_search, step, carry, BOS, EOS, 2, width=2, length_penalty=0.0)
    assert found.tokens.tolist() == [[[EOS, PAD], [4, EOS]]]


def test_the_length_penalty_turns_the_order():
    table = np.zeros((3, 4, 4))
    table[0, BOS] = [0, 0, 0.5, 0.5]
    table[1, 3] = [0, 0, 0, 1]
    table[2, 3] = [0, 0, 0.9, 0.1]
    step, carry = table_model(table), jnp.zeros(1, int)
    # log .5 = -.693 against log .45 = -.799; divided by (8 / 6)^.6 = 1.188 that is -.672.
    search = jax.jit(
        lambda alpha: beam_search(step, carry, BOS, EOS, 3, width=2, length_penalty=alpha)
    )
    assert search(0.0).lengths.tolist() == [[1, 3]]
    assert search(0.6).lengths.tolist() == [[3, 1]]
    np.testing.assert_allclose(gnmt_penalty(jnp.array([1, 3, 7]), 0.5), [1, (8 / 6) ** 0.5, 2**0.5])


def test_unended_sequences_come_last():
    """A prefix that would score better than all that ended is behind them all the same."""
    table = np.zeros((2, 5, 5))
    table[0, BOS] = [0, 0, 0.2, 0.8, 0]
    table[1, 3] = [0, 0, 0, 1, 0]
    step, carry = table_model(table), jnp.zeros(1, int)
    found = one_program(beam_search, step, carry, BOS, EOS, 2, width=2)
    assert found.tokens.tolist() == [[[EOS, PAD], [3, 3]]]


def test_eos_at_the_first_step():
    table = np.zeros((4, 4, 4))
    table[0, BOS, EOS] = 1
    step, carry = table_model(table), jnp.zeros(3, int)
    for found in (
        one_program(greedy, step, carry, BOS, EOS, 4),
        one_program(sample, step, carry, BOS, EOS, 4, key=jax.random.key(0)),
    ):
        assert found.tokens.tolist() == [[EOS, PAD, PAD, PAD]] * 3
        assert found.lengths.tolist() == [1] * 3
        assert found.scores.tolist() == [0] * 3
    found = one_program(beam_search, step, carry, BOS, EOS, 4, width=2)
    assert found.tokens.tolist() == [[[EOS, PAD, PAD, PAD], [PAD] * 4]] * 3
    assert found.scores.tolist() == [[0, -np.inf]] * 3


def test_the_loop_ends_when_all_rows_have():
    """The step counts how often it runs: row 0 ends after 1 token, row 1 after 3."""
    ends = jnp.array([0, 2])

    def run(decode):
        ran = []

        def step(carry, token):
            t, end = carry
            jax.debug.callback(lambda: ran.append(1))
            logits = jnp.where((t >= end)[:, None], jnp.eye(4)[EOS], jnp.eye(4)[3])
            return (t + 1, end), jnp.log(logits)

        found = decode(step, (jnp.zeros(2, int), ends))
        jax.effects_barrier()
        return len(ran), found

    count, found = run(lambda *given: one_program(greedy, *given, BOS, EOS, 50, pad=7))
    assert (count, found.lengths.tolist()) == (3, [1, 3])
    assert found.tokens[0, :4].tolist() == [EOS, 7, 7, 7]
    count, found = run(lambda *given: one_program(beam_search, *given, BOS, EOS, 50, width=1))
    assert (count, found.lengths.tolist()) == (3, [[1], [3]])
    # Wider than there are sequences: nothing is left to search.
    count, found = run(lambda *given: one_program(beam_search, *given, BOS, EOS, 50, width=3))
    assert (count, found.lengths.tolist()) == (3, [[1, 0, 0], [3, 0, 0]])


def test_a_row_is_decoded_as_if_it_were_alone():
    weights, carry, _ = random_model(3, 5, 6)
    search = program_of(beam_search, 8, width=3)
    together = search(weights, carry)
    for row in range(6):
        alone = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], carry)
        found = search(weights, alone)
        np.testing.assert_array_equal(found.tokens[0], together.tokens[row])
        np.testing.assert_allclose(found.scores[0], together.scores[row], rtol=1e-5)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (1.0, 2), (2.0, 9)])
def test_sampled_tokens_have_their_probabilities(temperature, top_k):
    probs = np.array([0.05, 0.15, 0.3, 0.5])
    B = 20_000

    def step(carry, token):
        return carry, jnp.broadcast_to(jnp.log(probs), (token.shape[0], 4))

    found = jax.jit(
        lambda key: sample(
            step, jnp.zeros(B), BOS, EOS, 2, key=key, temperature=temperature, top_k=top_k, pad=9
        )
    )(jax.random.key(5))
    want = probs ** (1 / temperature)
    want[np.argsort(want)[: 4 - min(top_k or 4, 4)]] = 0
    want /= want.sum()
    for tokens in (found.tokens[:, 0], found.tokens[found.lengths == 2, 1]):
        counts = np.bincount(tokens, minlength=4)
        assert not counts[want == 0].any()
        kept = want > 0
        test = scipy.stats.chisquare(counts[kept], want[kept] * counts.sum())
        assert test.pvalue > 0.01
    np.testing.assert_array_equal(found.lengths == 1, found.tokens[:, 0] == EOS)
    # The two steps are drawn apart.
    first, second = found.tokens[found.lengths == 2].T
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if table.shape[0] > 1:
        assert scipy.stats.chi2_contingency(table).pvalue > 0.01


def test_one_key_one_sample():
    weights, carry, _ = random_model(1, 6, 4)
    key = jax.random.key(3)
    draw = program_of(sample, 6)
    one, again = (draw(weights, carry, key=key) for _ in range(2))
    np.testing.assert_array_equal(one.tokens, again.tokens)
    many = jax.jit(jax.vmap(lambda key: draw(weights, carry, key=key)))(jax.random.split(key, 5))
    assert many.tokens.shape == (5, 4, 6)
    assert len(np.unique(many.tokens, axis=0)) > 1
    cold = program_of(sample, 6, temperature=1e-4)(weights, carry, key=key)
    np.testing.assert_array_equal(cold.tokens, program_of(greedy, 6)(weights, carry).tokens)
    one_token = program_of(sample, 6, top_k=1)(weights, carry, key=key)
    np.testing.assert_array_equal(one_token.tokens, cold.tokens)


def test_one_step_one_row_and_vmap():
    weights, carry, log_probs = random_model(2, 4, 1)
    found = program_of(beam_search, 1, width=3, length_penalty=0.0)(weights, carry)
    order = np.argsort(-log_probs(0, ()))
    ended = [EOS] if EOS in order[:3] else []
    unended = [int(token) for token in order if token != EOS]
    assert found.tokens[0, :, 0].tolist() == (ended + unended)[:3]
    weights, carry, _ = random_model(2, 4, 6)
    search = program_of(beam_search, 5, width=3)
    plain = search(weights, carry)
    grouped = jax.tree.map(lambda leaf: leaf.reshape(3, 2, *leaf.shape[1:]), carry)
    mapped = jax.jit(jax.vmap(lambda carry: search(weights, carry)))(grouped)
    np.testing.assert_array_equal(mapped.tokens.reshape(6, 3, 5), plain.tokens)
    np.testing.assert_allclose(mapped.scores.reshape(6, 3), plain.scores, rtol=1e-5)


def test_low_precision_is_summed_in_float32():
    def step(carry, token):
        return carry, jnp.log(jnp.full((token.shape[0], 4), 0.25)).astype(jnp.bfloat16)

    each = float(jnp.log(jnp.float32(0.25)).astype(jnp.bfloat16))
    for found in (
        one_program(greedy, step, jnp.zeros(1), BOS, -1, 300),
        one_program(beam_search, step, jnp.zeros(1), BOS, -1, 300, width=2, length_penalty=0.0),
    ):
        assert found.scores.dtype == jnp.float32
        np.testing.assert_allclose(found.scores, 300 * each, rtol=1e-5)
        assert (found.lengths == 300).all()


def test_each_row_may_have_its_own_first_token():
    table = np.zeros((1, 4, 4))
    table[0] = np.eye(4)[[3, 2, 1, 0]]
    found = greedy(table_model(table), jnp.zeros(4, int), jnp.arange(4), -1, 1)
    assert found.tokens[:, 0].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda step, c: greedy(step, c, BOS, EOS, 0), "max_steps: got 0, expected at least 1"),
        (lambda step, c: greedy(step, (), BOS, EOS, 3), "carry: got leaves of shapes"),
        (lambda step, c: greedy(step, (c, 1.0), BOS, EOS, 3), "carry: got leaves of shapes"),
        (
            lambda step, c: beam_search(step, c, BOS, EOS, 3, width=0),
            "width: got 0, expected at least 1",
        ),
        (
            lambda step, c: sample(step, c, BOS, EOS, 3, key=jax.random.key(0), temperature=0.0),
            "temperature: got 0.0, expected more than 0",
        ),
        (
            lambda step, c: sample(step, c, BOS, EOS, 3, key=jax.random.key(0), top_k=0),
            "top_k: got 0, expected at least 1",
        ),
        (
            lambda step, c: greedy(lambda c, t: (c, jnp.zeros(4)), c, BOS, EOS, 3),
            r"step: got log-probabilities of shape \(4,\), expected \(2, V\)",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    def step(carry, token):
        return carry, jnp.zeros((token.shape[0], 4))

    with pytest.raises(ValueError, match=message):
        call(step, jnp.zeros(2))


@pytest.mark.parametrize(
    "temperature",
    [0, -1.5, np.float32(0), np.float16(-1), np.int8(0), jnp.float32(0), jnp.zeros(3),
     np.array([1.0, 0.0, 1.0]), float("nan"), float("inf"), True, None, "1"],
)  # fmt: skip
def test_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match=r"temperature: got .*, expected more than 0"):
        sample(constant_step, jnp.zeros((3, 1)), 0, -1, 2, key=KEY, temperature=temperature)


@pytest.mark.parametrize("temperature", [np.float16(1e-7), 1e-40, np.array([1e-3] * 3)])
def test_a_very_small_temperature_takes_the_most_probable(temperature):
    done = sample(constant_step, jnp.zeros((3, 1)), 0, -1, 2, key=KEY, temperature=temperature)
    assert done.tokens.tolist() == [[2, 2]] * 3


KEY = jax.random.key(0)


def constant_step(carry, token):
    return carry, jnp.broadcast_to(jnp.log(jnp.array([0.1, 0.2, 0.7])), (len(carry), 3))
