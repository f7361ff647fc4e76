"""The mutants of `mutants.py`, by subject."""

from typing import NamedTuple

CONTRACT = "tests/drivers/test_contract.py"
MASKS = "tests/drivers/test_mask.py"
SHAPES = "tests/drivers/test_contract_shapes.py"
TRANSFORMATIONS = "tests/drivers/test_transformations.py"
UNROLL = "tests/drivers/test_unroll.py"
FUSED = "tests/drivers/test_fused.py"
RULES = "tests/drivers/test_derivative_rules.py"
CHUNKED = "tests/drivers/test_chunked.py"
ASSOCIATIVE = "tests/drivers/test_associative.py"
NEWTON = "tests/drivers/test_newton.py"
STREAMING = "tests/drivers/test_streaming.py"
COMBINATORS = "tests/test_combinators.py"
CELLS = "tests/cells/test_cells.py"


class Mutant(NamedTuple):
    """One fault.

    Attributes:
      name: its name.
      file: the file with the fault, relative to the root of the repository.
      text: a text that occurs exactly once in the file.
      replacement: the text with the fault.
      tests: the test files that should find it, the most likely one first.
    """

    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


def _mutants(file: str, tests: tuple[str, ...], **faults: tuple[str, str]) -> list[Mutant]:
    return [
        Mutant(name.replace("_", "-"), file, text, replacement, tests)
        for name, (text, replacement) in faults.items()
    ]


_CONTRACT = _mutants(
    "seqmodels/drivers/contract.py",
    (UNROLL, MASKS, CONTRACT, SHAPES),
    contract_length_off_by_one=("< lengths[None]", "<= lengths[None]"),
    contract_length_zero_refused=("(values < 0)", "(values <= 0)"),
    contract_length_negative=("(values < 0) | (values > num_steps)", "values > num_steps"),
    contract_length_beyond_end=("values > num_steps)", "values > num_steps + 1)"),
    contract_selection_swapped=("mask.reshape(shape), a, b)", "mask.reshape(shape), b, a)"),
    contract_padding_not_zero=("jax.tree.map(jnp.zeros_like, tree)", "tree"),
    contract_padding_filled_with_zeros=(
        "tree_where(valid, xs, jnp.ones_like(xs))",
        "tree_where(valid, xs, jnp.zeros_like(xs))",
    ),
    contract_held_across_a_reset=("jnp.where(source < last(", "jnp.where(source < 0 * last("),
    contract_held_in_padding=("held = held & in_order(padding)", "held = held"),
    contract_held_in_time_order=("a, 0) if contract.reverse else a", "a, 0) if False else a"),
    contract_step_unchecked=("if _describe(given[0]) != _describe(state):", "if False:"),
)

_UNROLL = [
    *_mutants(
        "seqmodels/drivers/unroll.py",
        (COMBINATORS, CONTRACT),
        unroll_resets_in_padding=("resets = resets & valid", "resets = resets"),
        unroll_inputs_not_zeroed=("xs = zero_unless(valid, xs)", "xs = xs"),
        unroll_mask_without_lengths=("mask if valid is None else valid & mask", "mask"),
    ),
    *_mutants(
        "seqmodels/drivers/auto.py",
        (UNROLL, CHUNKED),
        auto_memory_ignored=("if kept > MAX_KEPT_BYTES:", "if False:"),
    ),
]

_SCAN = _mutants(
    "seqmodels/drivers/scan.py",
    (CONTRACT,),
    scan_reset_missing=("before = tree_where(reset_t, fresh, state)", "before = state"),
    scan_state_moves_in_padding=(
        "after = after if valid_t is None else tree_where(valid_t, after, before)",
        "after = after",
    ),
    scan_reset_at_a_masked_step_missing=(
        "tree_where(valid_t, after, before)",
        "tree_where(valid_t, after, state)",
    ),
    scan_reverse_missing=("reverse=contract.reverse)", "reverse=False)"),
    scan_outputs_in_padding=("ys = zero_unless(contract.valid, ys)", "ys = ys"),
)

