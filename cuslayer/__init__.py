"""Deep spiking neural networks trained by SLAYER, with no deep-learning framework.

    import cuslayer as cs

    net = cs.Network("34x34x2-256-10", cs.SRM())

README.md begins with a whole example; docs/design.md says what every part agrees on.
"""

from cuslayer.backend import device, seed, use
from cuslayer.functions import shift
from cuslayer.gradcheck import gradcheck
from cuslayer.layers import Conv, Dense, Dropout, Layer, Pool
from cuslayer.loss import SpikeCountLoss, SpikeTimeLoss, classify
from cuslayer.network import Network, Sequential
from cuslayer.neuron import SRM
from cuslayer.optim import SGD, Adam, NAdam, cosine_decay, step_decay
from cuslayer.tape import Tensor, differentiable, no_grad

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "SRM",
    "Adam",
    "Conv",
    "Dense",
    "Dropout",
    "Layer",
    "NAdam",
    "Network",
    "Pool",
    "Sequential",
    "SpikeCountLoss",
    "SpikeTimeLoss",
    "Tensor",
    "classify",
    "cosine_decay",
    "device",
    "differentiable",
    "gradcheck",
    "no_grad",
    "seed",
    "shift",
    "step_decay",
    "use",
]
