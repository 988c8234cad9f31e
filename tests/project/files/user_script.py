"""What a user writes, with types: `mypy --strict` accepts it, and it runs. tests/project/test_supply.py does both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import cuslayer as cs
from cuslayer.data import Arrays, Loader
from cuslayer.training import Trainer

Spikes = npt.NDArray[np.bool_]


class Gain(cs.Layer):
    """A layer of one's own."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.gain = cs.Tensor(np.float32(start), requires_grad=True)

    def __call__(self, x: Any) -> Any:
        return x * self.gain


class Eager(cs.SRM):
    """A neuron of one's own: it fires a little under its threshold."""

    def fires(self, u: Any) -> Any:
        return u >= 0.9 * self.theta


def recordings(count: int, seed: int) -> tuple[Spikes, npt.NDArray[np.int64]]:
    """Return recordings (N, T, 12) whose class says which half of the neurons is busy."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    rates = np.where((np.arange(12) // 6) == labels[:, None], 0.3, 0.05)
    return rng.random((count, 40, 12)) < rates[:, None], labels


def main(folder: Path) -> float | None:
    cs.seed(0)
    neuron = cs.SRM(theta=10.0, tau_sr=5.0)
    net = cs.Sequential(cs.Dense(12, 16), Gain(1.0), neuron, cs.Dense(16, 2), Eager(theta=10.0, tau_sr=5.0))
    batches = Loader(Arrays(*recordings(64, seed=1)), 8, steps=40, shuffle=True, seed=0)
    cs.calibrate(net, batches)
    loss = cs.SpikeCountLoss(neuron, true=10, false=2, window=(0.0, 40.0))
    optimizer = cs.Adam(net.parameters(), lr=0.1, relative=True)
    trainer = Trainer(net, loss, optimizer)
    for epoch in range(3):
        score = trainer.train(batches)
        print(f"epoch {epoch + 1}: loss {score.loss:.3f}")

    held_out = Loader(Arrays(*recordings(32, seed=2)), 8, steps=40)
    accuracy = trainer.test(held_out).accuracy
    spikes, labels = next(iter(held_out))
    assert cs.classify(net(spikes)).shape == labels.shape
    optimizer.zero_grad()
    value: cs.Tensor = loss(net(spikes), labels)
    value.backward()
    optimizer.step()

    with cs.record(net, samples=[0]) as seen:
        net(spikes)
    time, _, index = (int(n) for n in np.argwhere(np.asarray(seen[2].spikes))[0])
    why = cs.explain(net, spikes, layer=2, index=index, time=time)
    print(f"margin {why.margin:.3f}, largest part {why.parts()[0].size:.3f}")
    why.plot().figure.savefig(folder / "why.png")

    cs.save(net, folder / "net.npz")
    again = cs.load(folder / "net.npz", classes=[Gain, Eager])
    assert (again(spikes).data == net(spikes).data).all()
    return accuracy


if __name__ == "__main__":
    print(f"accuracy {main(Path(sys.argv[1])):.0%}")
