"""Autocorrelation of a series: its correlogram, and the conclusion in words.

Your own CSV has a header and one row per step. A column of dates is optional.

    python -m experiments.autocorrelation --series=sunspots
    python -m experiments.autocorrelation --csv=sales.csv --column=sales --difference=1
    python -m experiments.autocorrelation --csv=sales.csv --column=sales --with=price
    python -m experiments.autocorrelation --csv=diary.csv --column=meal --labels --with=weekday
    python -m experiments.autocorrelation --demo=food
"""

from experiments.autocorrelation.config import PROGRAM, Config, ReportOptions
from experiments.autocorrelation.study import run
from experiments.common import app

EXPERIMENT = app.Experiment(
    PROGRAM, __doc__, Config(), run, run_options=ReportOptions(), hosts=False
)

if __name__ == "__main__":
    app.main(EXPERIMENT)
