"""Options of the list of data sets."""

import dataclasses

from experiments.common.config import Options, option, section
from experiments.common.sections import DataConfig
from seqmodels.datasets.registry import ARTIFACTS

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the list of data sets."""

    list: bool = option(False, "Show all data sets, and which of them are in the cache.")
    fetch: tuple[str, ...] = option(
        (), "Data sets to fetch, or all.", choices=(*ARTIFACTS, ALL), empty=True
    )
    fetched: DataConfig = section(DataConfig())
