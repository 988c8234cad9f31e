"""Launchers of `scan.cu`: neurons of any kind over time, with the struct of the kind from `print_cuda.py`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import surrogate_numbers
from cuslayer.kernels.cuda.compile import Kernel, kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, sizes
from cuslayer.kernels.step import print_cuda
from cuslayer.kernels.step.derive import StepSpiking

__all__ = ["adjoint", "forward"]


def forward(
    inputs: Array,
    constants: Array,
    spiking: StepSpiking,
    states: Array | None = None,
    saves: tuple[str, ...] = (),
    *,
    overwrite: bool = False,
) -> tuple[Array, Array, Array]:
    """Return the potential u, the spikes s, (T, ...), and values for backward; see the twin in `cpu.py`.

    It never overwrites the input. A kind that does not fire has no spikes.
    """
    shape = inputs.shape[1:]
    dtype = inputs.dtype
    u = empty(inputs, shape, dtype)
    s = empty(inputs, shape if spiking.kind.fires else (0,), bool)
    kept = empty(inputs, (len(saves), *shape), dtype)
    steps, columns = sizes(u)
    kernel_for("neuron_of_kind", dtype, spiking)(
        columns,
        x=contiguous(inputs),
        states=states,
        u=u,
        s=s,
        saved=kept,
        held=states is not None,
        **forward_constants(constants, spiking, dtype, steps),
    )
    return u, s, kept


def adjoint(
    g: Array,
    u: Array,
    kept: Array,
    constants: Array,
    spiking: StepSpiking,
    states: Array | None = None,
    trained: bool = False,
    later: Array | None = None,
    *,
    overwrite: bool = False,
    still: bool = False,
) -> tuple[Array, Array]:
    """Return the gradients of the inputs, and of the constants by column; see the twin in `cpu.py`.

    It never overwrites u.
    """
    kind = spiking.kind
    dtype = g.dtype
    steps, columns = sizes(g)
    y = empty(g, (len(kind.inputs), *g.shape), dtype)
    sums = empty(g, (len(kind.columns) if trained else 0, columns), dtype)
    kernel_for("neuron_adjoint_of_kind", dtype, spiking)(
        columns,
        g=contiguous(g),
        u=contiguous(u),
        saved=kept,
        states=states,
        again=empty(g, (stored_values(spiking), *g.shape), dtype),
        y=y,
        sums=sums,
        later=later,
        held=states is not None,
        goes_on=later is not None,
        exact=spiking.exact,
        trained=trained,
        graded=spiking.graded,
        **adjoint_constants(constants, spiking, dtype, steps),
    )
    return y.sum(axis=1, keepdims=True) if still else y, sums


def kernel_for(name: str, dtype: DType, spiking: StepSpiking) -> Kernel:
    """Return a kernel for a kind of neuron and its surrogate."""
    return kernel(name, dtype, print_cuda.header(spiking.kind, spiking.shape.curve))


def stored_values(spiking: StepSpiking) -> int:
    """Return how many values of each step backward stores and reads again."""
    back = print_cuda.back(spiking.kind, spiking.exact)
    return 0 if back.recomputed else len(back.kept)


def forward_constants(constants: Array, spiking: StepSpiking, dtype: DType, steps: int) -> dict[str, Any]:
    """Return the constants of neurons for so many steps, by the names of the kernels' parameters."""
    return {"constants": constants, "numbers": _numbers(spiking, dtype, steps, max(constants.shape[1], 1))}


def adjoint_constants(constants: Array, spiking: StepSpiking, dtype: DType, steps: int) -> dict[str, Any]:
    """Return the same with the surrogate."""
    return forward_constants(constants, spiking, dtype, steps) | {"rho": surrogate_numbers(spiking, dtype)}


def past_lags(spiking: StepSpiking, steps: int) -> tuple[list[int], list[int]]:
    """Return the steps after which inputs and spikes are used again; `steps` for never."""
    inputs, spikes = print_cuda.past_of(spiking.kind)
    lags = _lags(spiking, steps)
    return [lags[value.lag] for value in inputs], [lags[value.lag] for value in spikes]


def later_lags(spiking: StepSpiking, steps: int) -> list[int]:
    """Return the steps after which values of backward are used again; `steps` for never."""
    lags = _lags(spiking, steps)
    return [lags[value.lag] for value in print_cuda.back(spiking.kind, spiking.exact).whole.past]


def _lags(spiking: StepSpiking, steps: int) -> dict[str, int]:
    return {name: lag or steps for name, lag in spiking.lags_within(steps).items()}


@lru_cache(maxsize=256)
def _numbers(spiking: StepSpiking, dtype: DType, steps: int, period: int) -> Mapping[str, Any]:
    """Return the fields of the printed struct `Numbers`."""
    numbers = dict(zip(spiking.kind.numbers, spiking.numbers(dtype), strict=True)) | _lags(spiking, steps)
    return {print_cuda.word(name): value for name, value in numbers.items()} | {"period": period}
