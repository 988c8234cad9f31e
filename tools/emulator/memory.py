"""Arguments of an emulated kernel: copied to separate memory whose accesses are checked (memory.cpp)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from tools.emulator import build as emulator_build

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# The bytes of uninitialized memory: NaN as a real, neither True nor False as a bool.
POISON = 0xFF
# Words of spikes may have any value, all ones among them; this one is as good as never met.
_POISON_WORD = 0xA5C3_96E1_5B3D_7C29

# CuPy's allocations begin at multiples of this, in bytes.
_ALIGNMENT = 512


class EmulationError(Exception):
    """A fault of a kernel; the message names the fault, the argument and the thread."""


def address_of(x: Array) -> int:
    return x.__array_interface__["data"][0]


class Blank:
    """Arrays that may still contain uninitialized elements, marked by poison.

    An integer of 1 or 2 bytes that are all ones equals poison: written by NumPy it counts as uninitialized, written by
    a kernel it does not.
    """

    def __init__(self) -> None:
        self._arrays: WeakValueDictionary[int, Array] = WeakValueDictionary()

    def empty(self, shape: Any, dtype: Any) -> Array:
        out = np.empty(shape, dtype)
        bits, poison = _poison(out.dtype)
        out.reshape(-1).view(bits)[:] = poison
        self._arrays[id(out)] = out
        return out

    def unwritten(self, x: Array) -> Array | None:
        """Return for each element of x whether it is uninitialized; None if none is."""
        if self._owner(x) is None:
            return None
        bits, poison = _poison(x.dtype)
        marks: Array = x.reshape(-1).view(bits) == poison
        if marks.any():
            return marks
        self.written(x)
        return None

    def written(self, x: Array) -> None:
        """Record that all of x is written."""
        owner = self._owner(x)
        if owner is not None and x.size == owner.size:
            del self._arrays[id(owner)]

    def _owner(self, x: Array) -> Array | None:
        owner = _owner(x)
        return owner if self._arrays.get(id(owner)) is owner else None


def _owner(x: Array) -> Array:
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def _poison(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], int]:
    """Return poison for elements of a type, as an unsigned integer of its size, and the type of that integer."""
    bits = np.dtype(f"u{dtype.itemsize}")
    most = int(np.iinfo(bits).max)
    return bits, _POISON_WORD & most if dtype.kind in "iu" and dtype.itemsize >= 4 else most


@dataclass(eq=False)
class Memory:
    """The memory of one array, which may be several arguments."""

    number: int
    name: str
    array: Array
    constant: bool
    unwritten: Array | None
    address: int = field(init=False)
    place: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.address = address_of(self.array)

    def takes(self, other: Memory) -> bool:
        """Return whether another is the same memory; then its name is one more of this one's.

        Raises:
            EmulationError: they overlap in part.
        """
        mine, others = self.array.nbytes, other.array.nbytes
        if not mine or not others:
            return False
        if (self.address, mine) == (other.address, others):
            self.name = f"{self.name}={other.name}"
            self.constant = self.constant and other.constant
            return True
        if self.address < other.address + others and other.address < self.address + mine:
            raise EmulationError(f"{self.name} and {other.name} overlap, but are not the same")
        return False

    def begin(self, poison: int) -> None:
        """Copy the array to its place; there, poison stands for what nothing wrote."""
        place = emulator_build.runtime().machine_place
        place.restype = ctypes.c_void_p
        self.place = place(
            ctypes.c_uint(self.number),
            ctypes.c_char_p(self.name.encode()),
            ctypes.c_size_t(self.array.nbytes),
            ctypes.c_size_t((self.address - address_of(_owner(self.array))) % _ALIGNMENT),
            ctypes.c_size_t(self.array.itemsize),
            ctypes.c_int(self.constant),
            ctypes.c_void_p(None if self.unwritten is None else address_of(self.unwritten)),
        )
        if self.place is None:
            raise EmulationError(f"no room for the {self.array.nbytes} bytes of {self.name}")
        ctypes.memmove(self.place, self.address, self.array.nbytes)
        if self.unwritten is not None:
            held = (ctypes.c_ubyte * self.array.nbytes).from_address(self.place)
            elements = np.frombuffer(held, np.uint8).reshape(-1, self.array.itemsize)
            elements[slice(None) if self.unwritten.all() else self.unwritten] = poison

    def end(self) -> bytes:
        """Return what the kernel made of the array.

        Raises:
            EmulationError: some of it is still unwritten, or a bool is neither True nor False.
        """
        result = ctypes.string_at(self.place, self.array.nbytes)
        if self.unwritten is not None:
            first = ctypes.c_size_t()
            left = emulator_build.runtime().machine_unwritten(ctypes.c_uint(self.number), ctypes.byref(first))
            if left:
                raise EmulationError(
                    f"no thread writes {left} of the {self.array.size} elements of {self.name},"
                    f" the first of them {self.name}[{first.value}]"
                )
        if self.array.dtype == bool and result.strip(b"\0\1"):
            wrong = np.frombuffer(result, np.uint8)
            i = int(np.argmax(wrong > 1))
            raise EmulationError(f"{self.name}[{i}] is {wrong[i]}, neither True nor False")
        return result

    def difference(self, one: bytes, other: bytes) -> int | None:
        """Return the first element in which two results differ to the bit."""
        differs = (np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)).reshape(self.array.size, -1).any(1)
        return int(np.argmax(differs)) if differs.any() else None

    def element(self, result: bytes, i: int) -> Any:
        return np.frombuffer(result, self.array.dtype)[i].item()

    def keep(self, result: bytes) -> None:
        self.array.reshape(-1)[:] = np.frombuffer(result, self.array.dtype)