_FUSED_FORWARD = _mutants(
    "seqmodels/drivers/fused/driver.py",
    (CONTRACT, FUSED, TRANSFORMATIONS),
    fused_reset_missing=(
        "before = tree_where(reset_t, fresh, state, batch_last=is_last)",
        "before = state",
    ),
    fused_state_moves_in_padding=(
        "after = tree_where(valid_t, after, before, batch_last=is_last)",
        "after = after",
    ),
    fused_reset_at_a_masked_step_missing=(
        "tree_where(valid_t, after, before, batch_last",
        "tree_where(valid_t, after, state, batch_last",
    ),
    fused_reverse_missing=(
        "(xs, valid, resets), reverse=plan.reverse",
        "(xs, valid, resets), reverse=False",
    ),
)

_FUSED_BACKWARD = _mutants(
    "seqmodels/drivers/fused/backward.py",
    (FUSED, CONTRACT),
    fused_chunk_start_early=(
        "after[plan.chunk - 1 : -1 : plan.chunk]",
        "after[plan.chunk - 2 : -2 : plan.chunk]",
    ),
    fused_chunk_start_late_in_reverse=(
        "after[plan.chunk :: plan.chunk]",
        "after[plan.chunk + 1 :: plan.chunk]",
    ),
    fused_rest_start=("num_chunks * K - 1", "num_chunks * K"),
    fused_rest_start_in_reverse=("last = rest if plan.reverse", "last = rest - 1 if plan.reverse"),
    fused_rest_order=("dxs.insert(len(dxs) if plan.reverse else 0,", "dxs.insert(0,"),
    fused_start_of_chunk_shifted=(
        "return jnp.concatenate([start, after[:-1]])",
        "return jnp.concatenate([after[:1], after[:-1]])",
    ),
    fused_gradient_of_reset_state=(
        "dfresh = jax.tree.map(jnp.add, dfresh, reset)",
        "dfresh = dfresh",
    ),
    fused_gradient_through_reset=(
        "d = zero_unless(~reset_t, d, batch_last=is_last)",
        "d = d",
    ),
    fused_gradient_stops_in_padding=(
        "d = tree_where(valid_t, d, dstate, batch_last=is_last)",
        "d = d",
    ),
    fused_gradient_in_padding=(
        "(zero_unless(valid_t, dstate, batch_last=is_last), dy_t)",
        "(dstate, dy_t)",
    ),
    fused_gradient_of_states=(
        "dstate = jax.tree.map(jnp.add, dstate, dvisited_t)",
        "dstate = dstate",
    ),
    fused_gradient_past_project=(
        "jax.tree.map(jnp.add, dread, transpose(n, dg, others[n], x_t))",
        "dread",
    ),
    fused_gradient_past_update=(
        "jax.tree.map(jnp.add, dread, transpose(n, dg, others[n], x_t))",
        "transpose(n, dg, others[n], x_t)",
    ),
    fused_gradient_of_peepholes=(
        "if plan.analysis.update_reads_params[n]:  # ",
        "if False:  # ",
    ),
    fused_gradient_of_inputs=(
        "dx = dx_n if dx is None else jax.tree.map(jnp.add, dx, dx_n)",
        "dx = dx_n",
    ),
    fused_reset_state_not_read=(
        "state = tree_where(chunk.resets, jax.tree.map(at_all_steps, inputs.fresh), state)",
        "state = state",
    ),
    fused_stages_in_wrong_order=("_StageCotangents(dgates[::-1], ", "_StageCotangents(dgates, "),
    fused_gradient_sum_in_low_precision=("jnp.promote_types(p.dtype, jnp.float32)", "p.dtype"),
)

_LINEAR_PROGRAM = _mutants(
    "seqmodels/drivers/fused/linear_program.py",
    (FUSED, CONTRACT),
    program_sign=(
        "jnp.full((1,) * out.ndim, -1, out.dtype)",
        "jnp.full((1,) * out.ndim, 1, out.dtype)",
    ),
    program_paths_subtracted=(
        "(one if first is None else first) + (one if c is None else c)",
        "(one if first is None else first) - (one if c is None else c)",
    ),
    program_slice_of_factor=(
        "lax.slice_in_dim(factor, start, start + size, axis=a.axis)",
        "lax.slice_in_dim(factor, 0, size, axis=a.axis)",
    ),
)

