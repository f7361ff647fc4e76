"""Initial values of a cell's parameters.

The initializers of matrices have the signature of `jax.nn.initializers`:
`initializer(key, shape, dtype)`. Every gate has its own draw. So fan-in, fan-out and orthogonality
refer to one block (D, H) or (H, H), not to the packed matrix.

Examples:
  >>> cell = sm.rnn(3, 4, activation="relu", w_h_init=identity(0.5))
  >>> cell.init(jax.random.key(0)).w_h[0]
  Array([0.5, 0. , 0. , 0. ], dtype=float32)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqmodels.types import Array

Initializer = Callable[..., Array]

glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def orthogonal(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Returns an orthogonal matrix, uniform over all of them: `jax.nn.initializers.orthogonal`.

    It is safe under `vmap`. A batched QR decomposition on a CPU waits for a thread of the pool that
    it runs in. Several at once, such as the gates of a cell for several seeds, deadlock on a
    machine with few cores. So a batch is drawn one by one.
    """

    @jax.custom_batching.sequential_vmap
    def draw(key: Array) -> Array:
        return jax.nn.initializers.orthogonal()(key, tuple(shape), dtype)

    return draw(key)


def identity(scale: float = 1.0) -> Initializer:
    """Returns the initializer `scale * I`, for recurrent ReLU matrices.

    Le, Jaitly, Hinton 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear
    Units" (arXiv 1504.00941).
    """

    def initializer(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        del key
        rows, columns = shape
        return scale * jnp.eye(rows, columns, dtype=dtype)

    return initializer


def packed(
    initializer: Initializer, key: Array, rows: int, columns: int, *, blocks: int, dtype: Any
) -> Array:
    """Returns `blocks` draws of shape (rows, columns), concatenated: (rows, blocks * columns).

    The draws are made in at least float32, because an orthogonal draw needs a QR decomposition, and
    then cast to `dtype`.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"param_dtype: got {jnp.dtype(dtype).name}, expected a floating dtype")
    draw_dtype = jnp.promote_types(dtype, jnp.float32)
    draws = _draw_blocks(initializer, key, blocks, (rows, columns), draw_dtype)
    return jnp.moveaxis(draws, 0, 1).reshape(rows, blocks * columns).astype(dtype)


# Compiled separately: an eager map over a new closure would be compiled at every call.
@functools.partial(jax.jit, static_argnums=(0, 2, 3, 4))
def _draw_blocks(
    initializer: Initializer, key: Array, blocks: int, shape: tuple[int, int], dtype: Any
) -> Array:
    def draw(key: Array) -> Array:
        return initializer(key, shape, dtype)

    return jax.lax.map(draw, jax.random.split(key, blocks))


def check_chrono(t_max: float | None) -> None:
    """Raises ValueError unless `t_max` is None or greater than 2."""
    if t_max is not None and not t_max > 2:
        raise ValueError(f"chrono: got {t_max!r}, expected a number of steps greater than 2")


def chrono_bias(key: Array, shape: Sequence[int], t_max: float, dtype: Any = jnp.float32) -> Array:
    """Returns log U[1, t_max - 1]: forget biases for memories of 1 to `t_max` steps.

    A gate sigmoid(b) forgets in about 1 + exp(b) steps, so the time scales of the units are uniform
    between 2 and `t_max`. Tallec, Ollivier 2018, "Can Recurrent Neural Networks Warp Time?"
    (arXiv 1804.11188), section 2.

    Args:
      key: PRNG key.
      shape: the shape of the result.
      t_max: the longest dependency expected, in steps; greater than 2.
      dtype: dtype of the result.

    Returns:
      Array of `shape`.

    Raises:
      ValueError: if `t_max` is not greater than 2.
    """
    check_chrono(t_max)
    draw_dtype = jnp.promote_types(dtype, jnp.float32)
    uniform = jax.random.uniform(key, shape, draw_dtype, 1.0, t_max - 1.0)
    return jnp.log(uniform).astype(dtype)
