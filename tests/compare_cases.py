"""The short runs that `compare_commits.py` repeats on two commits, and the files that they read."""

import csv
import datetime
import pathlib
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

RUN = "run"  # the folder of a run below the working folder of its case

# Flags whose spelling depends on the layout of the tree: {flat modules: a package each}.
RENAMED_FLAGS: dict[str, str] = {}


class Case(NamedTuple):
    """A run, and what is asked of it afterwards.

    Attributes:
      name: of the case; also its working folder.
      experiment: the module below `experiments`.
      flags: of the run.
      uses: further commands on the same run, by name; their standard output is compared.
      inputs: writes the files that the flags name into a folder; None where there are none.
    """

    name: str
    experiment: str
    flags: tuple[str, ...]
    uses: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never changed
    inputs: Callable[[pathlib.Path], None] | None = None

    @property
    def reports(self) -> bool:
        """Whether the command trains no model, and prints its whole result."""
        return self.experiment == "autocorrelation"

    def commands(self) -> dict[str, list[str]]:
        """Returns the flags of each command by its name, the run first."""
        kept = [f"--out={RUN}"] if self.reports else [f"--run_dir={RUN}", "--notensorboard"]
        found = {self.name: [*self.flags, *kept]}
        for use, flags in self.uses.items():
            found[f"{self.name}, {use}"] = [*flags, f"--model_dir={RUN}"]
        return found


def renamed(flags: list[str], tree: pathlib.Path) -> list[str]:
    """Returns flags in the spelling of a tree."""
    if not (tree / "experiments" / "long_context").is_dir():
        return flags
    found = []
    for flag in flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        found.append(f"--{RENAMED_FLAGS.get(name, name)}{equals}{value}")
    return found


def _write_rows(path: pathlib.Path, rows: list[list[object]], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def _sentences(number: int, draw: random.Random) -> list[tuple[str, int]]:
    """Returns different sentences, each with the sum of the moods of its words."""
    moods = {"love": 2, "like": 1, "fine": 1, "dull": -1, "poor": -1, "hate": -2}
    others = ["the", "a", "this", "film", "play", "book", "cast", "plot", "scene", "very", "quite"]
    found: dict[str, int] = {}
    while len(found) < number:
        words = draw.choices(others, k=draw.randint(2, 6)) + draw.choices(list(moods), k=2)
        draw.shuffle(words)
        found[" ".join(words)] = sum(moods.get(word, 0) for word in words)
    return list(found.items())


def texts(folder: pathlib.Path) -> None:
    """Writes own.csv with the columns say, mood and stars, and raw.txt."""
    draw = random.Random(0)
    rows: list[list[object]] = [["say", "mood", "stars"]]
    for text, mood in _sentences(240, draw):
        rows.append([text, "good" if mood > 0 else "bad", f"{mood + draw.random():.2f}"])
    _write_rows(folder / "own.csv", rows)
    raw = "".join(f"{text}\n" for text, _ in _sentences(300, draw))
    (folder / "raw.txt").write_text(raw, encoding="utf-8")


def filler(folder: pathlib.Path) -> None:
    """Writes filler.txt."""
    text = ". ".join(text for text, _ in _sentences(120, random.Random(1)))
    (folder / "filler.txt").write_text(text + ".\n", encoding="utf-8")


def pairs(folder: pathlib.Path) -> None:
    """Writes pairs.tsv: sentences of made-up words, and the same with vowels moved on, backwards.

    A fifth of them are an earlier sentence with a word more, so that there are near-duplicates.
    """
    draw = random.Random(2)
    syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
    words = ["".join(draw.choices(syllables, k=2)) for _ in range(250)]
    sources: list[list[str]] = []
    for number in range(600):
        if number % 5:
            sources.append(draw.choices(words, k=draw.randint(3, 6)))
        else:
            sources.append([*(draw.choice(sources) if sources else words[:2]), draw.choice(words)])
    moved = str.maketrans("aeiou", "eiouä")
    rows: list[list[object]] = [
        [" ".join(each), " ".join(word.translate(moved) for word in reversed(each))]
        for each in sources
    ]
    _write_rows(folder / "pairs.tsv", rows, "\t")


def picture(folder: pathlib.Path) -> None:
    """Writes mine.png: a bright one on black, and its bar below."""
    pixels = np.zeros((20, 16), np.uint8)
    pixels[3:17, 7:10] = 230
    pixels[15:17, 4:13] = 200
    Image.fromarray(pixels).save(folder / "mine.png")


def pictures(folder: pathlib.Path) -> None:
    """Writes 60 pictures of colored squares, and captions.csv."""
    draw = random.Random(3)
    colors = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (30, 60, 220)}
    rows: list[list[object]] = [["file", "caption"]]
    for number in range(60):
        color, side = draw.choice(list(colors)), draw.choice(["left", "right"])
        pixels = np.full((48, 48, 3), 255, np.uint8)
        left = draw.randint(2, 6) + (22 if side == "right" else 0)
        top = draw.randint(4, 24)
        pixels[top : top + 16, left : left + 16] = colors[color]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append([f"{number}.png", f"a {color} square on the {side}"])
    _write_rows(folder / "captions.csv", rows)
    picture(folder)


