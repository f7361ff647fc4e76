"""Figures show the numbers they are given."""

import numpy as np
import pytest
from matplotlib.text import Text

from seqmodels import plots

NAN = float("nan")


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def test_accuracy_by_distance(tmp_path):
    curves = {"rnn": ([1.0, 0.2], [0.9, 0.1], [1.0, 0.3]), "lstm": ([1.0, NAN],) * 3}
    figure = plots.accuracy_by_distance([0, 8], curves, chance=0.125, threshold=0.9, title="t")
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["rnn"].get_xydata(), [[0, 1], [1, 0.2]])
    np.testing.assert_array_equal(drawn["without memory (chance)"].get_ydata(), [0.125, 0.125])
    np.testing.assert_array_equal(drawn["horizon threshold"].get_ydata(), [0.9, 0.9])
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_gradient_by_distance(tmp_path):
    trained = {"rnn": [0.5, 1e-9]}
    figure = plots.gradient_by_distance([0, 8], {"rnn": [0.6, 0.0]}, trained, title="t")
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["rnn, trained"].get_ydata(), [0.5, 1e-9])
    np.testing.assert_array_equal(drawn["rnn, before"].get_ydata(), [0.6, 0.0])
    assert figure.axes[0].get_ylim()[0] > 0
    assert figure.axes[0].get_yscale() == "log"
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_ratios_by_shape(tmp_path):
    panels = {
        "lstm": {"one": [2.0, 0.5], "two": [1.5, float("nan")]},
        "gru": {"two": [3.0, 1.0]},
        "rnn": {"three": [0.7, 20.0]},
    }
    figure = plots.ratios_by_shape(["8x1x2x3", "9x1x2x3"], panels, title="ratios")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == list(panels)
    assert all(axes.get_yscale() == "log" for axes in shown)
    # Bars stand on 1: faster goes up, slower down.
    first = shown[0].containers[0]
    assert [(bar.get_y(), bar.get_height()) for bar in first] == [(1.0, 1.0), (1.0, -0.5)]
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_confusion_matrices(tmp_path):
    matrices = {"one": np.array([[3, 1], [0, 0]]), "two": np.array([[1, 1], [0, 5]])}
    figure = plots.confusion_matrices(matrices, ["a$b$", "\U0001f600\u05d0"], title="t")
    drawn = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert drawn == [["3", "1"], ["1", "1", "5"]]
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_prediction_by_word(tmp_path):
    words = ["$x", "\U0001fae8", "\u05e9\u05dc"]
    figure = plots.prediction_by_word(words, {"a": [0.1, 0.9, 0.5]}, ylabel="p", title="t")
    np.testing.assert_array_equal(lines(figure)["a"].get_xydata(), [[0, 0.1], [1, 0.9], [2, 0.5]])
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[:2] == ["$x", "\u25a1"]  # a sign that the font does not have is a box
    figure.savefig(tmp_path / "a.png")
    many = plots.prediction_by_word(["w"] * 500, {"a": [0.0] * 500}, ylabel="p", title="t")
    assert len(many.axes[0].get_xticks()) <= 60


def test_correlograms(tmp_path):
    lags = np.arange(1, 6)
    values = np.array([0.9, 0.1, NAN, -0.5, 0.2])
    band = np.full(5, 0.3)
    panels = [plots.Panel("a$b$", lags, values, -band, band), plots.Panel("v", lags, abs(values))]
    times = np.array(["2001", "2002", "2003"], "datetime64[Y]")
    figure = plots.correlograms(panels, title="t", series=(times, np.array([1.0, NAN, 2.0])))
    series, banded, plain = figure.axes
    # Two values with a gap between them are two points.
    np.testing.assert_array_equal(series.lines[1].get_ydata(), [1, 2])
    stands, pale = banded.collections[1:3]
    assert [tuple(path[1]) for path in stands.get_segments()] == [(1, 0.9), (4, -0.5)]
    assert [tuple(path[1]) for path in pale.get_segments()] == [(2, 0.1), (5, 0.2)]
    assert banded.get_ylim()[0] < -1
    assert plain.get_ylim()[0] == 0
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
    grid = plots.correlograms(panels * 3, title="t", columns=2)
    assert len({axes.get_position().x0 for axes in grid.axes}) == 2
    with pytest.raises(ValueError, match="panels: got none"):
        plots.correlograms([], title="t")
    with pytest.raises(ValueError, match="lengths"):
        plots.correlograms([plots.Panel("x", lags, values[:2])], title="t")


