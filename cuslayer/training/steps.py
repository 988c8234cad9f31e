"""The steps of an epoch: plain, as CUDA graphs, or divided among processes; a `Trainer` has one kind."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, as_tensor, grad_enabled, no_grad
from cuslayer.backend import (
    Array,
    capture,
    check_upload,
    cupy,
    derived_generator,
    device_draws,
    generator,
    preserved_generator,
    random_state,
    to_device,
    to_numpy,
    uninterrupted,
)
from cuslayer.data.batches import Share, Shares
from cuslayer.distributed.context import on_all
from cuslayer.distributed.parallel import DataParallel
from cuslayer.distributed.sums import share
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.layers.base import as_layer
from cuslayer.layers.batch_norm import BatchNorm, take_statistics
from cuslayer.loss.base import observing, scored, sent_labels
from cuslayer.network.graph import SILENT_INPUT, as_input
from cuslayer.network.network import Sequential, graph_in_chunks
from cuslayer.network.online.learner import OnlineLearner, OnlinePass
from cuslayer.network.shapes import step_error
from cuslayer.network.stream import Chunked
from cuslayer.optim.optimizers import Optimizer
from cuslayer.training.finite import FiniteCheck, NotFiniteError
from cuslayer.training.growth import GradientWatch
from cuslayer.training.score import ROW, GradientFlow, Tally

# Gradients are recorded in every fourth step: recording each step would take 1 % of the time.
_GRADIENT_INTERVAL = 4


class Silence:
    """Warns, once, of the first batch with an input of zeros, from which nothing can be learned."""

    def __init__(self) -> None:
        self._warned = False

    def has_spikes(self, x: TensorLike, *, on_device: bool = False) -> bool:
        """Return whether an input is not 0 everywhere; True on a GPU, unless `on_device`, which waits for it."""
        stored = as_input(x).stored
        on_host = not isinstance(stored, PackedSpikes) and kernels.of(stored) is kernels.cpu
        if self._warned or not stored.size or not (on_host or on_device):
            return True
        return bool(to_numpy(stored.any()))

    def note(self, spikes: bool, batch: int) -> None:
        """Warn if a batch, numbered from 1, has no spikes."""
        if not spikes and not self._warned:
            self._warned = True
            check.warn(f"the input of batch {batch} is 0 everywhere, it has no spikes; {SILENT_INPUT}")


@dataclass
class Task:
    """The objects of a step, including the gradient sizes, the score and the checks of an epoch, which it updates."""

    net: Sequential
    loss: Callable[[Any, Any], Tensor]
    optimizer: Optimizer
    scale: float
    flow: GradientFlow
    silence: Silence
    score: Tally
    finite: FiniteCheck
    watch: GradientWatch
    own_score: Callable[[Any, Any], Any] | None = None
    truncate: int | None = None
    recompute: int | None = None
    learner: OnlineLearner | None = None
    chunked: Chunked | None = None

    def in_chunks(self, x: Tensor) -> Chunked | None:
        """Return a pass in chunks of time over an input; None if it runs as a whole."""
        if self.learner is not None and grad_enabled():
            return OnlinePass(self.net, self.learner, x)
        steps = self.truncate or self.recompute
        if steps is None or not grad_enabled() or x.shape[0] <= steps:
            return None
        return Chunked(self.net, graph_in_chunks(self.net), x, steps, whole=self.truncate is None)


class PlainStep:
    """Takes a step for each batch.

    `shows` says whether this process shows the progress, `last` is the last batch, and `problem` is the reason why
    steps could not be captured as a CUDA graph.
    """

    shows = True

    def __init__(self) -> None:
        self.last: tuple[Any, Any] | None = None
        self.problem: str | None = None

    def own(self, batches: Iterable[object]) -> Iterable[object]:
        """Return this process's parts of batches."""
        return batches

    def start(self, net: Sequential, steps: int) -> None:
        """Prepare the weights for the next step; `steps` is the number of steps so far."""

    def train(self, task: Task, batch: tuple[TensorLike, object], number: int) -> None:
        """Take an optimizer step for a batch, numbered from 1."""
        x, target = batch
        task.silence.note(task.silence.has_spikes(x), number)
        if self.last is None:
            task.finite.first(x)
        self.last = batch
        self.take(task, x, target, has_sizes(number), number)
        if has_sizes(number):
            task.watch.add()

    def take(self, task: Task, x: TensorLike, target: object, sizes: bool, number: int) -> None:
        """Take a step for a batch; add the sizes of its gradients on request."""
        with np.errstate(over="ignore", invalid="ignore"):  # the check is more specific than NumPy's warning
            with task.watch.during(sizes, joined=task.recompute is not None):
                spikes, target, value = forward(task, x, target)
                task.finite.loss(number, x, outputs_of(spikes), value)
                backward(task, x, spikes, value)
            task.finite.gradients(number, x)
            with uninterrupted():  # after an interrupt, a step has counted everywhere or nowhere
                if sizes:
                    task.flow.add()
                task.optimizer.step()
                task.finite.updates(number)
                add_score(task.score, task, x, spikes, target, value)

    def test(self, task: Task, batch: tuple[TensorLike, object], number: int) -> None:
        """Add a batch to the score."""
        x, target = batch
        task.silence.note(task.silence.has_spikes(x), number)
        spikes, target, value = forward(task, x, target)
        task.finite.loss(number, x, outputs_of(spikes), value)
        add_score(task.score, task, x, spikes, target, value)

    def end(self, task: Task) -> None:
        """Check the last batch of an epoch without output spikes."""
        if self.last is not None:
            task.silence.note(task.silence.has_spikes(self.last[0], on_device=True), task.score.batches)


