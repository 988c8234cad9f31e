"""Recurrent populations: neurons with a layer from their spikes back to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import Any, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import (
    Gradient,
    Pullback,
    Tensor,
    as_tensor,
    differentiable,
    grad_enabled,
    gradients,
    no_grad,
    save_for_backward,
    takes_deferred,
    takes_packed,
)
from cuslayer.backend import Array, Setting, namespace, to_device, to_numpy
from cuslayer.kernels import Kernels
from cuslayer.kernels.constants import Product, side_by_side
from cuslayer.kernels.recurrent.constants import Geometry, lags_of
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.time.delay.steps import whole_steps
from cuslayer.layers.base import Layer, Shape, names_in, only_once, set_usual_step
from cuslayer.layers.conv import Conv
from cuslayer.layers.delay import shift
from cuslayer.layers.dense import Dense
from cuslayer.layers.fused import received
from cuslayer.layers.synaptic_delay import MOST_LAGS, lagged
from cuslayer.neurons.base import Neuron, StepByStep, as_neuron, is_usual
from cuslayer.neurons.dynamics import of_constants, with_columns
from cuslayer.neurons.states import PopulationStates

_KINDS = "SRM, or neurons that are written as a step, with spikes of 1"
# Typical potentials, in thresholds: normal, with the deviation at which `calibrate` starts its search.
_AT_WORK = np.array([NormalDist(0.0, 0.5).inv_cdf((i + 0.5) / 64) for i in range(64)])
# The gain of the loop at which errors keep their size, below 1, since the surrogate differs from step to step. Then the
# maximum of recurrent input: the potential's deviation for spikes in all steps, in thresholds, and the recurrent
# input's deviation, in deviations of the input from the layer before.
_GAIN, _LOUDEST, _SHARE = 0.9, 0.5, 2.0
# The default scale of the surrogate: at 1, one optimizer step already unbalances the loop. Errors of the exact gradient
# grow less, since it includes the reset: there the surrogate is higher, and narrow.
_SCALE = 0.1
_EXACT_SCALE = 0.3
_EXACT_WIDTH = 0.5
# Errors propagate through _STEPS steps of up to _SAMPLES samples, fewer in large populations, which _PRODUCTS limits.
# Blocks of _BLOCK steps at both ends are compared.
_STEPS, _SAMPLES, _PRODUCTS, _BLOCK = 1000, 8, 1 << 28, 20
# The search for a scale halves its step _HALVINGS times, from a factor of 4.
_HALVINGS = 8

# The function that backward calls with a population and the errors of its weighted input (T, N, ...), or None.
on_errors: Setting[Callable[[Any, Array], None] | None] = Setting(None)


@differentiable
@takes_packed
@takes_deferred
@check.operation
def recurrent(
    x: Array,
    weight: Array,
    /,
    *given: Array,
    spiking: StepSpiking,
    delay: int = 1,
    geometry: Geometry | None = None,
    fixed: Sequence[Array] = (),
    states: PopulationStates | None = None,
    trained: bool = False,
    noted: Callable[[Array], None] | None = None,
) -> tuple[Array, Pullback]:
    """Return the spikes of neurons that also receive their own earlier spikes through weights.

    ::

        z[t] = x[t] + sum over lags l of W[l] s[t - delay - l]
        s[t] = the neurons' spikes for the weighted input z

    Backward goes back in time. The gradient of a spike is ``g_s[t] + sum over l of W[l]' g_z[t + delay + l]``, and g_z
    is the gradient of the weighted input z. Then ``g_x = g_z``, and ``g_W[l] = sum of s[t - delay - l, n] g_z[t, n]'``
    over t and n.

    Args:
        x: (T, N, ...), the weighted input from other layers, float32 or float64.
        weight: (lags neurons, neurons) of a dense layer, lag 0 first; or (kh, kw, C / groups, C) of a convolution.
        given: constants that differ between neurons, such as decays; each broadcasts to the neurons.
        spiking: the kind of neuron and its constants, the attribute `spiking` of neurons.
        delay: the number of steps, at least 1, after which a spike reaches its own population through lag 0.
        geometry: the geometry of a convolution that keeps the frame; None for a dense layer.
        fixed: these constants as host arrays instead; they have no gradients.
        states: the state between calls; None to begin with the states' start.
        trained: whether these constants have gradients.
        noted: a function that backward calls with the gradient of x, or None.

    Returns:
        Spikes of x's shape, boolean.

    Raises:
        ValueError: x is not (T, N, ...), the weight or the constants do not fit its neurons, or x is not as in the last
            call.
        TypeError: x is not floating.

    >>> import numpy as np
    >>> from cuslayer.neurons import LIF
    >>> x = np.zeros((5, 1, 2)); x[0, 0, 0] = 1.0
    >>> spiking, keeps = LIF(tau=1.0).step_by_step
    >>> ring = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> recurrent(x, ring, *keeps.values(), spiking=spiking).data[:, 0].astype(int).tolist()
    [[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    """
    check.weighted_input("x", x)
    check.floating("weight", weight)
    k, shape, dtype = kernels.of(x), x.shape, x.dtype
    _check_weight(weight.shape, shape[2:], geometry)
    constants = side_by_side(spiking.labels, given or fixed, x, x.shape[2:])
    lags = lags_of(weight, geometry)
    longest = delay + lags - 1
    if states is None and any(spiking.kind.start):
        states = PopulationStates()
    held = None if states is None else states.begin(x, spiking, longest)
    earlier = None if held is None else (held.last_spikes(longest), held.states.copy(), held.steps)
    w, saves = check.as_type("weight", weight, dtype), spiking.saved(trained) if grad_enabled() else ()
    u, s, more = k.recurrent.forward(x, w, spiking, constants, delay, geometry, held, saves)
    potential, rows = save_for_backward(k, u), (shape[0] * shape[1], math.prod(shape[2:]))

    def pullback(g: Array) -> tuple[Gradient, ...]:
        g = received(g, (rows[0], *shape[2:]), dtype, deferred=k is kernels.cpu)
        g, u, late = g if isinstance(g, Product) else g.reshape(shape), potential(), min(delay, shape[0])
        after: dict[str, Any] = {}
        if states is not None and earlier is not None:
            after = {"states": earlier[1], "start": earlier[2], "later": states.end(k, u, spiking, longest)}
        errors, sums = k.recurrent.adjoint(g, u, more, w, spiking, constants, delay, geometry, trained=trained, **after)
        y = errors[: shape[0]]
        if noted is not None:
            noted(y)

        def of_weight() -> Array:
            if lags == 1 and earlier is None and geometry is None and isinstance(s, PackedSpikes):
                # Rows of 0 follow the last error.
                of_bits: Array = k.dense.weight_adjoint(s.reshape(*rows), errors[late:].reshape(rows))
                return of_bits
            if lags == 1 and earlier is None:
                return _weight_adjoint(k, s[: shape[0] - late], y[late:], w, geometry)
            now, kept = s.unpack() if isinstance(s, PackedSpikes) else s, (longest, *shape[1:])
            before = namespace(now).zeros(kept, bool) if earlier is None else earlier[0].reshape(kept)
            sent = namespace(now).concatenate([before, now], axis=0)
            if lags > 1:
                sent = lagged(sent.reshape(len(sent), shape[1], w.shape[1]), lags=lags).data[lags - 1 :]
            return _weight_adjoint(k, sent[: shape[0]], y, w, geometry)

        of_given = (of_constants(found, each, shape) for found, each in zip(sums, given, strict=True))
        return y, of_weight, *(of_given if trained else (None for _ in given))

    # Packed images have a line for each row.
    return s.unpack() if isinstance(s, PackedSpikes) and len(shape) == 5 else s, pullback


def _check_weight(shape: Shape, neurons: Shape, geometry: Geometry | None) -> None:
    """Raise ValueError unless a weight of a shape goes from neurons of a shape to themselves."""
    count = math.prod(neurons)
    if geometry is None:
        if len(shape) != 2 or shape[1] != count or not shape[0] >= count or shape[0] % max(count, 1):
            raise ValueError(f"weight must be ({count}, {count}) for x's neurons {neurons}, got {shape}")
        return
    fits = len(shape) == 4 and len(neurons) == 3 and shape[3] == neurons[2] == shape[2] * geometry.groups
    if not fits or geometry.window.outputs(neurons[:2], ceil=False) != neurons[:2]:
        raise ValueError(f"a convolution must keep the frames {neurons} of x, got weight {shape}")


def _weight_adjoint(k: Kernels, s: Array, y: Array, w: Array, geometry: Geometry | None) -> Array:
    """Return the gradient of the weight for the spikes s that reached the weighted inputs with the errors y."""
    frames = s.shape[0] * s.shape[1]
    sent_as, got_as = ((each,) for each in w.shape) if geometry is None else (s.shape[2:], s.shape[2:])
    sent, errors = k.spikes.synapse_input(s.reshape(frames, *sent_as)), y.reshape(frames, *got_as)
    found: Array = (
        k.dense.weight_adjoint(sent, errors)
        if geometry is None
        else k.conv.weight_adjoint(sent, errors, *geometry, s.shape[0])
    )
    return found


def _for_the_loop(neuron: Neuron) -> Neuron:
    """Return neurons with the gradient and the surrogate of a loop, where nobody chose them."""
    defaults: dict[str, Any] = {"gradient": "exact"} if is_usual(neuron, "gradient") else {}
    exact = "exact" in (neuron.gradient, defaults.get("gradient"))
    if exact and is_usual(neuron, "scale_rho", "tau_rho"):
        defaults |= {"scale_rho": _EXACT_SCALE, "tau_rho": _EXACT_WIDTH}
    elif is_usual(neuron, "scale_rho"):
        defaults["scale_rho"] = _SCALE
    return replace(neuron, **defaults) if defaults and is_dataclass(neuron) else neuron


def _of_neuron(name: str) -> Any:
    """Return a property that is an attribute of the neurons of a `Recurrent`."""
    return property(lambda self: getattr(self.neuron, name))


class Recurrent(Layer, Neuron):
    """Neurons that also receive their own earlier spikes, through a layer: ``z[t] = x[t] + W s[t - n]``, n the delay.

    It takes the place of neurons; its input x is the weighted input of the layer before. Networks, records and
    explanations treat it as neurons with one more source of weighted input: themselves. See `functions.recurrent`, also
    for the gradients.

    A layer without its own weight_scale gets other initial weights, with which errors keep their size through time.
    They are orthogonal; in a convolution they are random and equally large::

        W = min(0.9 / (D max |H|), theta / (2 |h|)) Q             Q orthogonal

    D is the mean of ``dt rho(u)``, for potentials around 0 with a deviation of ``theta / 2``. H is the frequency
    response of the potential to a weighted input, and ``|h|`` the Euclidean norm of its response in time. The first
    bound keeps the size of errors: each pass round the loop multiplies an error by ``|e| D |H|``, e an eigenvalue of W.
    The second, which applies with the default scale_rho, limits the recurrent input. See `balance` for real input.

    Where you did not choose them, the neurons get other defaults here. gradient is "exact", except of SRM: a loop
    amplifies the errors of "slayer". scale_rho is 0.3 and tau_rho 0.5 with the exact gradient, unless you chose
    tau_rho, and scale_rho is 0.1 else: with a lower surrogate the weights W are larger, and an optimizer step changes
    the loop less.

    Args:
        layer: a `Dense` layer with as many outputs as inputs, whose `delays`, if any, add to delay; or a `Conv` that
            keeps the frame and its channels.
        neuron: SRM or a `StepNeuron`, such as LIF, or a subclass with the same equations. Its spikes are 1.
        delay: the time until a spike reaches its own population, ms, in whole steps, rounded down; by default one step.

    Attributes:
        layer: the layer.
        neuron: the neurons.
        delay: ms.

    Raises:
        TypeError: layer is neither `Dense` nor `Conv`, or the neurons cannot run step by step.
        ValueError: the layer does not go from a population to itself or has a bias, or delay is less than a step,
            or 65,536 steps or more.

    >>> import numpy as np
    >>> from cuslayer.neurons import LIF
    >>> population = Recurrent(Dense(3, 3), LIF(tau=1.0), delay=2.0)
    >>> population.layer.weight.data[:] = 2.0 * np.eye(3)[[1, 2, 0]]
    >>> x = np.zeros((5, 1, 3)); x[0, 0, 0] = 1.0
    >>> population(x).data[:, 0].astype(int).tolist()
    [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    """

    keeps_shape = keeps_steps = True
    form = "recurrent"

    theta, dt, gradient, period, peak = map(_of_neuron, ("theta", "dt", "gradient", "period", "peak"))
    parts, response, refractory, filter = map(_of_neuron, ("parts", "response", "refractory", "filter"))
    width, highest_rate, pool_gain = map(_of_neuron, ("width", "highest_rate", "pool_gain"))
    surrogate, fires, parts_at, parts_of = map(_of_neuron, ("surrogate", "fires", "parts_at", "parts_of"))
    weight_scale, axon_delay, max_delay = map(_of_neuron, ("weight_scale", "axon_delay", "max_delay"))

    def __init__(self, layer: Dense | Conv, neuron: Neuron, *, delay: float | None = None) -> None:
        self.layer = layer
        self.neuron = _for_the_loop(as_neuron(neuron))
        self._check_layer()
        if self.neuron.step_by_step is None:
            raise TypeError(f"neuron must be {_KINDS}, got {check.one_line(neuron)}")
        self.delay = self.dt if delay is None else check.positive("delay", delay)
        if self.delay / self.dt >= MOST_LAGS:
            raise ValueError(f"delay must be under {MOST_LAGS:,} steps of {self.dt:g} ms, got {self.delay:g}")
        self.steps = int(whole_steps(self.delay, self.dt)[0])
        if self.steps < 1:
            raise ValueError(f"delay must be at least a step of {self.dt:g} ms, got {self.delay:g}")
        self._states = PopulationStates() if getattr(neuron, "stateful", False) else None
        if self.layer.as_drawn and not (self.layer.own_scale or self.layer.drawn_again):
            self._draw_weight()

    def _check_layer(self) -> None:
        layer = self.layer
        kind = next((kind for kind in (Dense, Conv) if isinstance(layer, kind)), None)
        if kind is None or type(layer).__call__ is not kind.__call__:
            raise check.mistyped("layer", "must be Dense or Conv", layer)
        if isinstance(layer, Dense):
            fits = math.prod(layer.in_features) == layer.out_features
        else:
            kept = [2 * p == d * (n - 1) for p, d, n in zip(*layer.window[2:], layer.kernel_size, strict=True)]
            fits = layer.in_channels == layer.out_channels and layer.stride == (1, 1) and all(kept)
        if not fits:
            raise ValueError(f"layer must go from a population to itself, got {layer!r}")
        if isinstance(layer, Conv) and layer.delays is not None:
            raise ValueError(f"layer must be Dense to have delays of its synapses, got {layer!r}")
        set_usual_step(layer, {self.dt})
        if layer.delays is not None and layer.delays.dt != self.dt:
            raise ValueError(f"the layer's delays must have the neuron's dt, {self.dt:g}, got {layer.delays.dt:g}")
        if layer.bias is not None:
            raise ValueError(f"layer must have no bias, the layer before it may have one, got {layer!r}")

    def _usual_size(self) -> float | None:
        """Return the size of weights with which errors keep their size; None if it is unknown."""
        rho, response = self.neuron.surrogate(_AT_WORK * self.theta), self.response
        largest = abs(np.fft.rfft(response, max(len(response), 1 << 12))).max()
        gain = 0.0 if rho is None else float(self.dt * np.mean(rho) * largest)
        loudest = _LOUDEST * abs(self.theta) / math.sqrt(np.square(response).sum())
        return min(_GAIN / gain, loudest) if gain > 0 else None

    def _size(self, weight: Array) -> float:
        """Return the size of weights; for orthogonal weights, this is their factor."""
        return math.sqrt(np.square(weight, dtype=np.float64).mean() * self._fan_in)

    @property
    def _fan_in(self) -> int:
        return math.prod(self.layer.weight.shape[:-1])

    def _draw_weight(self) -> None:
        """Make the initial weight orthogonal, or equally large in a convolution, so that errors keep their size."""
        size = self._usual_size()
        if size is None:
            return
        drawn = to_numpy(self.layer.weight.data).astype(np.float64)
        if isinstance(self.layer, Dense):
            q, r = np.linalg.qr(drawn)
            self.layer.draw_again(size * q * np.sign(np.diag(r)))
        else:
            self.layer.draw_again(drawn * size / self._size(drawn))

    @property
    def own_layer(self) -> Any:
        """The layer."""
        return self.layer

    def growth(self, x: Tensor) -> float:
        """Return the factor by which an error grows from the last of 1,000 steps back to the first; a median.

        Args:
            x: the weighted input (T, N, ...) of the layer before; a shorter one is repeated.
        """
        return self._followed(x)[0]

    def _followed(self, x: Tensor) -> tuple[float, float]:
        """Return the growth of an error, and the deviation of the recurrent input in deviations of x."""
        given, lengths = as_tensor(x).data, as_tensor(x).lengths
        products = _STEPS * math.prod(given.shape[2:]) ** 2
        samples = max(1, min(_SAMPLES, _PRODUCTS // max(products, 1)))
        if lengths is not None:  # the longest samples, without padding
            longest = np.argsort(-lengths, kind="stable")[:samples]
            given = given[: lengths[longest[-1]], longest]
        given = given[:_STEPS, :samples]
        xp, count = namespace(given), -(-_STEPS // max(len(given), 1))
        leaf = Tensor(xp.concatenate([given] * count, axis=0)[:_STEPS], requires_grad=True)
        g = np.zeros(leaf.shape, leaf.dtype)
        g[-_BLOCK:] = np.random.default_rng(0).standard_normal(g[-_BLOCK:].shape)
        with no_grad(False), np.errstate(over="ignore", invalid="ignore"):
            spikes = self._operate(leaf, None)
            found = to_numpy(gradients(spikes, [leaf], to_device(g))[0])
            ends = [np.square(part, dtype=np.float64) for part in (found[:_BLOCK], found[-_BLOCK:])]
            first, last = (part.sum(axis=(0, *range(2, part.ndim))) for part in ends)
            ratio = np.sqrt(first / np.maximum(last, 1e-300))
            growth = float(np.median(np.where(np.isnan(ratio), np.inf, ratio)))
        back, deviation = to_numpy(self.recurrence(spikes.detach()).data), to_numpy(leaf.data).std()
        return growth, float(back.std() / max(deviation, 1e-30))

    def balance(self, x: Tensor) -> None:
        """Scale the layer so that errors keep their size, see `growth`, for the weighted input x (T, N, ...).

        The recurrent input gets at most twice the deviation of x: with a very low surrogate errors may fade. If no
        scale within a factor of 16 fits, the default scale stays. Then errors grow in the neurons themselves, as they
        may with ``gradient="exact"`` and a wide surrogate.
        """
        usual, now = self._usual_size(), self._size(to_numpy(self.layer.effective_weight().data))
        if usual is not None and now:
            self.layer.scale_output(usual / now)
        steps = [2.0 ** (1 - number) for number in range(_HALVINGS if as_tensor(x).size else 0)]
        total = 0.0
        for step in steps:
            growth, share = self._followed(x)
            change = step if growth <= 1.0 and share <= _SHARE else -step
            self.layer.scale_output(2.0**change)
            total += change
        if abs(total) == sum(steps):
            self.layer.scale_output(2.0**-total)

    @property
    def scalable(self) -> bool:
        """Whether `calibrate` scales it like a layer: no, it is neurons."""
        return False

    def _first_parameters(self) -> dict[str, Tensor]:
        return only_once(names_in("neuron", self.neuron))

    def recurrence(self, spikes: Tensor) -> Tensor:
        """Return the weighted input from the neurons' own spikes (T, N, ...), ``W s[t - n]``."""
        sent = self.layer(shift(spikes, delay=self.delay, dt=self.dt))
        return sent.reshape(as_tensor(spikes).shape)

    def returning(self, spikes: Tensor) -> Tensor:
        """Return the spikes (T, N, ...) that reach their own population within the T steps."""
        return spikes[: max(0, spikes.shape[0] - self.steps)]

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is not None:
            self.layer.output_shape(shape)
        return shape

    def partial_shape(self, shape: object) -> Any:
        if shape is not None:
            self.layer.partial_shape(shape)
        return shape

    def psp(self, x: TensorLike) -> Tensor:
        return self.neuron.psp(x)

    def with_step(self, dt: float) -> Neuron:
        neuron = self.neuron.with_step(dt)
        if neuron is self.neuron:
            return self
        if self.layer.as_drawn:
            self.layer.drawn_again = False
        # A default delay is one step.
        return Recurrent(self.layer, neuron, delay=None if self.delay == self.dt else self.delay)

    def with_gradient(self, mode: str) -> Recurrent:
        return Recurrent(self.layer, self.neuron.with_gradient(mode), delay=self.delay)

    def forget(self) -> None:
        """Reset stateful neurons: the next call begins anew."""
        if self._states is not None:
            self._states.values = None

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        if type(self).__call__ is not Recurrent.__call__:
            return super().continued()
        states = PopulationStates()
        # In training a hook may draw a weight for each chunk.
        weight = None if self.training else self._weight().detach()
        return lambda x: self._operate(x, states, None if grad_enabled() else weight)

    def _weight(self) -> Tensor:
        """Return the weight after its hooks, over lags if its synapses have delays."""
        weight: Tensor = self.layer.effective_weight()
        return weight if self.layer.delays is None else self.layer.delays.over_lags(weight)

    def _operate(self, x: Any, states: PopulationStates | None, weight: Tensor | None = None) -> Tensor:
        spiking, keeps = cast(StepByStep, self.neuron.step_by_step)
        geometry = None if isinstance(self.layer, Dense) else Geometry(self.layer.window, self.layer.groups)
        call = on_errors.get()
        noted = None if call is None else partial(call, self)
        options = {"spiking": spiking, "delay": self.steps, "geometry": geometry, "states": states, "noted": noted}
        weight = self._weight() if weight is None else weight
        return with_columns(recurrent, x, weight, columns=tuple(keeps.values()), **options)

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the spikes for the weighted input x (T, N, ...) of the layer before."""
        return self._operate(x, self._states)

    def __repr__(self) -> str:
        later = "" if self.delay == self.dt else f", delay={self.delay:g}"
        return f"Recurrent({self.layer!r}, {self.neuron!r}{later})"
