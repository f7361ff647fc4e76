"""Kills a study again and again, and compares its results with those of one that was left alone.

    python tests/torture.py --kills=20

The study is a real one of `experiments.long_context`. It is killed with SIGKILL after random times,
also within the first two seconds, and while a checkpoint is being written where the random time
says so; each time the same command is repeated. In the end every parameter, every optimizer state
and every line of metrics.jsonl must be the same, bit for bit, and no checkpoint may have been lost.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

from seqmodels.training.checkpointing import array_files, array_specs, manifest

ROOT = pathlib.Path(__file__).parents[1]
EARLY = 0.2  # share of the kills that come while modules are imported or data are loaded
STUDY = [
    "--cells=rnn,lstm",
    "--distances=2,40",
    "--seeds=2",
    "--hidden=16",
    "--steps=3000",
    "--log_every=20",
    "--eval_every=100",
    "--stop_at=2",
    "--test_sequences=64",
    "--devices=2",
    "--checkpoint_every=0.1",
    "--warmup=100",
    "--schedule=cosine",
    "--average=0.9",
    "--notensorboard",
]


def command(folder, study=STUDY):
    """Returns the command that begins the study, or resumes it."""
    return [sys.executable, "-m", "experiments.long_context", *study, f"--run_dir={folder}"]


def start(folder, study=STUDY):
    """Returns the running study; it ends with this process."""
    return subprocess.Popen(
        command(folder, study),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def newest(folder):
    """Returns the step of the newest checkpoint of each training."""
    found = {}
    for path in folder.glob("checkpoints/*/[0-9]*"):
        if path.name.isdecimal():
            name = path.parent.name
            found[name] = max(found.get(name, 0), int(path.name))
    return found


def until_training(process, folder, seconds=120):
    """Waits until this process has written a checkpoint, or has ended."""
    before = newest(folder)
    end = time.monotonic() + seconds
    while process.poll() is None and newest(folder) == before and time.monotonic() < end:
        time.sleep(0.01)


def kill(process):
    """Ends a process at once; it cannot prepare for that. Returns what it had said."""
    process.send_signal(signal.SIGKILL)
    return process.communicate()[1]


def lost_steps(before, said):
    """Returns a complaint if a training that had a checkpoint did not resume from the newest."""
    for name, step in re.findall(r"(\w+ at \d+): resumes from step (\d+)", said):
        newest_step = before.get(name.replace(" at ", "-"))
        if newest_step != int(step):
            return [f"{name} resumed from step {step}, expected {newest_step}"]
    begun = re.findall(r"(\w+ at \d+): step \d+", said)
    if begun and before.get(begun[0].replace(" at ", "-")) and "resumes from" not in said:
        return [f"{begun[0]} began anew"]
    return []


def half_written(folder):
    """Returns whether a checkpoint is being written at this moment."""
    return any(folder.glob("checkpoints/*/.*partial*"))


def torture(folder, kills, seed, study=STUDY, say=print, early=EARLY):
    """Kills the study so often, then lets it end.

    Args:
      folder: of the run.
      kills: how often.
      seed: of the random times.
      study: flags.
      say: takes a line about each kill.
      early: share of the kills in the first two seconds.

    Returns:
      A pair: how many kills were in the middle of a checkpoint write, and a list of complaints.
    """
    rng = random.Random(seed)
    in_writes, complaints = 0, []
    for number in range(kills):
        before = newest(folder)
        process = start(folder, study)
        if rng.random() < early:
            time.sleep(rng.uniform(0, 2))
            complaints += lost_steps(before, kill(process))
            say(f"kill {number + 1}: within the first two seconds")
            continue
        until_training(process, folder)
        if process.poll() is not None:
            _, err = process.communicate()
            complaints.append(f"kill {number}: ended before, status {process.returncode}: {err}")
            break
        time.sleep(rng.uniform(0, 0.6))
        while rng.random() < 0.9 and not half_written(folder) and process.poll() is None:
            time.sleep(0.0005)
        writing = half_written(folder)
        complaints += lost_steps(before, kill(process))
        in_writes += writing
        say(f"kill {number + 1}: {newest(folder)}{', in a checkpoint write' if writing else ''}")
    done = subprocess.run(command(folder, study), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        complaints.append(f"status {done.returncode} in the end: {done.stderr}")
    return in_writes, complaints


def arrays_of(folder):
    """Returns the bytes of every array of a checkpoint by its path in the state."""
    found = manifest.read_manifest(folder)
    layouts = [array_specs.data_shape_and_dtype(leaf) for leaf in found.leaves]
    stored = {str(n): dtype for n, (shape, dtype) in enumerate(layouts) if 0 not in shape}
    arrays = array_files.read_arrays(folder / "arrays", stored)
    return {leaf.path: arrays[str(n)].tobytes() for n, leaf in enumerate(found.leaves)}


def compare(first, second):
    """Returns what differs between two finished runs, as lines."""
    different = []
    if (first / "metrics.jsonl").read_bytes() != (second / "metrics.jsonl").read_bytes():
        different.append("metrics.jsonl differs")
    lines = [json.loads(line) for line in (second / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["cell"], line["distance"], max(line["step"])) for line in lines]
    if len(set(steps)) != len(steps):
        different.append("a step stands twice in metrics.jsonl")
    reports = [json.loads((folder / "results.json").read_text()) for folder in (first, second)]
    measured = [[{**m, "seconds": None} for m in report["results"]] for report in reports]
    if measured[0] != measured[1]:
        different.append("results.json differs")
    if newest(first) != newest(second):
        different.append(f"last steps: {newest(first)} and {newest(second)}")
    for name, step in newest(first).items():
        here, there = (arrays_of(f / "checkpoints" / name / str(step)) for f in (first, second))
        paths = sorted({path for path in {**here, **there} if here.get(path) != there.get(path)})
        if paths:
            different.append(f"{name} differs in {', '.join(paths)}")
    return different


def main():
    """Returns 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run(command(folder / "alone"), cwd=ROOT, check=True, capture_output=True)
        in_writes, complaints = torture(folder / "killed", arguments.kills, arguments.seed)
        complaints += compare(folder / "alone", folder / "killed")
        print(f"{arguments.kills} kills, {in_writes} of them in a checkpoint write")
        for complaint in complaints:
            print(complaint)
        print("different" if complaints else "the same, bit for bit")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
