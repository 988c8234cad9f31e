"""Checkpoints of a training run: arrays and JSON in an npz file, without pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuslayer import backend
from cuslayer.files import read_archive, write_archive
from cuslayer.network.network import Sequential
from cuslayer.optim import SGD, Adam

_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training run, enough to resume it with identical results.

    Attributes:
        epoch: the number of completed epochs.
        network: the parameters by name.
        optimizer: the state of the optimizer by name.
        generator: the state of the random number generator.
    """

    epoch: int
    network: dict[str, backend.Array]
    optimizer: dict[str, backend.Array]
    generator: dict[str, Any]

    @classmethod
    def of(cls, epoch: int, network: Sequential, optimizer: SGD | Adam) -> Checkpoint:
        """Return a checkpoint of the current state."""
        return cls(epoch, network.state(), optimizer.state(), backend.generator_state())

    def restore(self, network: Sequential, optimizer: SGD | Adam) -> None:
        """Load the state into network, optimizer and random number generator.

        Raises:
            ValueError: the state does not fit the network or the optimizer; nothing is changed then.
        """
        before = network.state()
        network.load_state(self.network)
        try:
            optimizer.load_state(self.optimizer)
        except ValueError:
            network.load_state(before)
            raise
        backend.load_generator_state(self.generator)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint as an npz file, atomically."""
        about = {"format": _FORMAT, "epoch": self.epoch, "generator": self.generator}
        arrays: dict[str, Any] = {f"network/{name}": a for name, a in self.network.items()}
        arrays |= {f"optimizer/{name}": a for name, a in self.optimizer.items()}
        write_archive(Path(path), about, arrays)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: the file is missing, damaged, or of another format.
    """
    try:
        about, arrays = read_archive(path)
        version = about["format"]
        epoch, generator = (about["epoch"], about["generator"]) if version == _FORMAT else (0, {})
    except FileNotFoundError:
        raise ValueError(f"load_checkpoint: {path} is no file") from None
    except Exception as problem:  # the readers of zip, npy and JSON raise many types
        raise ValueError(f"load_checkpoint: {path} is damaged or no checkpoint ({type(problem).__name__})") from None
    if version != _FORMAT:
        raise ValueError(f"load_checkpoint: {path} has format {version}, this version reads {_FORMAT}")

    def part(prefix: str) -> dict[str, backend.Array]:
        return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

    return Checkpoint(epoch, part("network/"), part("optimizer/"), generator)
