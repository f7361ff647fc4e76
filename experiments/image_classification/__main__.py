"""One to one: the digit in an image, by a feed-forward network and recurrent readers.

The CNN sees the whole image at once. A cell reads it as a sequence: row by row, or pixel by pixel.

    python -m experiments.image_classification
    python -m experiments.image_classification --flagfile=experiments/image_classification/flagfiles/mnist.flags
    python -m experiments.image_classification --evaluate
    python -m experiments.image_classification --predict=MY_DIGIT.png --plot=bars.png
    python -m experiments.image_classification --export=digits.seq
"""  # noqa: E501 - a command is one line

from experiments.common import app
from experiments.image_classification.config import PROGRAM, Actions, Config
from experiments.image_classification.predict import use
from experiments.image_classification.study import evaluate, run


def act(actions: Actions, config: Config) -> bool:
    """Predicts, exports or evaluates; False if nothing is requested."""
    if actions.predict is not None or actions.export is not None:
        use(actions)
    elif actions.models.evaluate:
        evaluate(actions.models.model_dir, config)
    else:
        return False
    return True


EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, Actions(), act)

if __name__ == "__main__":
    app.main(EXPERIMENT)
