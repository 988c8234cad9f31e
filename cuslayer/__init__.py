"""Deep spiking neural networks trained by SLAYER, with no deep-learning framework.

    import cuslayer as cs

    net = cs.Network("34x34x2-256-10", cs.SRM())

README.md begins with a whole example; docs/design.md has the conventions and the mathematics.
"""

from cuslayer.backend import device, seed, use
from cuslayer.data.events import Events
from cuslayer.data.formats import read_events, write_events
from cuslayer.encoding import encode_delta, encode_latency, encode_poisson
from cuslayer.functions import quantize, replicate, shift
from cuslayer.gradcheck import gradcheck
from cuslayer.inspection import (
    compare_gradients,
    demo,
    explain,
    health,
    reassignment,
    record,
    report,
    show_in_notebooks,
)
from cuslayer.interchange import export_hdf5, from_nchwt, import_hdf5, load_slayer, to_nchwt
from cuslayer.kernels.cuda.own import kernel
from cuslayer.layers import (
    Average,
    Conv,
    ConvTranspose,
    Delay,
    Dense,
    Dropout,
    FilterBank,
    Layer,
    Pool,
    Shift,
    TemporalFilter,
    Unpool,
    WeightNorm,
)
from cuslayer.loss import (
    ProbabilityWindowLoss,
    RateRegularizer,
    SpikeCountLoss,
    SpikeMaxLoss,
    SpikeRateLoss,
    SpikeTimeLoss,
    classify,
    decision_time,
    running_decision,
    van_rossum,
)
from cuslayer.network.network import Network, Sequential
from cuslayer.network.notation import Word
from cuslayer.network.parallel import Parallel
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.srm import SRM
from cuslayer.optim import SGD, Adam, NAdam, cosine_decay, step_decay
from cuslayer.saving import load, save
from cuslayer.tape import Tensor, differentiable, no_grad
from cuslayer.training import GradientFlow, Params, Stats, load_config, load_run

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "SRM",
    "Adam",
    "Average",
    "Conv",
    "ConvTranspose",
    "Delay",
    "Dense",
    "Dropout",
    "Events",
    "FilterBank",
    "GradientFlow",
    "Layer",
    "Loihi",
    "NAdam",
    "Network",
    "Neuron",
    "Parallel",
    "Params",
    "Pool",
    "ProbabilityWindowLoss",
    "RateRegularizer",
    "Sequential",
    "Shift",
    "SpikeCountLoss",
    "SpikeMaxLoss",
    "SpikeRateLoss",
    "SpikeTimeLoss",
    "Stats",
    "TemporalFilter",
    "Tensor",
    "Unpool",
    "WeightNorm",
    "Word",
    "classify",
    "compare_gradients",
    "cosine_decay",
    "decision_time",
    "demo",
    "device",
    "differentiable",
    "encode_delta",
    "encode_latency",
    "encode_poisson",
    "explain",
    "export_hdf5",
    "from_nchwt",
    "gradcheck",
    "health",
    "import_hdf5",
    "kernel",
    "load",
    "load_config",
    "load_run",
    "load_slayer",
    "no_grad",
    "plot",
    "quantize",
    "read_events",
    "reassignment",
    "record",
    "replicate",
    "report",
    "running_decision",
    "save",
    "seed",
    "shift",
    "step_decay",
    "to_nchwt",
    "use",
    "van_rossum",
    "write_events",
]

show_in_notebooks()
