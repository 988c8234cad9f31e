"""The members of a group: in its object header, in a B-tree of names (old files), or, if many, in a fractal heap."""

from __future__ import annotations

from cuslayer.hdf5.heaps import FractalHeap, LocalHeap
from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source
from cuslayer.hdf5.trees import records

_LINK_INFO, _LINK, _SYMBOL_TABLE = 0x02, 0x06, 0x11
_LINK_NAMES = 5
_SOFT = 2
_DEEPEST = 16


def is_group(found: list[tuple[int, Cursor]]) -> bool:
    """Return whether the messages of an object are those of a group."""
    return any(kind in (_LINK_INFO, _LINK, _SYMBOL_TABLE) for kind, _ in found)


def members(source: Source, found: list[tuple[int, Cursor]]) -> dict[str, int]:
    """Return the addresses of a group's members by name; NOWHERE for links to a path or to another file."""
    links: dict[str, int] = {}
    for kind, message in found:
        if kind == _LINK:
            _add_link(links, message)
        elif kind == _LINK_INFO:
            _add_dense(source, links, message)
        elif kind == _SYMBOL_TABLE:
            tree, heap = message.address(), message.address()
            _add_symbols(source, links, tree, LocalHeap(source, heap), _DEEPEST)
    return links


def _add_link(links: dict[str, int], cursor: Cursor) -> None:
    if cursor.integer(1) != 1:
        raise Damaged("a link is of an unknown version")
    flags = cursor.integer(1)
    kind = cursor.integer(1) if flags & 8 else 0
    cursor.skip((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = cursor.take(cursor.integer(1 << (flags & 3))).decode(errors="backslashreplace")
    links[name] = NOWHERE if kind else cursor.address()


def _add_dense(source: Source, links: dict[str, int], cursor: Cursor) -> None:
    """Add the links that are in a fractal heap, if there is one."""
    cursor.skip(1)
    flags = cursor.integer(1)
    cursor.skip(8 if flags & 1 else 0)
    heap, names = cursor.address(), cursor.address()
    if heap == NOWHERE or names == NOWHERE:
        return
    objects = FractalHeap(source, heap)
    for record in records(source, names, _LINK_NAMES):
        record.skip(4)
        _add_link(links, objects.object(record.take(record.left())))


def _add_symbols(source: Source, links: dict[str, int], address: int, heap: LocalHeap, depth: int) -> None:
    """Add the symbols below a node of a B-tree of version 1."""
    offset, length = source.offset_size, source.length_size
    head = source.metadata(address, 8)
    if head.raw[:4] == b"SNOD":
        head.expect(b"SNOD", 1)
        head.skip(1)
        count = head.integer(2)
        cursor = source.metadata(address + 8, count * (2 * offset + 24))
        for _ in range(count):
            name, target, kind = heap.name(cursor.address()), cursor.address(), cursor.integer(4)
            cursor.skip(20)
            links[name] = NOWHERE if kind == _SOFT else target
        return
    head.expect(b"TREE", 0)
    level, count = head.integer(1), head.integer(2)
    if level >= depth:
        raise Damaged("a B-tree is too deep")
    cursor = source.metadata(address + 8, 2 * offset + count * (length + offset))
    cursor.skip(2 * offset)
    for _ in range(count):
        cursor.length()
        _add_symbols(source, links, cursor.address(), heap, level)
