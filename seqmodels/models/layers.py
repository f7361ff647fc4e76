"""Layers shared by the models: a dense layer and dropout."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqmodels.cells.initializers import glorot_uniform
from seqmodels.cells.products import matmul
from seqmodels.cells.stages import lift
from seqmodels.types import Array


class DenseParams(NamedTuple):
    """w: (inputs, outputs), for a convolution (height, width, inputs, outputs). b: (outputs,)."""

    w: Array
    b: Array


def dense_init(
    key: Array,
    input_size: int,
    output_size: int,
    initializer: Callable[..., Any] = glorot_uniform,
) -> DenseParams:
    """Returns fresh parameters of a dense layer, the bias 0.

    Args:
      key: PRNG key.
      input_size: size of the last axis of the inputs.
      output_size: size of the last axis of the outputs.
      initializer: `initializer(key, shape) -> w`.

    Returns:
      `DenseParams`.

    Examples:
      >>> params = dense_init(jax.random.key(0), 3, 2)
      >>> dense(params, jnp.ones((5, 3))).shape
      (5, 2)
    """
    return DenseParams(initializer(key, (input_size, output_size)), jnp.zeros(output_size))


def dense(params: tuple[Array, Array], inputs: Array, *, dtype: Any = None) -> Array:
    """Returns inputs @ w + b.

    Args:
      params: `DenseParams`, or a pair (w, b).
      inputs: (..., inputs).
      dtype: dtype of the product's operands, see `sm.matmul`; None for their common dtype.

    Returns:
      Array (..., outputs), in the common dtype of the inputs and the parameters.

    Examples:
      >>> dense((jnp.eye(2), jnp.array([0.0, 1.0])), jnp.ones(2))
      Array([1., 2.], dtype=float32)
    """
    w, b = params
    outputs = matmul(inputs, w, dtype=dtype)
    outputs = outputs + lift(b.astype(outputs.dtype), outputs)
    return outputs.astype(jnp.result_type(inputs, w))


def dropout(
    key: Array | None, values: Array, rate: float, mask_shape: Sequence[int] | None = None
) -> Array:
    """Returns the values, a share of them set to 0 and the others scaled by 1 / (1 - rate).

    Srivastava et al. 2014, "Dropout", Journal of Machine Learning Research 15.

    Args:
      key: PRNG key; None switches dropout off.
      values: an array.
      rate: probability with which a value is dropped, in [0, 1).
      mask_shape: shape of the mask, with size 1 for an axis whose values share one draw; None for
        the shape of the values.

    Returns:
      An array like `values`; `values` itself without a key, or at rate 0 without a `mask_shape`.

    Examples:
      >>> sorted(set(dropout(jax.random.key(0), jnp.ones(9), 0.5).tolist()))
      [0.0, 2.0]
    """
    if key is None or (not rate and mask_shape is None):
        return values
    kept = jax.random.bernoulli(key, 1 - rate, mask_shape or values.shape)
    kept = jnp.broadcast_to(kept, values.shape)
    return jnp.where(kept, values / (1 - rate), jnp.zeros_like(values))
