"""Time the way of a wave to spikes: bands, then all codes, for waves of half a second at 8 kHz, on one core.

python benchmarks/sounds.py --waves 1000
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cuslayer.data import AudioToSpikes, Bands, Delta, Latency, Levels, Rate

RATE, SAMPLES, MS = 8000, 4000, 500.0


def milliseconds(work, waves):
    """Return the time of a wave."""
    work(waves[0])
    start = time.perf_counter()
    for wave in waves:
        work(wave)
    return (time.perf_counter() - start) * 1000 / len(waves)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waves", type=int, default=1000)
    options = parser.parse_args(arguments)
    waves = np.random.default_rng(0).standard_normal((options.waves, SAMPLES)) / 10
    print("filters     ms a wave: bands   spikes of four codes")
    for scale in ("mel", "gammatone"):
        bands = Bands(RATE, channels=64, scale=scale)
        to_spikes = AudioToSpikes(bands, (Rate(), Latency(), Delta(), Levels()), duration=MS)
        print(f"{scale:<18} {milliseconds(bands, waves):9.2f} {milliseconds(to_spikes, waves):22.2f}")


if __name__ == "__main__":
    main()