def has_sizes(number: int) -> bool:
    """Return whether the sizes of the gradients are recorded in a step, numbered from 1."""
    return number % _GRADIENT_INTERVAL == 1


def outputs_of(output: Any) -> list[Tensor]:
    """Return the tensors of an output, which a network's own ``__call__`` may return in tuples and dictionaries."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if not isinstance(output, (tuple, list)):
        return [as_tensor(output)]
    return [tensor for part in output for tensor in outputs_of(part)]


def forward(task: Task, x: TensorLike, target: object) -> tuple[Tensor, object, Tensor]:
    """Return the output for a batch, the target on the device of loss and score, and the loss."""
    task.chunked = task.in_chunks(as_input(x))
    if task.chunked is not None:
        spikes = task.chunked.forward()
    else:
        with observing(task.loss, task.net):
            spikes = task.net(x)
    target = sent_labels(task.loss, target, spikes)
    return spikes, target, task.loss(spikes, target)


def add_score(score: Tally, task: Task, x: TensorLike, spikes: Tensor, target: object, value: Tensor) -> None:
    """Add a batch to a score; with labels at each step, a sample counts as often as it has decisions."""
    if add_own_score(score, task, x, spikes, target, value):
        return
    output, labels = scored(task.loss, spikes, target)
    share = as_tensor(output).shape[1] / max(spikes.shape[1], 1)
    score.add(output, labels, value, scale=task.scale * share)


def add_own_score(score: Tally, task: Task, x: TensorLike, output: object, target: object, value: Tensor) -> bool:
    """Add a batch if it has several outputs or a score of one's own, and return whether it has."""
    if isinstance(output, Tensor) and task.own_score is None:
        return False
    with no_grad():
        mean = 0.0 if task.own_score is None else task.own_score(output, target)
    score.add_outputs(outputs_of(output), as_input(x).shape[1], mean, value, scale=task.scale)
    return True


def backward(task: Task, x: TensorLike, spikes: Tensor, value: Tensor) -> None:
    """Compute the gradients of a loss for the output for x."""
    if not isinstance(value, Tensor) or value.size != 1:
        got = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"the loss must return a Tensor of one number, such as (error * error).sum(), got {got}")
    task.optimizer.zero_grad()
    try:
        value.backward()
        # Free its memory before the next step.
        chunked, task.chunked = task.chunked, None
        if chunked is not None and spikes.grad is not None:
            chunked.backward(spikes.grad)
    except MemoryError:
        raise step_error(task.net.graph, as_input(x).shape) from None