def test_small_values_are_seen():
    panel = plots.Panel("a", np.arange(3), np.full(3, 0.05), np.full(3, -0.1), np.full(3, 0.1))
    assert plots.correlograms([panel], title="t").axes[0].get_ylim()[1] < 0.2


def test_forecasts(tmp_path):
    times = np.array(["2001-01", "2001-02", "2001-03"], "datetime64[M]")
    truth, forecast = np.array([1.0, NAN, 3.0]), np.array([1.5, 2.0, 2.5])
    quantiles = forecast[:, None] + np.array([-2, -1, 0, 1, 2])
    for later in (1, 2):
        ahead = np.array(["2001-04", "2001-05"], "datetime64[M]")[:later]
        future = (ahead, np.full(later, 3.5), np.full((later, 5), 3.5) + np.arange(-2, 3))
        figure = plots.forecasts(
            times, truth, {"lstm": forecast}, quantiles, title="a$b$", ylabel="$x^", future=future
        )
        drawn = lines(figure)
        np.testing.assert_array_equal(drawn["observed"].get_ydata(), truth)
        np.testing.assert_array_equal(drawn["lstm"].get_ydata(), forecast)
        np.testing.assert_array_equal(drawn["after the end"].get_ydata(), future[1])
        bands = figure.axes[0].collections
        assert len(bands) == 4
        ends = [path.vertices[:, 1] for band in bands[2:] for path in band.get_paths()]
        assert [(end.min(), end.max()) for end in ends] == [(1.5, 5.5), (2.5, 4.5)]
        figure.savefig(tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size > 5000


def test_captioned_picture(tmp_path):
    image = np.zeros((8, 16, 1), np.uint8)
    captions, probabilities = ["a cat", "a $dog", ""], [0.5, 0.25, 0.125]
    figure = plots.captioned_picture(image, captions, probabilities, title="t")
    picture, bars = figure.axes
    assert picture.images[0].get_array().shape == (8, 16)
    assert [bar.get_width() for bar in bars.patches] == probabilities
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "a cat",
        "a $dog",
        "(nothing)",
    ]
    low, high = bars.get_ylim()
    assert low > high  # the first caption is at the top
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5_000


ODD = ["$_^$ a_{b \\frac $$ %", "_hidden \u2764\ufe0f $a\\$"]


def figures(name):
    """Every figure, with one text in every place that takes one."""
    band = np.full(2, 0.3)
    image = np.full((2, 4, 4, 1), 120, np.uint8)
    half = np.full((2, 2), 0.5)
    text = {"title": name}
    return [
        plots.accuracy_by_distance([1, 2], {name: ([1, 1],) * 3}, chance=0, threshold=0.5, **text),
        plots.gradient_by_distance([1, 2], {name: [1, 1]}, {name: [1, 1]}, **text),
        plots.ratios_by_shape([name] * 2, {name: {name: [2.0, 0.5]}}, **text),
        plots.confusion_matrices({name: np.eye(2)}, [name] * 2, **text),
        plots.image_probabilities(half[None], [name], {name: half}, [name, "b"], **text),
        plots.prediction_by_word([name] * 2, {name: [0.1, 0.2]}, ylabel=name, **text),
        plots.correlograms([plots.Panel(name, np.arange(2), band)], xlabel=name, **text),
        plots.forecasts(np.arange(2), band, {name: band}, ylabel=name, **text),
        plots.attention_map(half, [name] * 2, [name] * 2, **text),
        plots.contact_sheet(image, [name] * 2, [True, False], **text),
        plots.captioned_picture(image[0], [name] * 2, [0.1, 0.2], **text),
    ]


