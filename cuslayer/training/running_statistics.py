"""The running statistics of batch normalization in a training by micro-batches."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np

from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.layers.batch_norm import BatchNorm, take_statistics
from cuslayer.network.container import graph_of
from cuslayer.network.network import Sequential


class RunningStatistics:
    """Moves the running statistics of a network by what its layers find in the micro-batches of a batch.

    A micro-batch is normalized by its own mean and variance. Of n_i elements of a channel with the mean m_i and the
    variance v_i in micro-batch i, the running ones move towards those of the whole batch::

        n = sum n_i        m = sum n_i m_i / n        v = sum n_i (v_i + (m_i - m)^2) / n

    in float64 and in the order of the micro-batches, whichever process has found them. A layer that runs several times
    in a forward pass counts as one with all these elements.

    Args:
        net: the network.

    Attributes:
        columns: the numbers of a micro-batch: of each layer the number of elements, the means and the variances.

    >>> import numpy as np
    >>> norm = BatchNorm(1, momentum=0.5)
    >>> statistics = RunningStatistics(Sequential(norm))
    >>> rows = np.zeros((2, statistics.columns))
    >>> for row, numbers in zip(rows, ([0.0, 2.0], [5.0])):
    ...     with statistics.noted(row):
    ...         y = norm(np.array(numbers).reshape(-1, 1, 1))
    >>> rows.tolist()
    [[2.0, 1.0, 1.0], [1.0, 5.0, 0.0]]
    >>> statistics.move(rows); [round(float(a.data[0]), 4) for a in (norm.mean, norm.var)]
    [1.1667, 2.6111]
    """

    def __init__(self, net: Sequential) -> None:
        stages = {id(node.stage): node.stage for node in graph_of(net).nodes}
        self._layers: list[BatchNorm] = [stage for stage in stages.values() if isinstance(stage, BatchNorm)]
        ends = np.cumsum([0, *(1 + 2 * layer.features for layer in self._layers)]).tolist()
        self._places = {id(layer): slice(*ends[i : i + 2]) for i, layer in enumerate(self._layers)}
        self.columns: int = ends[-1]

    def noted(self, row: Array) -> AbstractContextManager[None]:
        """Write what the layers find within the block into a row (columns,) of zeros, and leave them as they are."""

        def note(layer: BatchNorm, count: int, mean: Array, var: Array) -> None:
            if id(layer) not in self._places:
                raise ValueError(
                    "Trainer: parallel needs each BatchNorm as a layer of the network, got one within another"
                )
            mine = row[self._places[id(layer)]]
            found = np.concatenate([[count], to_numpy(mean), to_numpy(var)])
            mine[:] = _of_all(np.stack([mine, found]))

        return take_statistics(note)

    def move(self, rows: Array) -> None:
        """Move the running statistics by the rows (micro-batches, columns) of a batch."""
        for layer in self._layers:
            count, *found = _of_all(rows[:, self._places[id(layer)]])
            if count:
                mean, var = np.split(np.array(found), 2)
                layer.move(to_device(mean), to_device(var))


def _of_all(rows: Array) -> Array:
    """Return number, means and variances (1 + 2 channels,) of all elements by those of parts, (parts, 1 + 2 channels).

    Parts are added one after the other; a single part is returned as it is.
    """
    rows = rows[rows[:, 0] > 0]
    if len(rows) < 2:
        return rows[0] if len(rows) else np.zeros(rows.shape[1])
    counts = rows[:, :1]
    means, variances = np.split(rows[:, 1:], 2, axis=1)
    count = sum(counts, np.zeros(1))
    mean = sum(counts * means, np.zeros(means.shape[1])) / count
    var = sum(counts * (variances + (means - mean) ** 2), np.zeros(means.shape[1])) / count
    return np.concatenate([count, mean, var])
