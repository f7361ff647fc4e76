"""Many to many: English sentences to German ones.

An LSTM reads the source, another writes the translation, with attention or without. Trained on the
phrases of Home Assistant's interface, or on your own pairs.

    python -m experiments.translation --flagfile=experiments/translation/flagfiles/attention.flags
    python -m experiments.translation --evaluate
    python -m experiments.translation --predict="Delete files permanently"
"""

import functools
import hashlib
import pathlib
import sys
from typing import Any

import jax
from absl import flags

from experiments.common import app, runner, saved_models, training_flags
from experiments.common import report as study_report
from experiments.translation import model as work
from seqmodels import model_files, plots
from seqmodels.data import sentence_pairs, subwords
from seqmodels.data.phrase_splits import Splits
from seqmodels.datasets import interface_phrases
from seqmodels.models.translator import ATTENTIONS
from seqmodels.training.run_directory import MODELS

PROGRAM = "translation"
OWN_FLAGS = [
    "attention", "hidden", "embedding", "dropout", "label_smoothing", "scheduled_sampling",
    "vocabulary", "max_tokens", "beam", "length_penalty", "pairs_file", "split_seed",
]  # fmt: skip
TOO_LONG = ("cut", "refuse")
PICTURE = "attention.png"
COLUMNS = {
    f"{part}_{metric}": (f"{heading}{label}", study_report.decimals(1))
    for part, heading in (
        ("components", "held-out components"),
        ("far", "sources, cosine < .6"),
        ("middle", ".6-.8"),
        ("near", "> .8"),
    )
    for metric, label in (("bleu", "\nBLEU"), ("chrf", "\nchrF"))
    if metric == "bleu" or part in ("components", "far")
}


def define_flags() -> None:
    """Defines the flags of this entry point."""
    flags.DEFINE_list("attention", ["luong"], f"Models, of {', '.join(ATTENTIONS)}.")
    _size("hidden", 192, "Hidden units, an even number.")
    _size("embedding", 128, "Size of an embedded token.")
    _rate("dropout", 0.3, "Share of the features that is dropped.")
    _rate("label_smoothing", 0.1, "Probability that is spread over all tokens.")
    _rate("scheduled_sampling", 0.0, "Share of inputs that the decoder chooses, at the end.")
    flags.DEFINE_integer(
        "vocabulary",
        2500,
        "Tokens of each language at most.",
        lower_bound=subwords.SMALLEST_VOCABULARY,
        upper_bound=1_000_000,
    )
    flags.DEFINE_integer(
        "max_tokens",
        40,
        "Longest source in tokens; a translation may have half as many more.",
        lower_bound=2,
        upper_bound=10_000,
    )
    flags.DEFINE_integer("beam", 4, "Width of the beam; 1: greedy.", lower_bound=1, upper_bound=256)
    flags.DEFINE_float(
        "length_penalty", 1.0, "Exponent of the length normalisation of beam search; 0: none."
    )
    flags.DEFINE_string(
        "pairs_file", None, "Your own pairs: UTF-8, on each line a source, a tab, its translation."
    )
    flags.DEFINE_integer(
        "split_seed", 0, "Which pairs train, validate and test.", lower_bound=0, upper_bound=2**31
    )
    flags.DEFINE_string("data_dir", None, "Where fetched data are kept.")
    flags.DEFINE_string("predict", None, "A text to translate with a trained model.")
    flags.DEFINE_string("picture", PICTURE, "Where --predict draws the attention (PNG).")
    flags.DEFINE_string("too_long", "cut", "A text to translate that is too long: cut or refuse.")
    runner.define(
        seeds=3, steps=3000, batch=64, learning_rate="0.005", eval_every=300, clip_norm=1.0
    )
    saved_models.define()
    app.checked(lambda value: app.names(value, ATTENTIONS), "attention")
    app.checked(app.known_name(TOO_LONG), "too_long")
    app.checked(app.not_empty, "pairs_file", "data_dir", "picture")
    app.checked(app.no_nan, "dropout", "label_smoothing", "scheduled_sampling", "length_penalty")
    app.checked(lambda value: app.per_name(value, ATTENTIONS, app.positive), "learning_rate")
    app.checked(_even, "hidden")


def _size(name: str, default: int, text: str) -> None:
    flags.DEFINE_integer(name, default, text, lower_bound=1, upper_bound=65_536)


def _rate(name: str, default: float, text: str) -> None:
    flags.DEFINE_float(name, default, text, lower_bound=0.0, upper_bound=0.99)


def _even(value: int) -> None:
    if value % 2:
        raise ValueError(f"got {value}, expected an even number")


def load_splits() -> Splits:
    """Returns the splits of the data that the flags name."""
    values = flags.FLAGS
    if values.pairs_file is not None:
        pairs = sentence_pairs.read_tsv(values.pairs_file)
    else:
        pairs = interface_phrases.load(values.data_dir)
    return work.split(pairs, values.split_seed)


def build() -> runner.Study:
    """Returns the study that the flags describe."""
    splits = load_splits()
    tokenizers = work.train_tokenizers(splits, flags.FLAGS.vocabulary)
    trainings = [_training(name, splits, tokenizers) for name in flags.FLAGS.attention]
    return runner.Study(trainings, functools.partial(work.baselines, splits))


