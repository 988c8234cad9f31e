"""`compare_gradients`: the gradients of a network and the measured change of its loss under perturbations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, as_tensor, gradients, no_grad
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.structure import check_loss, default_loss
from cuslayer.layers.base import Layer, form_of
from cuslayer.network.graph import INPUT, Address, GraphNode, finite_input
from cuslayer.network.join import on_gradient
from cuslayer.network.walk import Unit, Visit, Walk, check_network, eval_mode, units
from cuslayer.neurons.base import Neuron
from cuslayer.plot.style import axes, open_frame, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cuslayer.network.network import Container

MODES = ("slayer", "exact")
KINDS = ("shift", "add", "remove")
# Elements of the largest array of several trials at once: 64 MiB in float64.
_MOST = 2**23


@check.operation
def compare_gradients(
    net: Container,
    x: TensorLike,
    target: TensorLike,
    *,
    loss: Callable[..., Tensor] | None = None,
    perturbations: int = 32,
    step: float = 1e-4,
    seed: int = 0,
) -> GradientComparison:
    """Compare the slayer and the exact gradient of each layer with the measured change of the loss.

    A spike has no derivative. So this compares the change of the loss that each gradient predicts with the measured
    change in two ways: under small perturbations of a relaxed network, and changes of single spikes.

    **Small perturbations** of a weight or of the potentials, in the relaxed network. Its thresholds have a slope. With
    the potentials u0 and the spikes s0 of the network's run::

        s[t] = s0[t] + integral from u0[t] to u[t] of dt rho(v) dv
        u[t] = psp(W s)[t] + sum_{k>=1} nu[k] s[t-k]

    The integral of rho is the Laplace distribution times ``2 scale_rho``. The constant of integration for each neuron
    and step gives the unperturbed relaxed network the spikes s0. (Integrated from minus infinity, each silent neuron
    would have a fraction of a spike in every step.) The relaxed network runs in float64. ``+-step`` of their norm
    perturbs its weights along a random direction d. The measured change is the central difference
    ``(E(W + h d) - E(W - h d)) / 2h``, the predicted one the gradient along d. For potentials, ``+-step theta`` times a
    normal number is added to ``psp(W s)`` in each bin, and the prediction is the error on the potential along it. By
    the chain rule, the derivative of the relaxed network at the network's own weights is the recursion of the exact
    mode, ::

        g_u[t] = dt rho(u0[t]) (g_s[t] + sum_{k>=1} nu[k] g_u[t+k])

    so its cosine and its ratio are 1, up to rounding and the curvature within a step. The slayer mode lacks the path
    through refraction. A loss whose backward is not the derivative of its value shows here: `SpikeCountLoss` gives a
    count's error to the spikes through the spike response. So its gradient is about ``sum_k eps[k]`` times larger than
    the change of the loss, 27 times for a tau_sr of 10 steps. `SpikeTimeLoss` and `SpikeRateLoss` have the derivative.

    **Perturbations of single spikes**, in the network itself. One spike of a layer is shifted by a step, added or
    removed. The layers after it run again with their thresholds. The measured change of the loss is compared with the
    sum of the errors on the changed bins, each with its sign. This tests the error that reaches the spikes, and so the
    surrogates of all later layers. Most perturbations of a hidden layer change no other spike, and a few change the
    loss a lot: the gradient predicts their mean, and a cosine far from 1 is no fault of the code.

    `Loihi` has a single gradient mode: both columns are the same. Its relaxed form has no reset, as its gradient. The
    compared weight is the effective weight, after its hooks; a delay of whole steps is perturbed by one step. A layer
    at several places is perturbed at each separately. Custom functions between the layers must be smooth. Dropout is
    off, and the network does not change.

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input. One sample or a few are enough.
        target: the second argument of the loss.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassign`.
        perturbations: number of perturbations of each kind and layer. The cosine of a gradient that is not the
            derivative has an error of about ``1 / sqrt(perturbations)``.
        step: size of small perturbations, relative to the norm of the weight or to theta.
        seed: seed of the random perturbations.

    Returns:
        The comparison: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is not a network, loss is not a function, an argument is not a number, or neurons are neither SRM
            nor Loihi.
        ValueError: perturbations or step is out of range, x does not fit the network or is not finite, or the
            target does not fit the loss.

    Source: Shrestha and Orchard 2018, section 3.1, for the slayer mode; Bauer et al. 2022, arXiv 2205.10242, for the
    exact one.

    >>> from cuslayer.loss import SpikeTimeLoss
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> rng, srm = np.random.default_rng(0), SRM()
    >>> x, target = rng.random((50, 1, 6)) < 0.2, rng.random((50, 1, 2)) < 0.1
    >>> found = compare_gradients(Network("6-5-2", srm), x, target, loss=SpikeTimeLoss(srm))
    >>> weights = found[1, "weight"]
    >>> round(weights.cosine("exact"), 4), round(weights.ratio("exact"), 4)
    (1.0, 1.0)
    """
    check_network(net)
    check_loss(loss)
    count = check.integer("perturbations", perturbations, least=1)
    size = check.positive("step", step)
    data = finite_input("x", x)
    check.time_first("x", data)
    first_seed = check.integer("seed", seed, least=0)

    def loss_of(out: Tensor) -> Tensor:
        return (loss or default_loss(net, out, target))(out, target)

    rows: list[Comparison] = []
    with eval_mode(net):
        runs = [_Run(net, gradient, data, loss_of) for gradient in MODES]
        exact = runs[1]
        for unit in units(net):
            # Its own generator: the perturbations of a layer do not depend on the layers before it.
            rng = np.random.default_rng((first_seed, *unit.last.path))

            def add(perturbed: str, pair: list[Array], changes: _Changes, unit: Unit = unit) -> None:
                measured, (of_slayer, of_exact) = changes
                agreement = _cosine(*pair), _ratio(*pair)
                rows.append(Comparison(unit.address, unit.name, perturbed, measured, of_slayer, of_exact, agreement))

            if unit.layer is not None:
                at = unit.layer.number
                for name in _trained_tensors(exact.graph.nodes[at].stage):
                    pair = [run.gradients[at, name] for run in runs]
                    add(name, pair, _perturb_weights(exact, pair, at, name, count, size, rng))
            if unit.neurons is not None:
                at = unit.neurons.number
                pair = [run.potential_error[at] for run in runs]
                add("potential", pair, _perturb_potentials(exact, pair, at, count, size, rng))
                pair = [run.spikes_error[at] for run in runs]
                for kind in KINDS:
                    add(kind, pair, _perturb_spikes(exact, pair, at, kind, count, rng))
    return GradientComparison(tuple(rows), exact.loss)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Measured and predicted changes of the loss, for one layer and one kind of perturbation.

    Attributes:
        layer: the address of the neurons, or of a layer without neurons.
        name: the layer, as text.
        perturbed: what was perturbed: "weight" (or another parameter), "potential", or a spike: "shift", "add",
            "remove".
        measured: the measured changes, (k,): per unit length for small perturbations, total for spikes.
        slayer: the changes that the slayer gradient predicts, (k,).
        exact: the changes that the exact gradient predicts, (k,).
        agreement: the cosine and the ratio of the whole slayer gradient to the whole exact one; it does not depend on
            the perturbations.
    """

    layer: Address
    name: str
    perturbed: str
    measured: Array
    slayer: Array
    exact: Array
    agreement: tuple[float, float]

    def cosine(self, mode: str) -> float:
        """Return the cosine between predicted and measured changes, nan where either is all 0.

        1: the gradient is right up to its size. 0: it is unrelated to the change. Below 0: it has the wrong sign.

        Raises:
            ValueError: mode is neither "slayer" nor "exact".
        """
        return _cosine(self._predicted(mode), self.measured)

    def ratio(self, mode: str) -> float:
        """Return the ratio of the root mean squares of predicted and measured changes, nan if all measured are 0.

        The slope of measured over predicted changes is ``cosine / ratio``.

        Raises:
            ValueError: mode is neither "slayer" nor "exact".
        """
        return _ratio(self._predicted(mode), self.measured)

    @check.operation("compare_gradients")
    def _predicted(self, mode: str) -> Array:
        check.one_of("mode", mode, MODES)
        found: Array = getattr(self, mode)
        return found

    def __repr__(self) -> str:
        modes = ", ".join(f"{m} cosine {_shown(self.cosine(m))} ratio {_shown(self.ratio(m))}" for m in MODES)
        return f"Comparison({self.name}, {self.perturbed}: {len(self.measured)} perturbations, {modes})"


@dataclass(frozen=True, repr=False)
class GradientComparison:
    """The gradients of a network compared with the measured changes of its loss.

    ``comparison[layer, perturbed]`` is a `Comparison`, by the address of the neurons, or of a layer without neurons,
    and by the kind of perturbation.

    Attributes:
        rows: the comparisons, in the order of the layers.
        loss: the loss of the batch.
    """

    rows: tuple[Comparison, ...]
    loss: float

    @check.operation("compare_gradients")
    def __getitem__(self, key: tuple[Address, str]) -> Comparison:
        """Return the comparison of a layer and a kind of perturbation.

        Raises:
            ValueError: there is no such comparison.
        """
        for row in self.rows:
            if (row.layer, row.perturbed) == key:
                return row
        known = ", ".join(str((row.layer, row.perturbed)) for row in self.rows)
        raise ValueError(f"rows are {known}, got {key!r}")

    def __repr__(self) -> str:
        lines = [f"loss {self.loss:.4g}; cosine and ratio of a gradient to the measured change of the loss"]
        lines.append(f"  {'':10}{'':>6}{'slayer':>16}{'exact':>18}{'slayer to exact':>20}")
        before = None
        for row in self.rows:
            if row.layer != before:
                lines.append(row.name)
            before = row.layer
            pairs = [*((row.cosine(mode), row.ratio(mode)) for mode in MODES), row.agreement]
            numbers = "".join(f"{_shown(a):>9}{_shown(b):>9}" for a, b in pairs)
            lines.append(f"  {row.perturbed:10}{len(row.measured):6d}{numbers}")
        return "\n".join(lines)

    @check.operation
    def plot(self, ax: Axes | None = None, *, value: str = "cosine") -> Any:
        """Draw a pair of bars, slayer and exact, for each layer and kind of perturbation.

        Args:
            ax: matplotlib axes; by default of a new figure, `ax.figure`.
            value: "cosine", or "ratio" on a logarithmic axis. At 1 the prediction equals the measurement.

        Returns:
            The axes.

        Raises:
            ValueError: value is an unknown word.
            TypeError: ax is no Axes.
        """
        check.one_of("value", value, ("cosine", "ratio"))
        ax = axes(ax, (7.0, 0.8 + 0.28 * len(self.rows)))
        colors = palette(ax)
        of: Callable[[Comparison, str], float] = getattr(Comparison, value)
        for mode, shade, aside in zip(MODES, (colors.blue, colors.vermilion), (-0.2, 0.2), strict=True):
            sizes = [of(row, mode) for row in self.rows]
            known = [(at, size) for at, size in enumerate(sizes) if math.isfinite(size)]
            ax.barh([at + aside for at, _ in known], [s for _, s in known], height=0.38, color=shade, label=mode)
        ax.axvline(1.0, color=colors.faint, linewidth=1.0, linestyle="--")
        ax.set_yticks(range(len(self.rows)), [f"{row.layer} {row.perturbed}" for row in self.rows])
        ax.set_ylim(len(self.rows) - 0.5, -0.5)  # the first row on top, also on shared axes
        if value == "cosine":
            ax.set(xlabel="cosine to the measured change", xlim=(-1.05, 1.05))
        else:
            ax.set(xlabel="size, over that of the measured change", xscale="log")
        return open_frame(ax, legend=True)


def _shown(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _cosine(a: Array, b: Array) -> float:
    sizes = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.vdot(a, b)) / sizes if sizes else math.nan


def _ratio(a: Array, b: Array) -> float:
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(a)) / size if size else math.nan


# The measured changes of the loss under k perturbations, (k,), and each gradient's predictions.
_Changes: TypeAlias = "tuple[Array, list[Array]]"


def _perturb_weights(
    run: _Run, pair: list[Array], at: int, name: str, count: int, step: float, rng: Generator
) -> _Changes:
    """Perturb a parameter of a layer along random directions, in the relaxed network."""
    node = run.graph.nodes[at]
    layer, p = node.stage, _trained_tensors(node.stage)[name]
    inputs, start = [Tensor(run.outputs[number]) for number in node.inputs], p.data
    # A delay of whole steps keeps its dtype, which recognizes multiples of the step.
    least = layer.least_change(p)
    whole = least is not None
    size = least if least is not None else step * (float(np.linalg.norm(to_numpy(start))) or 1.0)

    def outputs(perturbations: list[Array]) -> Array:
        results = []
        try:
            with no_grad():
                for each in perturbations:
                    p.data = to_device(to_numpy(start) + each.astype(start.dtype if whole else np.float64))
                    results.append(to_numpy(node(*inputs).data))
        finally:
            p.data = start
        return np.stack(results, axis=1)

    return _central_differences(run, pair, at, outputs, count, size, rng, single=whole)


def _perturb_potentials(run: _Run, pair: list[Array], at: int, count: int, step: float, rng: Generator) -> _Changes:
    """Perturb the potentials of neurons along random directions, in the relaxed network."""
    size = step * run.graph.nodes[at].stage.theta * math.sqrt(max(run.outputs[at].size, 1))

    def outputs(perturbations: list[Array]) -> Array:
        return run.spikes(at) + run.relaxed[at].changes(np.stack(perturbations, axis=1))

    return _central_differences(run, pair, at, outputs, count, size, rng)


def _central_differences(
    run: _Run,
    pair: list[Array],
    at: int,
    outputs: Callable[[list[Array]], Array],
    count: int,
    size: float,
    rng: Generator,
    *,
    single: bool = False,
) -> _Changes:
    """Perturb by `size` along random directions of length 1, isotropic or along a single element each, both ways."""
    measured, predicted = np.zeros(0), np.zeros((len(pair), 0))
    at_once = max(1, run.trials_at_once(at) // 2)
    for first in range(0, count if pair[0].size else 0, at_once):
        directions = []
        for _ in range(min(at_once, count - first)):
            direction: Array = np.zeros(pair[0].shape)
            if single:
                direction.flat[rng.integers(direction.size)] = 1.0
            else:
                direction = np.asarray(rng.standard_normal(pair[0].shape))
            directions.append(direction / np.linalg.norm(direction))
        both = outputs([sign * size * direction for direction in directions for sign in (1.0, -1.0)])
        losses = np.array(list(run.losses(run.rerun(at, both))))
        measured = np.append(measured, (losses[::2] - losses[1::2]) / (2 * size))
        found = [[float(np.vdot(gradient, direction)) for direction in directions] for gradient in pair]
        predicted = np.append(predicted, found, axis=1)
    return measured, list(predicted)


def _perturb_spikes(run: _Run, pair: list[Array], at: int, kind: str, count: int, rng: Generator) -> _Changes:
    """Shift by a step, add or remove single spikes of neurons, and rerun the later stages with their thresholds."""
    spikes = to_numpy(run.outputs[at])
    steps, samples, *shape = spikes.shape
    neurons = math.prod(shape)
    flat = spikes.reshape(steps, samples * neurons)
    times, columns = _changed_bins(flat, kind, count, rng)
    change = 1.0 - 2.0 * flat[times, columns[:, None]]
    predicted = [(g.reshape(flat.shape)[times, columns[:, None]] * change).sum(axis=1) for g in pair]
    base = to_numpy(run.outputs[run.graph.output])
    sample, neuron = np.divmod(columns, max(neurons, 1))
    measured: list[float] = []
    batch_size = run.trials_at_once(at)
    for first in range(0, len(columns), batch_size):
        some = slice(first, first + batch_size)
        trial = np.arange(len(sample[some]))
        perturbed = spikes[:, sample[some]].reshape(steps, len(trial), neurons)
        perturbed[times[some], trial[:, None], neuron[some][:, None]] ^= True
        out = run.rerun(at, perturbed.reshape(steps, len(trial), 1, *shape), sample[some])
        outputs = np.repeat(base[:, None], len(trial), axis=1)
        outputs[:, trial, sample[some]] = out[:, :, 0]
        measured += [loss - run.loss for loss in run.losses(outputs)]
    return np.array(measured), predicted


def _changed_bins(spikes: Array, kind: str, count: int, rng: Generator) -> tuple[Array, Array]:
    """Return the bins of spikes (T, columns) that perturbations change: steps (k, 1 or 2) and the column of each."""
    # A shift swaps a spike with the empty bin before or after it.
    shift = kind == "shift"
    bins = np.flatnonzero(spikes[:-1] != spikes[1:] if shift else spikes == (kind == "remove"))
    if len(bins):
        bins = bins[rng.choice(len(bins), min(count, len(bins)), replace=False)]
    steps, columns = np.divmod(bins, max(spikes.shape[1], 1))
    return np.stack([steps, steps + 1], axis=1) if shift else steps[:, None], columns


def _copy_stage(stage: object, gradient: str) -> object:
    return stage.with_gradient(gradient) if isinstance(stage, Neuron) else _copy(stage, np.float64)


def _copy(value: object, dtype: npt.DTypeLike | None) -> object:
    """Return a layer in evaluation mode with copies of its tensors and layers, and its weight after the hook."""
    if isinstance(value, Tensor):
        return value if value.node is not None else Tensor(value.data.astype(dtype or value.dtype), requires_grad=True)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_copy(item, dtype) for item in value)
    if type(value) is dict:
        return {key: _copy(item, dtype) for key, item in value.items()}
    if not isinstance(value, Layer) or hasattr(value, "over_lags"):
        return value
    layer: Any = copy.copy(value)
    if layer.weighted:
        with no_grad():
            vars(layer)["weight"], layer.weight_hook = layer.effective_weight(), None
    elif getattr(layer, "weight_hook", None):
        fixed = layer.effective_weight().detach()
        layer.weight_hook = lambda weight: fixed
    dtype = None if form_of(layer) == "delay" else dtype
    for name, item in list(vars(layer).items()):
        vars(layer)[name] = _copy(item, dtype)
    layer.training = False
    return layer


def _trained_tensors(stage: object) -> dict[str, Tensor]:
    """Return the parameters of a layer by name, except those that are no attributes of it but of the original."""
    if not isinstance(stage, Layer):
        return {}
    own = {id(child) for layer in stage.layers_within() for _, child in layer.children()}
    return {name: p for name, p in stage.named_parameters().items() if p.requires_grad and id(p) in own}


class _Run:
    """A pass through a float64 copy of a network, forward and backward, which can run again from any stage on."""

    def __init__(self, net: Container, gradient: str, x: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        graph = net.graph
        nodes = [replace(node, stage=_copy_stage(node.stage, gradient)) for node in graph.nodes]
        self.graph, self._loss = replace(graph, nodes=nodes), loss
        self.relaxed: dict[int, Relaxed] = {}
        self.spikes_error: dict[int, Array] = {}
        self.potential_error: dict[int, Array] = {}
        with no_grad(active=False):
            # An input that requires a gradient gives every layer one.
            y = Tensor(as_tensor(x).data, requires_grad=True, lengths=as_tensor(x).lengths)
            self.outputs: dict[int, Array] = {INPUT: y.data}
            steps = Walk(self.graph, y)
            for at in steps:
                if at.neurons is not None:
                    self._relax(at, at.neurons)
                self.outputs[at.number] = at.output.data
            value = loss(steps.output * Tensor(np.ones(1)))
        tensors = {(n.number, name): p for n in nodes for name, p in _trained_tensors(n.stage).items()}
        found = dict(zip(tensors, gradients(value, list(tensors.values())), strict=True))
        self.loss = value.item()
        for number in self.relaxed:  # a custom stage may stop the gradient
            for errors in (self.spikes_error, self.potential_error):
                errors.setdefault(number, np.zeros(self.outputs[number].shape))
        self.gradients = {at: np.zeros(tensors[at].shape) if g is None else _float64(g) for at, g in found.items()}

    def _relax(self, at: Visit, neurons: Neuron) -> None:
        """Run neurons, note the errors that reach them in backward, and relax them around their potentials."""
        number = at.number
        if neurons.relaxed is None:
            kind = type(at.stage).__name__
            raise TypeError(f"layer {at.node} must be SRM or Loihi to be relaxed, got {kind}")
        at.call = lambda x: _spikes_of(at.stage, x, lambda g: self.potential_error.update({number: _float64(g)}))
        if at.potentials is None:
            return
        relaxed = self.relaxed[number] = Relaxed(at.stage, to_numpy(at.potentials))

        def store_errors(g: Array) -> None:
            self.spikes_error[number] = _float64(g)
            if at.stage.srm_form is None:
                self.potential_error[number] = relaxed.slope() * self.spikes_error[number]

        at.output = on_gradient(at.output, callback=store_errors)

    def trials_at_once(self, number: int) -> int:
        """Return how many trials to run at once from the output of a node on."""
        return max(1, _MOST // max(1, *(x.size for at, x in self.outputs.items() if at >= number)))

    def losses(self, outputs: Array) -> Iterator[float]:
        """Yield the loss of each trial's output, outputs (T, trials, N, ...)."""
        with no_grad():
            for trial in range(outputs.shape[1]):
                yield self._loss(Tensor(np.ascontiguousarray(outputs[:, trial], np.float64))).item()

    def rerun(self, number: int, x: Array, samples: Array | None = None) -> Array:
        """Return the network's output for outputs x of a node: relaxed, (T, trials, N, ...), or its own for samples."""

        def as_trials(base: Array) -> Array:
            return np.repeat(base[:, None], x.shape[1], axis=1) if samples is None else base[:, samples][:, :, None]

        reached, later = {number}, list[GraphNode]()
        for node in self.graph.nodes[number + 1 :]:
            if reached.intersection(node.inputs):
                reached.add(node.number)
                later.append(node)
        others = {self.graph.output, *(n for node in later for n in node.inputs)} - reached
        steps = Walk(self.graph, {number: x} | {n: as_trials(to_numpy(self.outputs[n])) for n in others}, later)
        for at in steps:
            if samples is None and at.neurons is not None:
                at.output = self.spikes(at.number) + self.changes(at.node, at.inputs[0])
                continue
            tensors = [Tensor(_as_batch(each)) for each in at.inputs]
            with no_grad():
                y = at.node(*tensors) if at.neurons is None else _spikes_of(at.stage, tensors[0])
            at.output = _as_trials(y.data, x.shape[1:3])
        found: Array = steps.output
        return found

    def spikes(self, number: int) -> Array:
        return to_numpy(self.outputs[number])[:, None].astype(np.float64)

    def changes(self, node: GraphNode, x: Array) -> Array:
        """Return how the relaxed spikes of neurons change if their weighted input is x."""
        change = x - to_numpy(self.outputs[node.inputs[0]])[:, None]
        with no_grad():
            a = node.stage.psp(Tensor(_as_batch(change))).data
        relaxed = self.relaxed[node.number]
        return relaxed.changes(_as_trials(a, x.shape[1:3]) * relaxed.peak)


def _spikes_of(neurons: Any, x: Tensor, on_error: Callable[[Array], None] | None = None) -> Tensor:
    """Return the spikes of neurons for their weighted input; `on_error` gets the error on an SRM's potential."""
    if neurons.srm_form is None:
        return neurons(x)
    a = neurons.psp(x)
    return neurons.spike(a if on_error is None else on_gradient(a, callback=on_error))


def _float64(g: Array) -> Array:
    return to_numpy(g).astype(np.float64)


def _as_batch(x: Array) -> Array:
    """Return trials (T, trials, N, ...) as one batch (T, trials N, ...) on the device."""
    return to_device(np.ascontiguousarray(x.reshape(len(x), x.shape[1] * x.shape[2], *x.shape[3:])))


def _as_trials(x: Array, trials: tuple[int, ...]) -> Array:
    """Return a batch (T, trials N, ...) as trials (T, trials, N, ...) on the CPU."""
    check.time_first("a layer's output", x)
    return to_numpy(x).reshape(len(x), *trials, *x.shape[2:])


class Relaxed:
    """Neurons with the smooth threshold of `compare_gradients`, around a run with potentials u0 (T, N, ...)."""

    def __init__(self, neurons: Neuron, u0: Array) -> None:
        self.nu, self.peak, self.surrogate = neurons.refractory, neurons.peak, cast(Any, neurons.relaxed)
        self.width, self.height = self.surrogate.width, self.surrogate.height * neurons.dt
        self.z0 = (u0.astype(np.float64) - neurons.theta) / self.width

    def slope(self) -> Array:
        """Return the derivative of each spike with respect to its potential in the run, ``dt rho(u0)``."""
        return self.height * self.surrogate.f(self.z0)

    def changes(self, filtered: Array) -> Array:
        """Return the changes of the spikes, ``s - s0``, for changes (T, trials, N, ...) of psp(x)."""
        # Changes of the potential in widths; each step adds the refraction of changed spikes.
        changed = filtered / self.width
        if len(self.nu) < 2:
            return self._integral(self.z0[:, None], changed)
        found = np.empty(changed.shape)
        refraction = (self.nu[1:] / self.width).reshape(-1, *(1 for _ in changed.shape[1:]))
        for t in range(len(changed)):
            found[t] = self._integral(self.z0[t], changed[t])
            following = changed[t + 1 : t + len(self.nu)]
            following += refraction[: len(following)] * found[t]
        return found

    def _integral(self, z0: Array, change: Array) -> Array:
        """Return the integral of ``dt rho`` over the potential, from z0 to z0 + change (in widths)."""
        return self.height * self.width * self.surrogate.difference(z0, change)