def sales(folder: pathlib.Path) -> None:
    """Writes sales.csv: months of sales with two missing, a price, and a plan that goes on."""
    rng = np.random.default_rng(0)
    t = np.arange(66)
    plan = (rng.random(66) < 0.3).astype(int)
    sold = 200 + t + 30 * np.sin(2 * np.pi * t / 12) + 25 * plan + rng.normal(size=66)
    rows: list[list[object]] = [["month", "sales", "price", "plan"]]
    for i in range(66):
        if i in (20, 33):
            continue
        cells = [f"{sold[i]:.1f}", f"{9 + 0.01 * i:.2f}"] if i < 60 else ["", ""]
        rows.append([f"{2015 + i // 12}-{i % 12 + 1:02d}", *cells, int(plan[i])])
    _write_rows(folder / "sales.csv", rows)


def meals(folder: pathlib.Path) -> None:
    """Writes diary.csv: meals that depend on the meal before, and weekdays."""
    draw = random.Random(4)
    following = {"soup": "pasta", "pasta": "rice", "rice": "soup"}
    rows: list[list[object]] = [["date", "weekday", "meal"]]
    meal = "soup"
    for day in range(210):
        meal = following[meal] if draw.random() < 0.6 else draw.choice(list(following))
        date = datetime.date(2024, 1, 1) + datetime.timedelta(day)
        rows.append([date.isoformat(), f"{date:%A}", meal])
    _write_rows(folder / "diary.csv", rows)


_HORIZON = (
    "--seeds=2", "--hidden=16", "--embedding=8", "--steps=60", "--eval_every=20",
    "--test_sequences=64", "--batch=16",
)  # fmt: skip
_SENTIMENT = (
    "--seeds=2", "--hidden=8", "--embedding=8", "--buckets=500", "--max_words=16", "--steps=20",
    "--eval_every=10", "--batch=32", "--baselines=words",
)  # fmt: skip
_OWN_TEXTS = (
    *_SENTIMENT, "--data=csv", "--csv=own.csv", "--text_column=say", "--vectors_from=raw.txt",
)  # fmt: skip
_IMAGES = (
    "--seeds=2", "--hidden=16", "--channels=4,8", "--steps=20", "--eval_every=10", "--batch=32",
)  # fmt: skip
_CAPTIONS = (
    "--seeds=2", "--hidden=8", "--features=8", "--embedding=4", "--channels=2,4", "--steps=10",
    "--eval_every=5", "--batch=8",
)  # fmt: skip
_CHARACTERS = (
    "--hidden=16", "--embedding=8", "--length=32", "--batch=8", "--steps=20", "--eval_every=10",
)  # fmt: skip
_FORECASTS = ("--seeds=2", "--hidden=8", "--steps=20", "--eval_every=10", "--window=24")
_PAIRS = (
    "--seeds=2", "--hidden=16", "--embedding=8", "--vocabulary=300", "--steps=20",
    "--eval_every=10", "--batch=16", "--beam=2", "--pairs_file=pairs.tsv",
)  # fmt: skip
_SALES = ("--csv=sales.csv", "--column=sales", "--exogenous=price", "--known=plan", "--horizon=3")

