"""Deep spiking neural networks trained by SLAYER, with no deep-learning framework.

    import cuslayer as cs

    net = cs.Network("34x34x2-256-10", cs.SRM())

README.md begins with a whole example; docs/design.md has the conventions and the mathematics.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cuslayer import surrogates as surrogates
from cuslayer._base import instead
from cuslayer.backend import device as device, seed as seed, use as use
from cuslayer.data.events import Events as Events
from cuslayer.data.formats import read_events as read_events, write_events as write_events
from cuslayer._encoding import (
    encode_delta as encode_delta,
    encode_latency as encode_latency,
    encode_poisson as encode_poisson,
)
from cuslayer.functions import (
    absolute as absolute,
    add as add,
    argmax as argmax,
    argmin as argmin,
    astype as astype,
    clip as clip,
    concatenate as concatenate,
    copy as copy,
    cumsum as cumsum,
    divide as divide,
    dot as dot,
    einsum as einsum,
    equal as equal,
    exp as exp,
    expand_dims as expand_dims,
    from_dlpack as from_dlpack,
    greater as greater,
    greater_equal as greater_equal,
    less as less,
    less_equal as less_equal,
    log as log,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    matmul as matmul,
    maximum as maximum,
    mean as mean,
    minimum as minimum,
    moveaxis as moveaxis,
    multiply as multiply,
    negative as negative,
    not_equal as not_equal,
    power as power,
    quantize as quantize,
    ravel as ravel,
    replicate as replicate,
    reshape as reshape,
    shift as shift,
    sigmoid as sigmoid,
    softmax as softmax,
    sqrt as sqrt,
    square as square,
    squeeze as squeeze,
    stack as stack,
    std as std,
    subtract as subtract,
    swapaxes as swapaxes,
    tanh as tanh,
    tensordot as tensordot,
    transpose as transpose,
    var as var,
    where as where,
)
from cuslayer._gradcheck import gradcheck as gradcheck
from cuslayer.kernels.cuda.own import kernel as kernel
from cuslayer.layers import (
    Affine as Affine,
    Average as Average,
    BatchNorm as BatchNorm,
    Conv as Conv,
    ConvTranspose as ConvTranspose,
    Decimate as Decimate,
    Delay as Delay,
    Dense as Dense,
    Dropout as Dropout,
    FilterBank as FilterBank,
    KWinners as KWinners,
    Layer as Layer,
    Pool as Pool,
    Recurrent as Recurrent,
    Shift as Shift,
    SynapticDelays as SynapticDelays,
    TemporalFilter as TemporalFilter,
    Unpool as Unpool,
    WeightNorm as WeightNorm,
)
from cuslayer.loss import (
    BinaryCrossEntropyLoss as BinaryCrossEntropyLoss,
    CrossEntropyLoss as CrossEntropyLoss,
    MeanSquaredError as MeanSquaredError,
    ProbabilityWindowLoss as ProbabilityWindowLoss,
    RateRegularizer as RateRegularizer,
    SpikeCountLoss as SpikeCountLoss,
    SpikeMaxLoss as SpikeMaxLoss,
    SpikeRateLoss as SpikeRateLoss,
    SpikeTimeLoss as SpikeTimeLoss,
    classify as classify,
    coincidence_factor as coincidence_factor,
    confidence as confidence,
    decision_time as decision_time,
    running_decision as running_decision,
    van_rossum as van_rossum,
)
from cuslayer.network.network import Network as Network, Parallel as Parallel, Sequential as Sequential
from cuslayer.network.notation import Word as Word
from cuslayer.network.synaptic import SparsityLoss as SparsityLoss
from cuslayer.neurons import *  # noqa: F403
from cuslayer.optim import (
    SGD as SGD,
    Adam as Adam,
    NAdam as NAdam,
    cosine_decay as cosine_decay,
    step_decay as step_decay,
)
from cuslayer._tape import Tensor as Tensor, differentiable as differentiable, no_grad as no_grad
from cuslayer._base.version import __version__ as __version__

if TYPE_CHECKING:
    from cuslayer import distributed as distributed, plot as plot
    from cuslayer.inspection.compare import compare_gradients as compare_gradients
    from cuslayer.inspection.explain import explain as explain
    from cuslayer.inspection.health import health as health
    from cuslayer.inspection.ops import ops as ops
    from cuslayer.inspection.reassign import reassignment as reassignment
    from cuslayer.inspection.record import record as record
    from cuslayer.inspection.report import demo as demo, report as report
    from cuslayer.interchange import (
        export_hdf5 as export_hdf5,
        export_nir as export_nir,
        from_nchwt as from_nchwt,
        import_hdf5 as import_hdf5,
        import_nir as import_nir,
        load_slayer as load_slayer,
        to_nchwt as to_nchwt,
    )
    from cuslayer.network.calibration import calibrate as calibrate
    from cuslayer.saving import load as load, save as save
    from cuslayer.training import (
        GradientFlow as GradientFlow,
        Params as Params,
        Stats as Stats,
        load_config as load_config,
        load_run as load_run,
    )

# The parts that are imported at their first use, so that the import of the package is short, and the names that the
# package has from each.
_LATER = {
    "inspection": "calibrate compare_gradients demo explain health ops reassignment record report",
    "interchange": "export_hdf5 export_nir from_nchwt import_hdf5 import_nir load_slayer to_nchwt",
    "saving": "load save",
    "training": "GradientFlow Params Stats load_config load_run",
    "distributed": "",
    "plot": "",
}

__all__ = [name for name, value in vars().items() if getattr(value, "__module__", "").startswith("cuslayer.")]
__all__ += ["distributed", "plot", "surrogates", *" ".join(_LATER.values()).split()]


def _repr_html_(shown: Any) -> str:
    """Return what a notebook shows."""
    from cuslayer.inspection.notebook import html

    return html(shown)


for _kind in (Events, Neuron, Sequential, Tensor):  # noqa: F405
    _kind._repr_html_ = _repr_html_  # type: ignore[union-attr]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _LATER:
            return import_module(f"cuslayer.{name}")
        for part, names in _LATER.items():
            if name in names.split():
                globals()[name] = found = getattr(import_module(f"cuslayer.{part}"), name)
                return found
        meant = instead.ATTRIBUTES["package"].get(name)
        raise AttributeError(f"cuslayer: {name} is {f'elsewhere; {meant}' if meant else 'no name of the package'}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_LATER})
