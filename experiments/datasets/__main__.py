"""The command `python -m experiments.datasets`."""

from experiments.common import app
from experiments.datasets import study

if __name__ == "__main__":
    study.define_flags()
    app.run(study.main, study.__doc__)
