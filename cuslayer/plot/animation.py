"""Animations of event frames, as GIF or as an HTML player with a slider."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cuslayer import check
from cuslayer.files import write_whole
from cuslayer.plot.axes import axes
from cuslayer.plot.frames import Frames, gather, paint
from cuslayer.plot.style import palette

_PAGE = """<div id="{name}" style="display:inline-block;max-width:100%;font:13px sans-serif">
<img alt="event frames" style="display:block;max-width:100%"/>
<button type="button" aria-label="play or pause" style="width:3em">&#9654;</button>
<input type="range" aria-label="frame" min="0" max="{last}" value="0" step="1" style="width:60%;vertical-align:middle"/>
<output></output>
<script>
(() => {{
  const frames = {frames}, titles = {titles};
  const root = document.getElementById("{name}");
  const [image, button, slider, text] = ["img", "button", "input", "output"].map(tag => root.querySelector(tag));
  let timer = null;
  const show = at => {{
    slider.value = at;
    image.src = "data:image/png;base64," + frames[at];
    text.textContent = titles[at];
  }};
  const pause = () => {{ clearInterval(timer); timer = null; button.textContent = "\\u25b6"; }};
  const play = () => {{
    timer = setInterval(() => show((Number(slider.value) + 1) % frames.length), {pause});
    button.textContent = "\\u275a\\u275a";
  }};
  button.addEventListener("click", () => timer === null ? play() : pause());
  slider.addEventListener("input", () => {{ pause(); show(Number(slider.value)); }});
  show(0);
}})();
</script>
</div>"""


class Animation:
    """An animation of event frames, made by `animation`; notebooks show it as a player.

    Attributes:
        ax: the axes that the frames are drawn on.
        titles: the window of each frame.
        fps: frames per second.
    """

    def __init__(self, found: Frames, ax: Any, fps: float) -> None:
        self.ax, self.titles, self.fps = ax, found.titles(), fps
        self._pictures = paint(found.counts, palette(ax))
        self._image = ax.imshow(self._pictures[0], interpolation="nearest")
        ax.set(xlabel="column", ylabel="row")
        self.show(0)

    def __len__(self) -> int:
        return len(self.titles)

    def show(self, number: int) -> Any:
        """Draw one frame, and return the axes.

        Raises:
            IndexError: there is no such frame.
            TypeError: number is not an integer.
        """
        number = check.index("animation", "number", number, len(self))
        self._image.set_data(self._pictures[number])
        self.ax.set_title(self.titles[number], loc="left", fontsize="medium")
        return self.ax

    def html(self) -> str:
        """Return a player with a slider as self-contained HTML: the frames are embedded as PNG."""
        frames = [base64.b64encode(file.getvalue()).decode("ascii") for file in self._pngs()]
        # Unique on a page, and the same for the same frames.
        name = "frames-" + hashlib.sha256("".join(frames).encode()).hexdigest()[:12]
        return _PAGE.format(
            name=name,
            last=len(self) - 1,
            frames=json.dumps(frames),
            titles=json.dumps(self.titles),
            pause=round(1000 / self.fps),
        )

    _repr_html_ = html

    def save(self, path: str | Path) -> None:
        """Write the animation atomically, as `.gif`, or as `.html` for the player.

        Raises:
            ValueError: path has another suffix.
            OSError: the folder is missing, full or not writable.
        """
        path = Path(path)
        ending = check.one_of("animation", "the ending of path", path.suffix.lower(), (".gif", ".html"))
        if ending == ".gif":
            write_whole(path, self._write_gif)
            return
        head = '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Event frames</title>'
        page = f"{head}\n{self.html()}\n</html>\n".encode()
        write_whole(path, lambda file: file.write(page))

    def _pngs(self) -> Iterator[io.BytesIO]:
        """Yield each frame as a PNG file in memory."""
        for number in range(len(self)):
            file = io.BytesIO()
            self.show(number).figure.savefig(file, format="png", dpi=80)
            yield file

    def _write_gif(self, file: BinaryIO) -> None:
        from PIL import Image

        # Without dithering, colours are the same in every frame.
        pages = [Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE) for file in self._pngs()]
        pages[0].save(
            file, format="GIF", save_all=True, append_images=pages[1:], duration=round(1000 / self.fps), loop=0
        )


def animation(
    spikes: Any, ax: Any = None, *, window: float = 10.0, sample: int | None = 0, dt: float = 1.0, fps: float = 15.0
) -> Animation:
    """Return an animation of the event frames of a recording, in the colours of `frames`.

    Args:
        spikes: `Events`, or (T, N, H, W, C) booleans or counts, a tensor or an array.
        ax: where to draw; by default the axes of a new figure.
        window: the length of the window of each frame, ms.
        sample: the sample of the batch; None where spikes are (T, H, W, C) without a batch.
        dt: the step, ms; not used for events, which have times.
        fps: frames per second.

    Returns:
        The animation: `save` writes GIF or HTML, `show` draws one frame, and a notebook plays it.

    Raises:
        ValueError: as `frames`, or fps is not positive.
        TypeError: as `frames`.

    >>> import numpy as np
    >>> spikes = np.zeros((40, 1, 5, 5, 2), bool)
    >>> spikes[25, 0, 3, 1, 1] = True
    >>> clip = animation(spikes, window=10.0)
    >>> len(clip), clip.titles[2]
    (4, '20 to 30 ms')
    """
    op = "animation"
    fps = check.positive(op, "fps", fps)
    found = gather(op, spikes, window=window, sample=sample, dt=dt)
    return Animation(found, axes(op, ax, (4.2, 4.2)), fps)
