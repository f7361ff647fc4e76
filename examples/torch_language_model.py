"""A torch language model whose training continues in JAX with the same weights.

A two-layer torch.nn.LSTM learns the characters of Shakespeare's plays for a while. Then
`sm.weights.from_torch` reads its weights; the logits are the same; and training continues in JAX.

    pip install torch
    python examples/torch_language_model.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import seqmodels as sm
from seqmodels import weights
from seqmodels.datasets import plays


class TorchModel(torch.nn.Module):
    """Characters in, logits of the next character out."""

    def __init__(self, vocabulary: int, hidden_size: int):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, hidden_size)
        self.lstm = torch.nn.LSTM(hidden_size, hidden_size, num_layers=2)
        self.readout = torch.nn.Linear(hidden_size, vocabulary)

    def forward(self, characters):
        """Returns logits (T, B, V) of characters (T, B)."""
        return self.readout(self.lstm(self.embedding(characters))[0])


def bring_over(state_dict, hidden_size: int):
    """Returns a cell and the parameters of the whole model, from torch's `state_dict`."""
    cell = sm.stack([sm.lstm(hidden_size, hidden_size) for _ in range(2)])
    lstm = {name: value for name, value in state_dict.items() if name.startswith("lstm.")}
    params = {
        "embedding": jnp.asarray(state_dict["embedding.weight"].numpy().copy()),
        "cell": weights.from_torch(lstm, cell, prefix="lstm."),
        "kernel": jnp.asarray(state_dict["readout.weight"].numpy().T.copy()),
        "bias": jnp.asarray(state_dict["readout.bias"].numpy().copy()),
    }
    return cell, params


def logits_of(cell, params, characters):
    """Returns logits (T, B, V) of characters (T, B)."""
    _, ys = sm.unroll(cell, params["cell"], params["embedding"][characters])
    return ys @ params["kernel"] + params["bias"]


def batches(text: np.ndarray, steps: int, length: int, batch: int, seed: int):
    """Yields windows (T + 1, B) of a text at random places."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        starts = random.integers(0, len(text) - length - 1, batch)
        yield text[starts + np.arange(length + 1)[:, None]].astype(np.int32)


def main(steps: int = 300, length: int = 64, batch: int = 32, hidden_size: int = 128):
    """Returns bits a character on the validation plays: of torch, here at first, here at last."""
    text = plays.load()
    known = plays.character_set(text.train)
    train, held_out = known.encode(text.train), known.encode(text.validation)
    check = next(batches(held_out, 1, length, 256, seed=1))

    torch.manual_seed(0)
    model = TorchModel(len(known.known), hidden_size)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    cross_entropy = torch.nn.functional.cross_entropy
    for window in batches(train, steps, length, batch, seed=2):
        characters = torch.tensor(window, dtype=torch.long)
        loss = cross_entropy(model(characters[:-1]).flatten(0, 1), characters[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with torch.no_grad():
        torch_logits = model(torch.tensor(check[:-1], dtype=torch.long)).numpy()
    cell, params = bring_over(model.state_dict(), hidden_size)

    def loss_of(params, window):
        logits = logits_of(cell, params, window[:-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, window[1:]).mean()

    bits = jax.jit(lambda params: loss_of(params, check) / jnp.log(2.0))
    difference = np.abs(np.asarray(logits_of(cell, params, check[:-1])) - torch_logits).max()
    labels = check[1:]
    log_sum = np.log(np.exp(torch_logits).sum(-1))
    chosen = np.take_along_axis(torch_logits, labels[..., None], -1)[..., 0]
    before, here = float((log_sum - chosen).mean() / np.log(2)), float(bits(params))
    print(f"torch {before:.4f} bits a character, here {here:.4f}")
    print(f"largest difference of a logit: {difference:.1e}")

    jax_optimizer = optax.adam(3e-3)
    state = jax_optimizer.init(params)

    @jax.jit
    def step(params, state, window):
        gradients = jax.grad(loss_of)(params, window)
        updates, state = jax_optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state

    for window in batches(train, steps, length, batch, seed=3):
        params, state = step(params, state, window)
    after = float(bits(params))
    print(f"after {steps} more steps here: {after:.4f}")
    return before, here, after


if __name__ == "__main__":
    main()
