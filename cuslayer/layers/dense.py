"""The dense layer, and the read-out: potentials without a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import DeferredGradient, Gradient, Pullback, Tensor, as_tensor, differentiable, saves, takes_packed
from cuslayer.backend import Array, to_numpy
from cuslayer.kernels import Kernels
from cuslayer.kernels.constants import Product, Window, places_of, side_by_side
from cuslayer.kernels.host.elementwise import in_order
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.layers.base import PLACES, Shape, Synapse, WeightHooks, check_dense, names_in, only_once
from cuslayer.layers.conv import Delaying
from cuslayer.layers.synaptic_delay import SynapticDelays
from cuslayer.neurons.base import USUAL_STEP, Neuron, StepByStep, as_neuron, usual_or_step
from cuslayer.neurons.dynamics import bounds_in_ms, kept_share, of_constants, simulate_by_step, time_constant
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.states import PopulationStates, Remembering, States
from cuslayer.surrogates import EXPONENTIAL


@differentiable
@takes_packed
@saves("others")
@check.operation
def dense(x: Array, weight: Array, /) -> tuple[Array, Pullback]:
    """Multiply the input of each step by a weight matrix: ``y[t, n] = x[t, n] W``.

    Where the last axis alone has the weight's inputs, the layer maps each place by itself: ``y[t, n, p] = x[t, n, p]
    W``. One place is flattened, like all inputs whose size is the weight's.

    Backward is ``g_x = g_y W'`` and ``g_W = sum over t, n of x[t, n]' g_y[t, n]``. On the CPU, only spikes cost time:
    forward, each adds its row of the weight; backward, it adds its step's error to that row's gradient.

    Args:
        x: spikes or numbers: (T, N, ...), whose axes after N are flattened in order; or (T, N, places..., inputs) with
            any axes of places.
        weight: (inputs, outputs), float32 or float64.

    Returns:
        The weighted input (T, N, outputs), or (T, N, places..., outputs), in the weight's type.

    Raises:
        ValueError: x is not (T, N, ...), weight is not (inputs, outputs), or their sizes differ.
        TypeError: weight is not floating.

    >>> import numpy as np
    >>> dense(np.array([[[True, False]], [[True, True]]]), np.array([[1.0, 2.0], [10.0, 20.0]])).data.tolist()
    [[[1.0, 2.0]], [[11.0, 22.0]]]
    """
    leading = check_dense(x, weight)
    return _product(x, weight, leading, lambda rows: kernels.of(weight).dense.forward(rows, weight))


@differentiable
@takes_packed
@saves("others")
def _in_order(x: Array, weight: Array, /) -> tuple[Array, Pullback]:
    """Return `dense` of x (T, N, 1, 1, inputs), summed one by one in the order of a convolution of one pixel."""
    k, taps = kernels.of(weight), weight[None, None]
    frames = k.spikes.synapse_input(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]))
    return _product(x, weight, x.shape[:2], lambda rows: k.conv.forward(frames, taps, Window.of(1, 1, 0, 1), 1))


def _product(x: Array, weight: Array, leading: Shape, forward: Callable[[Kernels], Array]) -> tuple[Array, Pullback]:
    k, shape, count = kernels.of(weight), x.shape, math.prod(leading)
    rows = k.spikes.synapse_input(k.spikes.in_frames(x, (count, weight.shape[0])))
    out = forward(rows).reshape(*leading, weight.shape[1])

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(count, weight.shape[1])
        return lambda: DeferredGradient(Product(g, weight), shape), lambda: k.dense.weight_adjoint(rows, g)

    return out, pullback


class _Flat(Synapse):
    """Base class of layers with a weight (inputs, outputs)."""

    def _set_features(self, in_features: object, out_features: object) -> tuple[int, int]:
        """Validate and set the features; return the shape of the weight."""
        sizes = in_features if isinstance(in_features, tuple) else (in_features,)
        self.in_features = tuple(check.integer("in_features", n, least=1) for n in sizes)
        self.out_features = check.integer("out_features", out_features, least=1)
        return math.prod(self.in_features), self.out_features

    @check.operation("dense")
    def output_shape(self, shape: Shape | None) -> Shape:
        # Where the shape is unknown, it is taken to be flat.
        places = () if shape is None else places_of(shape, math.prod(self.in_features))
        return (*places, self.out_features)

    @check.operation("dense")
    def partial_shape(self, shape: Any) -> Any:
        inputs = math.prod(self.in_features)
        # The size of flattened places is a multiple of their features.
        if shape is not None and inputs % shape[-1]:
            raise ValueError(f"x has {shape[-1]} features, weight expects {inputs}")
        flattened = shape is not None and inputs != shape[-1]
        return (*(() if flattened else PLACES), self.out_features)

    def fan_out(self, shape: Shape) -> Array | None:
        return np.full(shape, float(self.out_features))

    def _text(self, options: str = "") -> str:
        sizes, bias = self.in_features, "" if self.bias is None else ", bias=True"
        bias += "" if self.delays is None else f", delays={self.delays!r}"
        inputs = sizes if len(sizes) > 1 else sizes[0]
        return f"{type(self).__name__}({inputs}, {self.out_features}{options}{bias})"


class Dense(_Flat, Delaying):
    """A dense layer: ``y[t, n] = x[t, n] W``, with a bias ``x[t, n] W + b``; see `functions.dense`.

    The axes after N are flattened if their sizes multiply to the number of inputs. Else the layer maps each place, the
    last axis, by itself: (T, N, places..., inputs) to (T, N, places..., outputs), such as the tokens of a transformer.

    Args:
        in_features: the number of inputs, or their shape (H, W, C).
        out_features: the number of outputs.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs)``; by default the `weight_scale` of the
            neurons after the layer in a network, 10 for neurons without one, such as SRM.
        weight_hook: a function that maps the weight before each use; or a tuple of functions, applied in order.
        bias: whether the layer adds a trained constant at each step, initially 0; or the parameter (outputs,) itself.
        delays: a `SynapticDelays`: each weight has a trained delay, ``y[t, n, j] = sum over i of w[i, j] x[t - d[i, j],
            n, i]``, d in steps.

    Attributes:
        weight: (inputs, outputs), inputs in H, W, C order.
        bias: (outputs,); None for none.

    Raises:
        ValueError: a size or the scale is out of range, or a bias has another shape.
        TypeError: a size is not an integer, the hook is not callable, bias is neither a bool nor a tensor, or delays is
            not a `SynapticDelays`.

    >>> import numpy as np
    >>> layer = Dense((2, 2, 1), 3)
    >>> layer.weight.shape, layer(np.zeros((5, 1, 2, 2, 1), bool)).shape
    ((4, 3), (5, 1, 3))
    >>> layer(np.zeros((5, 1, 64, 4), bool)).shape
    (5, 1, 64, 3)
    """

    form = "dense"

    def __init__(
        self,
        in_features: int | tuple[int, ...],
        out_features: int,
        *,
        weight_scale: float | None = None,
        weight_hook: WeightHooks = None,
        bias: bool | Tensor | None = False,
        delays: SynapticDelays | None = None,
    ) -> None:
        shape = self._set_features(in_features, out_features)
        super().__init__(shape, shape[0], weight_scale, weight_hook, bias)
        self._set_delays(delays)

    def _operate(self, x: TensorLike, weight: Tensor) -> Tensor:
        return dense(x, weight) if self.delays is None or self.delays.training else _in_order(x, weight)

    def __repr__(self) -> str:
        return self._text()


# The time constant of a read-out, ms.
_TAU = 20.0


@cache
def _integrator() -> StepSpiking:
    """Return a leaky neuron that never reaches its threshold."""
    values = {"theta": math.inf, "share": 1.0, "drop": 0.0}
    kind = LIF.kind()
    numbers = tuple(values[name] for name in kind.numbers)
    return StepSpiking(
        kind=kind,
        values=numbers,
        theta=math.inf,
        width=1.0,
        height=0.0,
        exact=False,
        graded=False,
        shape=EXPONENTIAL.shape,
    )


@differentiable
@check.operation
def leaky_integral(x: Array, keep: Array, /, *, states: States | None = None) -> tuple[Array, Pullback]:
    """Integrate each column of x with a leak: ``y[t] = keep y[t-1] + x[t]``.

    Backward is ``g_x[t] = keep g_x[t+1] + g_y[t]`` and ``g_keep = sum_t g_x[t] y[t-1]``.

    Args:
        x: (T, N, ...), float32 or float64.
        keep: the decay factor; it broadcasts to the shape of x after T and N.
        states: the states between calls; None to begin with 0.

    Returns:
        The integral, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or keep does not broadcast to it.
        TypeError: x is not floating.

    >>> import numpy as np
    >>> leaky_integral(np.array([1.0, 0.0, 1.0]).reshape(3, 1, 1), np.array(0.5)).data.ravel().tolist()
    [1.0, 0.5, 1.25]
    """
    return _integrate(x, keep, states)


@differentiable
def _integral(x: Array, /, *, keep: Array, states: States | None) -> tuple[Array, Pullback]:
    """Return `leaky_integral` for a decay factor that is a host array."""
    y, pullback = _integrate(x, keep, states)
    return y, lambda g: pullback(g)[0]


def _integrate(
    x: Array, keep: Array, states: States | None
) -> tuple[Array, Callable[[Array], tuple[Array, Callable[[], Array]]]]:
    check.weighted_input("x", x)
    k, shape, dtype = kernels.of(x), x.shape, x.dtype
    given, integrator = side_by_side(["keep"], [keep], x, x.shape[2:]), _integrator()
    held = None if states is None else states.begin(x, (0.0,))
    before = None if held is None else held.copy()
    y, _, _ = k.scan.forward(x[None], given, integrator, held)

    def pullback(g: Array) -> tuple[Array, Callable[[], Array]]:
        reversed_g = in_order(g[::-1]).astype(dtype, copy=False)
        later = None if states is None else states.end(reversed_g, 1)
        g_x = in_order(k.scan.forward(reversed_g[None], given, integrator, later)[0][::-1])

        def of_keep() -> Array:
            found = (g_x[1:] * y[:-1]).sum(axis=0).reshape(-1)
            if before is not None and shape[0]:
                found = found + g_x[0].reshape(-1) * before[0]
            return of_constants(found, keep, shape)

        return g_x, of_keep

    return y, pullback


class ReadOut(_Flat):
    """A read-out without spikes: a dense layer with a leaky integrator at each output.

    ::

        y[t] = d y[t-1] + x[t] W + b        d = exp(-dt / tau)

    With the spike response of a neuron it is ``y = psp(x W + b)``: the membrane potential of a neuron without
    threshold. It is the last layer of a network. A loss and `classify` take its maximum, mean or sum over time, or its
    last step; see `CrossEntropyLoss`.

    Args:
        in_features: the number of inputs, or their shape (H, W, C).
        out_features: the number of outputs, such as classes.
        tau: time constant of the integrator, ms, a number or (out_features,); a `Bounded` is trained; 20 by default.
        neuron: a neuron whose spike response replaces the integrator.
        dt: the step, ms; by default that of the neurons in its network, or 1 if tau is trained.
        trained: whether tau is trained.
        bounds: minimum and maximum of a trained tau, ms; by default a quarter of a step and 10,000 steps.
        weight_scale: as in `Dense`, by default 1.
        weight_hook, bias: see `Dense`.

    Attributes:
        weight: (inputs, outputs), inputs in H, W, C order.
        bias: (outputs,); None for none.

    Raises:
        ValueError: a size, a constant or the scale is out of range, both tau and neuron are given, or dt is not the
            neuron's.
        TypeError: an argument has the wrong type.

    >>> import numpy as np
    >>> layer = ReadOut(2, 3, tau=10.0)
    >>> layer, layer(np.zeros((5, 1, 2), bool)).shape
    (ReadOut(2, 3, tau=10), (5, 1, 3))
    """

    usual_scale = 1.0
    form = "read_out"
    is_read_out = True

    def __init__(
        self,
        in_features: int | tuple[int, ...],
        out_features: int,
        *,
        tau: float | npt.ArrayLike | Tensor | None = None,
        neuron: Neuron | None = None,
        dt: float | None = None,
        trained: bool = False,
        bounds: tuple[float, float] | None = None,
        weight_scale: float | None = None,
        weight_hook: WeightHooks = None,
        bias: bool | Tensor | None = False,
    ) -> None:
        shape = self._set_features(in_features, out_features)
        self._set_filter(tau, neuron, dt, trained, bounds)
        super().__init__(shape, shape[0], weight_scale, weight_hook, bias)

    def _set_filter(
        self,
        tau: float | npt.ArrayLike | Tensor | None,
        neuron: Neuron | None,
        dt: float | None,
        trained: bool,
        bounds: tuple[float, float] | None,
    ) -> None:
        """Validate and set the filter of the weighted input."""
        self.trained, self.bounds, self.neuron, self.tau = check.flag("trained", trained), bounds, neuron, None
        of_neuron = None if neuron is None else as_neuron(neuron)
        if dt is None:
            # The bounds of a trained time constant depend on the step.
            dt = of_neuron.dt if of_neuron else 1.0 if trained else USUAL_STEP
        self.dt = usual_or_step("dt", dt)
        bounds_in_ms(bounds, self.dt)
        if of_neuron is None:
            given = _TAU if tau is None else tau
            self.tau = time_constant("tau", given, trained, lambda: bounds_in_ms(bounds, self.dt))
            shape = np.shape(self.tau) if not isinstance(self.tau, Tensor) else self.tau.shape
            if shape not in ((), (1,), (self.out_features,)):
                raise ValueError(f"tau must be a number or ({self.out_features},), got shape {shape}")
            return
        if tau is not None or trained:
            raise ValueError("tau must not be given or trained with a neuron, whose response is the filter")
        if self.dt != of_neuron.dt:
            raise ValueError(f"dt must be the neuron's, {of_neuron.dt:g}, got {self.dt:g}")

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the potentials (T, N, out_features) for x (T, N, ...); of each place as in `Dense`."""
        return self.filtered(self.biased(dense(x, self.effective_weight())))

    def filtered(self, x: TensorLike, states: States | None = None) -> Tensor:
        """Return the potentials for the weighted input (T, N, ..., out_features); the call changes the states."""
        if self.neuron is not None:
            return as_tensor(as_neuron(self.neuron).psp(x))
        keep = kept_share(self.tau, self.dt)
        if isinstance(keep, Tensor):
            return leaky_integral(x, keep, states=states)
        return _integral(x, keep=keep, states=states)

    @property
    def own_dt(self) -> float | None:
        return self.dt

    @property
    def simulation(self) -> StepByStep | None:
        """The filter as the page of `write_demo` runs it: neurons that never fire; see `Neuron.simulation`."""
        if self.neuron is not None:
            return as_neuron(self.neuron).psp_by_step
        return StepByStep(_integrator(), {"keep": kept_share(self.tau, self.dt)})

    def _first_parameters(self) -> dict[str, Tensor]:
        neuron = self.neuron if getattr(self.neuron, "reads_out", False) else None
        return super()._first_parameters() | only_once(names_in("neuron", neuron))

    def continued(self) -> Callable[..., Tensor] | None:
        if type(self).__call__ is not ReadOut.__call__:
            return None
        filtered = self._continued_filter()
        return filtered and (lambda x: filtered(self.biased(dense(x, self.effective_weight()))))

    def _continued_filter(self) -> Callable[[Tensor], Tensor] | None:
        """Return the filter with a state of its own; None if a neuron's response keeps none."""
        if self.neuron is None:
            states = States()
            return lambda x: self.filtered(x, states)
        neuron = as_neuron(self.neuron)
        by_step = neuron.psp_by_step
        if by_step is not None:
            population = PopulationStates()
            return lambda x: simulate_by_step(x, by_step, population)
        steps = neuron.psp_steps
        return None if steps is None else Remembering(neuron.psp, steps)

    output_shape = _Flat.output_shape

    def __repr__(self) -> str:
        if self.neuron is None:
            tau = np.asarray(to_numpy(self.tau.data if isinstance(self.tau, Tensor) else self.tau))
            of = f"tau={tau.item():g}" if tau.size == 1 else f"tau=array {tau.shape}"
        else:
            of = f"neuron={type(self.neuron).__name__}"
        return self._text(f", {of}")
