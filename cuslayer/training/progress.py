"""The progress bar of an epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sized
from itertools import islice
from typing import Any

from tqdm import tqdm

from cuslayer.data.batches import pairs
from cuslayer.data.loader import Loader
from cuslayer.data.shares import Shares
from cuslayer.training.score import Tally


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar that asks for its text when it is drawn, a few times a second at most."""

    def __init__(self, batches: Iterable[Any], text: Callable[[], str], **options: Any) -> None:
        self._text = text
        super().__init__(batches, **options)

    def display(self, *arguments: Any, **options: Any) -> Any:
        self.postfix = self._text()
        return super().display(*arguments, **options)


class Progress(Tally):
    """Accumulates the score of an epoch and shows it in a progress bar.

    Args:
        batches: the batches, which `bar` yields.
        title: the title of the bar.
        show: whether to show it on a terminal.
        steps: stop after so many batches; None for all.
        state: the score of the first batches of the epoch, as `state` has it, which are left out; None for none.
        look: called with this object before the bar is drawn; what it raises ends the epoch.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        title: str,
        show: bool,
        steps: int | None,
        state: dict[str, Any] | None,
        look: Callable[[Tally], None],
    ) -> None:
        super().__init__()
        self._look = look
        if state is not None:
            self.load_state(state)
        total, first = len(batches) if isinstance(batches, Sized) else None, self.batches
        if first:
            batches = (
                batches.batches_from(first) if isinstance(batches, (Loader, Shares)) else islice(batches, first, None)
            )
        if steps is not None:
            batches, total = islice(batches, max(steps - first, 0)), steps if total is None else min(total, steps)
        # disable=None: tqdm draws only on a terminal. Of a closed standard error it takes None for one.
        hidden = None if show and sys.stderr is not None else True
        options = {"desc": title, "total": total, "leave": False, "disable": hidden, "initial": first}
        self.bar = _Bar(pairs("Trainer", batches), self._text, **options)

    def _text(self) -> str:
        """Return what the bar shows; empty before the first batch."""
        self._look(self)
        samples = self.samples
        if not samples:
            return ""
        score, speed = self.score(), samples / max(self.last - self.start, 1e-9)
        accuracy = "" if score.accuracy is None else f"accuracy {score.accuracy:.1%}, "
        return f"loss {score.loss:.4g}, {accuracy}{speed:.0f} samples/s"