class _Graph(NamedTuple):
    """A captured step; `draws` says whether its kernels advance the random generator of the GPU."""

    x: PackedSpikes
    labels: Any
    classes: int
    gradients: list[Array | None]
    launch: Callable[[], None]
    draws: bool


class _KeptMemory:
    """An allocator for the pool of graphs; what it has allocated lives as long as the pool.

    Where memory is short, CuPy's pools give blocks that no array uses back to the driver. A graph still writes to them.
    """

    def __init__(self) -> None:
        self._blocks: list[Any] = []

    def __call__(self, size: int) -> Any:
        """Return a pointer to new memory on the device in use."""
        block = cupy().cuda.Memory(size)
        self._blocks.append(block)
        return cupy().cuda.MemoryPointer(block, 0)


class GraphStep(PlainStep):
    """Takes the steps of an epoch as CUDA graphs, one for each shape of a batch and kind of step.

    The first step of a kind runs without capture, which compiles its kernels; the second is captured; all later ones
    launch the graph. The same kernels run in the same order on the same numbers, so the bits are the same as without
    capture. A step that cannot be captured runs without, and `problem` has the reason.
    """

    def __init__(self, optimizer: Optimizer, refused: str | None = None) -> None:
        super().__init__()
        self._optimizer = optimizer
        # The reason why no step can be captured.
        self._refused = refused
        self._graphs: dict[Any, _Graph | None] = {}
        self._stream: Any = None
        self._pool: Any = None
        self._draws = device_draws()

    def take(self, task: Task, x: TensorLike, target: object, sizes: bool, number: int) -> None:
        if not self._run(task, x, target, sizes):
            super().take(task, x, target, sizes, number)

    def _run(self, task: Task, x: Any, target: Any, sizes: bool) -> bool:
        """Take a step for a batch by a graph and return True; return False, without any effect, without a graph."""
        problem = self._refused or _problem_of(x, target)
        if problem:
            self.problem = problem
            return False
        flags = tuple(p.requires_grad for p in self._optimizer.parameters)
        key = x.shape, x.has_neurons, sizes, flags
        if key not in self._graphs:
            self._graphs[key] = None
            return False
        graph = self._graphs[key]
        if graph is not None and not _are_classes(target, graph.classes):
            return False
        with uninterrupted():
            if graph is None:
                graph = self._graphs[key] = self._captured(task, x, target, sizes)
                if graph is None:
                    return False
                # The capture has already counted this step.
                graph.launch()
                return True
            self._send(graph, x, target)
            for p, g in zip(self._optimizer.parameters, graph.gradients, strict=True):
                p.grad = g
            if graph.draws:
                # After `seed` it starts from another key, which is sent here.
                random_state(graph.x.words)
            self._optimizer.step_by(graph.launch)
            task.score.count()
            if sizes:
                task.flow.count()
            return True

    def _captured(self, task: Task, x: PackedSpikes, target: Any, sizes: bool) -> _Graph | None:
        """Return the graph of a step for batches like this, with this batch as input; None if capture is refused."""
        module = cupy()
        if self._pool is None:
            # A graph writes to the addresses of its capture: no other work may use this memory.
            self._stream = module.cuda.Stream(non_blocking=True)
            self._pool = module.cuda.MemoryPool(_KeptMemory())
        held = x.empty_like()
        x.write(held)
        labels = to_device(target).astype(np.int64)
        parameters = self._optimizer.parameters
        before = [p.grad for p in parameters]
        self._optimizer.prepare()
        if device_draws() != self._draws:
            random_state(held.words)
        module.cuda.Device().synchronize()
        classes = []

        def gradient() -> None:
            spikes, _, value = forward(task, held, labels)
            if not isinstance(spikes, Tensor):
                raise TypeError(f"the network must return one tensor, got {type(spikes).__name__}")
            backward(task, held, spikes, value)
            classes.append(spikes.shape[-1])

        with preserved_generator():
            # A step that fails halfway would already count; its gradients alone change nothing.
            self._refused = self._record(gradient)[1]
        if self._refused or not _are_classes(target, classes[0]):
            self.problem = self._refused
            for p, g in zip(parameters, before, strict=True):
                p.grad = g
            return None
        drawn = device_draws()
        # On a GPU nothing is checked here, so the number of the batch does not matter.
        launch, problem = self._record(lambda: super(GraphStep, self).take(task, held, labels, sizes, 0))
        if launch is None:
            raise RuntimeError(f"Trainer: a step cannot be captured: {problem}")
        gradients = [p.grad for p in parameters]
        return _Graph(held, labels, classes[0], gradients, launch, draws=device_draws() != drawn)

    def _record(self, work: Callable[[], None]) -> tuple[Callable[[], None] | None, str | None]:
        """Return a function that launches the graph of some work, or the reason why it cannot be captured."""
        with self._stream, cupy().cuda.using_allocator(self._pool.malloc), capture():
            self._stream.begin_capture()
            try:
                work()
                return self._stream.end_capture().launch, None
            except Exception as problem:  # from CUDA, CuPy, or a layer that needs the host
                # A stream in an unfinished capture accepts no other work.
                with suppress(Exception):
                    self._stream.end_capture()
                lines = str(problem).splitlines() or [""]
                return None, f"{type(problem).__name__}: {lines[0]}"

    def _send(self, graph: _Graph, x: PackedSpikes, target: object) -> None:
        """Write a batch to the input of a graph."""
        x.write(graph.x)
        if isinstance(target, np.ndarray):
            check_upload()
            graph.labels.set(target.astype(np.int64, copy=False))
        else:
            graph.labels[...] = target


