"""Options of the autocorrelation report."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.series_options import SeriesConfig
from seqmodels.data.transforms import TRANSFORMS

PROGRAM = "autocorrelation"
DEMOS = ("food",)


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the autocorrelation report."""

    with_column: str | None = option(
        None, "Another column, whose past may predict this one.", flag="with"
    )
    labels: bool = option(False, "The column holds labels, such as meals, not numbers.")
    demo: str | None = option(
        None, "A made-up diary of days and meals, and networks that read it.", choices=DEMOS
    )
    transform: str = option("none", "Transform of the values.", choices=TRANSFORMS)
    difference: int = option(0, "Order of differencing, x_t - x_{t-1}.", at_least=0, at_most=10)
    seasonal_difference: int = option(
        0,
        "Order of seasonal differencing, x_t - x_{t-period}, which comes first.",
        at_least=0,
        at_most=10,
    )
    period: int | None = option(
        None,
        "Steps of a season; default: the calendar's season, such as 12 for months.",
        at_least=2,
        at_most=10**6,
    )
    nlags: int | None = option(
        None,
        "The largest lag; default: two seasons, or 10 log10 of the length.",
        at_least=1,
        at_most=10**6,
    )
    alpha: float = option(0.05, "Level of the bands and tests.", at_least=1e-9, at_most=0.5)
    seed: int = option(
        0, "Seed of the demo, and of the shuffles of labels.", at_least=0, at_most=2**31
    )
    source: SeriesConfig = section(SeriesConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if (self.labels or self.demo) and self.changes:
            name = self.changes[0].partition("=")[0]
            given = "labels" if self.labels else "demo"
            raise ValueError(f"{name}: got it with {given}, expected numbers")
        if self.labels and self.source.csv is None:
            raise ValueError("labels: got it without csv, expected both")
        if self.labels and len(self.source.column or ()) != 1:
            raise ValueError(
                f"column: got {', '.join(self.source.column or ()) or 'nothing'}, expected the one "
                "with labels"
            )
        if self.demo and self.with_column is not None:
            raise ValueError("with: got it with demo, expected a csv or series")
        if self.source.column is not None and len(self.source.column) > 1:
            raise ValueError(f"column: got {', '.join(self.source.column)}, expected one")
        if self.with_column is not None and self.with_column in (self.source.column or ()):
            raise ValueError(f"with: got {self.with_column}, expected another column")

    @property
    def changes(self) -> list[str]:
        """The transforms and differences of the values, such as "difference=1"."""
        made = [] if self.transform == "none" else [f"transform={self.transform}"]
        names = ("difference", "seasonal_difference")
        return made + [f"{name}={getattr(self, name)}" for name in names if getattr(self, name)]

    def check_source(self) -> None:
        """Raises ValueError unless exactly one series is named."""
        named = {"demo": self.demo, "series": self.source.series, "csv": self.source.csv}
        given = [name for name, value in named.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"series, csv, demo: got {' and '.join(given) or 'nothing'}, expected one of them"
            )


@dataclasses.dataclass(frozen=True)
class ReportOptions(Options):
    """Folder of the report."""

    out: str | None = option(None, "Folder of the report; by default one below runs/.", path=True)
    overwrite: bool = option(False, "Replace the report that out holds.")

    @property
    def run_dir(self) -> str | None:
        """The folder of the report."""
        return self.out
