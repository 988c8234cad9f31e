"""Learning without gradients: local rules of spike times, in streams and in `Trainer`."""

from cuslayer.plasticity.learn import Learn
from cuslayer.plasticity.rules import STDP, Synapses

__all__ = ["STDP", "Learn", "Synapses"]
