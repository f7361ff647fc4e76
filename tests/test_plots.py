"""Figures show the numbers they are given."""

import numpy as np

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
