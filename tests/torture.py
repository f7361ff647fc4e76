"""Kills a study again and again, and compares its results with those of one that was left alone.

    python tests/torture.py --kills=20
    python tests/torture.py --kills=20 --fetch

The study is a real one of `experiments.long_context`. It is killed with SIGKILL at random times in
its first two seconds, while data are loaded, while it evaluates, while a checkpoint is being
written, and in the end while it reports; each time the same command is repeated. The kills move on
from training to training. In the end every parameter, every optimizer state and every line of
metrics.jsonl must be the same, bit for bit, and no checkpoint may have been lost.

With --fetch processes are killed that fetch a data set from a package index on this machine; in
the end it must be there, and nothing else.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import queue
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import package_index

from seqmodels.training.checkpointing import array_files, array_specs, manifest

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = ROOT / "tests/torture_program.py"
EARLY = 0.2  # share of the kills in the first two seconds
LASTS = {"data loading": 0.01, "evaluation": 0.005, "report": 0.1}  # seconds, at most about
JOBS = ("rnn-2", "lstm-2", "rnn-40", "lstm-40")  # the trainings of the study, in their order
STUDY = [
    "--cells=rnn,lstm",
    "--distances=2,40",
    "--seeds=2",
    "--hidden=16",
    "--steps=3000",
    "--log_every=20",
    "--eval_every=100",
    "--stop_at=2",
    "--test_sequences=1024",
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


class Study:
    """A running study that says what it does; it ends with this process.

    Attributes:
      process: the process.
      said: all that it has said, in order.
    """

    def __init__(self, folder, study=STUDY):
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *study, f"--run_dir={folder}"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(write,),
            env=os.environ
            | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "TORTURE_PIPE": str(write)},
        )
        os.close(write)
        self.said = []
        self._pipe = open(read)  # noqa: SIM115 - closed by `kill`
        self._lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._pipe:
            self._lines.put(line.strip())
        self._lines.put(None)

    def until(self, *names, seconds=120):
        """Waits until it begins one of these phases, and returns it; None if it ended before."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                name = self._lines.get(timeout=left)
                if name is None:
                    return None
                self.said.append(name)
                if name in names:
                    return name
        return None

    def catch_up(self):
        """Reads what it has said so far."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.said += filter(None, [self._lines.get_nowait()])

    def stay(self, seconds):
        """Waits, but not longer than it is in this phase."""
        end, here = time.monotonic() + seconds, self.said[-1]
        while time.monotonic() < end and self.said[-1] == here:
            self.catch_up()
            time.sleep(0.0002)

    def kill(self):
        """Ends it at once; it cannot prepare for that. Returns (phase, standard error)."""
        self.process.send_signal(signal.SIGKILL)
        errors = self.process.communicate()[1]
        self._reader.join()
        self.catch_up()
        self._pipe.close()
        return (self.said or ["imports"])[-1], errors


def newest(folder):
    """Returns the step of the newest checkpoint of each training."""
    found = {}
    for path in folder.glob("checkpoints/*/[0-9]*"):
        if path.name.isdecimal():
            name = path.parent.name
            found[name] = max(found.get(name, 0), int(path.name))
    return found


def until_training(study, folder, seconds=120):
    """Waits until this study has written a checkpoint, reports, or has ended."""
    before = newest(folder)
    end = time.monotonic() + seconds
    while study.process.poll() is None and newest(folder) == before and time.monotonic() < end:
        study.catch_up()
        if study.said[-1] == "report":
            break
        time.sleep(0.005)


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
    """Returns the checkpoints that are being written, or were when a process was killed."""
    found = set()
    for path in folder.glob("checkpoints/*/.*partial*"):
        with contextlib.suppress(FileNotFoundError):
            found.add((path, path.stat().st_ino))
    return found


def planned(number, kills, rng, early):
    """Returns in what the kill of this number is to fall."""
    if rng.random() < early:
        return "early"
    if number >= kills - max(1, kills // 10):
        return "report"
    return rng.choices(("data loading", "evaluation", "checkpoint"), (1, 2, 4))[0]


def wait_for(target, study, folder, *, job, stale, rng):
    """Waits until the study is where it is to be killed; False if it has ended before.

    Args:
      target: of `planned`.
      study: the running `Study`.
      folder: of the run.
      job: the training to wait for, before an evaluation or a checkpoint.
      stale: what `half_written` was before it began.
      rng: of the random times.
    """
    if target == "early":
        time.sleep(rng.uniform(0, 2))
        return True
    if target in ("data loading", "report"):
        if study.until(target) is None:
            return False
        study.stay(rng.uniform(0, LASTS[target]))
        return True
    # What comes first: the training, one after it, or the report, in which it is killed then.
    if study.until(*[f"training {name}" for name in JOBS[job:]], "report") is None:
        return False
    until_training(study, folder)
    if study.said[-1] != "report":
        time.sleep(rng.uniform(0, 0.3))
        study.catch_up()
    if study.said[-1] == "report":
        study.stay(rng.uniform(0, LASTS["report"]))
        return True
    if target == "evaluation":
        if study.until("evaluation", "report") is None:
            return False
        study.stay(rng.uniform(0, LASTS[target]))
        return True
    while rng.random() < 0.998 and study.process.poll() is None:
        study.catch_up()
        if half_written(folder) - stale or study.said[-1] == "report":
            break
        time.sleep(0.0005)
    return True


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
      A pair: how many kills fell into which phase, and how many during a checkpoint write, which
      may last through several phases; and a list of complaints.
    """
    rng = random.Random(seed)
    phases, complaints = collections.Counter(), []
    for number in range(kills):
        before, stale = newest(folder), half_written(folder)
        running = Study(folder, study)
        target = planned(number, kills, rng, early)
        job = min(len(JOBS) - 1, number * len(JOBS) // max(1, kills - kills // 10))
        there = wait_for(target, running, folder, job=job, stale=stale, rng=rng)
        writing = bool(half_written(folder) - stale)
        status = running.process.poll()
        phase, errors = running.kill()
        if not there or status is not None:
            complaints.append(f"kill {number + 1}: ended before, status {status}: {errors}")
            return phases, complaints
        phase = phase.partition(" ")[0] if phase.startswith("training") else phase
        phases[phase] += 1
        phases["during a checkpoint write"] += writing
        complaints += lost_steps(before, errors)
        also = ", during a checkpoint write" if writing else ""
        say(f"kill {number + 1}, {target}: hit {phase}{also}; {newest(folder)}")
    done = subprocess.run(command(folder, study), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        complaints.append(f"status {done.returncode} in the end: {done.stderr}")
    return phases, complaints


def torture_fetches(cache, kills, seed, say=print):
    """Kills processes that fetch a data set so often, then lets one end.

    Args:
      cache: a new folder.
      kills: how often.
      seed: of the random times.
      say: takes a line about each kill.

    Returns:
      A pair: how many kills fell into which phase, and a list of complaints.
    """
    rng = random.Random(seed)
    phases = collections.Counter()
    with package_index.running() as index:
        for number in range(kills):
            index.at_half.clear()
            index.may_go_on.clear()
            process = index.start_fetch(cache)
            if rng.random() < 0.5:
                time.sleep(rng.uniform(0, 2))
            else:
                index.at_half.wait(60)
                index.may_go_on.set()
                time.sleep(rng.uniform(0, 0.4))
            process.kill()
            out, _ = process.communicate()
            folders = {path.name for path in cache.glob("*") if path.is_dir()}
            phase = "end" if out else "download" if folders - {package_index.NAME} else "start"
            phases[phase] += 1
            say(f"kill {number + 1}: hit {phase}")
            if package_index.NAME in folders:
                # So that the next one has something to do.
                (cache / package_index.NAME / "p/de.json").write_bytes(b"damaged")
        index.may_go_on.set()
        done = index.start_fetch(cache)
        _, errors = done.communicate()
    complaints = package_index.faults(cache)
    if done.returncode:
        complaints.append(f"status {done.returncode} in the end: {errors}")
    return phases, complaints


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


def say(line):
    """Prints a line at once."""
    print(line, flush=True)


def main():
    """Returns 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fetch", action="store_true", help="kill processes that fetch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if arguments.fetch:
            phases, complaints = torture_fetches(
                folder / "cache", arguments.kills, arguments.seed, say
            )
        else:
            subprocess.run(command(folder / "alone"), cwd=ROOT, check=True, capture_output=True)
            phases, complaints = torture(
                folder / "killed", arguments.kills, arguments.seed, say=say
            )
            complaints = complaints or compare(folder / "alone", folder / "killed")
        hit = ", ".join(f"{phase} {count}" for phase, count in sorted(phases.items()))
        print(f"{arguments.kills} kills: {hit}")
        for complaint in complaints:
            print(complaint)
        print("different" if complaints else "the same, bit for bit")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