CASES = [
    Case(
        "long_context sky", "long_context",
        ("--task=sky", "--cells=lstm,gru,rnn", "--distances=0,16", "--devices=1",
         "--learning_rate=rnn:0.001,gru:0.01,lstm:0.01", *_HORIZON),
    ),
    Case(
        "long_context sky two devices", "long_context",
        ("--task=sky", "--cells=lstm", "--distances=16", "--devices=2", "--schedule=cosine",
         "--warmup=10", "--average=0.9", *_HORIZON),
    ),
    Case(
        "long_context sky own filler", "long_context",
        ("--task=sky", "--cells=gru", "--distances=8", "--filler_file=filler.txt", "--devices=1",
         *_HORIZON),
        inputs=filler,
    ),
    Case(
        "long_context adding", "long_context",
        ("--task=adding", "--cells=lstm", "--distances=10", "--accumulate=2",
         "--weight_decay=0.01", "--clip_norm=inf", "--devices=1", *_HORIZON),
    ),
    Case(
        "long_context copy", "long_context",
        ("--task=copy", "--cells=gru", "--distances=10", "--on_nonfinite=skip", "--log_every=5",
         "--devices=1", *_HORIZON),
    ),
    Case(
        "long_context digits", "long_context",
        ("--task=digits", "--cells=lstm", "--distances=8", "--first_seed=3", "--devices=1",
         *_HORIZON),
    ),
    Case(
        "long_context temporal_order", "long_context",
        ("--task=temporal_order", "--cells=rnn", "--distances=10", "--stop_at=0.2",
         "--stop_after=1", "--schedule=linear", "--devices=1", *_HORIZON),
    ),
    Case(
        "sentiment tweets", "sentiment",
        ("--data=tweets", "--models=bag,lstm,bilstm", "--split_seed=1", "--average=0.9",
         "--devices=1", *_SENTIMENT),
        {"evaluate": ("--evaluate",), "predict": ("--predict=I love this sunny day, great!",)},
    ),
    Case(
        "sentiment tweets rating", "sentiment",
        ("--data=tweets", "--target=rating", "--models=gru", "--pool_words", "--devices=1",
         *_SENTIMENT),
        {"evaluate": ("--evaluate",), "predict": ("--predict=I hate this rainy day",)},
    ),
    Case(
        "sentiment csv", "sentiment",
        ("--label_column=mood", "--models=rnn,bilstm", "--balance=1.0", "--devices=1", *_OWN_TEXTS),
        {"evaluate": ("--evaluate",), "predict": ("--predict=the plot is dull, I love the cast",)},
        texts,
    ),
    Case(
        "sentiment csv rating two devices", "sentiment",
        ("--label_column=stars", "--target=rating", "--models=lstm", "--devices=2", *_OWN_TEXTS),
        {"predict": ("--predict=the plot is dull, I love the cast",)},
        texts,
    ),
    Case(
        "image_classification digits", "image_classification",
        ("--data=digits", "--models=cnn,gru", "--reading=rows", "--devices=1", *_IMAGES),
        {"evaluate": ("--evaluate",), "predict": ("--predict=mine.png",)},
        picture,
    ),
    Case(
        "image_classification pixels two devices", "image_classification",
        ("--data=digits", "--models=lstm", "--reading=rows,pixels", "--pooling=last", "--shift=0",
         "--devices=2", *_IMAGES),
    ),
    Case(
        "captioning digits", "captioning",
        ("--data=digits", "--pictures=2", "--cells=gru", "--devices=1", *_CAPTIONS),
        {
            "evaluate": ("--evaluate", "--decode=beam", "--beam=3"),
            "predict": ("--predict=mine.png",),
            "predict by sampling": ("--predict=mine.png", "--decode=sample", "--top_k=3"),
        },
        picture,
    ),
    Case(
        "captioning folder", "captioning",
        ("--data=folder", "--images_dir=.", "--captions_file=captions.csv", "--devices=1",
         "--decode=beam", "--beam=2", "--patch=2", *_CAPTIONS),
        {"evaluate": ("--evaluate",), "predict": ("--predict=7.png",)},
        pictures,
    ),
    Case(
        "captioning emoji", "captioning",
        ("--data=emoji", "--language=de", "--patch=2", "--devices=2", *_CAPTIONS),
    ),
    Case(
        "character_lm", "character_lm",
        ("--cells=lstm", "--seeds=1", "--devices=1", *_CHARACTERS),
        {"evaluate": ("--evaluate",), "predict": ("--predict=ROMEO:", "--characters=60")},
    ),
    Case(
        "character_lm two devices", "character_lm",
        ("--cells=rnn", "--seeds=2", "--devices=2", *_CHARACTERS),
    ),
    Case(
        "translation pairs_file", "translation",
        ("--attention=luong,none", "--scheduled_sampling=0.2", "--devices=1", *_PAIRS),
        {
            "evaluate": ("--evaluate",),
            "predict": ("--predict=kimo bade sulo", "--picture=attention.png"),
        },
        pairs,
    ),
    Case(
        "translation pairs_file two devices", "translation",
        ("--attention=luong", "--split_seed=1", "--devices=2", *_PAIRS),
        inputs=pairs,
    ),
    Case(
        "forecasting sunspots", "forecasting",
        ("--series=sunspots", "--last=1987", "--test=67", "--validation=60", "--transform=sqrt",
         "--models=lstm,rnn", "--bases=none,first,ar", "--base_lags=1,2,9", "--watch_lags=1,11",
         "--baselines=last,ar,ar_1,sqrt_ar_1_2_9,ets", "--choose_by=validation_rmsse",
         "--weight_decay=0.1", "--devices=1", *_FORECASTS),
        {"evaluate": ("--evaluate",), "predict": ("--predict",)},
    ),
    Case(
        "forecasting csv gaussian recursive", "forecasting",
        (*_SALES, "--bases=first,seasonal", "--head=gaussian", "--strategy=recursive",
         "--samples=20", "--baselines=last,seasonal,ar", "--devices=1", *_FORECASTS),
        {"evaluate": ("--evaluate",), "predict": ("--predict",)},
        sales,
    ),
    Case(
        "forecasting csv quantile two devices", "forecasting",
        (*_SALES, "--models=gru", "--bases=none", "--head=quantile", "--baselines=last",
         "--devices=2", *_FORECASTS),
        {"predict": ("--predict",)},
        sales,
    ),
    Case("autocorrelation sunspots", "autocorrelation", ("--series=sunspots",)),
    Case(
        "autocorrelation elnino differences", "autocorrelation",
        ("--series=elnino", "--transform=log", "--difference=1", "--seasonal_difference=1",
         "--nlags=30", "--alpha=0.01"),
    ),
    Case(
        "autocorrelation csv with another", "autocorrelation",
        ("--csv=sales.csv", "--column=sales", "--with=price"), inputs=sales,
    ),
    Case(
        "autocorrelation labels", "autocorrelation",
        ("--csv=diary.csv", "--column=meal", "--labels", "--with=weekday", "--seed=1"),
        inputs=meals,
    ),
    Case("autocorrelation demo", "autocorrelation", ("--demo=food",)),
]  # fmt: skip
