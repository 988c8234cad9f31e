"""`Waves`: a data set of labelled sounds, heard as spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.arrays import class_labels
from cuslayer.data.audio.to_spikes import AudioToSpikes


class Waves:
    """A data set of waves and their classes; a recording is the spikes (T, neurons) of a wave.

    A wave becomes spikes when it is read for the first time; after that its spikes are kept, a bit each. `Loader` takes
    the data set, and its transforms change the spikes of a recording differently in each epoch: `RandomShift` in time,
    `ShiftChannels` in frequency, `Stretch` the duration, `Drop` leaves some out.

    Attributes:
        shape: (neurons,).
        classes: the number of classes.
        labels: the class of each wave, int64 (samples,).
        steps: the number of steps T.
        dt: the step in ms.

    Args:
        waves: the waves, each (samples,); their lengths may differ.
        y: the classes, integers from 0, or one-hot (samples, classes).
        to_spikes: what makes spikes of a wave.
        classes: the number of classes; by default the highest class plus one.

    Raises:
        TypeError: to_spikes or y is of another type.
        ValueError: there is no wave, another number of classes than waves, or a class out of range. Reading a recording
            raises the errors of `Bands`, with the number of the wave.

    >>> from cuslayer.data import Bands, Delta, Loader
    >>> waves = [np.sin(0.2 * (1 + label) * np.arange(2000)) for label in (0, 1, 2, 0)]
    >>> data = Waves(waves, [0, 1, 2, 0], AudioToSpikes(Bands(8000, channels=16), Delta(0.1), duration=300.0))
    >>> data
    Waves(4 recordings, 60 steps of 5 ms, 32 neurons, 3 classes)
    >>> spikes, labels = next(iter(Loader(data, batch=4)))
    >>> spikes.shape, labels.tolist()
    ((60, 4, 32), [0, 1, 2, 0])
    """

    def __init__(self, waves: Sequence[Any], y: Any, to_spikes: AudioToSpikes, *, classes: int | None = None) -> None:
        op = "Waves"
        if not isinstance(to_spikes, AudioToSpikes):
            raise TypeError(f"{op}: to_spikes must be AudioToSpikes, got {type(to_spikes).__name__}")
        if not len(waves):
            raise ValueError(f"{op}: waves must hold a wave, got none")
        self.labels, least = class_labels(op, y)
        if len(self.labels) != len(waves):
            raise ValueError(f"{op}: waves and y must have one length, got {len(waves)} and {len(self.labels)}")
        self.classes = least if classes is None else check.integer(op, "classes", classes, least=1)
        if self.classes < least:
            raise ValueError(f"{op}: classes must be at least {least} for these y, got {classes}")
        self.to_spikes = to_spikes
        self.shape = (to_spikes.neurons,)
        self.steps, self.dt = to_spikes.steps, to_spikes.dt
        self._waves = waves
        self._bits: list[npt.NDArray[np.uint8] | None] = [None] * len(waves)

    def __len__(self) -> int:
        return len(self._waves)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[npt.NDArray[np.bool_], int]:
        place = check.position("Waves", index, len(self))
        bits = self._bits[place]
        if bits is None:
            try:
                bits = np.packbits(self.to_spikes(self._waves[place]), axis=1)
            except (TypeError, ValueError) as problem:
                raise type(problem)(f"Waves: sample {place}: {problem}") from None
            self._bits[place] = bits
        return np.unpackbits(bits, axis=1, count=self.shape[0]).view(np.bool_), int(self.labels[place])

    def __repr__(self) -> str:
        size = f"{self.steps} steps of {self.dt:g} ms, {self.shape[0]} neurons"
        return f"Waves({len(self)} recordings, {size}, {self.classes} classes)"
