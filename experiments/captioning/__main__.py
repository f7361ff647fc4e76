"""One to many: captions of pictures. A CNN initializes a recurrent decoder of words.

Scenes are held out by content. The pairs (or triples) of pictures in the test were never seen
together in training, in any order.

    python -m experiments.captioning
    python -m experiments.captioning --flagfile=experiments/captioning/flagfiles/emoji.flags
    python -m experiments.captioning --evaluate --decode=beam --beam=8
    python -m experiments.captioning --predict=MY_PICTURE.png --plot=captions.png
    python -m experiments.captioning --export=captions.seq --decode=beam
    python -m experiments.captioning --data=folder --images_dir=PICTURES --captions_file=CAPTIONS.csv
"""  # noqa: E501 - a command is one line

from experiments.captioning.config import PROGRAM, Actions, Config
from experiments.captioning.predict import use
from experiments.captioning.study import evaluate, run
from experiments.common import app


def act(actions: Actions, config: Config) -> bool:
    """Predicts, exports or evaluates; False if nothing is requested."""
    if actions.predict is not None or actions.export is not None:
        use(actions, config.decoding)
    elif actions.models.evaluate:
        evaluate(actions.models.model_dir, config)
    else:
        return False
    return True


EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, Actions(), act)

if __name__ == "__main__":
    app.main(EXPERIMENT)
