"""The progress bar of an epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import islice
from time import perf_counter
from typing import Any

from tqdm import tqdm

from cuslayer.data.batches import Shares, pairs
from cuslayer.data.loader import Loader
from cuslayer.training.score import Tally


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar whose text is made when it is drawn, and whose rate excludes the first step, which may compile."""

    def __init__(self, batches: Iterable[object], text: Callable[[], str], **options: Any) -> None:
        self._text = text
        # The number of steps and the time at the end of the first.
        self._begun: tuple[float, float] | None = None
        super().__init__(batches, **options)

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if self._begun is None:
            self._begun = self.n, perf_counter()
        return shown

    @property
    def format_dict(self) -> dict[str, object]:
        first, begin = self._begun or (self.n, 0.0)
        rate = (self.n - first) / max(perf_counter() - begin, 1e-9)
        return dict(super().format_dict, rate=rate)  # for 0 the bar shows a question mark

    def display(self, *arguments: Any, **options: Any) -> None:
        self.postfix = self._text()
        return super().display(*arguments, **options)


class Progress(Tally):
    """Accumulates the score of an epoch and shows it in a progress bar, `bar`, which yields the batches.

    `state` is the score of the first batches, which are skipped. The bar calls `look` before it is drawn; an error in
    it ends the epoch.
    """

    def __init__(
        self,
        batches: Iterable[object],
        title: str,
        show: bool,
        total: int | None,
        steps: int | None,
        state: dict[str, object] | None,
        look: Callable[[Tally], None],
        own: bool = False,
    ) -> None:
        super().__init__(own=own)
        self._look = look
        if state is not None:
            self.load_state(state)
        first = self.batches
        if first:
            whole = isinstance(batches, Loader | Shares)
            batches = batches.batches_from(first) if whole else islice(batches, first, None)  # type: ignore[attr-defined]
        if steps is not None:
            batches, total = islice(batches, max(steps - first, 0)), steps if total is None else min(total, steps)
        # disable=None: tqdm draws only on a terminal. If stderr is closed, there is no bar.
        hidden = None if show and sys.stderr is not None else True
        options = {"desc": title, "total": total, "leave": False, "disable": hidden, "initial": first}
        self.bar = _Bar(pairs(batches), self._text, **options)

    def _text(self) -> str:
        """Return the text of the bar; empty before the first batch."""
        self._look(self)
        samples = self.samples
        if not samples:
            return ""
        score, speed = self.score(), samples / max(self.last - self.start, 1e-9)
        accuracy = "" if score.accuracy is None else f"accuracy {score.accuracy:.1%}, "
        own = "" if score.score is None else f"score {score.score:.4g}, "
        return f"loss {score.loss:.4g}, {accuracy}{own}{speed:.0f} samples/s"
