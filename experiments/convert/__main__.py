"""Converts a file of weights of recurrent layers from one framework to another.

    python -m experiments.convert --from=torch --input=torch.safetensors --to=flax --output=flax.npz

The cells, their sizes, layers and directions are found in the tensors. What was found is shown
layer by layer, and what was left out, such as the weights of an embedding.

Files are .safetensors or .npz; .pt is read where torch is installed, without pickled code. Their
arrays have flat names. Those of torch are its own. Those of Flax, Haiku and Equinox are joined by
"/", such as "0/cell/ii/kernel" in layer 0 of a stack. Those of seqmodels are joined by ".", as in
params.safetensors of a trained model (prefix "cell."). Keras' weights are numbered, arr_0, arr_1,
..., in the order of get_weights(). With --to=onnx the output is an ONNX model.
"""

from experiments.common import app
from experiments.convert.config import PROGRAM, Config
from experiments.convert.conversion import run

EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, run_options=None, hosts=False)

if __name__ == "__main__":
    app.main(EXPERIMENT)
