"""Options of the captioning study."""

import dataclasses
import hashlib
import pathlib

from experiments.common.config import Options, option, section
from experiments.common.sections import ModelOptions, SavingConfig, TrainingConfig
from seqmodels.data import captions
from seqmodels.datasets.emoji_scenes import LANGUAGES
from seqmodels.storage import reading

PROGRAM = "captioning"
DATA = ("digits", "emoji", "folder")
PICTURES = {"digits": 3, "emoji": 2}  # pictures of a scene by default
CELLS = ("rnn", "gru", "lstm")
DECODERS = ("greedy", "sample", "beam")


@dataclasses.dataclass(frozen=True)
class DecodingConfig(Options):
    """Options of decoding captions, also by --evaluate, --predict and --export."""

    decode: str = option("greedy", "Search for the caption.", choices=DECODERS)
    beam: int = option(4, "Width of the beam.", at_least=1, at_most=1_024)
    length_penalty: float = option(
        0.0,
        "A beam's scores are divided by ((5 + words) / 6) to this power.",
        at_least=0,
        at_most=10,
    )
    temperature: float = option(
        1.0, "Temperature of sampling; below 1: probable words become more probable.", above=0
    )
    top_k: int | None = option(
        None, "Sample from this many most probable words; by default from all.", at_least=1
    )


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of the captioning study."""

    data: str = option(
        "digits",
        "Pictures: digits side by side (no download), scenes of emoji (pip install "
        "'seqmodels[captions]'), or a folder of your own.",
        choices=DATA,
    )
    language: str = option("en", "Language of the captions of scenes.", choices=LANGUAGES)
    pictures: int | None = option(
        None,
        "Pictures of a scene: 2 or 3 emoji, 2 to 4 digits; by default 2 emoji, 3 digits.",
        at_least=2,
        at_most=4,
    )
    images_dir: str | None = option(None, "Your own folder of images, with data=folder.", path=True)
    captions_file: str | None = option(
        None,
        "CSV or TSV with the columns file and caption, with data=folder. About a tenth of the "
        "pictures each is held out for validation and test.",
        digest=True,
    )
    cells: tuple[str, ...] = option(("lstm",), "Cells of the decoder.", choices=CELLS)
    hidden: int = option(128, "Hidden units of the decoder.", at_least=1, at_most=65_536)
    features: int = option(128, "Size of the encoder's features.", at_least=1, at_most=65_536)
    embedding: int = option(64, "Size of an embedded word.", at_least=1, at_most=65_536)
    patch: int = option(
        1,
        "Side of the squares of pixels that are read as one; more is cheaper.",
        at_least=1,
        at_most=65_536,
    )
    channels: tuple[int, ...] = option(
        (32, 64),
        "Feature maps of the convolutions, in order.",
        at_least=1,
        at_most=4096,
        distinct=False,
    )
    decoding: DecodingConfig = section(DecodingConfig())
    training: TrainingConfig = section(
        TrainingConfig(seeds=3, steps=1000, batch=64, learning_rate="0.002", eval_every=250)
    )
    saving: SavingConfig = section(SavingConfig())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        self.training.check_watch(PROGRAM)
        for name in ("images_dir", "captions_file"):
            given = getattr(self, name)
            if self.data == "folder" and given is None:
                raise ValueError(f"{name}: got nothing with data folder, expected a path")
            if self.data != "folder" and given is not None:
                raise ValueError(
                    f"{name}: got {given!r} with data {self.data}, expected data folder"
                )
        self.training.learning_rates(self.cells, CELLS)

    def digests(self) -> dict[str, str]:
        """Returns the digest of the pictures that captions_file names.

        The folder as a whole has no digest, because it may hold the run itself.
        """
        if self.images_dir is None or self.captions_file is None:
            return {}
        files, _ = captions.read_captions(self.captions_file)
        paths = {file: pathlib.Path(self.images_dir) / file for file in sorted(set(files))}
        lines = [
            f"{reading.digest(path, keep=False)}  {file}\n"
            for file, path in paths.items()
            if path.is_file()
        ]
        return {"images_sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


@dataclasses.dataclass(frozen=True)
class Actions(Options):
    """Use of a trained model."""

    predict: str | None = option(
        None,
        "Your own picture: of any mode and size; it is put on white, made gray where the model "
        "knows gray pictures, and scaled to the size that the model knows.",
        path=True,
    )
    plot: str | None = option(
        None,
        "With predict: the picture as the model sees it, and its probable captions.",
        path=True,
    )
    export: str | None = option(
        None, "Write the model and its decoder into one file, for seqmodels.serving.", path=True
    )
    models: ModelOptions = section(ModelOptions())

    def check(self) -> None:
        """Raises ValueError for options that contradict each other."""
        if self.plot is not None and self.predict is None:
            raise ValueError("plot: got it without predict, expected both")
