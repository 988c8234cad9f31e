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


@pytest.mark.parametrize(("word", "hint"), [("cpus", "; did you mean cpu?"), ("", ""), (None, ""), (0, "")])
def test_other_words_are_no_device(word, hint):
    with pytest.raises(ValueError, match=r"^use: device must be one of auto, cpu, cuda, got ") as found:
        cs.use(word)
    assert "NVIDIA" not in str(found.value)
    assert hint in str(found.value)


def test_the_variable_sets_the_default():
    assert run("import cuslayer; print(cuslayer.device())", CUSLAYER_DEVICE="cpu").stdout == "cpu\n"
    found = run("import cuslayer; cuslayer.device()", CUSLAYER_DEVICE="gpu")
    assert "ValueError: device: CUSLAYER_DEVICE must be one of auto, cpu, cuda, got 'gpu'" in found.stderr


def test_cupy_that_cannot_be_imported_is_no_obstacle():
    hide = "import sys; sys.modules['cupy'] = None; "
    assert run(hide + "import cuslayer; cuslayer.use('auto'); print(cuslayer.device())").stdout in ("cpu\n", "cuda\n")
    code = hide + "import ctypes; ctypes.CDLL = lambda name: None; import cuslayer; print(cuslayer.device())"
    assert run(code, CUSLAYER_DEVICE="auto").stdout == "cpu\n"


def test_errors():
    with pytest.raises(ValueError, match="use: device must be one of auto, cpu, cuda, got 'cdua'; did you mean cuda"):
        cs.use("cdua")
    with pytest.raises(TypeError, match="seed: value must be an integer, got float"):
        cs.seed(1.5)
    with pytest.raises(ValueError, match="seed: value must be at least 0, got -1"):
        cs.seed(-1)


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
