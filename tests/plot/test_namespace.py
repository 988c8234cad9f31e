"""`cs.plot`: properties of every plot."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.training import EpochStats
from tests.support.pictures import image_spikes

SRM = cs.SRM()
U = np.linspace(-5, 20, 12).reshape(6, 1, 2)

# Every plot of an example, drawn on axes.
DRAW = {
    "raster": lambda ax: cs.plot.raster(image_spikes(), ax),
    "frames": lambda ax: cs.plot.frames(image_spikes(), ax),
    "animation": lambda ax: cs.plot.animation(image_spikes(), ax).show(1),
    "potential": lambda ax: cs.plot.potential(U, ax, neuron=SRM),
    "filters": lambda ax: cs.plot.filters(SRM, ax),
    "surrogate": lambda ax: cs.plot.surrogate(SRM, ax),
    "receptive_fields": lambda ax: cs.plot.receptive_fields(cs.Conv(2, 3, 5), ax),
    "confusion": lambda ax: cs.plot.confusion([0, 1], [1, 1], ax),
    "learning_curves": lambda ax: cs.plot.learning_curves([EpochStats(1, 2.0, 0.5, 1.0, 0.5, 1.0)], ax),
    "gradient_flow": lambda ax: cs.plot.gradient_flow([{"0 Dense": 1.0}], ax),
}


def test_every_plot_is_listed():
    # These draw on several axes: tests/test_surrogates.py, tests/training/test_sweep.py.
    assert set(cs.plot.__all__) == DRAW.keys() | {"Animation", "style", "surrogates", "sweep_results"}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_axes_in_axes_out(draw):
    figure = Figure(figsize=(6, 4))
    left, right = figure.subplots(1, 2)
    assert draw(right) is right
    assert not left.has_data()
    assert right.has_data()
    # Axes of a subfigure are accepted too.
    below = Figure().subfigures(2, 1)[1].subplots()
    assert draw(below) is below


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_without_axes_each_has_a_figure_of_its_own(draw):
    first, second = draw(None), draw(None)
    assert first.figure is not second.figure
    first.figure.canvas.draw()


@pytest.mark.parametrize("name", ["raster", "frames", "animation"])
def test_the_callers_spikes_stay_as_they_are(name):
    spikes = image_spikes()
    getattr(cs.plot, name)(spikes)
    assert np.array_equal(spikes, image_spikes())


def test_matplotlib_waits_for_the_first_picture_and_pyplot_is_never_touched():
    code = (
        "import sys, numpy as np, cuslayer as cs; a = 'matplotlib' in sys.modules; "
        "cs.plot.raster(np.ones((2, 1, 1), bool)); "
        "print(a, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True", "False"]
