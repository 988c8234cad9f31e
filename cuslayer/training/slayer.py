"""The section training.error of SLAYER's files, in the form of a class with arguments."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from cuslayer._base.keys import check_keys, plain_number

# The types of SLAYER's files, and their classes.
_CLASSES = {
    "NumSpikes": "SpikeCountLoss",
    "ProbSpikes": "ProbabilityWindowLoss",
    "SpikeTime": "SpikeTimeLoss",
    "CrossEntropy": "CrossEntropyLoss",
}
_NEEDED = {
    "NumSpikes": ("tgtSpikeRegion", "tgtSpikeCount"),
    "ProbSpikes": ("tgtSpikeRegion", "probSlidingWin"),
}
# SLAYER's keys with one value. Its files have them, tgtSpikeRegion and tgtSpikeCount with every type.
_ARGUMENTS = {"probSlidingWin": "width", "numSpikesScale": "countScale"}
_SECTIONS = ("tgtSpikeRegion", "tgtSpikeCount")
# The count of the labelled class in SLAYER's examples, which a short window may not reach.
_USUAL = 60


def class_of(kind: object) -> object:
    """Return the class of a type of SLAYER's; any other name unchanged."""
    return _CLASSES.get(kind, kind) if isinstance(kind, str) else kind


def of_slayer(
    at: str, error: Mapping[str, Any], known: Container[str], duration: float, missing: list[str]
) -> dict[str, object]:
    """Return a section at `at` with the `known` arguments of its class in place of SLAYER's keys.

    It adds missing keys of SLAYER's to `missing`. A region that is the whole duration of a recording, ms, is no window:
    it follows another duration.
    """
    kind = error["type"]
    missing += [f"{at}.{key}" for key in _NEEDED.get(kind, ()) if error.get(key) is None]
    section = {key: value for key, value in error.items() if key not in (*_ARGUMENTS, *_SECTIONS)}
    section["type"] = class_of(kind)
    section |= {_ARGUMENTS[key]: value for key, value in error.items() if _ARGUMENTS.get(key) in known}

    def ends(key: str, names: tuple[str, str], *, needed: bool) -> dict[str, object]:
        """Return the two values of a section within this one."""
        values = check_keys(error[key], {name: {} for name in names}, at=f"{at}.{key}")
        missing.extend(f"{at}.{key}.{name}" for name in names if needed and values.get(name) is None)
        return values

    if "window" in known and error.get("tgtSpikeRegion") is not None:
        region = ends("tgtSpikeRegion", ("start", "stop"), needed=True)
        window = [plain_number(region.get(end)) for end in ("start", "stop")]
        section["window"] = None if window == [0, duration] else window
    if "true" in known and error.get("tgtSpikeCount") is not None:
        counts = ends("tgtSpikeCount", ("true", "false"), needed=kind in _CLASSES)
        section |= counts | ({"true": None} if counts.get("true") == _USUAL else {})
    return section
