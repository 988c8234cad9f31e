"""Mutations of valid files for `fuzz.py`: of bytes, of text, of arrays, and of the members of a zip file.

Each is a function of a random generator and of the bytes of a valid file; the same generator gives the same bytes.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

Mutation = Callable[[random.Random, bytes], bytes]

# Numbers at the limits of the types that files have.
_POWERS = [2**n for n in (7, 8, 15, 16, 24, 31, 32, 40, 63)]
LIMITS = sorted({0, 1, -1, *(sign * power + below for power in _POWERS for below in (-1, 0) for sign in (1, -1))})
_FLOATS = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, 1e30, -0.0)
# What stands where a number, a word or a list belongs.
WORDS = (
    *("", "0", "-1", "1e999", "-1e999", "nan", ".nan", ".inf", "1e-320", "010", "0x10", "1_000", "1:30", "2001-01-01"),
    *("true", "null", "~", "{}", "[]", "[[]]", "&a [*a]", "*a", "<<", "!!python/name:os.system", "!!binary AA==", "|"),
    *("'", '"', ":", "-", "? a", "---", "...", "%YAML 9.9", "\t", "\0", "\ufeff", "\u2028", "٣", "é", "__class__"),
    *("../../etc/passwd", "/dev/zero", "34x34x2", "0x0x0", "-5", "1c1", "99999999c9", "9a", "0a", "1x1x1", "x" * 5000),
    *(str(2**n) for n in (15, 31, 32, 40, 63, 64, 200)),
    *("9" * 400, "[" * 3000, "{a: " * 2000, "- " * 3000, "a" * 100_000),
)


def of_bytes(r: random.Random, raw: bytes) -> bytes:
    """Flip, cut, insert, repeat, or write a number at its limits, one to four times."""
    found = bytearray(raw)
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        size = len(found)
        # Half of the faults are near the start or the end, where formats have their headers and tables.
        near = r.choice((size, size, min(size, 64), min(size, 512)))
        place = r.randrange(near) if near else 0
        if r.random() < 0.2:
            place = max(0, size - 1 - place)
        kind = r.randrange(7)
        if kind == 0 and found:
            found[place] ^= 1 << r.randrange(8)
        elif kind == 1 and found:
            found[place] = r.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del found[place:]
        elif kind == 3:
            del found[place : place + r.choice((1, 2, 4, 8, 100))]
        elif kind == 4:
            found[place:place] = r.randbytes(r.choice((1, 2, 4, 8, 64)))
        elif kind == 5:
            length = r.randint(1, 256)
            found[place:place] = found[place : place + length] * r.choice((1, 2, 50))
        else:
            number = _number(r)
            found[place : place + len(number)] = number
    return bytes(found)


def _number(r: random.Random) -> bytes:
    """Return a number at its limits, of any width and order of bytes."""
    order = r.choice("<>")
    if r.random() < 0.2:
        value = r.choice(_FLOATS)
        # float32 has no number for some.
        return struct.pack(order + r.choice("fd"), value if abs(value) < 1e38 or value - value != 0 else 1e38)
    width = r.choice((1, 2, 4, 8))
    value = r.choice(LIMITS) % 2 ** (8 * width)
    return value.to_bytes(width, "little" if order == "<" else "big")


def of_text(r: random.Random, raw: bytes) -> bytes:
    """Replace a word, remove, repeat or exchange lines, change an indentation; sometimes, change bytes."""
    if r.random() < 0.15:
        return of_bytes(r, raw)
    lines = raw.decode("utf-8", errors="replace").split("\n")
    for _ in range(r.choice((1, 1, 2, 3))):
        at = r.randrange(len(lines))
        kind = r.randrange(8)
        if kind <= 2:
            words = lines[at].split(" ")
            words[r.randrange(len(words))] = r.choice(WORDS)
            lines[at] = " ".join(words)
        elif kind == 3:
            # A value after its key, or between the marks of a list.
            for mark in (": ", ",", "{", "\t"):
                if mark in lines[at]:
                    before, after = lines[at].split(mark, 1)
                    end = min((i for i in map(after.find, ",}]") if i >= 0), default=len(after))
                    lines[at] = before + mark + r.choice(WORDS) + after[end:]
                    break
        elif kind == 4:
            del lines[at]
            lines = lines or [""]
        elif kind == 5:
            lines[at:at] = [lines[r.randrange(len(lines))]] * r.choice((1, 1, 2, 300))
        elif kind == 6:
            other = r.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = r.choice((" ", "  ", "\t", "- ", "? ")) + lines[at]
    return "\n".join(lines).encode("utf-8", errors="replace")


def of_npy(r: random.Random, raw: bytes) -> bytes:
    """Change the type, the order or the shape in the header of an array; or its bytes."""
    start = 10
    if r.random() < 0.4 or raw[:6] != b"\x93NUMPY":
        return of_bytes(r, raw)
    length = int.from_bytes(raw[8:start], "little")
    header, rest = raw[start : start + length].decode("latin1"), raw[start + length :]
    before = header.partition("'shape': ")[0]
    kind = r.randrange(4)
    if kind == 0:
        types = ("|O", "<f8", ">f4", "<f2", "|b1", "<u8", "<c16", "|S9", "<U1000000", "<M8[us]", "|V0", "f99", "")
        first, _, end = header.partition("'descr': ")
        header = f"{first}'descr': {r.choice(types)!r}, {end.partition(', ')[2]}"
    elif kind == 1:
        shapes = ((), (0,), (2**40,), (2**31, 2**31), (-1,), (1,) * 40, (2**63, 0), (3, 2))
        header = f"{before}'shape': {r.choice(shapes)}, }}"
    elif kind == 2:
        header = header.replace("False", r.choice(("True", "None", "()", "[[" * 500)))
    else:
        header = of_text(r, header.encode("latin1")).decode("latin1")
    text = header.encode("latin1")[:65535]
    return raw[:8] + len(text).to_bytes(2, "little") + text + rest


def of_zip(r: random.Random, raw: bytes) -> bytes:
    """Change a member of a zip file of arrays; or the bytes of the file."""
    if r.random() < 0.25:
        return of_bytes(r, raw)
    try:
        members = unzipped(raw)
    except Exception:
        members = {}
    if not members:
        return of_bytes(r, raw)
    name = "about.npy" if "about.npy" in members and r.random() < 0.5 else r.choice(sorted(members))
    kind = r.randrange(8)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[r.choice(("", "about.npy", "network/9.npy", "optimizer/steps.npy", "x"))] = members[name]
    elif kind == 2:
        members[name] = members[r.choice(sorted(members))]
    elif name == "about.npy":  # a text in JSON
        text = str(np.load(io.BytesIO(members[name]), allow_pickle=False)).replace(", ", ",\n").encode()
        changed = io.BytesIO()
        np.save(changed, np.array(of_text(r, text).decode("utf-8", errors="replace").replace("\0", "")))
        members[name] = changed.getvalue()
    else:
        members[name] = of_npy(r, members[name])
    return zipped(members, r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def unzipped(raw: bytes) -> dict[str, bytes]:
    """Return the members of a zip file."""
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(members: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            # A name alone would add the time.
            file.writestr(zipfile.ZipInfo(name or "_"), content, way)
    return out.getvalue()


def mutated(r: random.Random, seeds: Sequence[bytes], mutation: Mutation) -> bytes:
    """Return a mutation of one of the files, sometimes of two."""
    raw = r.choice(seeds)
    if r.random() < 0.1:
        # The start of a file and the end of another.
        other = r.choice(seeds)
        return raw[: r.randint(0, len(raw))] + other[r.randint(0, len(other)) :]
    found = mutation(r, raw)
    return mutation(r, found) if r.random() < 0.1 else found
