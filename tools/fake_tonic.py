"""Classes that stand for tonic's data sets: small, with its constructors, and a folder that a download makes."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import numpy as np
import pytest

CAMERA = [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)]
SOUND = [("t", np.int64), ("x", np.int64), ("p", np.int64)]
SIZES = {"NMNIST": (34, 34, 2), "DVSGesture": (128, 128, 2), "CIFAR10DVS": (128, 128, 2)}
CLASSES = {"NMNIST": 10, "DVSGesture": 11, "CIFAR10DVS": 10, "SHD": 20, "SSC": 35, "NTIDIGITS18": 11}


class Set:
    """What tonic's data sets have in common: the folder of the class's name, which a download fills."""

    def __init__(self, save_to, options):
        self.location_on_system = os.path.join(save_to, type(self).__name__)
        self.options = options
        self.data, self.targets = [], []
        if not os.path.isdir(self.location_on_system):
            self.download()

    def download(self):
        os.makedirs(self.location_on_system)


class Camera(Set):
    first = 5_000_000  # us
    count = 3

    def __init__(self, save_to, options):
        super().__init__(save_to, options)
        classes = CLASSES[type(self).__name__]
        folder = os.path.join(self.location_on_system, "x")
        # In an order that no listing of a folder has to keep.
        for i in np.random.default_rng(3).permutation(self.count * classes):
            self.data.append(os.path.join(folder, str(i % classes), f"{i // classes:03}.bin"))
            self.targets.append(int(i % classes))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        number = int(os.path.basename(self.data[index])[:-4])
        start = self.first + 1000 * number
        rows = [(1, 2, start, 1), (3, 4, start + 250_500, 0)]
        return np.array(rows, dtype=CAMERA), self.targets[index]


class NMNIST(Camera):
    sensor_size, first = SIZES["NMNIST"], 2000

    def __init__(self, save_to, train=True, first_saccade_only=False, stabilize=False):
        super().__init__(save_to, {"train": train})


class DVSGesture(Camera):
    sensor_size = SIZES["DVSGesture"]

    def __init__(self, save_to, train=True):
        super().__init__(save_to, {"train": train})


class CIFAR10DVS(Camera):
    sensor_size, count = SIZES["CIFAR10DVS"], 22

    def __init__(self, save_to):
        super().__init__(save_to, {})


class Sound(Set):
    def __len__(self):
        return 2 * CLASSES[type(self).__name__]

    def __getitem__(self, index):
        events = np.array([(1500, 3, 1), (700_250, index, 1)], dtype=SOUND)
        return events, np.int64(index % CLASSES[type(self).__name__])


class Heidelberg(Sound):
    sensor_size = (700, 1, 1)
    data_filename = "labels.h5"

    def __init__(self, save_to, options):
        super().__init__(save_to, options)
        self.reads = 0
        h5py = pytest.importorskip("h5py")
        with h5py.File(os.path.join(self.location_on_system, self.data_filename), "w") as file:
            file["labels"] = (np.arange(len(self)) % CLASSES[type(self).__name__]).astype(np.uint16)

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


class SHD(Heidelberg):
    def __init__(self, save_to, train=True):
        super().__init__(save_to, {"train": train})


class SSC(Heidelberg):
    def __init__(self, save_to, split="train"):
        super().__init__(save_to, {"split": split})


class NTIDIGITS18(Sound):
    sensor_size = (64, 1, 1)

    def __init__(self, save_to, train=True, single_digits=False):
        super().__init__(save_to, {"train": train, "single_digits": single_digits})
        self.data = {"a file": "of HDF5"}


KINDS = {kind.__name__: kind for kind in (NMNIST, DVSGesture, CIFAR10DVS, SHD, SSC, NTIDIGITS18)}


def install(monkeypatch):
    """Put these classes in place of the module tonic.datasets."""
    module = ModuleType("tonic.datasets")
    vars(module).update(KINDS)
    monkeypatch.setitem(sys.modules, "tonic", ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", module)