def _problem_of(x: Any, target: Any) -> str | None:
    """Return why a step of a batch cannot be captured, or None: a graph takes spikes and a class for each sample."""
    if getattr(x, "lengths", None) is not None:
        return "the recordings of a batch have different lengths"
    if not isinstance(x, PackedSpikes):
        return f"the input must be spikes from a Loader, got {type(x).__name__}"
    shape = getattr(target, "shape", None)
    if shape != x.shape[1:2] or target.dtype.kind not in "iu":
        got = type(target).__name__ if shape is None else f"{target.dtype} {tuple(shape)}"
        return f"targets must be an array of integers, a class for each of {x.shape[1]} samples, got {got}"
    return None


def _are_classes(labels: Array, classes: int) -> bool:
    """Return whether labels are classes; a plain step handles others. Labels on a GPU are not read."""
    on_host = isinstance(labels, np.ndarray)
    return not on_host or not labels.size or bool(labels.min() >= 0 and labels.max() < classes)


class RunningStatistics:
    """Moves the running statistics of a network by its layers' statistics in the micro-batches of a batch.

    A micro-batch is normalized by its own mean and variance. With n_i elements of a channel, mean m_i and variance v_i
    in micro-batch i, the running statistics move towards the statistics of the whole batch::

        n = sum n_i        m = sum n_i m_i / n        v = sum n_i (v_i + (m_i - m)^2) / n

    The sums are in float64 and in the order of the micro-batches, on all processes. A layer that runs several times in
    a forward pass counts as one layer with all these elements.

    Attributes:
        columns: the count of numbers for a micro-batch: the number of elements, the means and the variances of each
            layer.

    >>> import numpy as np
    >>> norm = BatchNorm(1, momentum=0.5)
    >>> statistics = RunningStatistics(Sequential(norm))
    >>> rows = np.zeros((2, statistics.columns))
    >>> for row, numbers in zip(rows, ([0.0, 2.0], [5.0])):
    ...     with statistics.noted(row):
    ...         y = norm(np.array(numbers).reshape(-1, 1, 1))
    >>> rows.tolist()
    [[2.0, 1.0, 1.0], [1.0, 5.0, 0.0]]
    >>> statistics.move(rows); [round(float(a.data[0]), 4) for a in (norm.mean, norm.var)]
    [1.1667, 2.6111]
    """

    def __init__(self, net: Sequential) -> None:
        stages = {id(node.stage): node.stage for node in net.graph.nodes}
        self._layers: list[BatchNorm] = [stage for stage in stages.values() if as_layer(stage).normalizes]
        ends = np.cumsum([0, *(1 + 2 * layer.features for layer in self._layers)]).tolist()
        self._places = {id(layer): slice(*ends[i : i + 2]) for i, layer in enumerate(self._layers)}
        self.columns: int = ends[-1]

    def noted(self, row: Array) -> AbstractContextManager[None]:
        """Write the layers' statistics within the block to a row (columns,) of zeros, and keep the running ones."""

        def note(layer: BatchNorm, count: int, mean: Array, var: Array) -> None:
            if id(layer) not in self._places:
                raise ValueError("parallel needs each BatchNorm as a layer of the network, got one within another")
            mine = row[self._places[id(layer)]]
            found = np.concatenate([[count], to_numpy(mean), to_numpy(var)])
            mine[:] = _of_all(np.stack([mine, found]))

        return take_statistics(note)

    def move(self, rows: Array) -> None:
        """Move the running statistics by the rows (micro-batches, columns) of a batch."""
        for layer in self._layers:
            count, *found = _of_all(rows[:, self._places[id(layer)]])
            if count:
                mean, var = np.split(np.array(found), 2)
                layer.move(to_device(mean), to_device(var))


