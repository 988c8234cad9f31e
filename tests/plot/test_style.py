"""The style of plots: contrasts and hues computed, light and dark backgrounds, units, and matplotlib's own settings."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import cuslayer as cs
from cuslayer.plot.style import DARK, LIGHT, PALETTES, luminance, palette
from cuslayer.training import EpochStats
from tests.plot.test_namespace import DRAW

# Of Machado, Oliveira and Fernandes 2009, on linear RGB: readers without the cones of long, medium or short waves.
SEEN = {
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
# Shares, numbers and names have no unit.
PLAIN = {
    *("neuron", "epoch", "class", "taken for", "row", "column", "layer", "weight", "response", "share of the class"),
    *("loss of a sample", "gradient of a weight (root mean square)", "cosine to the measured change", "spikes", ""),
    *("size, over that of the measured change", "error, over that of the last layer"),
    *("u - theta, in widths of the surrogate", "z, widths from the threshold", "training.batch"),
}
UNIT = r"\((ms|a\.u\.|%|1 ?/ ?ms|1 / width|loss|loss / a\.u\.)\)$"

NET = cs.Network("4x4x1-6-3", cs.SRM(theta=1.0))
X = np.random.default_rng(0).random((40, 1, 4, 4, 1)) < 0.3


FIGURES = {
    **{name: lambda draw=draw: draw(None) for name, draw in DRAW.items()},
    "accuracy": lambda: cs.plot.learning_curves([EpochStats(1, 2.0, 0.5, 1.0, 0.5, 1.0)], value="accuracy"),
    "channels": lambda: cs.plot.raster(np.ones((5, 1, 30), bool), groups="channel"),
    "surrogates": lambda: cs.plot.surrogates(),
    "sweep": lambda: cs.plot.sweep_results(["training.batch"], [((8,), 0.5), ((16,), 0.25)]),
    "waterfall": lambda: cs.explain(NET, X, 1, 0, 20).plot(),
    "map": lambda: cs.explain(NET, X, 1, 0, 20).plot_map(),
    "reassignment": lambda: cs.reassignment(NET, X, [1], 1, 0).plot(),
    "comparison": lambda: cs.compare_gradients(NET, X, [1], perturbations=1).plot(),
    "ratios": lambda: cs.compare_gradients(NET, X, [1], perturbations=1).plot(value="ratio"),
    "health": lambda: cs.health(NET, [(X, np.array([1]))]).plot(),
}


def contrast(one, other):
    """Return the ratio that the guidelines on contrast (WCAG 2) define."""
    low, high = sorted(luminance(*to_rgb(shade)) for shade in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(shade, seen):
    """Return a colour as a reader sees it, in CIE L*a*b*."""
    rgb = np.array(to_rgb(shade))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(SEEN[seen] @ linear, 0, 1) / np.sum(TO_XYZ, axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_contrast_is_what_the_guidelines_say():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("name", PALETTES)
def test_each_colour_is_legible_on_its_background(name):
    colors = PALETTES[name]
    for shade in (*colors.all, *colors.series(20)):
        assert contrast(shade, colors.page) >= 3, to_hex(shade)
    for shade in (colors.ink, colors.faint):
        assert contrast(shade, colors.page) >= 4.5
    assert len({to_hex(shade) for shade in colors.series(20)}) == 20


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("name", PALETTES)
def test_readers_of_two_primary_colours_tell_series_apart(name, seen):
    for one, other in itertools.combinations(PALETTES[name].all[:6], 2):
        assert np.linalg.norm(lab(one, seen) - lab(other, seen)) > 12, (one, other)


def figure_of(made):
    """Return the figure of axes, or of the first of several."""
    return (made[0] if isinstance(made, (list, tuple, np.ndarray)) else made).figure


@pytest.mark.parametrize("name", PALETTES)
@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_new_figures_are_legible(draw, name):
    """Texts and lines, also those that matplotlib makes when the figure is saved, after the block."""
    colors = PALETTES[name]
    with cs.plot.style(name):
        figure = figure_of(draw())
    figure.savefig(io.BytesIO())
    assert to_hex(figure.get_facecolor()).upper() == colors.page
    texts = 0
    for ax in figure.axes:
        over = [text for text in ax.texts if ax.images and text.get_va() == "center"]
        for text in ax.findobj(Text):
            # Numbers in the cells of an image have its colours: tests/plot/test_training.py.
            if text.get_text() and text.get_visible() and text not in over:
                texts += 1
                assert contrast(text.get_color(), colors.page) >= 4.5, text
        for line in ax.get_lines():
            assert contrast(line.get_color(), colors.page) >= 3, line
    assert texts


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_axes_have_units(draw):
    figure = figure_of(draw())
    for ax in figure.axes:
        for label in (ax.get_xlabel(), ax.get_ylabel()):
            text = " ".join(label.split())
            assert text in PLAIN or re.search(UNIT, text), text


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_settings_of_matplotlib_stay_as_they_are(draw):
    with mpl.rc_context({"figure.facecolor": "#fdf6e3", "font.size": 13.0, "lines.linewidth": 5.0}):
        before = dict(mpl.rcParams)
        figure_of(draw()).savefig(io.BytesIO())
        with cs.plot.style("dark"):
            draw()
        assert dict(mpl.rcParams) == before


def test_a_dark_setting_makes_new_figures_dark():
    with mpl.rc_context({"figure.facecolor": "black"}):
        ax = cs.plot.raster(np.ones((3, 1, 1), bool))
        assert palette(None) is DARK
    assert to_hex(ax.figure.get_facecolor()).upper() == DARK.page
    assert palette(None) is LIGHT
    with mpl.rc_context({"figure.facecolor": "none"}):
        assert palette(None) is LIGHT


def test_the_colours_are_those_for_the_background_of_given_axes():
    figure = Figure(facecolor="#101010")
    left, right = figure.subplots(1, 2)
    left.set_facecolor("none")  # the figure's is seen
    cs.plot.raster(np.ones((3, 1, 1), bool), left)
    cs.plot.raster(np.ones((3, 1, 1), bool), right)
    assert left.get_lines()[0].get_color() == DARK.ink
    assert right.get_lines()[0].get_color() == LIGHT.ink  # its own background is white
    assert to_hex(figure.get_facecolor()) == "#101010"
    within = Figure(facecolor="#101010").subfigures(1, 2)[0]
    within.set_facecolor("none")
    ax = within.subplots()
    ax.set_facecolor("none")
    assert palette(ax) is DARK


def test_frames_are_painted_on_the_page():
    spikes = np.zeros((4, 1, 2, 2, 2), bool)
    spikes[:, 0, 0, 1, 1] = True
    for name, colors in PALETTES.items():
        with cs.plot.style(name):
            picture = np.asarray(cs.plot.frames(spikes, window=4.0).images[0].get_array())
        found = {to_hex(shade).upper() for shade in picture[picture[..., 3] > 0]}
        assert found == {colors.page, colors.vermilion}


def test_no_colour_is_written_elsewhere():
    for folder in ("plot", "inspection", "training"):
        for path in (Path(cs.__file__).parent / folder).rglob("*.py"):
            if path.name != "style.py":
                found = re.findall(r"#[0-9a-fA-F]{6}\b|color=\"(?!none)\w+\"", path.read_text(encoding="utf-8"))
                assert found == [], path


def test_an_unknown_background():
    found = pytest.raises(ValueError, match=r"^style: background must be one of light, dark, got 'grey'$")
    with found, cs.plot.style("grey"):
        pass
