"""Options of the forecasting study."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import ModelOptions, SavingConfig, TrainingConfig
from experiments.common.series_options import SeriesConfig
from seqmodels.data.transforms import TRANSFORMS
from seqmodels.models.forecaster import HEADS

PROGRAM = "forecasting"
CELLS = ("rnn", "gru", "lstm")
BASES = ("none", "first", "seasonal", "ar")
STRATEGIES = ("direct", "recursive")
LEVELS = ("auto", "yes", "no")
OTHER = ("refuse", "warn")
CHOOSE_BY = ("validation_mase", "validation_rmsse")
BASELINES = (
    "last, seasonal, ar (order by AIC), ar_1_2_9 (those lags), ar_1-9, ets; the latter also of "
    "square roots or logarithms: sqrt_ar_1-9, log_ets"
)
PLAIN_BASELINES = ("last", "seasonal", "ar", "ets", "sqrt_ar", "log_ar", "sqrt_ets", "log_ets")


def baseline_lags(name: str) -> tuple[int, ...]:
    """Returns (1, 2, 9) for "ar_1_2_9" and 1 to 9 for "ar_1-9", also after sqrt_ or log_.

    Raises:
      ValueError: for anything else.
    """
    text = name.removeprefix("sqrt_").removeprefix("log_")
    try:
        if not text.startswith("ar_"):
            raise ValueError
        lags: set[int] = set()
        for piece in text.removeprefix("ar_").split("_"):
            low, _, high = piece.partition("-")
            first, last = int(low), int(high or low)
            if not 1 <= first <= last <= 10_000:
                raise ValueError
            lags |= set(range(first, last + 1))
    except ValueError:
        raise ValueError(f"got {name!r}, expected one of {BASELINES}") from None
    return tuple(sorted(lags))


def _check_baselines(names: tuple[str, ...]) -> None:
    for name in names:
        if name not in PLAIN_BASELINES:
            baseline_lags(name)


def base_lags(text: str) -> tuple[int, ...]:
    """Returns the ascending lags of "1,2,9"; none for "aic", which chooses them from the data.

    Raises:
      ValueError: for anything else.
    """
    if text == "aic":
        return ()
    try:
        lags = [int(part) for part in text.split(",")]
        if min(lags) < 1 or len(set(lags)) < len(lags):
            raise ValueError
    except ValueError:
        raise ValueError(f"got {text}, expected aic, or lags from 1 such as 1,2,9") from None
    return tuple(sorted(lags))


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the forecasting study."""

    exogenous: tuple[str, ...] = option(
        (), "Columns that are read up to the present and not forecast.", empty=True
    )
    known: tuple[str, ...] = option(
        (),
        "Columns known ahead, such as a plan; rows after the last value hold them.",
        empty=True,
    )
    hold_known: bool = option(
        False, "Hold the last value of known columns that end before the horizon."
    )
    transform: str = option(
        "none", "Transform of the values, for the networks.", choices=TRANSFORMS
    )
    period: int | None = option(
        None,
        "Steps of a season; default: the calendar's season, such as 12 for months.",
        at_least=1,
        at_most=10**6,
    )
    test: int | None = option(None, "Steps of the test part; default: a fifth.", at_least=1)
    validation: int | None = option(
        None,
        "Steps of the validation part, before the test part; default: a sixth of the rest.",
        at_least=1,
    )
    horizon: int = option(1, "Steps ahead.", at_least=1, at_most=10**6)
    models: tuple[str, ...] = option(("lstm",), "Cells.", choices=CELLS)
    bases: tuple[str, ...] = option(
        ("none", "first", "seasonal"),
        "Base forecasters whose residuals the networks forecast: none, first (differences), "
        "seasonal (differences), ar (a hybrid with an autoregression). For each cell the best in "
        "validation is chosen.",
        choices=BASES,
    )
    base_lags: str = option(
        "aic",
        "Lags of the base ar: aic, or numbers such as 1,2,9.",
        check=lambda text: base_lags(text),
    )
    hidden: int = option(32, "Hidden units.", at_least=1, at_most=65_536)
    dropout: float = option(
        0.1, "Share of the outputs dropped in training.", at_least=0, at_most=0.99
    )
    window: int = option(64, "Steps of a training sequence at most.", at_least=2, at_most=10**6)
    head: str = option("point", "Predictive distribution of a value.", choices=tuple(HEADS))
    strategy: str = option(
        "direct",
        "Several steps ahead: direct (all at once) or recursive (one after the other).",
        choices=STRATEGIES,
    )
    levels: str = option(
        "auto",
        "Read values in addition to the residuals of the base; auto: for the bases none and ar.",
        choices=LEVELS,
    )
    harmonics: int = option(
        2, "Harmonics of the season that are read; 0: none.", at_least=0, at_most=64
    )
    samples: int = option(
        200,
        "Paths drawn for intervals, with strategy recursive and head gaussian.",
        at_least=2,
        at_most=100_000,
    )
    baselines: tuple[str, ...] = option(
        ("last", "seasonal", "ar", "ets"), f"Of {BASELINES}.", empty=True, check=_check_baselines
    )
    watch_lags: tuple[int, ...] = option(
        (),
        "Lags at which training records the autocorrelation of residuals.",
        empty=True,
        at_least=1,
    )
    choose_by: str = option(
        "validation_mase", "Metric by which the best model is chosen.", choices=CHOOSE_BY
    )
    patience: int = option(
        10, "Evaluations without improvement after which training stops.", at_least=1, at_most=10**6
    )
    source: SeriesConfig = section(SeriesConfig())
    training: TrainingConfig = section(TrainingConfig(steps=600, batch=16, eval_every=25))
    saving: SavingConfig = section(SavingConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        self.training.check_watch(PROGRAM)
        if self.strategy == "recursive" and self.horizon > 1 and self.head == "quantile":
            raise ValueError(
                "head: got quantile with strategy recursive, which cannot be drawn from; expected "
                "point, gaussian, or strategy direct"
            )
        roles: dict[str, str] = {}
        for role in ("column", "exogenous", "known"):
            names = self.source.column if role == "column" else getattr(self, role)
            for name in names or ():
                if name in roles:
                    raise ValueError(
                        f"{role}: got {name!r}, which is in {roles[name]} too, expected one of them"
                    )
                roles[name] = role
        self.training.learning_rates(self.models, CELLS)

    @property
    def targets(self) -> int:
        """The number of columns that are forecast."""
        return len(self.source.column or ("the only one",))


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of a trained forecaster."""

    predict: bool = option(
        False,
        "Forecast the steps after the end with the model of model_dir: of the series of its run, "
        "or of the one that series or csv names.",
    )
    other: str = option(
        "refuse",
        "With predict: the reaction to a series with another step, period or other columns than "
        "the training series: refuse or warn.",
        choices=OTHER,
    )
    plot: str | None = option(None, "With predict: a picture of the forecast.", path=True)
    export: str | None = option(
        None, "Write the model into one file, for seqmodels.serving.", path=True
    )
    models: ModelOptions = section(ModelOptions())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.plot is not None and not self.predict:
            raise ValueError("plot: got it without predict, expected both")