def _training(name: str, splits: Splits, tokenizers: work.Tokenizers) -> runner.Training:
    values = flags.FLAGS
    config = {
        "attention": name,
        "source_size": tokenizers.source.get_vocab_size(),
        "target_size": tokenizers.target.get_vocab_size(),
        "hidden_size": values.hidden,
        "embedding_size": values.embedding,
        "dropout": values.dropout,
        "max_tokens": values.max_tokens,
        "beam": values.beam,
        "length_penalty": values.length_penalty,
    }
    model = work.build_model(config)
    greedy = work.make_translate(model, tokenizers, values.max_tokens)

    def evaluate(params: Any) -> dict[str, float]:
        found = greedy(params, [pair.source for pair in splits.validation])
        figures = work.scores([each[0].text for each in found], splits.validation)
        return {f"validation_{metric}": value for metric, value in figures.items()}

    def finish(seed: int, params: Any, folder: pathlib.Path) -> dict[str, Any]:
        model_files.save(folder, PROGRAM, config | {"seed": seed}, params, tokenizers.texts())
        return _test(work.Built(config, model, params, tokenizers), splits)

    rates = app.per_name(values.learning_rate, ATTENTIONS, app.positive)
    return runner.Training(
        name=name,
        init=model.init,
        loss=work.make_loss(model, values.label_smoothing, values.scheduled_sampling > 0),
        batches=lambda seed: work.training_batches(
            splits,
            tokenizers,
            batch=values.batch,
            seed=seed,
            max_tokens=values.max_tokens,
            own=values.scheduled_sampling,
            steps=values.steps,
        ),
        evaluate=evaluate,
        finish=finish,
        optimizer=training_flags.optimizer_settings(app.value_for("learning_rate", rates, name)),
        # Batches differ in shape, so that each step is a dispatch of its own.
        fit=training_flags.fit_settings()._replace(
            best="validation_bleu", best_mode="max", steps_per_dispatch=1
        ),
    )


def _translate(built: work.Built) -> Any:
    """Returns the model's beam search, from texts to lists of translations."""
    config = built.config
    translate = work.make_translate(
        built.model,
        built.tokenizers,
        config["max_tokens"],
        width=config["beam"],
        length_penalty=config["length_penalty"],
    )
    return functools.partial(translate, built.params)


def _test(built: work.Built, splits: Splits) -> dict[str, float]:
    translate = _translate(built)
    return work.test_scores(splits, lambda texts: [each[0].text for each in translate(texts)])


def report(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Shows the table, and draws what the best model with attention looks at."""
    study_report.show(study_report.table(results, COLUMNS, "English to German, test"))
    records = [one for one in results["results"] if one["model"] != "none"]
    if not records:
        return
    best = max(records, key=lambda one: one["validation_bleu"])
    built = work.load(
        model_files.load(folder / MODELS / f"{best['model']}-{best['seed']}", PROGRAM)
    )
    example = next(
        (pair.source for pair in load_splits().components if len(pair.source.split()) == 7),
        "Delete files permanently",
    )
    _draw(built, example, _translate(built)([example])[0][0], folder / PICTURE)


def _draw(built: work.Built, text: str, translation: work.Translation, path: pathlib.Path) -> None:
    weights, source, target = work.attention_of(built, text, translation.tokens)
    title = f"{built.config['attention'].capitalize()} attention of each word written"
    plots.attention_map(weights, source, target, title=title).savefig(path)
    print(f"attention: {path}")


def predict(text: str) -> int:
    """Translates a text, prints the alternatives of the beam, and draws the attention."""
    values = flags.FLAGS
    if not text.strip():
        raise app.UserError("predict: got an empty text, expected one or more words")
    built = work.load(saved_models.best(PROGRAM))
    try:
        length = len(work.tokens(built.tokenizers.source, [text])[0])
    except ValueError as error:
        raise app.UserError(f"predict: {error}") from None
    longest = built.config["max_tokens"]
    if length > longest:
        if values.too_long == "refuse":
            raise app.UserError(
                f"predict: got {length} tokens, expected at most {longest}, or --too_long=cut"
            )
        print(f"predict: {length} tokens, cut after {longest}", file=sys.stderr)
    found = _translate(built)([text])[0]
    for number, each in enumerate(found):
        print(f"{each.score:8.2f}  {each.text}" + ("" if number else "  <- best"))
    if built.config["attention"] != "none":
        _draw(built, text, found[0], pathlib.Path(values.picture))
    return 0


def evaluate() -> int:
    """Evaluates the models of a run on the test splits of the run's own data."""
    decided = saved_models.flags_of_run(PROGRAM)
    for name in ("pairs_file", "split_seed"):
        app.set_flag(name, decided[name])
    splits = load_splits()
    records = [
        {"model": name, "seed": seed, "seconds": 0.0, **_figures(found, splits)}
        for name, seed, found in saved_models.every(PROGRAM)
    ]
    results = {"baselines": work.baselines(splits), "results": records}
    study_report.show(study_report.table(results, COLUMNS, "English to German, test"))
    return 0


def _figures(found: model_files.SavedModel, splits: Splits) -> dict[str, Any]:
    built = work.load(found)
    count = sum(leaf.size for leaf in jax.tree.leaves(built.params))
    return {"parameters": count, **_test(built, splits)}


def _digests() -> dict[str, str]:
    """Returns what tells one file of --pairs_file from another."""
    name = flags.FLAGS.pairs_file
    if name is None:
        return {}
    return {"pairs_sha256": hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()}


def main() -> int:
    """Trains, evaluates or translates, as the flags say. Returns the exit status."""
    values = flags.FLAGS
    if values.pairs_file is not None:
        app.set_flag("pairs_file", str(pathlib.Path(values.pairs_file).resolve()))
    try:
        if values.predict is not None:
            return predict(values.predict)
        if values.evaluate:
            return evaluate()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise app.UserError(str(error)) from None
    return runner.run(PROGRAM, OWN_FLAGS, build, report, _digests)
