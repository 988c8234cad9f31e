"""What a sweep searches: a grid, or points drawn at random, over keys of a configuration."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cuslayer import check
from cuslayer.training.config import Config
from cuslayer.training.read_config import load_config
from cuslayer.training.yaml_sections import Section, plain_number, read_yaml

_KINDS = ("grid", "random")
_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
# No sweep of more runs is meant.
_MOST = 100_000


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep; `load_sweep` reads it.

    Attributes:
        keys: the keys of the configuration that differ, such as "training.batch" or "layer[1].dim".
        points: the values of each run, one for each key.
        configs: the configuration of each run, without a folder.
        out: the folder of the sweep.
    """

    keys: tuple[str, ...]
    points: tuple[tuple[Any, ...], ...]
    configs: tuple[Config, ...]
    out: Path


def load_sweep(path: str | Path) -> Sweep:
    """Read a sweep from YAML.

    ``config`` is the file of a configuration, relative to that of the sweep, or a configuration itself; by default the
    usual one. ``out`` is the folder of the sweep. ``search`` is "grid", for all combinations, or "random", for ``runs``
    points that a generator of the ``seed`` draws. ``keys`` has for each key a list of values, or, for "random", ``low``
    and ``high`` of an interval, with ``log: true`` for a logarithmic one; numbers are whole if both ends are::

        config: net.yaml
        out: sweeps/rates
        search: random
        runs: 20
        keys:
          training.optimizer.lr: {low: 1.0e-3, high: 1.0, log: true}
          training.batch: [16, 32, 64]
          layer[1].dim: {low: 64, high: 512}

    Raises:
        ValueError: the file is missing or no sweep, a key is none of a configuration, or the configuration of a run is
            wrong.
        TypeError: a value is of the wrong type.
    """
    op, path = f"load_sweep: {path}", Path(path)
    top = Section(op, "", read_yaml("load_sweep", path), ("config", "out", "search", "runs", "seed", "keys"))
    base = top.mapping.get("config")
    source = base if isinstance(base, dict) else Config() if base is None else path.parent / _text(top, "config")
    config = source if isinstance(source, Config) else load_config(source)
    document = yaml.safe_load(config.to_yaml())
    keys = top.get("keys")
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys):
        raise TypeError(f"{op}: keys must be a mapping of keys of the configuration, got {type(keys).__name__}")
    kind = top.choice("search", _KINDS, "grid")
    if kind == "grid":
        points = _grid(op, keys)
    else:
        points = _random(op, keys, top.integer("runs"), top.integer("seed", 0, least=0))
    configs = []
    for number, point in enumerate(points, start=1):
        given = copy.deepcopy(document)
        for key, value in zip(keys, point, strict=True):
            _put(op, given, key, value)
        try:
            configs.append(load_config(given))
        except (ValueError, TypeError) as problem:
            where = ", ".join(f"{key} {value}" for key, value in zip(keys, point, strict=True))
            raise type(problem)(f"{op}: run {number} ({where}): {problem}") from None
    return Sweep(tuple(keys), tuple(points), tuple(configs), Path(_text(top, "out")))


def _text(section: Section, key: str) -> str:
    value = section.get(key)
    if not isinstance(value, str):
        raise TypeError(f"{section.op}: {key} must be a path, got {check.one_line(value)}")
    return value


def _values(op: str, key: str, given: Any) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise TypeError(f"{op}: keys.{key} must be a list of values, got {check.one_line(given)}")
    return given


def _grid(op: str, keys: dict[str, Any]) -> list[tuple[Any, ...]]:
    lists = [_values(op, key, given) for key, given in keys.items()]
    count = int(np.prod([len(values) for values in lists], dtype=float))
    if count > _MOST:
        raise ValueError(f"{op}: a grid must have at most {_MOST} runs, got {count}")
    return list(itertools.product(*lists))


def _random(op: str, keys: dict[str, Any], runs: int, seed: int) -> list[tuple[Any, ...]]:
    """Return points; more runs begin with the same ones."""
    if runs > _MOST:
        raise ValueError(f"{op}: runs must be at most {_MOST}, got {runs}")
    found = []
    for number in range(runs):
        random = np.random.default_rng((seed, number))
        found.append(tuple(_drawn(op, key, given, random) for key, given in keys.items()))
    return found


def _drawn(op: str, key: str, given: Any, random: np.random.Generator) -> Any:
    """Return a value of a list, or a number of an interval."""
    if not isinstance(given, dict):
        values = _values(op, key, given)
        return values[int(random.integers(len(values)))]
    section = Section(op, f"keys.{key}", given, ("low", "high", "log"))
    ends = [plain_number(section.get(name)) for name in ("low", "high")]
    low, high = (check.number(op, section.path(name), end) for name, end in zip(("low", "high"), ends, strict=True))
    if low >= high:
        raise ValueError(f"{op}: {section.path('low')} must be under high, {high:g}, got {low:g}")
    whole = all(isinstance(end, int) for end in ends)
    if section.flag("log", default=False):
        check.positive(op, section.path("low"), low)
        value = float(np.exp(random.uniform(np.log(low), np.log(high))))
        return min(max(round(value), ends[0]), ends[1]) if whole else value
    return int(random.integers(ends[0], ends[1], endpoint=True)) if whole else float(random.uniform(low, high))


def _put(op: str, document: Any, key: str, value: Any) -> None:
    """Set the value of a key of a document, whose path has a mapping or a list in each place but the last."""
    steps: list[Any] = [name or int(number) for name, number in _STEP.findall(key)]
    place = document
    for step in steps[:-1]:
        inside = isinstance(place, list) if isinstance(step, int) else isinstance(place, dict)
        if not inside or (step >= len(place) if isinstance(step, int) else step not in place):
            raise ValueError(f"{op}: keys.{key} is no key of the configuration: {step} is missing")
        place = place[step]
    if not steps or not isinstance(place, dict):
        raise ValueError(f"{op}: keys.{key} is no key of the configuration")
    place[steps[-1]] = value
