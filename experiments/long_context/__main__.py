"""The command `python -m experiments.long_context`."""

from experiments.common import app, hosts
from experiments.long_context import study

if __name__ == "__main__":
    study.define_flags()
    app.run(hosts.supervised(study.main), study.__doc__)
