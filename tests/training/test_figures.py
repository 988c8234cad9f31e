"""The figures of a run: their data, not their style."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cuslayer.training import EpochStats
from cuslayer.training.figures import draw_curves, draw_rasters, save_figure

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def figure():
    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    # Drawing must not warn.
    figure.canvas.draw()


def lines(axis):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axis.get_lines()}


def test_curves(figure):
    rows = [EpochStats(1, 400.0, 0.1, 300.0, 0.2, 1.0), EpochStats(2, 200.0, 0.7, 250.0, 0.6, 1.0)]
    draw_curves(figure, rows)
    loss, accuracy = figure.axes
    assert lines(loss) == {"train": ([1, 2], [400.0, 200.0]), "test": ([1, 2], [300.0, 250.0])}
    assert lines(accuracy) == {"train": ([1, 2], [0.1, 0.7]), "test": ([1, 2], [0.2, 0.6])}
    assert (loss.get_xlabel(), loss.get_ylabel(), loss.get_yscale()) == ("epoch", "loss of a sample", "log")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel(), accuracy.get_yscale()) == ("epoch", "accuracy (%)", "linear")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "test"]


def test_curves_without_classes_and_tests(figure):
    draw_curves(figure, [EpochStats(1, 5.0, None, None, None, 1.0)])
    (loss,) = figure.axes
    assert lines(loss) == {"train": ([1], [5.0])}


def test_curves_with_a_gap(figure):
    draw_curves(figure, [EpochStats(1, 5.0, 0.5, None, None, 1.0), EpochStats(2, 4.0, 0.5, 3.0, 0.5, 1.0)])
    epochs, values = lines(figure.axes[0])["test"]
    assert epochs == [1, 2]
    assert np.isnan(values[0])
    assert values[1] == 3.0


@pytest.mark.parametrize("loss", [0.0, float("nan")])
def test_curves_of_a_loss_that_has_no_logarithm(figure, loss):
    draw_curves(figure, [EpochStats(1, 5.0, 0.0, 0.0, 0.0, 1.0), EpochStats(2, loss, 0.0, 0.0, 0.0, 1.0)])
    assert figure.axes[0].get_yscale() == "linear"


def test_the_axis_of_epochs_has_integer_ticks(figure):
    draw_curves(figure, [EpochStats(1, 5.0, 0.5, 4.0, 0.5, 1.0), EpochStats(2, 4.0, 0.5, 3.0, 0.5, 1.0)])
    figure.canvas.draw()
    assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())


def test_rasters(figure):
    first = np.zeros((20, 2, 3, 2), bool)
    first[7, 1, 2, 0] = True
    first[9, 0, 0, 1] = True
    second = np.zeros((20, 60), bool)
    second[3, 50] = True
    draw_rasters(figure, [("input", first), ("output", second)], 0.5)
    # Axes are created from the top: the last one is that of the input.
    above, below = figure.axes
    assert above.get_position().y0 > below.get_position().y0
    assert below.get_lines()[0].get_xdata().tolist() == [3.5, 4.5]
    assert below.get_lines()[0].get_ydata().tolist() == [10, 1]
    assert above.get_lines()[0].get_xdata().tolist() == [1.5]
    assert above.get_lines()[0].get_ydata().tolist() == [50]
    assert below.get_title(loc="left") == "input: 12 neurons, 2 spikes"
    assert above.get_title(loc="left") == "output: 60 neurons, 1 spikes"
    assert (below.get_xlim(), below.get_ylim()) == ((0.0, 10.0), (-0.5, 11.5))
    assert above.get_ylim() == (-0.5, 59.5)
    assert (below.get_xlabel(), above.get_xlabel(), above.get_ylabel()) == ("time (ms)", "", "neuron")


def test_rasters_of_silence(figure):
    draw_rasters(figure, [("input", np.zeros((5, 3), bool))], 1.0)
    assert figure.axes[0].get_lines()[0].get_xdata().tolist() == []


def test_save_figure_writes_an_image_of_its_size(tmp_path):
    save_figure(tmp_path / "x.png", lambda figure: figure.subplots().plot([1, 2]), size=(3, 2))
    raw = (tmp_path / "x.png").read_bytes()
    assert raw.startswith(PNG)
    assert (int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")) == (360, 240)


def test_a_failed_figure_keeps_the_old_file(tmp_path):
    (tmp_path / "x.png").write_bytes(b"old")

    def spoil(figure):
        raise ValueError("no drawing")

    with pytest.raises(ValueError, match="no drawing"):
        save_figure(tmp_path / "x.png", spoil, size=(3, 2))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]
