"""CUDA kernels that users write, with the same checks as the library's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer.backend import DType
from cuslayer.kernels.cuda import compile as library
from cuslayer.kernels.cuda.compile import Kernel, Source, signatures, with_header


@check.operation
def kernel(text_or_path: str | os.PathLike[str], name: str) -> OwnKernel:
    """Return a CUDA kernel from its source, to be called on CuPy arrays.

    The kernel is ``extern "C" __global__ void name(...)``. Its parameters are arrays and numbers of the types ``real``,
    ``double``, ``bool``, ``int``, ``unsigned`` and ``long long``, and arrays of ``float16``; ``real`` is float or
    double, by the arrays of a call. The common header, `cuslayer/kernels/cuda/common.cuh`, precedes the source:
    ``GRID_STRIDE(i, count)`` visits every i. `kernel` parses the source, which needs no GPU; the first call for a
    number type and device compiles it.

    A comment behind an array may begin with its shape, ``// (steps, columns)``, of integers, integer parameters and
    their products, ``2 x columns``. A call then checks the number of elements, and may lack a size that is an axis. It
    may also lack an array whose comment has the word "empty", or pass None for it.

    Args:
        text_or_path: the source, or the path of its file ``.cu``.
        name: the name of the kernel in the source.

    Returns:
        The kernel: ``kernel(threads, x=x, y=y, n=n)``, see `OwnKernel`.

    Raises:
        ValueError: there is no such file, the source has no kernel of that name, or a parameter has another type.
        TypeError: text_or_path or name is not text.

    >>> scale = kernel('''
    ... // y[i] = factor x[i]
    ... extern "C" __global__ void scale(const real *x, real *y, real factor, long long n)
    ... {
    ...     GRID_STRIDE(i, n) y[i] = factor * x[i];
    ... }
    ... ''', "scale")
    >>> scale
    kernel scale(real *x, real *y, real factor, long long n)
    """
    if not isinstance(text_or_path, (str, os.PathLike)):
        raise TypeError(f"text_or_path must be text or a path, got {type(text_or_path).__name__}")
    if not isinstance(name, str):
        raise TypeError(f"name must be text, got {type(name).__name__}")
    if isinstance(text_or_path, str) and "__global__" in text_or_path:
        return OwnKernel(text_or_path, None, name)
    path = str(text_or_path).strip()
    if "\n" in path or not os.path.isfile(path):
        shown = f"{path.splitlines()[0][:60]}..." if "\n" in path else path
        raise ValueError(f"text_or_path must be a source with a __global__ function or a file, got {shown!r}")
    with check.about(os.path.basename(path)):
        return OwnKernel(Path(path).read_text("utf-8"), os.path.basename(path), name)


class OwnKernel:
    """A user's own CUDA kernel; `kernel` makes it.

    Attributes:
        name: its name in the source.
    """

    def __init__(self, code: str, file: str | None, name: str) -> None:
        self.name = name
        self._source = Source(file or "source", code)
        parameters = signatures(with_header(*self._source, np.dtype(np.float32)))
        if not parameters:
            raise ValueError(f'a kernel must be declared as extern "C" __global__ void {name}(...), got none')
        check.one_of("name", name, parameters)
        self._parameters = parameters[name]

    def __call__(self, threads: int | None = None, /, *unnamed: Any, **arguments: Any) -> None:
        """Check the arguments and run the kernel.

        Args:
            threads: the number of threads, rounded up to whole blocks, at most the largest grid; with 0 the call only
                checks the arguments.
            unnamed: refused: each argument needs its name.
            arguments: one for each parameter of the kernel, by its name: C-contiguous CuPy arrays of the parameter's
                type on the device in use, and numbers. Sizes that are an axis of an array, and arrays that may be
                empty, may be missing.

        Raises:
            TypeError: threads is missing or no integer, an argument is given without its name, a name is missing or
                unknown, or an argument is of the wrong type.
            ValueError: threads is negative, there is no GPU, the source does not compile, an array is not C-contiguous,
                on another device or not of its shape, or a number does not fit its type.
        """
        if threads is None or unnamed:
            call = ", ".join(["threads", *(f"{p.name}=..." for p in self._parameters)])
            got = f"{len(unnamed)} without a name" if unnamed else "no number of threads"
            raise TypeError(f"{self.name}: arguments must be given as {self.name}({call}), got {got}")
        threads = check.integer(f"{self.name}: threads", threads, least=0)
        self._kernel(self._dtype(arguments))(threads, **arguments)

    def launch(self, grid: tuple[int, ...], block: tuple[int, ...], shared: int = 0, /, **arguments: Any) -> None:
        """Check the arguments and run the kernel with a given number of blocks; see `Kernel.launch`."""
        self._kernel(self._dtype(arguments)).launch(grid, block, shared, **arguments)

    def _dtype(self, arguments: Mapping[str, Any]) -> DType:
        """Return the type of `real`, from its first array."""
        for p in self._parameters:
            x = arguments.get(p.name)
            if p.array and p.kind == "real" and x is not None and hasattr(x, "dtype"):
                return np.dtype(x.dtype)
        return np.dtype(np.float32)

    def _kernel(self, dtype: DType) -> Kernel:
        try:
            library.library.driver.array_type()
        except ValueError as problem:
            raise ValueError(f"{self.name}: a CUDA kernel needs a GPU: {problem}") from None
        return library.library.kernel(self.name, dtype, source=self._source)

    def __repr__(self) -> str:
        inside = ", ".join(f"{p.kind} {'*' if p.array else ''}{p.name}" for p in self._parameters)
        return f"kernel {self.name}({inside})"
