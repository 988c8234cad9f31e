"""Whether CUDA works is tried out once: CuPy's import, a compiled kernel, a product of matrices."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.cli import main

pytestmark = pytest.mark.all


class FakeCuPy(ModuleType):
    """CuPy as the probe sees it, on NumPy arrays; `calls` lists what was run."""

    def __init__(self, **other: Any) -> None:
        super().__init__("cupy")
        self.calls: list[str] = []
        self.count = 1
        self.product: Any = np.matmul
        self.kernel: Callable[[Any], None] = lambda x: x.__imul__(2)
        self.compiler: Exception | None = None
        vars(self).update(other)
        self.__version__ = "0"
        about = {"name": b"fake"}
        runtime = SimpleNamespace(getDeviceCount=self.devices, getDeviceProperties=lambda device: about)
        self.cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0))

    def devices(self) -> int:
        return self.count

    def asarray(self, x: Any, **_: Any) -> Any:
        outer = self

        class Array(np.ndarray[Any, Any]):
            def __matmul__(self, other: Any) -> Any:
                outer.calls.append("product")
                return outer.product(np.asarray(self), np.asarray(other))

        return np.array(x).view(Array)

    def asnumpy(self, x: Any) -> Any:
        return np.asarray(x)

    def RawModule(self, *, code: str) -> Any:
        if self.compiler is not None:
            raise self.compiler
        self.calls.append("compile")
        assert "twice" in code

        def launch(grid: Any, block: Any, arguments: Any) -> None:
            assert block == (arguments[0].size,)
            self.kernel(arguments[0])

        return SimpleNamespace(get_function=lambda name: launch)


def fails(problem: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise problem

    return fail


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeCuPy]:
    """A machine with a CUDA driver and a CuPy of given behaviour."""

    def with_cupy(**other: Any) -> FakeCuPy:
        fake = FakeCuPy(**other)
        monkeypatch.setitem(sys.modules, "cupy", fake)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
        monkeypatch.setattr(backend, "_driver_problem", cache(backend._driver_problem.__wrapped__))
        monkeypatch.setattr(backend, "duplicate_cupy", lambda: None)
        cs.use("auto")
        return fake

    return with_cupy


def zeros(x: Any, y: Any) -> Any:
    return np.zeros((2, 2), np.float32)


BROKEN = [
    ({"count": 0}, "the CUDA driver finds no device"),
    ({"devices": fails(RuntimeError())}, "CuPy cannot be used (RuntimeError)"),
    ({"devices": fails(RuntimeError("\n\n"))}, "CuPy cannot be used (RuntimeError)"),
    ({"devices": fails(ImportError("\n  no libcudart\nmore"))}, "CuPy cannot be used (ImportError: no libcudart)"),
    (
        {"compiler": RuntimeError("CuPy failed to load libnvrtc.so.12: OSError\nmore")},
        "a kernel cannot be compiled and run (RuntimeError: CuPy failed to load libnvrtc.so.12: OSError)",
    ),
    ({"kernel": fails(RuntimeError("cudaErrorNoKernelImage"))}, "a kernel cannot be compiled and run (RuntimeError: "),
    ({"kernel": lambda x: None}, "a kernel that was compiled computes wrong results"),
    (
        {"product": fails(ImportError("libcublas.so.12: cannot open"))},
        "matrices cannot be multiplied (ImportError: libcublas.so.12: cannot open)",
    ),
    ({"product": fails(RuntimeError())}, "matrices cannot be multiplied (RuntimeError)"),
    ({"product": zeros}, "the product of two matrices is wrong"),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_auto_falls_back_to_the_cpu_with_a_reason(
    machine: Callable[..., FakeCuPy], capsys: pytest.CaptureFixture[str], broken: dict[str, Any], reason: str
) -> None:
    machine(**broken)
    assert cs.device() == "cpu"
    with pytest.raises(ValueError) as found:
        cs.use("cuda")
    assert str(found.value).startswith(f"device: cuda is out of reach: {reason}")
    assert "\n" not in str(found.value)
    assert main(["info"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["cupy"].startswith(reason)
    assert rows["device"].startswith("cpu (")


def test_a_device_that_works_is_tried_once(
    machine: Callable[..., FakeCuPy], capsys: pytest.CaptureFixture[str]
) -> None:
    fake = machine()
    assert cs.device() == cs.device() == "cuda"
    cs.use("cuda")
    assert fake.calls == ["compile", "product"]
    assert main(["info"]) == 0
    assert "device    cuda (fake)\n" in capsys.readouterr().out
    assert fake.calls == ["compile", "product"]


def test_a_machine_without_cupy_is_told_what_to_install(
    machine: Callable[..., FakeCuPy], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ValueError, match=r"CuPy is not installed: pip install 'cuslayer\[cuda12\]', or"):
        cs.use("cuda")
    assert cs.device() == "cpu"


LINE = (
    "cupy-cuda12x and cupy-cuda13x are in one folder and replace each other's files: "
    "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install 'cuslayer[cuda12]', or 'cuslayer[cuda13]' for CUDA 13"
)


def installed(folder: Path, *packages: str) -> None:
    for package in packages:
        about = folder / f"{package.replace('-', '_')}-14.0.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 14.0.0\n")


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Only the given packages are installed."""
    everything = metadata.distributions

    def only(*names: str) -> None:
        installed(tmp_path, *names)
        monkeypatch.setattr(metadata, "distributions", lambda: everything(path=[str(tmp_path)]))

    return only


@pytest.mark.parametrize(
    "broken", [{"devices": fails(ImportError("x"))}, {"compiler": RuntimeError("x")}, {"product": zeros}]
)
def test_two_packages_are_the_reason_if_cuda_fails(
    machine: Callable[..., FakeCuPy], monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
) -> None:
    machine(**broken)
    monkeypatch.setattr(backend, "duplicate_cupy", lambda: LINE)
    assert backend._driver_problem() == LINE
