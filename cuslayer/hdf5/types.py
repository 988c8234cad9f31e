"""Types and shapes of data sets, and attributes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer.hdf5.heaps import FractalHeap, global_objects
from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source
from cuslayer.hdf5.trees import records

DATASPACE, DATATYPE, _ATTRIBUTE, _ATTRIBUTE_INFO = 0x01, 0x03, 0x0C, 0x15
_ATTRIBUTE_NAMES = 8
_INTEGER, _FLOAT, _STRING, _ENUM, _VARIABLE = 0, 1, 3, 8, 9
# The properties of IEEE numbers: bits of the number, exponent and mantissa, and the exponent's bias.
_IEEE = {2: (0, 16, 10, 5, 0, 10, 15), 4: (0, 32, 23, 8, 0, 23, 127), 8: (0, 64, 52, 11, 0, 52, 1023)}
_MOST_DIMENSIONS = 32
# Elements that an array can have.
_LARGEST = 1 << 59


class Type(NamedTuple):
    """The type of an element.

    Attributes:
        dtype: the NumPy type as stored; for text of variable length, bytes of a reference to a global heap.
        variable: whether it is such text.
        boolean: whether the integers are h5py's booleans, an enumeration of FALSE and TRUE.
    """

    dtype: np.dtype[Any]
    variable: bool = False
    boolean: bool = False


def shape_of(cursor: Cursor) -> tuple[int, ...]:
    """Return the shape in a message of a dataspace; (0,) for a null space."""
    version, rank, flags = cursor.integer(1), cursor.integer(1), cursor.integer(1)
    if version not in (1, 2) or rank > _MOST_DIMENSIONS:
        raise Damaged(f"a dataspace has version {version} and {rank} dimensions")
    if version == 1:
        cursor.skip(5)
    elif cursor.integer(1) == 2:
        return (0,)
    shape = tuple(cursor.length() for _ in range(rank))
    if math.prod(side or 1 for side in shape) > _LARGEST:
        raise Damaged(f"a dataspace has the shape {shape}")
    cursor.skip(cursor.source.length_size * rank if flags & 1 else 0)
    return shape


def type_of(cursor: Cursor, depth: int = 0) -> Type:
    """Return the type in a message of a datatype.

    Raises:
        Damaged: it is damaged, or not numbers or text.
    """
    kind, bits, size = cursor.integer(1) & 15, cursor.integer(3), cursor.integer(4)
    order = ">" if bits & 1 else "<"
    if kind == _INTEGER:
        offset, precision = cursor.integer(2), cursor.integer(2)
        if size not in (1, 2, 4, 8) or offset or precision != 8 * size:
            raise Damaged(f"integers of {precision} bits in {size} bytes are not read")
        return Type(np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))
    if kind == _FLOAT:
        found = (*(cursor.integer(2) for _ in range(2)), *(cursor.integer(1) for _ in range(4)), cursor.integer(4))
        if _IEEE.get(size) != found or bits & 0x40:
            raise Damaged(f"floating numbers of {size} bytes that are not IEEE's are not read")
        return Type(np.dtype(f"{order}f{size}"))
    if kind == _STRING and 0 < size < 1 << 16:
        return Type(np.dtype(f"S{size}"))
    if kind == _ENUM and not depth:
        base = type_of(cursor, 1)
        return base._replace(boolean=size == 1 and bits == 2 and cursor.rest().raw.startswith(b"FALSE\0"))
    if kind == _VARIABLE and bits & 15 == 1:
        return Type(np.dtype(f"V{8 + cursor.source.offset_size}"), True)
    raise Damaged("a data type that is neither numbers nor text is not read")


def texts(source: Source, values: npt.NDArray[Any]) -> list[bytes]:
    """Return texts of variable length from references to global heaps."""
    found = []
    heaps: dict[int, dict[int, bytes]] = {}
    for raw in values.ravel().tolist():
        cursor = Cursor(source, raw, 0)
        length, address, index = cursor.integer(4), cursor.address(), cursor.integer(4)
        if length and address not in heaps:
            heaps[address] = global_objects(source, address)
        if length and index not in heaps[address]:
            raise Damaged(f"a global heap has no object {index}")
        found.append(heaps[address][index][:length] if length else b"")
    return found


def attribute(source: Source, found: list[tuple[int, Cursor]], name: str) -> Any:
    """Return an attribute of an object: text, a number or an array; None if it is missing."""
    for kind, message in found:
        if kind == _ATTRIBUTE:
            value = _attribute_value(source, message.rest(), name)
            if value is not None:
                return value
        elif kind == _ATTRIBUTE_INFO:
            info = message.rest()
            info.skip(1)
            info.skip(2 if info.integer(1) & 1 else 0)
            heap, names = info.address(), info.address()
            if heap == NOWHERE or names == NOWHERE:
                continue
            objects = FractalHeap(source, heap)
            for record in records(source, names, _ATTRIBUTE_NAMES):
                value = _attribute_value(source, objects.object(record.take(8)), name)
                if value is not None:
                    return value
    return None


def _attribute_value(source: Source, cursor: Cursor, name: str) -> Any:
    """Return the value of an attribute, None if it has another name."""
    version, flags = cursor.integer(1), cursor.integer(1)
    if version not in (1, 2, 3):
        raise Damaged(f"an attribute has the unknown version {version}")
    sizes = [cursor.integer(2) for _ in range(3)]
    cursor.skip(1 if version == 3 else 0)
    parts = []
    for size in sizes:
        parts.append(cursor.take(size))
        cursor.skip(min(-size % 8, cursor.left()) if version == 1 else 0)
    if parts[0].rstrip(b"\0").decode(errors="replace") != name:
        return None
    if version > 1 and flags:
        raise Damaged(f"the attribute {name} has a type elsewhere, which is not read")
    kind = type_of(Cursor(source, parts[1], 0))
    shape = shape_of(Cursor(source, parts[2], 0))
    values = np.frombuffer(cursor.take(math.prod(shape) * kind.dtype.itemsize), kind.dtype)
    return as_plain(source, kind, values.reshape(shape))


def as_plain(source: Source, kind: Type, values: npt.NDArray[Any]) -> Any:
    """Return an array as it is, one element as a number, and text as a string; tables of texts as arrays of them."""
    if kind.variable and values.ndim > 1:
        decoded = [word.decode(errors="backslashreplace") for word in texts(source, values)]
        return np.array(decoded, dtype=object).reshape(values.shape)
    if kind.variable or kind.dtype.kind == "S":
        words = texts(source, values[:1] if values.ndim else values) if kind.variable else values.ravel()[:1].tolist()
        return words[0].rstrip(b"\0").decode(errors="backslashreplace") if words else ""
    if kind.boolean:
        values = values != 0
    return values.item() if values.ndim == 0 else values