_RULES = _mutants(
    "seqmodels/drivers/fused/linearization.py",
    (RULES,),
    linearization_ignores_rules=(
        "jax.vjp(linear, read)[1]",
        "jax.linear_transpose(linear, read)",
    ),
)

_ANALYSIS = _mutants(
    "seqmodels/drivers/stage_analysis.py",
    (FUSED, RULES, UNROLL),
    analysis_affinity_unchecked=(
        "if any(is_used[: len(jax.tree.leaves(floats))]):",
        "if False:",
    ),
    analysis_linearity_unchecked=(
        "jax.eval_shape(transpose, arguments, partition_floats(arguments[0])[0])",
        "pass",
    ),
    analysis_closure_unchecked=(
        "if any(isinstance(const, jax.core.Tracer) for const in closed.consts):",
        "if False:",
    ),
    analysis_parameters_of_update=("reads.append(any(", "reads.append(False and any("),
)

_CHUNKED = [
    *_mutants(
        "seqmodels/drivers/chunked.py",
        (CHUNKED, CONTRACT),
        chunked_rest_order=("(last, out) if contract.reverse else (out, last)", "(out, last)"),
        chunked_rest_in_reverse=(
            "slice(rest, None) if contract.reverse else slice(num_segments * segment)",
            "slice(num_segments * segment)",
        ),
        chunked_segments_in_wrong_order=(
            "        reverse=contract.reverse,\n    )\n    out = merge_chunks",
            "        reverse=False,\n    )\n    out = merge_chunks",
        ),
    ),
    *_mutants(
        "seqmodels/drivers/memory_plan.py",
        (CHUNKED,),
        plan_units=('(1024, "ib")', '(1000, "ib")'),
        plan_states_not_counted=("always += num_segments * sizes.state", "always += 0"),
    ),
]

_ASSOCIATIVE = [
    *_mutants(
        "seqmodels/drivers/associative.py",
        (ASSOCIATIVE, CONTRACT),
        associative_first_step_in_reverse=("first = num_steps - 1 if reverse else 0", "first = 0"),
        associative_transpose_delay=(
            "lambda leaf: _delay(leaf, not reverse)",
            "lambda leaf: _delay(leaf, reverse)",
        ),
        associative_forgets_in_padding=(
            "tree_where(valid, a, jax.tree.map(jnp.ones_like, a))",
            "tree_where(valid, a, jax.tree.map(jnp.zeros_like, a))",
        ),
        associative_reset_state=("lambda a, b, s: a * s[None] + b, a", "lambda a, b, s: b, a"),
        associative_final_state=("s[0 if contract.reverse else -1]", "s[-1]"),
    ),
    *_mutants(
        "seqmodels/drivers/linear_scan.py",
        (ASSOCIATIVE, NEWTON),
        linear_scan_restarts=("return restarts_1 | restarts_2,", "return restarts_2,"),
        linear_scan_matrices_swapped=("jnp.matmul(a_2, a_1,", "jnp.matmul(a_1, a_2,"),
    ),
]

_NEWTON = [
    *_mutants(
        "seqmodels/drivers/newton/solver.py",
        (NEWTON, CONTRACT),
        newton_adjoint_not_transposed=(
            "later(jnp.swapaxes(jacobian, -1, -2), jacobian[:1])",
            "later(jacobian, jacobian[:1])",
        ),
        newton_adjoint_through_restarts=(
            "later(restarts, jnp.ones_like(restarts[:1]))",
            "later(jnp.zeros_like(restarts), jnp.ones_like(restarts[:1]))",
        ),
        newton_reset_at_a_masked_step_missing=("inputs.valid | inputs.resets", "inputs.valid"),
        newton_adjoint_damped=("solver._replace(damping=0.0)", "solver"),
        newton_fallback_never=("jax.lax.cond(converged, ", "jax.lax.cond(True, "),
    ),
    *_mutants(
        "seqmodels/drivers/newton/driver.py",
        (NEWTON, CONTRACT),
        newton_final_state_in_reverse=("a[0 if reverse else -1]", "a[-1]"),
    ),
    *_mutants(
        "seqmodels/drivers/newton/flat_state.py",
        (NEWTON, CONTRACT),
        newton_reset_missing=(
            "entered = tree_where(inputs.resets, inputs.fresh, before)",
            "entered = before",
        ),
        newton_state_moves_in_padding=(
            "(after if inputs.valid is None else tree_where(inputs.valid, after, entered))",
            "after",
        ),
    ),
]

