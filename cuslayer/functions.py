"""The functional interface: NumPy's operations on tensors, and the operations of layers, neurons and losses."""

from cuslayer._array_functions.elementwise import (
    abs as abs,
    absolute as absolute,
    add as add,
    astype as astype,
    clip as clip,
    cos as cos,
    divide as divide,
    equal as equal,
    exp as exp,
    greater as greater,
    greater_equal as greater_equal,
    less as less,
    less_equal as less_equal,
    log as log,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    maximum as maximum,
    minimum as minimum,
    multiply as multiply,
    negative as negative,
    not_equal as not_equal,
    power as power,
    sigmoid as sigmoid,
    sin as sin,
    sqrt as sqrt,
    square as square,
    subtract as subtract,
    tanh as tanh,
    where as where,
)
from cuslayer._array_functions.products import dot as dot, einsum as einsum, matmul as matmul, tensordot as tensordot
from cuslayer._array_functions.reductions import (
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    cumsum as cumsum,
    logsumexp as logsumexp,
    max as max,
    mean as mean,
    min as min,
    norm as norm,
    prod as prod,
    softmax as softmax,
    sort as sort,
    std as std,
    sum as sum,
    var as var,
)
from cuslayer._array_functions.shapes import (
    concatenate as concatenate,
    copy as copy,
    expand_dims as expand_dims,
    flip as flip,
    from_dlpack as from_dlpack,
    moveaxis as moveaxis,
    pad as pad,
    ravel as ravel,
    repeat as repeat,
    reshape as reshape,
    squeeze as squeeze,
    stack as stack,
    swapaxes as swapaxes,
    transpose as transpose,
)
from cuslayer._encoding import replicate as replicate
from cuslayer.layers.conv import conv as conv, conv_transpose as conv_transpose
from cuslayer.layers.count_pool import count_max_pool as count_max_pool
from cuslayer.layers.delay import shift as shift
from cuslayer.layers.dense import dense as dense, leaky_integral as leaky_integral
from cuslayer.layers.filter_bank import filter_bank as filter_bank, fir as fir
from cuslayer.layers.first_step import first_step as first_step
from cuslayer.layers.fused import (
    conv_neuron as conv_neuron,
    conv_pool as conv_pool,
    dense_neuron as dense_neuron,
    pool_neuron as pool_neuron,
)
from cuslayer.layers.pool import (
    max_pool as max_pool,
    pool as pool,
    unpool as unpool,
    weighted_pool as weighted_pool,
    weighted_unpool as weighted_unpool,
)
from cuslayer.layers.rectifier import quantized_relu as quantized_relu, relu as relu
from cuslayer.layers.recurrent import recurrent as recurrent
from cuslayer.layers.synaptic_delay import lagged as lagged, weights_over_lags as weights_over_lags
from cuslayer.layers.weight_hooks import quantize as quantize, weight_norm as weight_norm
from cuslayer.layers.weightless import decimate as decimate, dropout as dropout, k_winners as k_winners
from cuslayer.loss.base import spike_count_error as spike_count_error
from cuslayer.loss.cross_entropy import (
    binary_cross_entropy as binary_cross_entropy,
    cross_entropy as cross_entropy,
    moving_count as moving_count,
)
from cuslayer.loss.first_spike import first_spike_times as first_spike_times
from cuslayer.loss.spike_time import spike_time_error as spike_time_error
from cuslayer.network.join import on_gradient as on_gradient
from cuslayer.network.join import join as join
from cuslayer.network.synaptic import synaptic_operations as synaptic_operations
from cuslayer.neurons.base import psp as psp
from cuslayer.neurons.dynamics import simulate as simulate
from cuslayer.neurons.loihi import loihi as loihi
from cuslayer.neurons.sampled_srm import sampled_spike as sampled_spike
from cuslayer.neurons.srm import neuron as neuron, spike as spike

__all__ = [name for name, value in vars().items() if callable(value) and not name.startswith("_")]
