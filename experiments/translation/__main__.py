"""Many to many: English sentences to German ones.

One LSTM reads the source, and another writes the translation, with or without attention. The data
are the phrases of Home Assistant's interface, or your own pairs.

    python -m experiments.translation --flagfile=experiments/translation/flagfiles/attention.flags
    python -m experiments.translation --evaluate
    python -m experiments.translation --predict="Delete files permanently"
    python -m experiments.translation --export=translation.seq
"""

from experiments.common import app
from experiments.translation.config import PROGRAM, Actions, Config
from experiments.translation.predict import use
from experiments.translation.study import evaluate, run


def act(actions: Actions, config: Config) -> bool:
    """Translates, exports or evaluates; False if nothing is requested."""
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
