"""The images of the classification: sizes, loading, batches."""

from experiments.image_classification.config import Config
from seqmodels.data.batches import Batches, shuffled
from seqmodels.datasets import digit_images
from seqmodels.datasets.digit_images import NUM_CLASSES, Images

SIDES = {"digits": 8, "mnist": digit_images.MNIST_SIDE}
# The most pixels that a digit of the set is high or wide.
BOXES = {"digits": 8, "mnist": 20}
CLASSES = tuple(str(digit) for digit in range(NUM_CLASSES))


def load(config: Config) -> dict[str, Images]:
    """Returns the images of a configuration in their fixed splits.

    Raises:
      ValueError, OSError or ModuleNotFoundError: for data that are not available.
    """
    return digit_images.load(config.data, config.fetched.data_dir)


def training_batches(
    train: Images, batch: int, seed: int, process: int, num_processes: int
) -> Batches:
    """Returns shuffled batches of the training split, one process's share.

    Args:
      train: the training split.
      batch: images of a batch over all processes.
      seed: decides the order.
      process: number of this process.
      num_processes: number of processes of the run.
    """
    return shuffled(train, batch, seed=seed, process=process, num_processes=num_processes)
