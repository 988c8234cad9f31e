"""The superblock, which says where the root group is, and object headers, which are lists of messages."""

from __future__ import annotations

from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CONTINUATION = 0x10
# Bits of the flags of an object header, version 2, and of a message.
_TIMES, _PHASES, _ORDER, _SHARED = 0x20, 0x10, 0x04, 0x02
_LONGEST_PREFIX = 256


def root_address(source: Source) -> int:
    """Read the superblock; return the address of the root group's object header."""
    start = 0
    while start + len(_SIGNATURE) <= source.size and source.data(start, len(_SIGNATURE)) != _SIGNATURE:
        start = 2 * start or 512
    if start + len(_SIGNATURE) > source.size:
        raise Damaged("it has no signature of HDF5")
    cursor = source.metadata(start, min(_LONGEST_PREFIX, source.size - start))
    cursor.skip(len(_SIGNATURE))
    version = cursor.integer(1)
    if version > 3:
        raise Damaged(f"its superblock has the unknown version {version}")
    cursor.skip(4 if version < 2 else 0)
    source.offset_size, source.length_size = cursor.integer(1), cursor.integer(1)
    if source.offset_size not in (2, 4, 8) or source.length_size not in (2, 4, 8):
        raise Damaged(f"its addresses have {source.offset_size} bytes and its lengths {source.length_size}")
    cursor.skip((9 if version == 0 else 13) if version < 2 else 1)
    base = cursor.address()
    cursor.address()
    end = cursor.address()
    if version < 2:
        cursor.address()
        cursor.address()
        root = cursor.address()
    else:
        root = cursor.address()
        cursor.check_sum()
    if base != start:
        raise Damaged(f"its addresses begin at {base}, and its superblock is at {start}")
    if end > source.size:
        raise Damaged(f"it is cut off at byte {source.size}, and should have {end}")
    source.base = base
    return root


def messages(source: Source, address: int) -> list[tuple[int, Cursor]]:
    """Return the messages of an object header: the number of their kind, and their content."""
    if address == NOWHERE:
        raise Damaged("an object has no address")
    start = source.metadata(address, min(16, source.size - source.base - address))
    return _version_2(source, address) if start.raw[:4] == b"OHDR" else _version_1(source, address)


def _version_1(source: Source, address: int) -> list[tuple[int, Cursor]]:
    head = source.metadata(address, 16)
    if head.integer(1) != 1:
        raise Damaged(f"the object at {address} is none")
    head.skip(1)
    number = head.integer(2)
    head.skip(4)
    blocks = [(address + 16, head.integer(4))]
    found: list[tuple[int, Cursor]] = []
    read = 0
    for start, size in blocks:  # grows while it is read
        cursor = source.metadata(start, size)
        while read < number and cursor.left() >= 8:
            kind, length, flags = cursor.integer(2), cursor.integer(2), cursor.integer(1)
            cursor.skip(3)
            read += 1
            _add(found, blocks, kind, flags, source, cursor.take(length), start)
    if read < number:
        raise Damaged(f"the object at {address} has {read} messages of {number}")
    return found


def _version_2(source: Source, address: int) -> list[tuple[int, Cursor]]:
    head = source.metadata(address, min(64, source.size - source.base - address))
    head.expect(b"OHDR", 2)
    flags = head.integer(1)
    head.skip((16 if flags & _TIMES else 0) + (4 if flags & _PHASES else 0))
    size = head.integer(1 << (flags & 3))
    start = head.position
    # Beginning, length and first message of each block, which ends with a checksum.
    blocks = [(address, start + size + 4)]
    found: list[tuple[int, Cursor]] = []
    for i, (at, length) in enumerate(blocks):  # grows while it is read
        cursor = source.metadata(at, length)
        if i:
            cursor.expect(b"OCHK")
        else:
            cursor.skip(start)
        content = Cursor(source, cursor.take(length - 4 - cursor.position), at)
        cursor.check_sum()
        while content.left() >= 4 + (2 if flags & _ORDER else 0):
            kind, count, message_flags = content.integer(1), content.integer(2), content.integer(1)
            content.skip(2 if flags & _ORDER else 0)
            _add(found, blocks, kind, message_flags, source, content.take(count), at)
    return found


def _add(
    found: list[tuple[int, Cursor]],
    blocks: list[tuple[int, int]],
    kind: int,
    flags: int,
    source: Source,
    raw: bytes,
    address: int,
) -> None:
    """Add a message, or the block that a message of continuation names."""
    cursor = Cursor(source, raw, address)
    if kind == _CONTINUATION:
        blocks.append((cursor.address(), cursor.length()))
    elif kind:
        found.append((-kind if flags & _SHARED else kind, cursor))
