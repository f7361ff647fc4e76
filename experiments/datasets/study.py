"""List and download of the data sets of the experiments."""

from rich.table import Table

from experiments.common.errors import UserError
from experiments.common.terminal import PlainConsole, say
from experiments.datasets.config import ALL, Config
from seqmodels.datasets import fetching
from seqmodels.datasets.registry import ARTIFACTS


def run(config: Config) -> None:
    """Fetches data sets and prints the list, as the configuration requests.

    Raises:
      UserError: if nothing is requested or a data set cannot be fetched.
    """
    if not config.list and not config.fetch:
        raise UserError("got nothing to do, expected --list or --fetch=NAME")
    data_dir = config.fetched.data_dir
    try:
        for name in ARTIFACTS if ALL in config.fetch else config.fetch:
            say(f"{name}: {fetching.fetch(name, data_dir)}")
    except OSError as error:
        raise UserError(str(error)) from error
    if config.list:
        _show(data_dir)


def _show(data_dir: str | None) -> None:
    folder = fetching.cache_folder(data_dir)
    table = Table(title=f"Data sets kept in {folder}", title_justify="left", box=None, leading=1)
    table.add_column("name", no_wrap=True)
    table.add_column("content", ratio=3)
    table.add_column("size", ratio=2)
    table.add_column("download", no_wrap=True, justify="right")
    table.add_column("license", ratio=2)
    table.add_column("cached", no_wrap=True)
    for name, artifact in ARTIFACTS.items():
        table.add_row(
            name,
            artifact.description,
            artifact.rows,
            f"{artifact.megabytes:g} MB",
            artifact.license,
            "yes" if fetching.is_cached(name, data_dir) else "no",
        )
    PlainConsole().print(table)
