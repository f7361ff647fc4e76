"""Content of the page: trained models, tokenization, sentences, a task."""

from typing import Any, NamedTuple

from seqmodels.tasks.sky.task import SkyCorpus

CELLS = ("rnn", "rnn_relu", "gru", "gru_after", "lstm", "bilstm")


class Words(NamedTuple):
    """Tokens are words, as `seqmodels.tasks.sky.task.split_words` gives them.

    Attributes:
      vocabulary: V words; a token is a place in it.
      unknown: the token of a word that the vocabulary lacks; None: such a word is not read, and
        the page shows it struck out.
    """

    vocabulary: tuple[str, ...]
    unknown: int | None = None


class WordNgrams(NamedTuple):
    """Every word is a bag of itself and its n-grams, as `seqmodels.data.word_features` has them.

    Attributes:
      vocabulary: the words by number, `tokenizer.id_to_token(0)` to the last; 0 is the padding, 1
        stands for words that are not known.
      buckets: `WordFeatures.buckets`.
      sizes: `WordFeatures.sizes`, the shortest and the longest n-gram.
      width: `WordFeatures.width`, the features that a word has at most.
    """

    vocabulary: tuple[str, ...]
    buckets: int
    sizes: tuple[int, int]
    width: int


class Numbers(NamedTuple):
    """Inputs of the adding problem, x_t = (u_t, m_t), written "0.31 0.87* 0.12*"; * is a mark."""


class Adding(NamedTuple):
    """The adding problem as a source of fresh sequences.

    Attributes:
      tolerance: largest error of a right answer, `Task.tolerance`.
    """

    tolerance: float = 0.08


class PageModel(NamedTuple):
    """One trained model.

    Attributes:
      name: a short name that no other model of the page has, such as "LSTM trained at 64 words".
      cell: one of `CELLS`; it decides the color, and whether an RNN has tanh or ReLU.
      parameters: `SequenceModelParams`, read at the last step, or `TextClassifierParams`, pooled
        over time. Leaves are NumPy or JAX arrays without an axis of seeds. `parameters.cell` is
        `RNNParams`, `GRUParams`, `LSTMParams`, a `Bidirectional` of two of them, or a tuple of any
        of these: a stack.
      distance: distance at which the model was trained; None where the task has none. Models of
        equal distance are compared in the plot of the gradient.
      seed: the seed.
      accuracy: share of right answers on the test split, in [0, 1]; None if it is not known.
    """

    name: str
    cell: str
    parameters: Any
    distance: int | None = None
    seed: int = 0
    accuracy: float | None = None


class Sentence(NamedTuple):
    """A sentence to start from.

    Attributes:
      text: the text as a reader types it.
      answer: the right class, by name; None if it is not known.
    """

    text: str
    answer: str | None = None


class Subject(NamedTuple):
    """Everything that a page shows.

    Attributes:
      title: the page's title, such as "The sky task".
      task: a name such as "sky", "adding" or "tweets"; it stands in captions.
      tokens: the tokenization of a text.
      classes: C names of the answers; () where the answer is one number.
      models: one or more; the page opens with the first one. All of them share `tokens` and
        `classes`.
      sentences: one or more; the page opens with the first one.
      generator: source of fresh sentences, with which the page measures the memory horizon;
        None: the horizon is not measured, and only the gradient shows how far a model remembers.
      distances: ascending distances at which the horizon is measured.
      max_words: the number of words after which a text is cut.
      centre: a number that is added to a numeric answer (`ModelConfig.centre`).
      command: the command that made the page, shown in the last line; "" for none.
    """

    title: str
    task: str
    tokens: Words | WordNgrams | Numbers
    classes: tuple[str, ...]
    models: tuple[PageModel, ...]
    sentences: tuple[Sentence, ...]
    generator: SkyCorpus | Adding | None = None
    distances: tuple[int, ...] = (0, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)
    max_words: int = 600
    centre: float = 0.0
    command: str = ""
