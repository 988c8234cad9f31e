"""Sums that are accumulated on the devices, as JSON has them in a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, to_device, to_numpy

_NAMES = {kernels.cpu: "cpu", kernels.gpu: "cuda"}


def devices_of_sums(sums: dict[Any, Array]) -> dict[str, list[float]]:
    """Return arrays by the kernels of their device as lists by its name; arrays on a GPU are read."""
    return {_NAMES[k]: to_numpy(x).tolist() for k, x in sums.items()}


@check.operation("load_state")
def check_fields(what: str, state: Any, names: tuple[str, ...]) -> None:
    """Raise ValueError unless a state is a dictionary with some names."""
    if not isinstance(state, dict) or set(state) != set(names):
        raise ValueError(f"the {what} must have {', '.join(names)}, got {check.one_line(state)}")


def is_number(x: Any) -> bool:
    """Return whether a value of JSON is a finite number."""
    return type(x) in (int, float) and math.isfinite(x)


@check.operation("load_state")
def sums_on_devices(what: str, state: Any, count: int) -> dict[Any, Array]:
    """Return sums as arrays by the kernels of their device, from lists by its name."""
    found = dict[Any, Array]()
    for name, sums in state.items() if isinstance(state, dict) else [("", state)]:
        given = isinstance(sums, list) and len(sums) == count and all(map(is_number, sums))
        if name not in _NAMES.values() or not given:
            raise ValueError(f"the {what} must have {count} sums of a device, got {check.one_line(state)}")
        sent = np.array(sums, np.float64) if name == "cpu" else to_device(np.array(sums, np.float64))
        found[kernels.of(sent)] = sent
    return found
