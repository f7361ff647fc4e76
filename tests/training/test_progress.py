"""Progress: a bar on a terminal, plain lines elsewhere, and what they say is so."""

import io

import pytest
from rich.console import Console

from seqmodels.training.progress import ProgressDisplay


def console_of(out):
    return Console(file=out, force_terminal=False, width=200)


def test_progress_without_a_terminal_is_plain_lines():
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    with ProgressDisplay(100, seconds=0, console=console) as progress:
        progress.update("rnn", "loss 1.0", 25)
        progress.skip(50)
        progress.update("rnn", "loss 0.5", 25)
        progress.note("done [not markup]")
    lines = out.getvalue().splitlines()
    assert lines[0].startswith(" 25% rnn: loss 1.0, at most ")
    assert lines[1] == "100% rnn: loss 0.5, at most 0 s left"
    assert lines[2] == "done [not markup]"
    assert "\x1b" not in out.getvalue()


def test_progress_on_a_terminal_is_a_bar():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with ProgressDisplay(100, console=console) as progress:
        progress.update("lstm at 8", "step 3", 50)
        progress.note("a line that stays")
    assert "lstm at 8" in out.getvalue()
    assert "50%" in out.getvalue()
    assert "a line that stays" in out.getvalue()


def plain(updates, total=1000.0, seconds=0.0, **options):
    """The lines that updates leave, each at a time of its own: (seconds, label, work, more)."""
    out, now = io.StringIO(), [50.0]
    options |= {"seconds": seconds, "console": console_of(out), "clock": lambda: now[0]}
    with ProgressDisplay(total, **options) as progress:
        for time, label, work, more in updates:
            now[0] = 50.0 + time
            progress.update(label, more.pop("text", ""), work, **more)
    return out.getvalue().splitlines(), progress


def test_everything_on_one_line():
    first = {"text": "epoch 3", "steps": 100, "time_steps": 3.2e6}
    first |= {"loss": 0.123456, "grad_norm": 1.23456}
    second = {"steps": 100, "time_steps": 3.2e6, "loss": float("nan")}
    lines, progress = plain([(8, "lstm", 250, first), (10, "lstm", 250, second)])
    assert lines == [
        " 25% lstm: epoch 3, loss 0.1235, gradient 1.23, 12.5 steps/s, 400,000 time steps/s, "
        "at most 24 s left",
        " 50% lstm: loss nan, 20 steps/s, 640,000 time steps/s, at most 10 s left",
    ]
    assert progress.speed == pytest.approx((20, 640_000))


def test_work_of_the_run_before_is_not_in_the_speed():
    lines, _ = plain([(10, "gru", 100, {"steps": 100})], done=800)
    assert lines == [" 90% gru: 10 steps/s, at most 10 s left"]


def test_speed_is_that_of_the_last_half_minute():
    updates = [(60, "rnn", 1, {"steps": 6})]  # a minute of compiling
    updates += [(60 + n, "rnn", 1, {"steps": 5}) for n in range(1, 41)]
    lines, _ = plain(updates)
    assert ", at most" in lines[0]
    assert lines[0].startswith("  0% rnn: 0.1 steps/s")
    assert "5 steps/s" not in lines[20]
    assert lines[-1].startswith("  4% rnn: 5 steps/s")


def test_speed_is_that_of_the_label():
    lines, _ = plain(
        [
            (10, "rnn", 1, {"steps": 10}),
            (20, "lstm", 1, {"steps": 50}),
            (25, "lstm", 1, {"steps": 25}),
        ]
    )
    assert [line.split(", ")[0] for line in lines] == [
        "  0% rnn: 1 steps/s", "  0% lstm: 5 steps/s", "  0% lstm: 5 steps/s",
    ]  # fmt: skip


def test_no_speed_and_no_time_left_before_anything_is_done():
    lines, progress = plain([(0, "rnn", 0, {"text": "compiling"})])
    assert lines == ["  0% rnn: compiling"]
    assert progress.speed == (0, 0)
    assert plain([(5, "rnn", 0, {"text": "done"})], total=0)[0] == ["100% rnn: done"]


def test_a_line_at_most_every_so_often():
    updates = [(n, "rnn", 1, {"text": f"step {n}"}) for n in range(1, 25)]
    lines, _ = plain(updates, seconds=10)
    assert [line.split(": ")[1].split(",")[0] for line in lines] == ["step 10", "step 20"]


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (0.4, "0 s"), (119, "119 s"), (120, "2.0 min"), (599, "10.0 min"), (3600, "60 min"),
        (7200, "2.0 h"), (100_000, "28 h"), (200_000, "2.3 days"), (1e7, "116 days"),
    ],
)  # fmt: skip
def test_time_left_in_its_unit(left, text):
    lines, _ = plain([(1, "rnn", 1, {})], total=1 + left)
    assert lines[0].endswith(f"at most {text} left")


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (0.01234, "0.0123"), (999.4, "999"), (999.6, "1,000"), (12_345, "12,300"),
        (999_499, "999,000"), (999_600, "1 million"), (4.5678e6, "4.57 million"),
    ],
)  # fmt: skip
def test_speeds_have_three_digits(steps, text):
    lines, _ = plain([(1, "rnn", 0, {"steps": steps})])
    assert lines == [f"  0% rnn: {text} steps/s"]
