"""Properties of every plot: axes in and out, units, light and dark backgrounds, and matplotlib's own settings."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.plot.style import DARK
from cuslayer.training import EpochStats
from tests.support.pictures import image_spikes

SRM = cs.SRM()
U = np.linspace(-5, 20, 12).reshape(6, 1, 2)
NET = cs.Network("4x4x1-6-3", cs.SRM(theta=1.0))
X = np.random.default_rng(0).random((40, 1, 4, 4, 1)) < 0.3

CONVERSION = cs.convert(cs.Sequential(cs.Dense(4, 3), cs.ReLU(), cs.Dense(3, 2)), np.ones((1, 5, 4)), steps=2)

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
    "integer_widths": lambda ax: cs.plot.integer_widths([{"bits": 8, "accuracy": 0.9, "moved": {}}], ax),
    "gradient_flow": lambda ax: cs.plot.gradient_flow([{"0 Dense": 1.0}], ax),
}
# Figures of several axes, and those of inspection.
FIGURES = {
    "surrogates": lambda: cs.plot.surrogates(),
    "sweep": lambda: cs.plot.sweep_results(["lr", "kind"], [((1e-3, "a"), 3.0), ((0.1, "b"), 2.0)], "loss"),
    "grid": lambda: cs.plot.sweep_results(["lr", "kind"], [((1e-3, "a"), 3.0), ((0.1, "a"), 2.0)], "loss"),
    "waterfall": lambda: cs.explain(NET, X, 1, 0, 20).plot(),
    "reassignment": lambda: cs.reassign(NET, X, [1], 1, 0).plot(),
    "ratios": lambda: cs.inspection.compare_gradients(NET, X, [1], perturbations=1).plot(value="ratio"),
    "conversion": lambda: cs.plot.conversion(CONVERSION)[0],
    "health": lambda: cs.diagnose(NET, [(X, np.array([1]))]).plot(),
}


# Shares, numbers and names have no unit.
PLAIN = {
    *(
        "neuron",
        "epoch",
        "class",
        "steps",
        "taken for",
        "row",
        "column",
        "layer",
        "weight",
        "response",
        "share of the class",
    ),
    *("loss of a sample", "gradient of a weight (root mean square)", "cosine to the measured change", "spikes", ""),
    *("size, over that of the measured change", "error, over that of the last layer"),
    *("u - theta, in widths of the surrogate", "z, widths from the threshold", "lr", "kind"),
}
UNIT = r"\((ms|a\.u\.|%|1 ?/ ?ms|1 / width|loss|loss / a\.u\.)\)$"


def test_every_plot_is_listed():
    # These draw on several axes.
    assert set(cs.plot.__all__) == DRAW.keys() | {"Animation", "conversion", "style", "surrogates", "sweep_results"}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_axes_in_axes_out(draw):
    left, right = Figure(figsize=(6, 4)).subplots(1, 2)
    assert draw(right) is right
    assert (left.has_data(), right.has_data()) == (False, True)
    first, second = draw(None), draw(None)
    assert first.figure is not second.figure


@pytest.mark.parametrize("name", [*DRAW, *(pytest.param(name, marks=pytest.mark.all) for name in FIGURES)])
def test_figures_have_units_and_are_drawn_in_the_dark(name):
    """Settings are as before then."""
    before = dict(mpl.rcParams)
    with cs.plot.style("dark"):
        made = DRAW[name](None) if name in DRAW else FIGURES[name]()
    figure = (made[0] if isinstance(made, (list, tuple, np.ndarray)) else made).figure
    figure.savefig(io.BytesIO())
    assert dict(mpl.rcParams) == before
    assert to_hex(figure.get_facecolor()).upper() == DARK.page
    for text in (" ".join(label.split()) for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel())):
        assert text in PLAIN or re.search(UNIT, text), text


def test_matplotlib_waits_for_the_first_picture_and_pyplot_is_never_touched():
    code = (
        "import sys, numpy as np, cuslayer as cs; a = 'matplotlib' in sys.modules; "
        "cs.plot.raster(np.ones((2, 1, 1), bool)); "
        "print(a, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True", "False"]
