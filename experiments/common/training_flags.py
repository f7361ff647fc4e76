"""How a model is trained."""

from absl import flags

from experiments.common import app
from seqmodels.training.optimizers import SCHEDULES, OptimizerSettings
from seqmodels.training.settings import ON_NONFINITE, FitSettings, steps_per_dispatch

# All of them decide what comes out.
NAMES = (
    "steps", "batch", "learning_rate", "schedule", "warmup", "weight_decay", "clip_norm",
    "accumulate", "average", "on_nonfinite", "log_every", "eval_every",
)  # fmt: skip
LONGEST_DISPATCH = 25  # steps, so that a signal is soon obeyed


def define(
    *, steps: int, batch: int, learning_rate: str, eval_every: int, clip_norm: float
) -> None:
    """Defines the flags.

    Args: the defaults of the flags of these names.
    """
    flags.DEFINE_integer(
        "steps", steps, "Training steps at most.", lower_bound=1, upper_bound=1_000_000_000
    )
    flags.DEFINE_integer(
        "batch", batch, "Sequences a training step.", lower_bound=1, upper_bound=1_048_576
    )
    flags.DEFINE_string(
        "learning_rate",
        learning_rate,
        "AdamW's rate: one number, or one for every model, rnn:0.001,lstm:0.003.",
    )
    flags.DEFINE_string(
        "schedule", "constant", f"The rate after the warm-up: {', '.join(SCHEDULES)}; to 0."
    )
    flags.DEFINE_integer(
        "warmup", 0, "Steps over which the rate grows from 0.", lower_bound=0, upper_bound=10**9
    )
    flags.DEFINE_float(
        "weight_decay", 0.0, "Decay of the parameters a step, times the rate.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "clip_norm", clip_norm, "Global norm of the gradient to clip at; inf: never."
    )
    flags.DEFINE_integer(
        "accumulate", 1, "Steps whose gradients make one update.", lower_bound=1, upper_bound=10**6
    )
    flags.DEFINE_float(
        "average",
        0.0,
        "Evaluate a moving average of the parameters with this decay, such as 0.999; 0: the last.",
        lower_bound=0.0,
        upper_bound=0.999999,
    )
    flags.DEFINE_string(
        "on_nonfinite",
        "stop",
        "When a loss or gradient is NaN or infinite: stop, or skip the update.",
    )
    flags.DEFINE_integer(
        "log_every",
        None,
        "Steps between two records; by default those between two evaluations.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "eval_every",
        eval_every,
        "Steps between two evaluations; a multiple of log_every.",
        lower_bound=1,
    )
    app.checked(app.known_name(SCHEDULES), "schedule")
    app.checked(app.known_name(ON_NONFINITE), "on_nonfinite")
    app.checked(lambda value: app.positive(str(value), infinite=True), "clip_norm")
    app.checked(app.no_nan, "weight_decay", "average")


def optimizer_settings(rate: float) -> OptimizerSettings:
    """Returns what the flags say about updates, with that learning rate."""
    values = flags.FLAGS
    return OptimizerSettings(
        learning_rate=rate,
        steps=values.steps,
        schedule=values.schedule,
        warmup=values.warmup,
        weight_decay=values.weight_decay,
        clip_norm=values.clip_norm,
        accumulate=values.accumulate,
        average=values.average,
        skip=values.on_nonfinite == "skip",
    )


def fit_settings() -> FitSettings:
    """Returns what the flags say about the loop.

    Intervals longer than the training are shortened to it.
    """
    values = flags.FLAGS
    eval_every = min(values.eval_every, values.steps)
    settings = FitSettings(
        steps=values.steps,
        log_every=min(values.log_every or eval_every, values.steps),
        eval_every=eval_every,
        checkpoint_every=values.checkpoint_every,
        on_nonfinite=values.on_nonfinite,
    )
    return settings._replace(steps_per_dispatch=steps_per_dispatch(settings, LONGEST_DISPATCH))
