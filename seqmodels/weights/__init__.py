"""Import and export of weights: torch, Keras, Flax, Haiku, Equinox and ONNX.

    cell = sm.stack([sm.lstm(64, 128), sm.lstm(128, 128)])
    params = sm.weights.from_torch(module.state_dict(), cell)

None of these frameworks is imported, except that `to_onnx` imports onnx when it is called.

Examples:
  >>> cell = sm.lstm(3, 4)
  >>> arrays = to_torch(cell.init(jax.random.key(0)), cell)
  >>> {name: array.shape for name, array in arrays.items()}
  {'weight_ih_l0': (16, 3), 'weight_hh_l0': (16, 4), 'bias_ih_l0': (16,), 'bias_hh_l0': (16,)}
  >>> from_torch(arrays, cell).w_x.shape
  (3, 16)
"""

from seqmodels.weights.equinox import from_equinox, to_equinox
from seqmodels.weights.haiku import from_haiku, to_haiku
from seqmodels.weights.keras import from_keras, to_keras
from seqmodels.weights.linen import from_linen, to_linen
from seqmodels.weights.nnx import from_nnx, to_nnx
from seqmodels.weights.onnx_export import to_onnx
from seqmodels.weights.torch import from_torch, to_torch

__all__ = [
    "from_equinox",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_torch",
    "to_equinox",
    "to_haiku",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_onnx",
    "to_torch",
]
