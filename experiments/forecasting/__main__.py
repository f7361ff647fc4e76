"""Many to many in step: the next values of a series, with intervals.

Trains recurrent networks on the residuals of a linear base forecaster, which is chosen on the
validation part. Compares networks and classical methods on the test part, one step and many steps
ahead, and checks whether the residuals are white noise. Then forecasts your own series.

    python -m experiments.forecasting --flagfile=experiments/forecasting/flagfiles/sunspots.flags
    python -m experiments.forecasting --csv=sales.csv --column=sales --horizon=12
    python -m experiments.forecasting --predict --plot=future.png
    python -m experiments.forecasting --export=forecaster.seq
"""

from experiments.common import app
from experiments.forecasting.config import PROGRAM, Actions, Config
from experiments.forecasting.predict import use
from experiments.forecasting.study import evaluate, run


def act(actions: Actions, config: Config) -> bool:
    """Forecasts, exports or evaluates; False if nothing is requested."""
    if actions.predict or actions.export is not None:
        use(actions, config)
    elif actions.models.evaluate:
        evaluate(actions.models.model_dir, config)
    else:
        return False
    return True


EXPERIMENT = app.Experiment(PROGRAM, __doc__, Config(), run, Actions(), act)

if __name__ == "__main__":
    app.main(EXPERIMENT)
