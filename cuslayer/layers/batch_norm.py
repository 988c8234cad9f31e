"""Batch normalization of the weighted input of neurons, over time, samples and pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.sequences import Lengths, own, own_steps
from cuslayer._still import each_step_alone
from cuslayer._tape import (
    Gradient,
    Pullback,
    Tensor,
    as_tensor,
    differentiable,
    gradients,
    note_change,
    save_for_backward,
    wanted_dtype,
)
from cuslayer.backend import Array, Setting, namespace, numeric, to_numpy
from cuslayer.kernels.host.memory import count_elements
from cuslayer.kernels.norm.scaling import Scale, Scaling, applied, move
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.layers.base import Layer, Shape
from cuslayer.layers.fused import fire, fire_adjoint
from cuslayer.neurons.base import OnePass

SCALES = ("none", "power", "std")


class BatchNorm(Layer):
    """Batch normalization over time, between a layer and its neurons.

    With the mean m and the variance v of each channel over steps, samples and pixels of a batch::

        scale="none"     y = x - m
        scale="power"    y = height (x - m) / 2^ceil(log2 sqrt(v + eps))
        scale="std"      y = height (x - m) / sqrt(v + eps)

    ``trained=True`` replaces the height by a trained gain for each channel, and adds an offset. In a padded batch,
    steps after the end of a recording do not count. Evaluation uses the running m and v, which each training batch
    updates: ``m += momentum (m_batch - m)``. "none" and "power" suit neuromorphic hardware: a mean is a bias of the
    neuron, and a power of two a shift. The gradient goes through mean and variance, and treats the power of two as a
    constant. For threshold-dependent normalization, set the height to a multiple of theta.

    The mean suits input that is rarely 0, such as images as a constant current. Where sparse spikes reach neurons with
    a long response, it is a constant current in silent places, which the response sums up: half of the channels then
    fire whatever comes in. For spikes take ``center=False``, as `diagnose` advises, with m = 0 and v the mean square:
    no channel gets a current without input, and in evaluation the layer is a factor of each channel.

    Args:
        features: the number of channels, the last axis of x.
        scale: "none", "power" or "std".
        height: the standard deviation of the output for "std"; the factor for "power".
        trained: whether gain and offset are trained.
        momentum: the weight of a batch in the running mean and variance.
        eps: constant that is added to the variance.
        mean_hook: a function that maps the mean (C,) before its subtraction, such as
            ``functools.partial(cs.functions.quantize, step=2)``; None for none.
        exponents: the smallest and the largest exponent of "power".
        center: whether to subtract the mean. Without it there is no offset, either.

    Attributes:
        mean: (features,), the running mean, not trained; 0 without `center`.
        var: (features,), the running variance, or without `center` the running mean square, not trained.
        gain: (features,); None unless trained.
        offset: (features,); None unless trained and centered.

    Raises:
        ValueError: a size or a constant is out of range, scale is unknown, or without `center` nothing is scaled or
            there is a mean_hook.
        TypeError: an argument has the wrong type.

    Source: Ioffe and Szegedy 2015 (arXiv 1502.03167); over time with the threshold as height: Zheng et al. 2021 (arXiv
    2011.05280); mean alone and powers of two: lava-dl; the mean square in place of the variance: Zhang and Sennrich
    2019 (arXiv 1910.07467).

    >>> import numpy as np
    >>> norm = BatchNorm(1, scale="none")
    >>> norm(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)).data.ravel().tolist()
    [-1.0, 0.0, 1.0]
    """

    keeps_shape = keeps_steps = True
    tensors = ("gain", "offset")
    state_numbers = ("height",)
    memory = 0
    form = "norm"
    normalizes = of_batch = True

    def __init__(
        self,
        features: int,
        *,
        scale: str = "std",
        height: float = 1.0,
        trained: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
        mean_hook: Callable[[Tensor], Tensor] | None = None,
        exponents: tuple[int, int] = (-8, 8),
        center: bool = True,
    ) -> None:
        self.features = check.integer("features", features, least=1)
        self.scale = check.one_of("scale", scale, SCALES)
        self.height, self.eps = check.constant("height", height), check.constant("eps", eps)
        self.momentum = check.fraction("momentum", momentum)
        if mean_hook is not None and not callable(mean_hook):
            raise check.mistyped("mean_hook", "must be callable", mean_hook)
        rule = "must be (least, most)"
        least, most = (check.number("exponents", exponent) for exponent in check.two("exponents", exponents, rule))
        if least > most:
            raise check.refusal("exponents", rule, exponents, exponents)
        self.center = check.flag("center", center)
        if not center and scale == "none":
            raise ValueError(
                'scale must be "std" or "power" with center=False, got "none": nothing would be normalized'
            )
        if not center and mean_hook is not None:
            raise ValueError("mean_hook must be None with center=False: there is no mean to subtract")
        count_elements((self.features,))
        self.trained, self.mean_hook, self.exponents = check.flag("trained", trained), mean_hook, exponents
        self.mean, self.var = Tensor(np.zeros(features, np.float32)), Tensor(np.ones(features, np.float32))
        self.gain = Tensor(np.full(features, height, np.float32), requires_grad=True) if trained else None
        offset = trained and center
        self.offset = Tensor(np.zeros(features, np.float32), requires_grad=True) if offset else None

    @property
    def scalable(self) -> bool:
        return True

    def usual_scale_of(self, gains: Collection[float]) -> bool:
        return True

    def scale_output(self, factor: float) -> None:
        """Multiply the output by a factor; with scale="none" the running mean, since the input has the factor."""
        if self.scale == "none" and self.gain is None:
            self.mean.data *= self.mean.dtype.type(factor)
            return
        self.height *= factor
        for parameter in (self.gain, self.offset):
            if parameter is not None:
                parameter.data = parameter.data * parameter.dtype.type(factor)

    def observe(self, x: Any) -> None:
        """Set the running mean and variance to the statistics of x (T, N, ..., features).

        Raises:
            ValueError: x is empty.
        """
        data = numeric(own(as_tensor(x)))
        if not data.size:
            raise ValueError(f"x must hold a number, got shape {data.shape}")
        for running, statistic in zip((self.mean, self.var), self._measured(data, None), strict=True):
            note_change(running)
            running.data[...] = statistic.astype(running.dtype)

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        """Return the normalized input, of x's shape, (T, N, ..., features).

        Raises:
            ValueError: x has another number of channels.
        """
        return self._operate(_batch_norm, x)

    def fire(self, x: Any, neurons: OnePass) -> Tensor:
        """Return the spikes of neurons after the layer, computed in one pass."""
        return self._operate(_norm_neuron, x, **neurons._asdict())

    def fixed_map(self, weight: Array) -> Array | None:
        """Return centre, factor and addend of each channel in evaluation, (3, features) on the CPU.

        None if the weight before the layer has another type or number of outputs.
        """
        if weight.dtype != self.mean.dtype or weight.shape[-1] != self.features:
            return None
        centre = self.mean if self.mean_hook is None else as_tensor(self.mean_hook(self.mean))
        mean, var, middle = (to_numpy(p.data) for p in (self.mean, self.var, centre))
        gain, offset = (None if p is None else to_numpy(p.data) for p in (self.gain, self.offset))
        return np.stack(applied(Scale(mean, var, middle, gain, offset, self._scaling))[:3])

    @property
    def _scaling(self) -> Scaling:
        return Scaling(self.scale, self.height, self.eps, self.exponents)

    def _operate(self, operation: Callable[..., Tensor], x: Any, **options: Any) -> Tensor:
        """Return an operation of the input, the trained tensors and the layer."""
        x = as_tensor(x)
        check.time_first("x", x, least_dimensions=3)
        self.output_shape(x.shape[2:])
        check.fits("x", x.stored, self.mean.dtype)
        affine = [p for p in (self.gain, self.offset) if p is not None]
        explained = self.mean.requires_grad and not self.training
        lengths = x.lengths if self.training and x.size else None
        return operation(x, *affine, *([self.mean] if explained else []), norm=self, lengths=lengths, **options)

    def _measured(self, x: Array, running: tuple[Array, Array] | None) -> tuple[Array, Array]:
        """Return mean and variance of a batch, without centering 0 and the mean square; move the running ones."""
        if self.center:
            statistics: tuple[Array, Array] = kernels.of(x).norm.statistics(x, running, self.momentum)
            return statistics
        mean, var = kernels.of(x).norm.statistics(x, None, self.momentum)
        square = var + mean * mean
        if running is not None:
            move(running[1], square, self.momentum)
        return namespace(x).zeros_like(mean), square

    def _statistics(self, x: Array) -> tuple[Array, Array]:
        """Return mean and variance of a batch; update the running ones, or call the function of `take_statistics`."""
        take = _taken_by.get()
        for running in () if take else (self.mean, self.var):
            note_change(running)
        mean, var = self._measured(x, None if take else (self.mean.data, self.var.data))
        if take:
            take(self, x.size // self.features, mean, var)
        return mean, var

    def move(self, mean: Array, var: Array) -> None:
        """Move the running mean and variance towards a batch's mean and variance, (features,) each."""
        for running, found in ((self.mean, mean), (self.var, var)):
            note_change(running)
            move(running.data, found, self.momentum)

    def for_sample(self, x: Tensor, sample: slice) -> Callable[..., Tensor]:
        return self._fixed(x) if self.training and x.size else self

    def of_silence(self, x: Tensor) -> Array:
        """Return the output (features,) for an input of 0, by the statistics of x (T, N, ..., features)."""
        fixed = self._fixed(x)
        return fixed(fixed.mean.data[None, None] * 0).data[0, 0]

    def _fixed(self, x: Tensor) -> BatchNorm:
        """Return the layer in evaluation with the statistics of x."""
        fixed = copy.copy(self)
        fixed.training = False
        # The copy shares its tensors with the layer: an assignment would set their values.
        vars(fixed).update(mean=Tensor(self.mean.data.copy()), var=Tensor(self.var.data.copy()))
        fixed.observe(x)
        return fixed

    def uncentered(self) -> BatchNorm:
        """Return the layer with ``center=False``; it has the same gain tensor, and the running mean square."""
        changed = copy.copy(self)
        changed.center = False
        changed.mean_hook = None
        changed.offset = None
        changed.mean = Tensor(self.mean.data * 0)
        changed.var = Tensor(self.var.data + self.mean.data * self.mean.data)
        return changed

    def constants(self) -> list[Tensor]:
        return [p for p in (self.mean, self.offset) if p is not None]

    def continued(self) -> Callable[..., Any] | None:
        # Training takes mean and variance over all steps.
        return None if self.training and type(self).__call__ is BatchNorm.__call__ else super().continued()

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape and shape[-1] != self.features:
            raise ValueError(f"x must have {self.features} channels, got {shape[-1]}")
        return shape

    def __repr__(self) -> str:
        scale = "" if self.scale == "std" else f", scale={self.scale!r}"
        centered = "" if self.center else ", center=False"
        return f"BatchNorm({self.features}{scale}{centered}{', trained=True' if self.trained else ''})"


