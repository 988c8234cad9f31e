"""Devices and randomness."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, kernels
from cuslayer.data import Arrays
from cuslayer.data.codes import Levels


def has_driver() -> bool:
    return backend._driver_problem() is None


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_cpu_is_chosen():
    cs.use("cpu")
    assert cs.device() == "cpu"
    assert backend.device_name().startswith("cpu (")
    assert kernels.of(np.ones(1)) is kernels.cpu


@pytest.mark.skipif(has_driver(), reason="this machine has a CUDA driver")
def test_without_a_driver():
    cs.use("auto")
    assert cs.device() == "cpu"
    with pytest.raises(ValueError, match="device: cuda is out of reach: no CUDA driver"):
        cs.use("cuda")
    assert cs.device() == "cpu"
    found = run("import cuslayer; cuslayer.device()", CUSLAYER_DEVICE="cuda")
    assert "ValueError: device: cuda is out of reach" in found.stderr


@pytest.mark.parametrize("word", ["gpu", "GPU", "nvidia", "CUDA", "Cuda", "cupy", "gpu:0", "cuda:0", "cuda:1"])
def test_other_words_for_a_gpu_point_to_cuda(word):
    before = cs.device()
    rule = f"use: device must be one of auto, cpu, cuda, got {word!r}; a GPU of NVIDIA is 'cuda'"
    number = "; the variable CUDA_VISIBLE_DEVICES chooses one of several GPUs" if word[-1].isdigit() else ""
    with pytest.raises(ValueError, match="^" + re.escape(rule + number) + "$"):
        cs.use(word)
    assert cs.device() == before


def test_the_variable_sets_the_default():
    assert run("import cuslayer; print(cuslayer.device())", CUSLAYER_DEVICE="cpu").stdout == "cpu\n"
    found = run("import cuslayer; cuslayer.device()", CUSLAYER_DEVICE="gpu")
    assert "ValueError: device: CUSLAYER_DEVICE must be one of auto, cpu, cuda, got 'gpu'" in found.stderr


def test_errors():
    with pytest.raises(ValueError, match="use: device must be one of auto, cpu, cuda, got 'cdua'; did you mean cuda"):
        cs.use("cdua")


def test_to_device_copies_only_what_it_must():
    x = np.ones((2, 3))
    assert backend.to_device(x) is x
    assert backend.to_device(x.T).flags.c_contiguous
    assert backend.to_numpy([1, 2]).tolist() == [1, 2]


def test_seed_decides_everything_drawn():
    def draw():
        return cs.Dense(20, 10).weight.data, backend.generator().random(3)

    cs.seed(3)
    first = draw()
    cs.seed(3)
    second = draw()
    cs.seed(4)
    third = draw()
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert all((a != b).any() for a, b in zip(first, third, strict=True))


def masked(*shape, dtype=np.float32):
    """Return ones, of which the first is masked."""
    x = np.ma.ones(shape, dtype)
    x[(0,) * len(shape)] = np.ma.masked
    return x


SRM, LOSS = cs.SRM(), cs.SpikeCountLoss(cs.SRM(), true=3, false=1)
DOORS = {
    "Tensor": lambda: cs.Tensor(masked(3)),
    "a list": lambda: cs.Tensor([masked(3), masked(3)]),
    "a nested list": lambda: cs.Tensor([[[1.0, 2.0]], [masked(2)]]),
    "data": lambda: setattr(cs.Tensor([1.0]), "data", masked(1)),
    "operator": lambda: cs.Tensor([1.0, 2.0]) * masked(2),
    "reflected": lambda: masked(2) - cs.Tensor([1.0, 2.0]),
    "function of NumPy": lambda: np.maximum(cs.Tensor([1.0, 2.0]), masked(2)),
    "clip": lambda: cs.Tensor([1.0, 2.0]).clip(masked(2)),
    "index": lambda: cs.Tensor([1.0, 2.0])[masked(2, dtype=bool)],
    "backward": lambda: cs.Tensor([1.0, 2.0], requires_grad=True).backward(masked(2)),
    "network": lambda: cs.Network("3-2", SRM)(masked(5, 1, 3)),
    "stream": lambda: cs.Network("3-2", SRM).stream()(masked(5, 1, 3)),
    "weights of a file": lambda: cs.Network("3-2", SRM).load_state({"0.0": masked(3, 2)}),
    "delay": lambda: cs.functions.shift(np.ones((5, 1, 3)), delay=masked(3)),
    "time constants": lambda: cs.LIF(tau=masked(3)),
    "loss": lambda: LOSS(masked(5, 1, 2, dtype=bool), [0]),
    "labels": lambda: LOSS(np.zeros((5, 2, 2), bool), masked(2, dtype=int)),
    "several labels": lambda: cs.BinaryCrossEntropyLoss()(np.zeros((5, 1, 2)), masked(1, 2, dtype=bool)),
    "target": lambda: cs.SpikeTimeLoss(SRM)(np.zeros((5, 1, 2), bool), masked(5, 1, 2, dtype=bool)),
    "classify": lambda: cs.classify(masked(5, 1, 2)),
    "decision time": lambda: cs.loss.decision_time(np.zeros((5, 2, 2), bool), masked(2, dtype=int)),
    "distance": lambda: cs.loss.van_rossum(masked(5, 1, 2), np.zeros((5, 1, 2)), tau=1.0),
    "poisson": lambda: cs.encode_poisson(masked(2, 3), steps=4),
    "latency": lambda: cs.encode_latency(masked(2, 3), steps=4),
    "delta": lambda: cs.encode_delta(masked(2, 3), threshold=1.0),
    "levels": lambda: Levels()(masked(4, 3), 1.0),
    "Events": lambda: cs.Events(masked(3), [1, 2, 3], None, [0, 0, 0]),
    "Events, from spikes": lambda: cs.Events.from_spikes(masked(5, 3, dtype=bool)),
    "Arrays": lambda: Arrays(masked(2, 5, 3), [0, 1]),
    "Arrays of a list": lambda: Arrays([np.ones((5, 3)), masked(5, 3)], [0, 1]),
    "classes of Arrays": lambda: Arrays(np.ones((2, 5, 3)), masked(2, dtype=int)),
    "axes": lambda: cs.interchange.from_nchwt(masked(1, 2, 3, 3, 4)),
    "gradcheck": lambda: cs.gradcheck(lambda x: x * x, masked(3)),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_mask_is_not_lost_in_silence(door):
    with pytest.raises(TypeError, match=r"(masked array: its mask would be lost, 1 of \d+ elements|bounds must be)"):
        DOORS[door]()
