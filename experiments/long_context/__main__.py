"""The long-context study: how far back a recurrent network remembers.

Trains every cell at every distance with several seeds. Reports accuracy by distance, the memory
horizon, and the gradient that reaches the far end of the sequence.

    python -m experiments.long_context --flagfile=experiments/long_context/flagfiles/sky.flags
    python -m experiments.long_context --predict="Ash is on every roof. The sky is"
"""

from experiments.common import app
from experiments.long_context.config import PROGRAM, Actions, Config
from experiments.long_context.predict import evaluate, use
from experiments.long_context.study import run


def act(actions: Actions, config: Config) -> bool:
    """Predicts or evaluates; False if nothing is requested."""
    if actions.predict is not None:
        use(actions)
    elif actions.models.evaluate:
        evaluate(actions.models.model_dir, config)
    else:
        return False
    return True


EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, Actions(), act)

if __name__ == "__main__":
    app.main(EXPERIMENT)