@differentiable
def _batch_norm(x: Array, /, *given: Array, norm: BatchNorm, lengths: Lengths | None) -> tuple[Array, Pullback]:
    """Return x normalized by its own statistics in training, else by the running ones."""
    return _of_own_steps(x, given, norm, lengths)


@differentiable
def _norm_neuron(
    x: Array,
    /,
    *given: Array,
    norm: BatchNorm,
    lengths: Lengths | None,
    spiking: StepSpiking,
    constants: tuple[Array, ...],
) -> tuple[Array, Pullback]:
    """Return the spikes of neurons after the layer."""
    x = numeric(x)
    k = kernels.of(x)
    fused = k.fused.norm_kernels(x) if lengths is None and x.dtype == norm.mean.dtype else None
    placed = spiking.placed(constants, x, x.shape[2:])
    if fused:
        keep = wanted_dtype(x.dtype)
        run = partial(fused.norm_neuron, x, constants=placed, spiking=spiking, keep=keep)
        (u, s), back = _normalized(x, given, norm, run, overwrite=True)
    else:
        y, back = _of_own_steps(x, given, norm, lengths)
        u, s = fire(k, y, len(x), placed, spiking)
    potential = save_for_backward(k, u)

    def pullback(g: Array) -> list[Gradient]:
        return back(fire_adjoint(k, g, potential(), len(x), placed, spiking))

    return s, pullback