_STREAMING = _mutants(
    "seqmodels/drivers/streaming.py",
    (STREAMING,),
    streaming_reset_missing=(
        "state = tree_where(reset_t, reset_state(cell, params, state), state)",
        "state = state",
    ),
    streaming_state_not_copied=("jnp.array(a, copy=True)", "a"),
)

_COMBINATORS = [
    *_mutants(
        "seqmodels/combinators/bidirectional.py",
        (COMBINATORS,),
        bidirectional_resets_not_mirrored=(
            "[outside, resets[:-1]] if reverse else [resets[1:], outside]",
            "[resets[1:], outside] if reverse else [outside, resets[:-1]]",
        ),
        bidirectional_resets_unshifted=(
            "jnp.concatenate([outside, resets[:-1]] if reverse else [resets[1:], outside])",
            "resets",
        ),
        bidirectional_resets_in_padding=("if inside is None else resets & inside", ""),
        bidirectional_one_direction=("reverse=not reverse)", "reverse=reverse)"),
        bidirectional_outputs_swapped=("[f.ys, b.ys]", "[b.ys, f.ys]"),
    ),
    *_mutants(
        "seqmodels/combinators/dropout.py",
        (COMBINATORS,),
        dropout_not_rescaled=("leaf / (1 - rate), 0)", "leaf, 0)"),
        dropout_rate_inverted=("bernoulli(key, 1 - rate, shape)", "bernoulli(key, rate, shape)"),
        dropout_one_mask_for_all_stages=(
            "jax.random.fold_in(key, n)",
            "jax.random.fold_in(key, 0)",
        ),
        dropout_state_itself_dropped=(
            "new = update(params, state.cell, gates)",
            "new = update(params, dropped(state, n), gates)",
        ),
    ),
    *_mutants(
        "seqmodels/combinators/residual.py",
        (COMBINATORS,),
        residual_sign=("return ys + xs", "return ys - xs"),
        residual_step_without_input=("return state, add(y_t, x_t)", "return state, y_t"),
    ),
    *_mutants(
        "seqmodels/combinators/stack.py",
        (COMBINATORS, STREAMING),
        stack_inputs=("xs = layers[-1].ys", "xs = call.xs"),
        stack_reset_missing=("reset_state(cell, p, s) for cell", "s for cell"),
    ),
]

_CELLS = [
    *_mutants(
        "seqmodels/cells/lstm.py",
        (CELLS, CONTRACT),
        lstm_gates_swapped=("i, f, g, o = jnp.split", "f, i, g, o = jnp.split"),
    ),
    *_mutants(
        "seqmodels/cells/gru.py",
        (CELLS, CONTRACT),
        gru_update_gate_inverted=(
            "(1 - state.z) * n + state.z * state.h",
            "state.z * n + (1 - state.z) * state.h",
        ),
        gru_reset_gate_missing=(
            "GRUGated(state.h, r * state.h, z, n_x)",
            "GRUGated(state.h, state.h, z, n_x)",
        ),
    ),
    *_mutants(
        "seqmodels/cells/stages.py",
        (CELLS, CONTRACT),
        state_in_low_precision=(
            "return jnp.promote_types(dtype, jnp.float32)",
            "return jnp.dtype(dtype)",
        ),
        learned_state_ignored=("if params.initial is None:", "if True:"),
    ),
]

MUTANTS: list[Mutant] = [
    *_CONTRACT,
    *_UNROLL,
    *_SCAN,
    *_FUSED_FORWARD,
    *_FUSED_BACKWARD,
    *_LINEAR_PROGRAM,
    *_ANALYSIS,
    *_RULES,
    *_CHUNKED,
    *_ASSOCIATIVE,
    *_NEWTON,
    *_STREAMING,
    *_COMBINATORS,
    *_CELLS,
]
