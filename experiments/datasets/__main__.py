"""Lists the data sets of the experiments, and fetches them.

python -m experiments.datasets --list
python -m experiments.datasets --fetch=mnist_5k,tweets
python -m experiments.datasets --fetch=all --data_dir=FOLDER
"""

from experiments.common import app
from experiments.datasets.config import Config
from experiments.datasets.study import run

EXPERIMENT = app.Experiment("datasets", __doc__, Config(), run, run_options=None, hosts=False)

if __name__ == "__main__":
    app.main(EXPERIMENT)
