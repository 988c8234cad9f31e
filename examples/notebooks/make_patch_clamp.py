"""Make cuslayer/data/patch_clamp.npz, a recorded neuron, from two of pyABF's sample files.

    python examples/notebooks/make_patch_clamp.py FOLDER

FOLDER has `17o05028_ic_steps.abf` and `17o05027_ic_ramp.abf`, from https://github.com/swharden/pyABF (data/abfs). Only
this script needs pyabf. The potential is downsampled to 2 kHz; spike times are of the full rate.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[2] / "cuslayer/data/patch_clamp.npz"
FILES = {"steps": "17o05028_ic_steps.abf", "ramp": "17o05027_ic_ramp.abf"}
RATE, UNIT, SPIKE = 2000, 0.0625, -10.0  # Hz; mV of an integer; a spike rises through so many mV


def sweeps(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the potential in mV and the current in pA, (sweeps, samples), and the samples a second."""
    import pyabf

    abf, pairs = pyabf.ABF(str(path)), []
    for number in abf.sweepList:
        abf.setSweep(number)
        pairs.append((abf.sweepY.copy(), abf.sweepC.copy()))
    voltage, current = map(np.stack, zip(*pairs, strict=True))
    return voltage, current, abf.dataRate


def reduced(voltage: np.ndarray, current: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Return potential and current at 2 kHz, and the sweep and time of each spike."""
    every = rate // RATE
    sweep, sample = np.nonzero((voltage[:, 1:] >= SPIKE) & (voltage[:, :-1] < SPIKE))
    kept = np.rint(voltage[:, every - 1 :: every] / UNIT).astype(np.int16)  # a bin's last sample
    # Differences are small numbers, which compress to half.
    differences = np.diff(kept, axis=1, prepend=np.int16(0))
    mean = current.reshape(len(current), -1, every).mean(axis=2).astype(np.float32)
    times = (1000 * (sample + 1) / rate).astype(np.float32)
    return {"differences": differences, "current": mean, "spike_sweep": sweep.astype(np.int8), "spike_ms": times}


def main(folder: str) -> None:
    found = {name: reduced(*sweeps(Path(folder, file))) for name, file in FILES.items()}
    arrays = {f"{name}_{key}": value for name, parts in found.items() for key, value in parts.items()}
    notice = TARGET.with_suffix(".txt").read_text(encoding="utf-8")
    np.savez_compressed(TARGET, **arrays, unit=np.float32(UNIT), dt=np.float32(1000 / RATE), credit=np.array(notice))


if __name__ == "__main__":
    main(*sys.argv[1:])
