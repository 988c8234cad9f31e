"""Draw the table of docs/reference/neurons.md: the potential of each kind of neuron, for the same input.

    python benchmarks/neuron_kinds.py

Three spikes in a row, a later spike, and a constant current come through a weight, with which most kinds fire. The
pictures go to docs/images/neurons/.
"""

from __future__ import annotations

import common
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import cuslayer as cs
from cuslayer import neurons

matplotlib.use("Agg")

IMAGES = common.DOCS / "images" / "neurons"
STEPS = 200
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#5a5f66"
SAMPLES = np.arange(60.0)
# Each kind with constants that show what it does, and a weight.
KINDS: dict[str, tuple[cs.Neuron, float]] = {
    "SRM": (cs.SRM(tau_ref=4.0), 4.5),
    "SampledSRM": (
        neurons.SampledSRM(
            response=np.exp(-SAMPLES / 20) - np.exp(-SAMPLES / 5),
            refractory=-SAMPLES / 3 * np.exp(-SAMPLES / 12),
            theta=1.0,
        ),
        0.75,
    ),
    "LIF": (cs.LIF(tau=20.0), 0.45),
    "CUBA": (cs.CUBA(tau_i=5.0, tau_v=20.0), 0.11),
    "Loihi": (cs.Loihi(vth_mant=80, i_decay=819, v_decay=200), 9.0),
    "AdaptiveLIF": (cs.AdaptiveLIF(tau_i=5.0, tau_v=20.0, tau_theta=60.0, rise=0.3), 0.1),
    "NormalizedALIF": (neurons.NormalizedALIF(tau_v=20.0, tau_theta=60.0), 9.0),
    "AdLIF": (cs.AdLIF(tau_u=20.0, tau_w=60.0, a=5.0, b=2.0, q=2.0), 10.0),
    "ResonateAndFire": (neurons.ResonateAndFire(tau=40.0, frequency=40.0), 0.75),
    "BalancedResonateAndFire": (neurons.BalancedResonateAndFire(omega=250.0, b_offset=20.0), 900.0),
    "SigmaDelta": (neurons.SigmaDelta(theta=0.5), 0.1),
    "IF": (neurons.IF(unit=1.0), 0.3),
    "WaitingIF": (neurons.WaitingIF(unit=2.0, wait=120, levels=60), 0.3),
}


def current() -> np.ndarray:
    """Return the input (T, 1, 1): spikes, then a constant current."""
    x = np.zeros((STEPS, 1, 1), np.float32)
    x[[10, 14, 18, 55]] = 1.0
    x[90:150] = 0.25
    return x


def draw(name: str) -> None:
    """Draw the potential, the threshold and the spikes of a kind."""
    neuron, weight = KINDS[name]
    net = cs.Sequential(neuron)
    with cs.record(net) as seen:
        net(weight * current())
    potential = np.asarray(seen[0].potential)[:, 0, 0]
    spikes = np.asarray(seen[0].spikes)[:, 0, 0]
    figure, axis = plt.subplots(figsize=(2.4, 0.8))
    axis.set_position((0, 0, 1, 1))
    axis.axis("off")
    axis.plot(potential, color=BLUE, linewidth=1.2)
    axis.axhline(neuron.theta, color=GREY, linewidth=0.8, linestyle=":")
    times = np.flatnonzero(spikes)
    top = max(potential.max(), neuron.theta)
    height = 0.2 * (top - potential.min())
    axis.vlines(times, top + 0.5 * height, top + 1.5 * height, color=VERMILION, linewidth=1.0)
    axis.set_xlim(0, STEPS)
    figure.savefig(IMAGES / f"{name}.png", dpi=110, facecolor="white", metadata={"Software": None})
    plt.close(figure)
    print(f"{name}: {len(times)} spikes")


def main() -> None:
    """Draw all kinds."""
    IMAGES.mkdir(exist_ok=True)
    for name in KINDS:
        draw(name)


if __name__ == "__main__":
    main()
