"""The command `python -m experiments.character_lm`."""

from experiments.character_lm import study
from experiments.common import app, hosts

if __name__ == "__main__":
    study.define_flags()
    app.run(hosts.supervised(study.main), study.__doc__)
