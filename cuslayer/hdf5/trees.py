"""B-trees of version 2: their records in order."""

from __future__ import annotations

from collections.abc import Iterator

from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source

# Signature, version and kind of a node, and its checksum.
_OVERHEAD = 10
_DEEPEST = 16


def records(source: Source, address: int, kind: int) -> Iterator[Cursor]:
    """Yield the records of a tree whose records are of a kind."""
    cursor = source.metadata(address, 22 + source.offset_size + source.length_size)
    cursor.expect(b"BTHD", 0)
    if cursor.integer(1) != kind:
        raise Damaged("a B-tree has records of another kind")
    node, record, depth = cursor.integer(4), cursor.integer(2), cursor.integer(2)
    cursor.skip(2)
    root, count = cursor.address(), cursor.integer(2)
    cursor.length()
    cursor.check_sum()
    if not record or depth > _DEEPEST or node < _OVERHEAD + record:
        raise Damaged("a B-tree contradicts itself")
    if root != NOWHERE:
        yield from _node(source, root, count, depth, record, _pointers(source, node, record, depth))


def _pointers(source: Source, node: int, record: int, depth: int) -> list[tuple[int, int]]:
    """Return the bytes of a child's number of records, and of all records below it, for each depth."""
    most = total = (node - _OVERHEAD) // record
    found = [(0, 0)]
    for level in range(1, depth + 1):
        sizes = (_bytes(most), 0 if level == 1 else _bytes(total))
        found.append(sizes)
        pointer = source.offset_size + sum(sizes)
        most = max(0, (node - _OVERHEAD - pointer) // (record + pointer))
        total = most + (most + 1) * total
    return found


def _bytes(value: int) -> int:
    return max(1, (value.bit_length() + 7) // 8)


def _node(
    source: Source, address: int, count: int, depth: int, record: int, sizes: list[tuple[int, int]]
) -> Iterator[Cursor]:
    pointer = source.offset_size + sum(sizes[depth])
    children = (count + 1) * pointer if depth else 0
    cursor = source.metadata(address, _OVERHEAD + count * record + children)
    cursor.expect(b"BTIN" if depth else b"BTLF", 0)
    cursor.skip(1)
    found = [Cursor(source, cursor.take(record), address) for _ in range(count)]
    below = []
    for _ in range(count + 1 if depth else 0):
        child, number = cursor.address(), cursor.integer(sizes[depth][0])
        cursor.skip(sizes[depth][1])
        below.append((child, number))
    cursor.check_sum()
    yield from found
    for child, number in below:
        yield from _node(source, child, number, depth - 1, record, sizes)
