"""A training run on disk: arrays and plain text, no pickle, never half-written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import backend
from cuslayer.files import write_whole
from cuslayer.network.network import Sequential
from cuslayer.optim import SGD, Adam

_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on as if it had not stopped.

    Attributes:
        epoch: how many epochs are done.
        network: the parameters by name.
        optimizer: what the optimizer remembers, by name.
        generator: the state of the random generator.
    """

    epoch: int
    network: dict[str, backend.Array]
    optimizer: dict[str, backend.Array]
    generator: dict[str, Any]

    @classmethod
    def of(cls, epoch: int, network: Sequential, optimizer: SGD | Adam) -> Checkpoint:
        """Return the checkpoint of a run as it is now."""
        return cls(epoch, network.state(), optimizer.state(), dict(backend.generator().bit_generator.state))

    def restore(self, network: Sequential, optimizer: SGD | Adam) -> None:
        """Put network, optimizer and generator back where they were.

        Raises:
            ValueError: the network or the optimizer is another than the one that was saved; nothing is changed then.
        """
        before = network.state()
        network.load_state(self.network)
        try:
            optimizer.load_state(self.optimizer)
        except ValueError:
            network.load_state(before)
            raise
        backend.generator().bit_generator.state = self.generator

    def save(self, path: str | Path) -> None:
        """Write the checkpoint to a file of NumPy's npz format."""
        about = json.dumps({"format": _FORMAT, "epoch": self.epoch, "generator": self.generator})
        arrays: dict[str, Any] = {f"network/{name}": a for name, a in self.network.items()}
        arrays |= {f"optimizer/{name}": a for name, a in self.optimizer.items()}
        write_whole(Path(path), lambda file: np.savez(file, about=np.array(about), **arrays))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: the file is missing, damaged, or of another format.
    """
    try:
        # Opened here: where NumPy opens a damaged file itself, it leaves it open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        version = about["format"]
        epoch, generator = (about["epoch"], about["generator"]) if version == _FORMAT else (0, {})
    except FileNotFoundError:
        raise ValueError(f"load_checkpoint: {path} is no file") from None
    except Exception as problem:  # a damaged file raises whatever the readers of zip, npy and JSON come to
        raise ValueError(f"load_checkpoint: {path} is damaged or no checkpoint ({type(problem).__name__})") from None
    if version != _FORMAT:
        raise ValueError(f"load_checkpoint: {path} has format {version}, this version reads {_FORMAT}")

    def part(room: str) -> dict[str, backend.Array]:
        return {name.removeprefix(room): a for name, a in arrays.items() if name.startswith(room)}

    return Checkpoint(epoch, part("network/"), part("optimizer/"), generator)
