"""Event frames and animations: what is drawn and where, so that a swapped axis or polarity fails."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import cuslayer as cs
from cuslayer.data import Events
from cuslayer.plot.style import LIGHT
from tests.support.pictures import image_spikes

OFF, ON = LIGHT.polarities


def rgb(shade):
    return tuple(int(shade[at : at + 2], 16) / 255 for at in (1, 3, 5))


def frame(ax, number, count, shape):
    """Return the pixels of one frame, found by its outline in the image."""
    outline = ax.patches[number]
    assert len(ax.patches) == count
    column, row = round(outline.get_x() + 0.5), round(outline.get_y() + 0.5)
    assert (outline.get_height(), outline.get_width()) == shape
    return ax.images[0].get_array()[row : row + shape[0], column : column + shape[1]], (row, column)


def test_frames_gather_windows_of_time():
    ax = cs.plot.frames(image_spikes(), sample=1, window=3.0, dt=0.5, columns=2)
    assert [text.get_text() for text in ax.texts] == ["0 to 3 ms", "3 to 6 ms"]
    first, at = frame(ax, 0, 2, (3, 4))
    second, beside = frame(ax, 1, 2, (3, 4))
    assert at[0] == beside[0]
    assert at[1] < beside[1]
    white = [1.0, 1.0, 1.0, 1.0]
    # OFF has one event of at most two, a colour between white and full. ON is full.
    faint = 1 - (0.3 + 0.7 / 2) * (1 - np.array(rgb(OFF)))
    assert np.allclose(first[2, 0, :3], faint)
    assert np.allclose(second[0, 3, :3], rgb(ON))
    assert (first == white).all(axis=-1).sum() == (second == white).all(axis=-1).sum() == 11
    # Row 0 is on top.
    assert ax.yaxis_inverted()
    assert ax.images[0].get_extent()[2] > ax.images[0].get_extent()[3]


def test_frames_between_are_empty():
    ax = cs.plot.frames(image_spikes(), window=6.0)
    canvas = ax.images[0].get_array()
    assert (canvas[..., 3] == 1.0).sum() == 2 * 12
    assert set(np.unique(canvas[..., 3])) == {0.0, 1.0}


def test_frames_of_a_recording():
    events = Events([100.0, 101.0, 249.0], [3, 3, 0], [0, 0, 1], [1, 0, 0])
    ax = cs.plot.frames(events, window=50.0, columns=5)
    assert [text.get_text() for text in ax.texts] == ["100 to 150 ms", "150 to 200 ms", "200 to 250 ms"]
    first, _ = frame(ax, 0, 3, (2, 4))
    last, _ = frame(ax, 2, 3, (2, 4))
    both = 1 - (1 - np.array(rgb(OFF))) - (1 - np.array(rgb(ON)))
    assert np.allclose(first[0, 3, :3], both.clip(0, 1))
    assert np.allclose(last[1, 0, :3], rgb(OFF))
    # Without a window, six from the first event to the last.
    assert len(cs.plot.frames(events).texts) == 6
    assert len(cs.plot.frames(Events([5.0], [0], [0], [1])).texts) == 1


def test_frames_by_default_are_six_and_cover_all_time():
    titles = [text.get_text() for text in cs.plot.frames(image_spikes()).texts]
    assert (len(titles), titles[0], titles[-1]) == (6, "0 to 2 ms", "10 to 12 ms")
    titles = [text.get_text() for text in cs.plot.frames(image_spikes(), window=5.0).texts]
    assert titles == ["0 to 5 ms", "5 to 10 ms", "10 to 12 ms"]


def test_other_numbers_of_channels_are_added_up():
    spikes = np.zeros((2, 1, 1, 2, 3), np.uint8)
    spikes[0, 0, 0, 1] = [1, 0, 3]
    spikes[1, 0, 0, 0] = [0, 2, 0]
    ax = cs.plot.frames(spikes, window=1.0)
    (first, _), (second, _) = frame(ax, 0, 2, (1, 2)), frame(ax, 1, 2, (1, 2))
    darkest, half = first[0, 1, 0], second[0, 0, 0]
    assert first[0, 0, 0] == 1.0
    assert darkest == pytest.approx(0x22 / 255)
    assert half == pytest.approx(1 - 0.65 * (1 - darkest))


def test_frames_fit_where_they_are_drawn():
    narrow, wide = Figure(figsize=(3, 6)).subplots(), Figure(figsize=(12, 2)).subplots()
    for ax in (narrow, wide):
        assert cs.plot.frames(image_spikes(), ax) is ax
    lefts = [len({patch.get_x() for patch in ax.patches}) for ax in (narrow, wide)]
    assert lefts[0] < lefts[1] == 6


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (7, 1, 2, 3, 2)])
def test_frames_of_silence(shape):
    ax = cs.plot.frames(np.zeros(shape, bool))
    canvas = ax.images[0].get_array()
    assert (canvas[canvas[..., 3] == 1] == 1.0).all()
    ax.figure.savefig(io.BytesIO())


@pytest.mark.parametrize("name", ["frames", "animation"])
@pytest.mark.parametrize(
    ("kind", "message", "spikes", "options"),
    [
        (
            ValueError,
            "spikes must be (T, N, H, W, C) and not empty, a sample has shape (3, 4)",
            np.ones((3, 1, 4), bool),
            {},
        ),
        (
            ValueError,
            "spikes must be (T, H, W, C) and not empty, a sample has shape (3, 4)",
            np.ones((3, 4), bool),
            {"sample": None},
        ),
        (
            ValueError,
            "spikes must be (T, N, H, W, C) and not empty, a sample has shape (0, 2, 2, 1)",
            np.ones((0, 1, 2, 2, 1), bool),
            {},
        ),
        (TypeError, "spikes must be booleans or counts, got float64", np.ones((3, 1, 2, 2, 1)), {}),
        (ValueError, "window must be positive, got -1", np.ones((3, 1, 2, 2, 1), bool), {"window": -1.0}),
        (ValueError, "dt must be positive, got 0", np.ones((3, 1, 2, 2, 1), bool), {"dt": 0.0}),
        (
            ValueError,
            "window must make at most 1000 frames, got 1001",
            np.ones((1001, 1, 1, 1, 1), bool),
            {"window": 1.0},
        ),
        (
            ValueError,
            "window must make at most 1000 frames, got 100001",
            Events([0.0, 1000.0], [0, 0], [0, 0], [0, 0]),
            {"window": 0.01},
        ),
        (
            ValueError,
            "events must be in 2-D and at least one, got events in 1-D",
            Events([0.0], [0], None, [0]),
            {},
        ),
        (ValueError, "events must be in 2-D and at least one, got events in 2-D, none", Events([], [], [], []), {}),
        (TypeError, "ax must be matplotlib Axes, got int", np.ones((3, 1, 2, 2, 1), bool), {"ax": 3}),
    ],
)
def test_what_frames_and_animations_refuse(name, kind, message, spikes, options):
    with pytest.raises(kind, match=re.escape(f"{name}: {message}")):
        getattr(cs.plot, name)(spikes, **options)


@pytest.mark.parametrize(("columns", "kind"), [(0, ValueError), (1.5, TypeError)])
def test_columns_of_frames(columns, kind):
    with pytest.raises(kind, match="frames: columns must be"):
        cs.plot.frames(image_spikes(), columns=columns)


# Animation


def test_an_animation_shows_one_window_after_the_other():
    clip = cs.plot.animation(image_spikes(), sample=1, window=3.0, dt=0.5)
    assert (len(clip), clip.titles) == (2, ["0 to 3 ms", "3 to 6 ms"])
    ax = clip.show(1)
    assert ax.get_title(loc="left") == "3 to 6 ms"
    assert np.allclose(ax.images[0].get_array()[0, 3, :3], rgb(ON))
    assert (ax.images[0].get_array()[2, 0] == 1.0).all()
    ax = clip.show(0)
    assert (ax.images[0].get_array()[0, 3] == 1.0).all()
    assert not (ax.images[0].get_array()[2, 0] == 1.0).all()
    assert ax.yaxis_inverted()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


def test_an_animation_is_saved_as_gif(tmp_path):
    clip = cs.plot.animation(image_spikes(), sample=1, window=4.0, fps=10.0)
    clip.save(tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as file:
        assert (file.n_frames, file.info["duration"], file.info["loop"]) == (3, 100, 0)
        pages = []
        for number in range(3):
            file.seek(number)
            pages.append(np.asarray(file.convert("RGB")).astype(int))

    # Vermilion appears in the last two windows, which have ON events, and not in the first.
    def reddish(page):
        return (page[..., 0] - page[..., 2] > 60).any()

    assert [reddish(page) for page in pages] == [False, True, True]


def test_an_animation_is_one_page_that_loads_nothing(tmp_path):
    clip = cs.plot.animation(image_spikes(), sample=1, window=4.0, fps=8.0)
    clip.save(str(tmp_path / "clip.html"))
    page = (tmp_path / "clip.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "http" not in page
    frames = json.loads(re.search(r"frames = (\[.*?\]), titles", page)[1])
    assert json.loads(re.search(r"titles = (\[.*?\]);", page)[1]) == ["0 to 4 ms", "4 to 8 ms", "8 to 12 ms"]
    assert 'max="2"' in page
    assert "125)" in page
    sizes = {Image.open(io.BytesIO(base64.b64decode(each))).size for each in frames}
    assert len(frames) == 3
    assert len(sizes) == 1
    # A notebook shows the same player, and different players have different ids.
    assert clip._repr_html_() in page
    other = cs.plot.animation(image_spikes(), sample=0, window=4.0).html()
    assert re.search(r'id="([^"]+)"', other)[1] not in page


def test_what_an_animation_refuses(tmp_path):
    clip = cs.plot.animation(image_spikes())
    with pytest.raises(IndexError, match="animation: number must be under 2, got 2"):
        clip.show(2)
    with pytest.raises(TypeError, match="animation: number must be an integer, got float"):
        clip.show(0.5)
    with pytest.raises(ValueError, match=r"animation: the ending of path must be one of .gif, .html, got '.mp4'"):
        clip.save(tmp_path / "clip.mp4")
    with pytest.raises(OSError):
        clip.save(tmp_path / "nowhere" / "clip.gif")
    with pytest.raises(ValueError, match="animation: fps must be positive, got 0"):
        cs.plot.animation(image_spikes(), fps=0)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_a_recording_lie_on_multiples_of_the_window():
    events = Events([130.0, 170.0, 230.0], [0, 1, 2], [0, 0, 1], [1, 0, 1])
    found = cs.plot.frames(events, window=50.0)
    assert [text.get_text() for text in found.texts] == ["100 to 150 ms", "150 to 200 ms", "200 to 250 ms"]
