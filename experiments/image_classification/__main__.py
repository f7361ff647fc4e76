"""The command `python -m experiments.image_classification`."""

from experiments.common import app, hosts
from experiments.image_classification import study

if __name__ == "__main__":
    study.define_flags()
    app.run(hosts.supervised(study.main), study.__doc__)
