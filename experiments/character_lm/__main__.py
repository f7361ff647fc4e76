"""Many to many, in step: the next character of Shakespeare's plays, in bits per character.

A recurrent network reads character by character and predicts each next one. It is trained by
truncated backpropagation: the state is carried from piece to piece, the gradient is not.

    python -m experiments.character_lm --flagfile=experiments/character_lm/flagfiles/plays.flags
    python -m experiments.character_lm --evaluate
    python -m experiments.character_lm --predict="ROMEO:" --temperature=0.8 --plot=bits.png
    python -m experiments.character_lm --export=character_lm.seq
"""

from experiments.character_lm.config import PROGRAM, Actions, Config
from experiments.character_lm.predict import use
from experiments.character_lm.study import evaluate, run
from experiments.common import app


def act(actions: Actions, config: Config) -> bool:
    """Generates, exports or evaluates; False if nothing is requested."""
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
