"""The demonstration of unrolling: a picture and a table."""

from typing import Any

import jax
import rich.table
from rich import box

from experiments.common.actions import save_figure
from experiments.common.terminal import PlainConsole
from experiments.unrolling.config import Config
from experiments.unrolling.ways import measure, ways_of
from seqmodels import plots
from seqmodels.analysis.step_graph import step_graph
from seqmodels.cells.catalog import CELLS


def run(config: Config) -> dict[str, Any]:
    """Draws the cell, prints the table, and returns {length: {way: cost as a dict}}.

    Raises:
      UserError: if the picture cannot be written.
    """
    cell = CELLS[config.cell](config.input_size, config.hidden)
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    state = jax.eval_shape(lambda params: cell.initial_state(params, (config.batch,)), shapes)
    x_t = jax.ShapeDtypeStruct((config.batch, config.input_size), "float32")
    graph = step_graph(cell, shapes, state, x_t)
    figure = plots.unrolled(
        graph.nodes,
        list(graph.state.items()),
        graph.outputs,
        num_steps=config.drawn,
        title=f"{config.cell}: batch {config.batch}, {config.input_size} input features, "
        f"{config.hidden} hidden units",
    )
    save_figure(figure, config.out, "out")

    table = rich.table.Table(
        title=f"{config.cell}, value and gradient of a mean over the outputs, batch "
        f"{config.batch}, {config.hidden} hidden units. First call: compile time included. "
        "Memory: kept for the backward pass.",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("way")
    for heading in ("steps", "first call, s", "run, ms", "memory, MB"):
        table.add_column(heading, justify="right")
    loop, program, *_ = known = ways_of(cell)
    limits = {loop: config.longest_loop, program: config.longest_program}
    results: dict[str, Any] = {}
    for length in config.lengths:
        xs = jax.random.normal(jax.random.key(1), (length, config.batch, config.input_size))
        ways = tuple(way for way in known if length <= limits.get(way, length))
        results[str(length)] = {}
        table.add_section()
        for way, cost in measure(cell, xs, ways, config.rounds):
            results[str(length)][way] = cost._asdict()
            figures = (f"{cost.compile_s:.2f}", f"{cost.run_ms:.2f}", f"{cost.megabytes:.2f}")
            table.add_row(way, str(length), *figures)
    PlainConsole().print(table)
    return results