@pytest.mark.parametrize("name", ODD)
def test_any_text_is_shown_as_it_is(name):
    for figure in figures(name):
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        assert not [text for text in texts if "$" in text.get_text() and text.get_parse_math()]
        shown = "|".join(text.get_text() for text in texts)
        assert name.replace("\u2764\ufe0f", "\u2764") in shown
        figure.dpi = 20
        figure.draw_without_rendering()
    if name.startswith("_"):
        legend = figures(name)[0].axes[0].get_legend()
        assert legend.get_texts()[0].get_text().strip() == name.replace("\ufe0f", "")


def test_a_picture_keeps_its_contrast():
    image = np.stack([np.full((4, 4, 1), level, np.uint8) for level in (0, 120, 255)])
    figure = plots.contact_sheet(image, ["a"] * 3, [True] * 3, title="t")
    limits = [axes.images[0].get_clim() for axes in figure.axes]
    assert limits == [(0, 255)] * 3


def test_gates_over_words(tmp_path):
    """A panel each, a unit a row in the order given, and at most 51 words, the last one always."""
    values = np.linspace(0, 1, 12).reshape(4, 3)
    panels = {"f": values, "c": values - 0.5}
    words = ["a$b$", "_b", "c", "d"]
    figure = plots.gate_heat_maps(panels, words, title="$t$", bounded=["f"])
    drawn = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(drawn[0].images[0].get_array(), values.T)
    assert drawn[0].images[0].get_clim() == (0, 1)
    low, high = drawn[1].images[0].get_clim()
    assert low == -high
    assert [label.get_text() for label in drawn[1].get_xticklabels()] == words
    many = plots.gate_heat_maps(
        {"f": np.zeros((500, 2))}, ["x"] * 499 + ["last"], title="", bounded=[]
    )
    labels = [label.get_text() for label in many.axes[0].get_xticklabels()]
    assert len(labels) <= 51
    assert labels[-1] == "last"
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_answers_by_word():
    panels = {"one": np.eye(3)[:, :2], "two": np.zeros((3, 2))}
    figure = plots.answers_by_word(panels, ["red", "blue"], ["x", "y", "z"], title="t")
    drawn = [axes for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(drawn[0].images[0].get_array(), panels["one"].T)
    assert [axes.get_title(loc="left") for axes in drawn] == ["one", "two"]
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == ["red", "blue"]


def test_models_of_a_cell_have_its_color():
    curves = [
        plots.CellCurve("near", "lstm", [0.0, -1.0]),
        plots.CellCurve("far", "lstm", [0.0, -NAN]),
        plots.CellCurve("other", "rnn", [0.0, -float("inf")]),
    ]
    gradient = lines(plots.gradient_by_steps(curves, title="t", xlabel="x"))
    horizon = plots.horizon_by_distance(
        [0, 8], curves, chance=0.125, threshold=0.9, title="t", xlabel="x"
    )
    for drawn in (gradient, lines(horizon)):
        assert drawn["near"].get_color() == drawn["far"].get_color() != drawn["other"].get_color()
        assert [drawn[name].get_linestyle() for name in ("near", "far", "other")] == [
            "--",
            "-",
            "-",
        ]
    np.testing.assert_array_equal(gradient["near"].get_ydata(), [0, -1])
    np.testing.assert_array_equal(gradient["other"].get_ydata(), [0, NAN])
    np.testing.assert_array_equal(lines(horizon)["horizon threshold"].get_ydata(), [0.9, 0.9])


def test_scores_on_a_logarithmic_axis():
    rows = [(0.1, 0.0, 0.3), (30.0, 20.0, 40.0), (NAN,) * 3]
    panel = plots.ScorePanel("error", rows, chance=1.0, log=True)
    figure = plots.score_intervals(["a", "b", "c"], {"task": panel}, baseline="a", title="scores")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left == pytest.approx(0.1 / 3)
    assert right == pytest.approx(3 * 40)
    drawn = [path.vertices[:, 0] for path in axes.collections[0].get_paths()]
    np.testing.assert_allclose(drawn[:2], [[left, 0.3], [20, 40]])