def _of_own_steps(x: Array, given: tuple[Array, ...], norm: BatchNorm, lengths: Lengths | None) -> tuple[Array, Any]:
    """Return x normalized, with its pullback; with lengths, only steps before the end of a recording count."""
    x = numeric(x)
    k = kernels.of(x).norm
    if lengths is None:
        return _normalized(x, given, norm, lambda scale: k.forward(x, scale))
    xp = namespace(x)
    kept = own_steps(lengths, len(x), xp)
    own_x = x[kept][:, None]
    of_own, back = _normalized(own_x, given, norm, lambda scale: k.forward(own_x, scale))
    y = xp.zeros(x.shape, of_own.dtype)
    y[kept] = of_own[:, 0]

    def pullback(g: Array) -> list[Gradient]:
        first, *rest = back(g[kept][:, None])
        of_x = xp.zeros(x.shape, g.dtype)
        of_x[kept] = (first() if callable(first) else first)[:, 0]
        return [of_x, *rest]

    return y, pullback


def _normalized(
    x: Array, given: tuple[Array, ...], norm: BatchNorm, run: Callable[[Scale], Any], *, overwrite: bool = False
) -> tuple[Any, Callable[[Array], list[Any]]]:
    """Return the first result of `run` for x (T, N, ..., features), and the pullback of the normalization.

    The second result of `run` are the numbers for the gradients. With `overwrite`, the pullback may overwrite what it
    gets.
    """
    trained = sum(parameter is not None for parameter in (norm.gain, norm.offset))
    k = kernels.of(x).norm
    of_batch = norm.training and x.size > 0
    through_hook: Callable[[Array], Array] | None = None
    mean, var = norm._statistics(x) if of_batch else (norm.mean.data, norm.var.data)
    centre = mean
    gain = given[0] if trained else None
    offset = given[1] if trained == 2 else namespace(x).zeros_like(centre) if trained else None
    scaling = norm._scaling
    if norm.mean_hook is not None:
        leaf = Tensor(mean, requires_grad=True)
        hooked = norm.mean_hook(leaf)
        centre = hooked.data
        through_hook = partial(_of_mean, hooked, leaf)
    elif not norm.center:
        through_hook = _no_gradient
    y, numbers = run(Scale(mean, var, centre, gain, offset, scaling))

    def pullback(g: Array) -> list[Any]:
        back = partial(k.adjoint, overwrite=overwrite)
        of_x, of_mean, *affine = back(g, x, numbers, gain, scaling, of_batch, through_hook)
        return [of_x, *affine[:trained], of_mean][: 1 + len(given)]

    return y, pullback


def _no_gradient(of_centre: Array) -> Array:
    """Return the gradient of a mean that is 0 whatever the batch."""
    return cast(Array, namespace(of_centre).zeros_like(of_centre))


def _of_mean(hooked: Tensor, leaf: Tensor, g: Array) -> Array:
    """Return the gradient of a mean from the gradient g of the hooked mean."""
    found = gradients(hooked, [leaf], g)[0] if hooked.requires_grad else None
    return g * 0 if found is None else found


Take = Callable[[BatchNorm, int, Array, Array], None]
# The function that gets a batch's statistics in place of the layer's `move`.
_taken_by: Setting[Take | None] = Setting(None)


def take_statistics(call: Take) -> AbstractContextManager[None]:
    """Within the block, and its thread, call a function in place of updating the running statistics of `BatchNorm`.

    Training by micro-batches then updates them once per batch.

    >>> import numpy as np
    >>> norm, found = BatchNorm(1), []
    >>> with take_statistics(lambda layer, *statistics: found.append(statistics)):
    ...     y = norm(np.array([1.0, 3.0]).reshape(2, 1, 1))
    >>> found, float(norm.mean.data[0])
    ([(2, array([2.]), array([1.]))], 0.0)
    """
    return _taken_by.set(call)