def _of_all(rows: Array) -> Array:
    """Return number, means and variances (1 + 2 channels,) of all elements, from parts that are added in order."""
    rows = rows[rows[:, 0] > 0]
    if len(rows) < 2:
        return rows[0] if len(rows) else np.zeros(rows.shape[1])
    counts = rows[:, :1]
    means, variances = np.split(rows[:, 1:], 2, axis=1)
    count = sum(counts, np.zeros(1))
    mean = sum(counts * means, np.zeros(means.shape[1])) / count
    var = sum(counts * (variances + (means - mean) ** 2), np.zeros(means.shape[1])) / count
    return np.concatenate([count, mean, var])


@dataclass
class _Found:
    """A process's results for a batch: statistics and scores of its micro-batches, and an error if not finite."""

    statistics: npt.NDArray[np.float64]
    scores: dict[int, Tally] = field(default_factory=dict)
    recordings: dict[int, int] = field(default_factory=dict)
    problem: NotFiniteError | None = None
    spikes: bool = False


class ParallelStep(PlainStep):
    """Takes steps with several processes, each with a part of each batch.

    The gradient of a batch is the sum of its micro-batches' gradients, as losses are sums over recordings. A
    micro-batch has its own random generator, seeded by a number from the library's generator and the micro-batch. Every
    process draws this number, so that all generators stay the same. If one process finds a number that is not finite,
    all raise the error.
    """

    def __init__(self, parallel: DataParallel, statistics: RunningStatistics, *, at_steps: bool = True) -> None:
        super().__init__()
        self._parallel = parallel
        self._statistics = statistics
        self._at_steps = at_steps
        self.shows = parallel.context.rank == 0

    def own(self, batches: Iterable[object]) -> Iterable[object]:
        context = self._parallel.context

        def part(leaves: int) -> range:
            return share(leaves, context.rank, context.size)

        shares = Shares(batches, self._parallel.micro, part, at_steps=self._at_steps)
        return shares if isinstance(batches, Sized) else iter(shares)

    def start(self, net: Sequential, steps: int) -> None:
        """Send process 0's weights to all processes before the first step, and later check that they agree.

        Raises:
            ValueError: the weights differ: a machine computes other bits than another.
        """
        context, parameters = self._parallel.context, net.parameters()
        if context.size == 1:
            return
        if not steps:
            for p in parameters:
                p.data[...] = to_device(context.broadcast(to_numpy(p.data)))
        digest = hashlib.sha256(b"".join(to_numpy(p.data).tobytes() for p in parameters)).hexdigest()
        context.agree(weights=f"digest {digest[:12]}")

    def train(self, task: Task, batch: Any, number: int) -> None:
        part: Share = batch[0]
        sums = self._parallel.sums(task.optimizer.parameters, part.leaves)
        found = _Found(np.zeros((part.leaves, self._statistics.columns)))
        key = int(generator().integers(2**63))
        with np.errstate(over="ignore", invalid="ignore"):
            for leaf, (x, target) in zip(part.own, part.pairs, strict=True):
                last = leaf == part.own[-1]
                found.spikes |= task.silence.has_spikes(x)
                if self.last is None:
                    task.finite.first(x)
                noted = self._statistics.noted(found.statistics[leaf])
                watched = task.watch.during(has_sizes(number))
                with derived_generator(key, leaf), sums.during(leaf, last), noted, watched:
                    spikes, target, value = forward(task, x, target)
                    backward(task, x, spikes, value)
                sums.add(leaf, last)
                self._note(task, found, leaf, number, x, spikes, target, value)
            self._end_batch(task, found, number)
            sums.finish()
            task.finite.gradients(number, None if self.last is None else self.last[0])
            if has_sizes(number):
                task.flow.add()
                task.watch.add()
            task.optimizer.step()
            task.finite.updates(number)

    def test(self, task: Task, batch: Any, number: int) -> None:
        part: Share = batch[0]
        found = _Found(np.zeros((part.leaves, 0)))
        for leaf, (x, target) in zip(part.own, part.pairs, strict=True):
            found.spikes |= task.silence.has_spikes(x)
            self._note(task, found, leaf, number, x, *forward(task, x, target))
        self._end_batch(task, found, number)

    def end(self, task: Task) -> None:
        """Do nothing: on the host, all processes have checked each batch."""

    def _note(
        self, task: Task, found: _Found, leaf: int, number: int, x: Any, spikes: Tensor, target: object, value: Tensor
    ) -> None:
        """Note the score of a micro-batch, and an error for numbers that are not finite."""
        score = found.scores[leaf] = Tally()
        if not add_own_score(score, task, x, spikes, target, value):
            score.add(*scored(task.loss, spikes, target), value, scale=task.scale)
        found.recordings[leaf] = as_input(x).shape[1]
        if self.last is None or leaf == 0:
            self.last = x, target
        try:
            task.finite.loss(number, x, outputs_of(spikes), value)
        except NotFiniteError as problem:
            found.problem = found.problem or problem

    def _end_batch(self, task: Task, found: _Found, number: int) -> None:
        """Add a batch to the score and the statistics on all processes; all raise an error that one has found."""
        parallel = self._parallel
        rows = np.pad(found.statistics, ((0, 0), (ROW + 1, 0)))
        for leaf, score in found.scores.items():
            rows[leaf, : ROW + 1] = *score.row(), found.recordings[leaf]
        mine = found.problem is not None, parallel.stop(), found.spikes
        flags = parallel.exchange_rows(rows, np.array(mine, np.float64))
        parallel.stopping = bool(flags[:, 1].any())
        if flags[:, 0].any():
            raise on_all(next(each for each in parallel.context.gather(found.problem) if each is not None))
        # As `add_score`, for the whole batch: the score does not depend on its division.
        rows[:, 0] *= rows[:, 2].sum() / max(rows[:, ROW].sum(), 1)
        task.score.add_rows(rows[:, :ROW])
        if parallel.context.rank == 0:
            task.silence.note(bool(flags[:, 2].any()), number)
        if found.statistics.size:
            self._statistics.move(rows[:, ROW + 1 :])


def agreed(stop: Callable[[], bool], parallel: DataParallel | None) -> Callable[[], bool]:
    """Return a function with the same result on all processes: whether one should stop, as of the last batch."""
    if parallel is None:
        return stop
    parallel.stop = stop
    return lambda: parallel.stopping
