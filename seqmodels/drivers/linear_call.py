"""A linear function with a custom transpose, under every transformation of JAX.

A driver with a custom backward pass has two derivatives: the tangent of the outputs (forward mode)
and the cotangent of the inputs (reverse mode). JAX cannot derive one from the other at the same
speed. `linear_call` binds both to one operation inside a `jax.custom_jvp` rule. Forward mode
evaluates the first, and reverse mode, which transposes the tangent, evaluates the second. So
`jax.jvp`, `jax.linearize`, `jax.hessian` and `jax.grad` all work, whichever comes first.

`jax.custom_derivatives.linear_call` has the same purpose, but neither `vmap` nor a derivative with
respect to the residuals, which second derivatives need.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Leaves = Sequence[Any]


def linear_call(
    push: Callable[[Any, Any], Any],
    pull: Callable[[Any, Any], Any],
    residuals: Any,
    tangents: Any,
    like: Any,
) -> Any:
    """Returns `push(residuals, tangents)`, whose transpose is `pull`.

    Args:
      push: `push(residuals, tangents) -> out`, linear in the tangents.
      pull: `pull(residuals, cotangents) -> cotangents of the tangents`, the transpose of `push`.
      residuals: pytree of arrays.
      tangents: pytree of floating arrays.
      like: pytree of arrays with the structure, shapes and dtypes of `out`.
    """
    residual_leaves, residual_tree = jax.tree.flatten(residuals)
    tangent_leaves, tangent_tree = jax.tree.flatten(tangents)
    like_leaves, out_tree = jax.tree.flatten(like)
    num_residuals = len(residual_leaves)

    def split(leaves: Leaves, tree: Any) -> tuple[Any, Any]:
        return (
            jax.tree.unflatten(residual_tree, leaves[:num_residuals]),
            jax.tree.unflatten(tree, leaves[num_residuals:]),
        )

    def push_leaves(*leaves: Any) -> list[Any]:
        return _flatten_like(push(*split(leaves, tangent_tree)), out_tree)

    def pull_leaves(*leaves: Any) -> list[Any]:
        return _flatten_like(pull(*split(leaves, out_tree)), tangent_tree)

    out = _linear_call.bind(
        *residual_leaves,
        *tangent_leaves,
        push=push_leaves,
        pull=pull_leaves,
        num_residuals=num_residuals,
        out_avals=tuple(jax.typeof(leaf) for leaf in like_leaves),
    )
    return jax.tree.unflatten(out_tree, out)


def _flatten_like(tree: Any, structure: Any) -> list[Any]:
    leaves, found = jax.tree.flatten(tree)
    if found != structure:
        raise TypeError(f"linear_call: got a result {found}, expected {structure}")
    return leaves


_linear_call = Primitive("seqmodels_linear_call")
_linear_call.multiple_results = True


def _evaluate(*leaves: Any, push: Callable[..., Any], **_: Any) -> Any:
    return push(*leaves)


def _derivative(primals: Leaves, tangents: Leaves, **params: Any) -> tuple[Any, Any]:
    """Linear in the tangents; with respect to the residuals JAX differentiates `push`."""
    n = params["num_residuals"]
    out = _linear_call.bind(*primals, **params)
    parts = []
    if any(type(t) is not ad.Zero for t in tangents[n:]):
        linear = [ad.instantiate_zeros(t) for t in tangents[n:]]
        parts.append(_linear_call.bind(*primals[:n], *linear, **params))
    moving = [k for k, t in enumerate(tangents[:n]) if type(t) is not ad.Zero]
    if moving:

        def of_residuals(*given: Any) -> Any:
            leaves = list(primals)
            for k, leaf in zip(moving, given, strict=True):
                leaves[k] = leaf
            return params["push"](*leaves)

        given = [primals[k] for k in moving]
        parts.append(jax.jvp(of_residuals, given, [tangents[k] for k in moving])[1])
    if len(parts) == 1:
        return out, parts[0]
    return out, [ad.add_tangents(a, b) for a, b in zip(*parts, strict=True)]


def _transpose(cotangents: Leaves, *leaves: Any, **params: Any) -> list[Any]:
    n = params["num_residuals"]
    cotangents = [ad.instantiate_zeros(c) for c in cotangents]
    return [None] * n + list(params["pull"](*leaves[:n], *cotangents))


def _batch(leaves: Leaves, axes: Leaves, **params: Any) -> tuple[Any, list[int]]:
    """Maps both functions; every tangent gets the mapped axis, so that its cotangent has it."""
    n = params["num_residuals"]
    mapped = [k for k, axis in enumerate(axes) if axis is not None]
    size = leaves[mapped[0]].shape[axes[mapped[0]]]

    def first_axis(k: int, leaf: Any) -> Any:
        if k in mapped:
            return jnp.moveaxis(leaf, axes[k], 0)
        return leaf if k < n else jnp.broadcast_to(leaf, (size, *leaf.shape))

    in_axes = tuple(0 if k in mapped else None for k in range(n))

    def over(function: Callable[..., Any]) -> Callable[..., Any]:
        def of_all(*leaves: Any) -> Any:
            return jax.vmap(function, (*in_axes, *(0 for _ in leaves[n:])))(*leaves)

        return of_all

    out = _linear_call.bind(
        *(first_axis(k, leaf) for k, leaf in enumerate(leaves)),
        push=over(params["push"]),
        pull=over(params["pull"]),
        num_residuals=n,
        out_avals=tuple(a.update(shape=(size, *a.shape)) for a in params["out_avals"]),
    )
    return out, [0] * len(out)


_linear_call.def_impl(_evaluate)
_linear_call.def_abstract_eval(lambda *_, out_avals, **__: list(out_avals))
mlir.register_lowering(_linear_call, mlir.lower_fun(_evaluate, multiple_results=True))
ad.primitive_jvps[_linear_call] = _derivative
ad.primitive_transposes[_linear_call] = _transpose
batching.primitive_batchers[_linear_call] = _batch
