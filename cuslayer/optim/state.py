"""The names in the state of an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array


def is_steps(name: str) -> bool:
    """Return whether a name of a state is that of a number of steps."""
    return name.split(".")[-1] == "steps"


def check_names(memory: list[dict[str, Array]], groups: int, state: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state has the names and shapes of an optimizer's, which it loads.

    Args:
        memory: the arrays of each parameter by name.
        groups: the number of groups of parameters.
        state: the state.
    """
    needed = {f"{i}.{name}": a for i, arrays in enumerate(memory) for name, a in arrays.items()}
    needed |= {"steps": np.array(0)}
    optional = [f"{i}.{name}" for i in range(len(memory)) for name in ("steps", "size")]
    optional += ["lr", *(f"group.{number}.lr" for number in range(groups))]
    known = needed | dict.fromkeys(optional, np.array(0))
    for name in sorted(needed.keys() - state.keys()) + sorted(state.keys() - known.keys()):
        raise ValueError(f"load_state: optimizer's {name} is {'missing' if name in needed else 'unknown'}")
    for name, array in state.items():
        check.same_shape("load_state", f"optimizer's {name}", array, "the parameter's", known[name])
