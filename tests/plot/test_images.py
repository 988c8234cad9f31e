"""Event frames, animations, receptive fields: what is drawn and where, so that a swapped axis or polarity fails."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import cuslayer as cs
from cuslayer.data import Events
from cuslayer.plot.style import LIGHT
from tests.plot.test_neurons import refused
from tests.support.pictures import image_spikes

OFF, ON = (np.array([int(shade[at : at + 2], 16) / 255 for at in (1, 3, 5)]) for shade in LIGHT.polarities)


def tile(ax, number):
    """Return the cells of a tile, found by its outline, and its place."""
    outline = ax.patches[number]
    column, row = round(outline.get_x() + 0.5), round(outline.get_y() + 0.5)
    height, width = outline.get_height(), outline.get_width()
    return np.ma.filled(ax.images[0].get_array()[row : row + height, column : column + width], np.nan), (row, column)


def titles(ax):
    return [text.get_text() for text in ax.texts]


def test_frames_gather_windows_of_time():
    ax = cs.plot.frames(image_spikes(), sample=1, duration=3.0, dt=0.5, columns=2)
    assert titles(ax) == ["0 to 3 ms", "3 to 6 ms"]
    (first, at), (second, beside) = tile(ax, 0), tile(ax, 1)
    assert first.shape[:2] == second.shape[:2] == (3, 4)
    assert (at[0], at[1] < beside[1]) == (beside[0], True)
    # OFF has one event of at most two, a colour between white and full. ON is full.
    assert np.allclose(first[2, 0, :3], 1 - (0.3 + 0.7 / 2) * (1 - OFF))
    assert np.allclose(second[0, 3, :3], ON)
    assert (first == 1.0).all(axis=-1).sum() == (second == 1.0).all(axis=-1).sum() == 11
    assert ax.yaxis_inverted()  # row 0 is on top
    canvas = cs.plot.frames(image_spikes(), duration=6.0).images[0].get_array()
    assert (canvas[..., 3] == 1.0).sum() == 2 * 12  # between them it is transparent
    assert set(np.unique(canvas[..., 3])) == {0.0, 1.0}


def test_frames_of_a_recording_lie_on_multiples_of_the_window():
    events = Events([130.0, 131.0, 230.0], [3, 3, 0], [0, 0, 1], [1, 0, 0])
    ax = cs.plot.frames(events, duration=50.0, columns=5)
    assert titles(ax) == ["100 to 150 ms", "150 to 200 ms", "200 to 250 ms"]
    assert np.allclose(tile(ax, 0)[0][0, 3, :3], (OFF + ON - 1).clip(0, 1))
    assert np.allclose(tile(ax, 2)[0][1, 0, :3], OFF)
    # Without a window, six from the first event to the last.
    assert titles(cs.plot.frames(events))[::5] == ["130 to 146.7 ms", "213.3 to 230 ms"]
    assert len(cs.plot.frames(Events([5.0], [0], [0], [1])).texts) == 1
    # Also where the quotient is rounded down, and without an ON event.
    off = cs.plot.frames(Events([0.3, 0.35], [0, 0], [0, 0], [0, 0]), duration=0.1)
    assert titles(off) == ["0.3 to 0.4 ms"]
    assert np.allclose(tile(off, 0)[0][0, 0, :3], OFF)
    assert titles(cs.plot.frames(image_spikes()))[::5] == ["0 to 2 ms", "10 to 12 ms"]
    assert titles(cs.plot.frames(image_spikes(), duration=5.0)) == ["0 to 5 ms", "5 to 10 ms", "10 to 12 ms"]


def test_other_numbers_of_channels_are_added_up():
    spikes = np.zeros((2, 1, 1, 2, 3), np.uint8)
    spikes[0, 0, 0, 1], spikes[1, 0, 0, 0] = [1, 0, 3], [0, 2, 0]
    ax = cs.plot.frames(spikes, duration=1.0)
    first, second = tile(ax, 0)[0], tile(ax, 1)[0]
    assert (first[0, 0, 0], first[0, 1, 0]) == (1.0, pytest.approx(0x22 / 255))
    assert second[0, 0, 0] == pytest.approx(1 - 0.65 * (1 - 0x22 / 255))
    # One busy pixel in 64 has the colour of the others.
    busy = np.ones((1, 1, 8, 8, 2), np.uint8) * np.array([0, 1], np.uint8)
    busy[0, 0, 3, 3, 1] = 200
    assert np.allclose(tile(cs.plot.frames(busy), 0)[0][..., :3], ON)
    for shape in ((1, 1, 1, 1, 1), (7, 1, 2, 3, 2)):
        canvas = cs.plot.frames(np.zeros(shape, bool)).images[0].get_array()
        assert (canvas[canvas[..., 3] == 1] == 1.0).all()


@pytest.mark.parametrize("draw", [cs.plot.frames, cs.plot.animation])
def test_what_frames_and_animations_refuse(draw):
    x = np.ones((3, 1, 2, 2, 1), bool)
    a_second = Events([0.0, 1000.0], [0, 1], [0, 1], [0, 1])
    shape = "and not empty, a sample has shape"
    refused(
        draw,
        [
            (ValueError, f"spikes must be (T, N, H, W, C) {shape} (3, 4)", np.ones((3, 1, 4), bool), {}),
            (ValueError, f"spikes must be (T, H, W, C) {shape} (3, 4)", np.ones((3, 4), bool), {"sample": None}),
            (TypeError, "spikes must be booleans or counts, got float64", x * 1.0, {}),
            (ValueError, "duration must make at most 1000 frames, got 1001", x[:1].repeat(1001, 0), {"duration": 1.0}),
            (ValueError, "duration must make at most 1000 frames, got 1001", a_second, {"duration": 1.0}),
            (ValueError, "events must be in 2-D and at least one, got events in 1-D", Events([0], [0], None, [0]), {}),
            (ValueError, "events must be in 2-D and at least one, got events in 2-D, none", Events([], [], [], []), {}),
            (TypeError, "ax must be matplotlib Axes, got int", x, {"ax": 3}),
        ],
    )


def test_an_animation_shows_one_window_after_the_other():
    clip = cs.plot.animation(image_spikes(), sample=1, duration=3.0, dt=0.5)
    assert (len(clip), clip.titles) == (2, ["0 to 3 ms", "3 to 6 ms"])
    ax = clip.show(1)
    assert ax.get_title(loc="left") == "3 to 6 ms"
    assert np.allclose(ax.images[0].get_array()[0, 3, :3], ON)
    assert (ax.images[0].get_array()[2, 0] == 1.0).all()
    assert (clip.show(0).images[0].get_array()[0, 3] == 1.0).all()
    assert ax.yaxis_inverted()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


@pytest.mark.all
def test_an_animation_is_saved_as_gif(tmp_path):
    cs.plot.animation(image_spikes(), sample=1, duration=4.0, fps=10.0).save(tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as file:
        assert (file.n_frames, file.info["duration"], file.info["loop"]) == (3, 100, 0)
        reddish = []
        for number in range(3):
            file.seek(number)
            page = np.asarray(file.convert("RGB")).astype(int)
            reddish.append((page[..., 0] - page[..., 2] > 60).any())
    # Vermilion appears in the last two windows, which have ON events, and not in the first.
    assert reddish == [False, True, True]


@pytest.mark.all
def test_an_animation_is_one_page_that_loads_nothing(tmp_path):
    clip = cs.plot.animation(image_spikes(), sample=1, duration=4.0, fps=8.0)
    clip.save(str(tmp_path / "clip.html"))
    page = (tmp_path / "clip.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "http" not in page
    frames = json.loads(re.search(r"frames = (\[.*?\]), titles", page)[1])
    assert json.loads(re.search(r"titles = (\[.*?\]);", page)[1]) == ["0 to 4 ms", "4 to 8 ms", "8 to 12 ms"]
    assert 'max="2"' in page
    assert "125)" in page
    assert len(frames) == 3
    assert len({Image.open(io.BytesIO(base64.b64decode(each))).size for each in frames}) == 1
    # A notebook shows the same player, and different players have different ids.
    assert clip._repr_html_() in page
    other = cs.plot.animation(image_spikes(), sample=0, duration=4.0).html()
    assert re.search(r'id="([^"]+)"', other)[1] not in page


def test_the_fields_of_a_dense_layer():
    layer = cs.Dense((3, 4, 2), 5, weight_hook=lambda weight: weight * 2.0)  # drawn as it is used
    ax = cs.plot.receptive_fields(layer)
    assert titles(ax) == ["0", "1", "2", "3", "4"]
    maps = 2 * layer.weight.data.reshape(3, 4, 2, 5)
    for neuron in range(5):
        drawn, _ = tile(ax, neuron)
        # Channel 0 is above channel 1, with an empty row between.
        assert drawn.shape == (7, 4)
        assert np.array_equal(drawn[:3], maps[:, :, 0, neuron])
        assert np.array_equal(drawn[4:], maps[:, :, 1, neuron])
        assert np.isnan(drawn[3]).all()
    assert ax.yaxis_inverted()
    weight = cs.Tensor(np.arange(12.0).reshape(6, 2))
    for sign in (1.0, -1.0):
        ax = cs.plot.receptive_fields(weight * sign, shape=(2, 3, 1))
        assert (sign * tile(ax, 1)[0]).tolist() == [[1, 3, 5], [7, 9, 11]]
        assert ax.images[0].get_clim() == (-11.0, 11.0)
    assert tile(cs.plot.receptive_fields(cs.Dense(6, 2), shape=[3, 2, 1]), 0)[0].shape == (3, 2)


def test_the_kernels_of_a_convolution():
    layer = cs.Conv(2, 6, (3, 5), groups=2)
    ax = cs.plot.receptive_fields(layer, neurons=[4, 1], columns=1)
    assert titles(ax) == ["4", "1"]
    (first, at), (second, below) = tile(ax, 0), tile(ax, 1)
    assert np.array_equal(first, layer.weight.data[:, :, 0, 4])
    assert np.array_equal(second, layer.weight.data[:, :, 0, 1])
    assert (at[0] < below[0], at[1]) == (True, below[1])


def test_what_receptive_fields_refuse():
    dense, conv, shape = np.ones((4, 1)), np.ones((1, 1, 1, 3)), "shape must be (H, W, C) of a dense layer's inputs"
    refused(
        cs.plot.receptive_fields,
        [
            (ValueError, "the weight must be (inputs, outputs) or (kh, kw, channels, maps), got", np.ones(3), {}),
            (TypeError, "the weight must be float32 or float64, got int64", dense.astype(np.int64), {}),
            (ValueError, f"{shape}, got (4,)", cs.Dense(4, 1), {}),
            (ValueError, "shape (2, 2, 2) has 8 inputs, the weight has 4", dense, {"shape": (2, 2, 2)}),
            (ValueError, "neurons must be named where there are more than 64", np.ones((1, 1, 1, 65)), {}),
            (IndexError, "neuron 3 lies outside a layer of shape (3,)", conv, {"neurons": 3}),
            (ValueError, "there must be a neuron with inputs, got a weight of shape", conv[..., :0], {}),
            (TypeError, "ax must be matplotlib Axes, got list", conv, {"ax": []}),
        ],
    )
