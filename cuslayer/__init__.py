"""Deep spiking neural networks trained by SLAYER, with no deep-learning framework.

    import cuslayer as cs

    net = cs.Network("34x34x2-256-10", cs.SRM())

README.md begins with a complete example; docs/design.md has the conventions and the mathematics.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from cuslayer import functions as functions, surrogates as surrogates
from cuslayer._base import instead as _instead
from cuslayer._base.threads import threads as threads
from cuslayer._base.version import __version__ as __version__
from cuslayer._encoding import (
    encode_delta as encode_delta,
    encode_latency as encode_latency,
    encode_poisson as encode_poisson,
)
from cuslayer._gradcheck import gradcheck as gradcheck
from cuslayer._parameter import Bounded as Bounded
from cuslayer._tape import Tensor as Tensor, differentiable as differentiable, no_grad as no_grad
from cuslayer.backend import device as device, seed as seed, use as use
from cuslayer.data.digits import Digits as Digits
from cuslayer.data.events import Events as Events
from cuslayer.data.formats import read_events as read_events, write_events as write_events
from cuslayer.data.loader import Loader as Loader

# NumPy's functions that networks need. np.NAME(tensor) is the same; `functions` has more.
from cuslayer.functions import (
    abs as abs,
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    clip as clip,
    concatenate as concatenate,
    cos as cos,
    cumsum as cumsum,
    einsum as einsum,
    exp as exp,
    expand_dims as expand_dims,
    flip as flip,
    from_dlpack as from_dlpack,
    log as log,
    logsumexp as logsumexp,
    matmul as matmul,
    max as max,
    maximum as maximum,
    mean as mean,
    min as min,
    minimum as minimum,
    norm as norm,
    pad as pad,
    prod as prod,
    repeat as repeat,
    reshape as reshape,
    sigmoid as sigmoid,
    sin as sin,
    softmax as softmax,
    sort as sort,
    sqrt as sqrt,
    stack as stack,
    std as std,
    sum as sum,
    tanh as tanh,
    transpose as transpose,
    var as var,
    where as where,
)
from cuslayer.kernels.cuda.own import kernel as kernel
from cuslayer.layers import (
    AvgPool as AvgPool,
    BatchNorm as BatchNorm,
    Conv as Conv,
    ConvTranspose as ConvTranspose,
    Delay as Delay,
    Dense as Dense,
    Dropout as Dropout,
    GlobalAvgPool as GlobalAvgPool,
    Layer as Layer,
    MaxPool as MaxPool,
    QuantizedReLU as QuantizedReLU,
    ReadOut as ReadOut,
    Recurrent as Recurrent,
    ReLU as ReLU,
    SumPool as SumPool,
    SynapticDelays as SynapticDelays,
    WeightNorm as WeightNorm,
)
from cuslayer.loss import (
    BinaryCrossEntropyLoss as BinaryCrossEntropyLoss,
    CrossEntropyLoss as CrossEntropyLoss,
    MeanSquaredErrorLoss as MeanSquaredErrorLoss,
    SpikeCountLoss as SpikeCountLoss,
    SpikeTimeLoss as SpikeTimeLoss,
    classify as classify,
)
from cuslayer.network.network import (
    Parallel as Parallel,
    Residual as Residual,
    Sequential as Sequential,
)
from cuslayer.network.notation import Network as Network
from cuslayer.neurons import (
    CUBA as CUBA,
    LIF as LIF,
    SRM as SRM,
    AdaptiveLIF as AdaptiveLIF,
    AdLIF as AdLIF,
    Loihi as Loihi,
    Neuron as Neuron,
    StepNeuron as StepNeuron,
)
from cuslayer.optim import SGD as SGD, Adam as Adam

if TYPE_CHECKING:
    from cuslayer import distributed as distributed, plasticity as plasticity, plot as plot
    from cuslayer.inspection.explain import explain as explain
    from cuslayer.inspection.health import diagnose as diagnose
    from cuslayer.inspection.reassign import reassign as reassign
    from cuslayer.inspection.record import record as record
    from cuslayer.inspection.report import write_demo as write_demo, write_report as write_report
    from cuslayer.interchange import (
        convert as convert,
        export_c as export_c,
        export_nir as export_nir,
        from_arrays as from_arrays,
        import_nir as import_nir,
        import_onnx as import_onnx,
        quantize as quantize,
    )
    from cuslayer.network.calibration import calibrate as calibrate
    from cuslayer.saving import load as load, save as save
    from cuslayer.training import Trainer as Trainer, load_run as load_run

# Modules that are imported on first use, so that importing the package is fast, and the package's names from each.
_LATER = {
    "inspection": "calibrate diagnose explain reassign record write_demo write_report",
    "interchange": "convert export_c export_nir from_arrays import_nir import_onnx quantize",
    "saving": "load save",
    "training": "Trainer load_run",
    "distributed": "",
    "plasticity": "",
    "plot": "",
}
# The modules whose other names an error for a missing name of the package tells.
_PARTS = "layers neurons loss optim network data functions training plasticity inspection interchange"

# Without NumPy's functions, so that ``from cuslayer import *`` hides neither these nor Python's names.
__all__ = [
    name
    for name, value in vars().items()
    if getattr(value, "__module__", "").startswith("cuslayer.") and not name.startswith("_")
    if name not in functions.__all__
]
# `quantize` makes a network of integers; `functions.quantize` rounds an array.
__all__ += ["distributed", "plasticity", "plot", "surrogates", *" ".join(_LATER.values()).split()]
__all__.remove("quantize")


def _repr_html_(shown: object) -> str:
    """Return the HTML that a notebook shows."""
    from cuslayer.inspection.notebook import html

    return html(shown)


for _kind in (Events, Neuron, Sequential, Tensor):
    _kind._repr_html_ = _repr_html_  # type: ignore[union-attr]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return import_module(f"cuslayer.{name}")
        for part, names in _LATER.items():
            if name in names.split():
                globals()[name] = found = getattr(import_module(f"cuslayer.{part}"), name)
                return found
        meant = _instead.ATTRIBUTES["package"].get(name)
        if meant is None and not name.startswith("_"):
            parts = (part for part in _PARTS.split() if hasattr(import_module(f"cuslayer.{part}"), name))
            meant = next((f"it is cs.{part}.{name}" for part in parts), None)
        raise AttributeError(f"cuslayer: {name} is {f'elsewhere; {meant}' if meant else 'no name of the package'}")

    def __dir__() -> list[str]:
        hidden = {"TYPE_CHECKING", "import_module"}
        return sorted({n for n in (*globals(), *__all__, *_LATER) if n[:1] != "_" or n[:2] == "__"} - hidden)
