"""Many to one: sentiment of a text.

Trains recurrent classifiers on tweets, on sentences or whole reviews of films, or on your own CSV.
The baseline is TF-IDF with logistic regression. Then classifies your own text.

    python -m experiments.sentiment --flagfile=experiments/sentiment/flagfiles/tweets.flags
    python -m experiments.sentiment --predict="I love this" --plot=love.png
    python -m experiments.sentiment --export=sentiment.seq
"""

from experiments.common import app
from experiments.sentiment.config import PROGRAM, Actions, Config
from experiments.sentiment.predict import use
from experiments.sentiment.study import evaluate, run


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
