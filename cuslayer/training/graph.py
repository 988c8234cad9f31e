"""Training steps as CUDA graphs: what the host would launch again and again is recorded once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import (
    Array,
    capture,
    check_upload,
    cupy,
    device_draws,
    preserved_generator,
    random_state,
    to_device,
)
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.optim.base import Optimizer
from cuslayer.signals import uninterrupted
from cuslayer.training.steps import PlainStep, Task, backward, forward


class _Graph(NamedTuple):
    """A captured step; `draws` says whether its kernels advance the random generator of the GPU."""

    x: PackedSpikes
    labels: Any
    classes: int
    gradients: list[Array | None]
    launch: Callable[[], None]
    draws: bool


class GraphStep(PlainStep):
    """Takes the steps of an epoch as CUDA graphs, one for each shape of a batch and kind of step.

    The first step of a kind runs as it is, which compiles its kernels; the second is captured; all later ones are
    launches of the graph. The same kernels run in the same order on the same numbers: the bits are those of steps that
    are not captured. What cannot be captured runs as it is, and `problem` says why.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self._optimizer = optimizer
        self._graphs: dict[Any, _Graph | None] = {}
        self._stream: Any = None
        self._pool: Any = None
        self._draws = device_draws()

    def take(self, task: Task, x: Any, target: Any, sizes: bool, number: int) -> None:
        if not self._run(task, x, target, sizes):
            super().take(task, x, target, sizes, number)

    def _run(self, task: Task, x: Any, target: Any, sizes: bool) -> bool:
        """Take a step for a batch by a graph and return True; return False, without any effect, if there is none."""
        if self.problem or not isinstance(x, PackedSpikes) or not _are_labels(target, x.shape[1]):
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
                # The capture has counted this step.
                graph.launch()
                return True
            self._send(graph, x, target)
            for p, g in zip(self._optimizer.parameters, graph.gradients, strict=True):
                p.grad = g
            if graph.draws:
                # After a seed it begins with another key, which is sent here.
                random_state(graph.x.words)
            self._optimizer.step_by(graph.launch)
            task.score.count()
            if sizes:
                task.flow.count()
            return True

    def _captured(self, task: Task, x: PackedSpikes, target: Any, sizes: bool) -> _Graph | None:
        """Return the graph of a step for batches like this, with this batch as its input; None if it is refused."""
        module = cupy()
        if self._pool is None:
            # A graph writes to the addresses of its capture: no other work may get this memory.
            self._stream, self._pool = module.cuda.Stream(non_blocking=True), module.cuda.MemoryPool()
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
            backward(task, held, value)
            classes.append(spikes.shape[-1])

        with preserved_generator():
            # A step that is refused halfway would have counted; its gradients alone change nothing.
            self.problem = self._record(gradient)[1]
        if self.problem or not _are_classes(target, classes[0]):
            for p, g in zip(parameters, before, strict=True):
                p.grad = g
            return None
        drawn = device_draws()
        # What is on a GPU is not looked at here, so the number of the batch does not matter.
        launch, problem = self._record(lambda: super(GraphStep, self).take(task, held, labels, sizes, 0))
        if launch is None:
            raise RuntimeError(f"Trainer: a step cannot be captured: {problem}")
        gradients = [p.grad for p in parameters]
        return _Graph(held, labels, classes[0], gradients, launch, draws=device_draws() != drawn)

    def _record(self, work: Callable[[], None]) -> tuple[Callable[[], None] | None, str | None]:
        """Return the launch of the graph of some work, or why it cannot be captured."""
        with self._stream, cupy().cuda.using_allocator(self._pool.malloc), capture():
            self._stream.begin_capture()
            try:
                work()
                return self._stream.end_capture().launch, None
            except Exception as problem:  # of CUDA, of CuPy, or of a layer that needs the host
                # A stream in an unfinished capture accepts no other work.
                with suppress(Exception):
                    self._stream.end_capture()
                lines = str(problem).splitlines() or [""]
                return None, f"{type(problem).__name__}: {lines[0]}"

    def _send(self, graph: _Graph, x: PackedSpikes, target: Any) -> None:
        """Write a batch to the input of a graph."""
        x.write(graph.x)
        if isinstance(target, np.ndarray):
            check_upload()
            graph.labels.set(target.astype(np.int64, copy=False))
        else:
            graph.labels[...] = target


def _are_labels(target: Any, samples: int) -> bool:
    """Return whether targets are an array of integers, one for each sample."""
    return getattr(target, "shape", None) == (samples,) and target.dtype.kind in "iu"


def _are_classes(labels: Any, classes: int) -> bool:
    """Return whether labels are classes; others are left to a step as it is. Labels on a GPU are not read."""
    on_host = isinstance(labels, np.ndarray)
    return not on_host or not labels.size or bool(labels.min() >= 0 and labels.max() < classes)
