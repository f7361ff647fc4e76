"""The command `python -m experiments.autocorrelation`."""

from experiments.autocorrelation import study
from experiments.common import app

if __name__ == "__main__":
    study.define_flags()
    app.run(study.main, study.__doc__)
