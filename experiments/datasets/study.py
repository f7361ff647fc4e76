"""Lists the data sets of the experiments, and fetches them.

python -m experiments.datasets --list
python -m experiments.datasets --fetch=mnist_5k,tweets
python -m experiments.datasets --fetch=all --data_dir=FOLDER
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from experiments.common import app
from seqmodels.datasets import fetching
from seqmodels.datasets.registry import ARTIFACTS

ALL = "all"


def define_data_dir() -> None:
    """Defines the flag that every experiment with fetched data has."""
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder that keeps fetched data; by default $SEQMODELS_DATA, or seqmodels in the user's "
        "cache folder.",
    )
    app.checked(app.not_empty, "data_dir")


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_bool("list", False, "Show all data sets, and which of them are here.")
    flags.DEFINE_list("fetch", [], f"Data sets to fetch, or {ALL}: {', '.join(ARTIFACTS)}.")
    define_data_dir()
    app.checked(lambda value: value and app.names(value, [*ARTIFACTS, ALL]), "fetch")


def main() -> int:
    """Does what the flags ask for. Returns the exit status."""
    values = flags.FLAGS
    if not values.list and not values.fetch:
        raise app.UserError("got nothing to do, expected --list or --fetch=NAME")
    try:
        for name in ARTIFACTS if ALL in values.fetch else values.fetch:
            print(f"{name}: {fetching.fetch(name, values.data_dir)}")
    except OSError as error:
        raise app.UserError(str(error)) from None
    if values.list:
        _show()
    return 0


def _show() -> None:
    data_dir = flags.FLAGS.data_dir
    folder = fetching.cache_folder(data_dir)
    table = Table(title=f"Data sets kept in {folder}", title_justify="left", box=None, leading=1)
    table.add_column("name", no_wrap=True)
    table.add_column("what", ratio=3)
    table.add_column("size", ratio=2)
    table.add_column("download", no_wrap=True, justify="right")
    table.add_column("licence", ratio=2)
    table.add_column("here", no_wrap=True)
    for name, artifact in ARTIFACTS.items():
        table.add_row(
            name,
            artifact.description,
            artifact.rows,
            f"{artifact.megabytes:g} MB",
            artifact.license,
            "yes" if fetching.is_cached(name, data_dir) else "no",
        )
    Console().print(table)
