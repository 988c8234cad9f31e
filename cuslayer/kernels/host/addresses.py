"""Arrays at addresses, for compiled kernels of as many arrays as a call has."""

from __future__ import annotations

from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

from cuslayer.jit import compiled


def _pointer(typing_context: Any, address: Any) -> Any:
    """Return an address as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = intrinsic(_pointer)
_carray: Any = vars(numba)["carray"]


@compiled
def array_at(address: int, size: int, like: Any) -> Any:
    """Return the array (size,) at an address, in the type of another; the caller keeps its memory."""
    return _carray(pointer(address), (size,), like.dtype)
