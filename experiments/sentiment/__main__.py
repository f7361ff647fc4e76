"""The command `python -m experiments.sentiment`."""

from experiments.common import app, hosts
from experiments.sentiment import study

if __name__ == "__main__":
    study.define_flags()
    app.run(hosts.supervised(study.main), study.__doc__)
