"""`Trainer`: one epoch of training, one of testing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer import check
from cuslayer.backend import device
from cuslayer.data.batches import check_batches, pairs, preserved_epoch
from cuslayer.data.loader import Loader
from cuslayer.distributed.parallel import DataParallel
from cuslayer.inspection.calibrate import SAMPLES, Calibration
from cuslayer.inspection.structure import check_network
from cuslayer.loss.base import observing, scored, sent_labels
from cuslayer.network.container import graph_of
from cuslayer.network.input import as_input
from cuslayer.network.memory import step_error
from cuslayer.network.network import Sequential
from cuslayer.network.steps import output_step
from cuslayer.optim import SGD, Adam
from cuslayer.signals import uninterrupted
from cuslayer.tape import Tensor, no_grad
from cuslayer.training.finite import FiniteCheck
from cuslayer.training.gradient_flow import GradientFlow
from cuslayer.training.graph import StepGraphs
from cuslayer.training.initial import calibrate_initial
from cuslayer.training.parallel import ParallelSteps, same_start, shares
from cuslayer.training.running_statistics import RunningStatistics
from cuslayer.training.score import Score, Tally
from cuslayer.training.silence import Silence

if TYPE_CHECKING:
    from cuslayer.training.progress import Progress

# The gradients of every fourth step are recorded: recording each step would take 1 % of the time.
_GRADIENT_INTERVAL = 4


def _first(batches: Iterator[Any]) -> list[Any]:
    """Take the first batches, as many as calibration needs."""
    found, samples = list[Any](), 0
    for batch in batches:
        found.append(batch)
        samples += as_input(batch[0]).shape[1]
        if samples >= SAMPLES:
            break
    return found


class Trainer:
    """Trains and tests a network, one epoch per call.

    Args:
        net: the network.
        loss: a function of the network's spikes and the targets to a scalar tensor.
        optimizer: the optimizer of the network's parameters.
        progress: whether to show a progress bar on a terminal.
        calibrate: before the first step, the weights of a network whose weights are all as they were drawn are scaled
            so that each layer has this mean firing rate in Hz, and the output the rate that the loss desires; see
            `calibrate`. Layers with a weight_scale of their own are kept. None for no calibration.
        loss_scale: the factor of the loss in scores and the progress bar; gradients do not change.
        graph: whether steps on a GPU are captured as CUDA graphs, which spares the host the launches; by default where
            it is possible: the input is spikes of a `Loader`, the targets are classes, and no layer needs the host.
        parallel: how batches are divided among processes, see `distributed.DataParallel`: each trains and tests its
            part, and all have the same weights and scores. None for one process and whole batches.

    Raises:
        TypeError: net is not a network, loss is not callable, optimizer is not an optimizer, a number is none, graph
            is not a bool, or parallel is not a DataParallel.
        ValueError: calibrate or loss_scale is not positive, or graph is True on the CPU or with parallel.

    Warns:
        UserWarning: the neuron of the loss has another dt than the network's.

    Attributes:
        calibration: the result of the calibration; None if there was none.
        graph_problem: why a step of the last epoch could not be captured as a CUDA graph; None if it was, or if none
            was tried.
        gradients: the size of each layer's gradient in every fourth step, one epoch per call of `train`.
        silent_batch: the last batch of `train` if the output had no spike in any batch, as input for `health`;
            otherwise None. Layers have no bias, so one silent layer makes the output silent.

    >>> import numpy as np
    >>> from cuslayer import SGD, SRM, Dense, Sequential, SpikeCountLoss
    >>> net = Sequential(Dense(3, 2), SRM())
    >>> trainer = Trainer(net, SpikeCountLoss(SRM(), true=5, false=0), SGD(net.parameters()))
    >>> batch = np.ones((20, 4, 3), bool), np.array([0, 1, 0, 1])
    >>> score = trainer.train([batch])
    >>> 0.0 <= trainer.test([batch]).accuracy <= 1.0
    True
    """

    def __init__(
        self,
        net: Sequential,
        loss: Callable[[Any, Any], Tensor],
        optimizer: SGD | Adam,
        *,
        progress: bool = False,
        calibrate: float | None = 30.0,
        loss_scale: float = 1.0,
        graph: bool | None = None,
        parallel: DataParallel | None = None,
    ) -> None:
        op = "Trainer"
        check_network(op, net)
        check.instance(op, "loss", loss)
        check.instance(op, "optimizer", optimizer)
        if not callable(loss):
            raise TypeError(f"{op}: loss must be a function of spikes and target, got {type(loss).__name__}")
        if not hasattr(optimizer, "step"):
            raise TypeError(f"{op}: optimizer must be an optimizer, such as Adam, got {type(optimizer).__name__}")
        self.loss_scale = check.positive(op, "loss_scale", loss_scale)
        self.net, self.loss, self.optimizer, self.progress = net, loss, optimizer, progress
        of_loss, of_net = self._steps()
        if of_loss is not None and of_net is not None and of_loss != of_net:
            check.warn(f"{op}: the network has a dt of {of_net:g} ms, the neuron of the loss one of {of_loss:g} ms")
        self.calibrate = None if calibrate is None else check.positive(op, "calibrate", calibrate)
        self.calibration: Calibration | None = None
        if graph is not None and not isinstance(graph, bool):
            raise TypeError(f"{op}: graph must be a bool or None, got {type(graph).__name__}")
        if graph and device() != "cuda":
            raise ValueError(f"{op}: graph must not be True on the CPU, a CUDA graph needs a GPU")
        if parallel is not None and not isinstance(parallel, DataParallel):
            raise TypeError(f"{op}: parallel must be a DataParallel or None, got {type(parallel).__name__}")
        if graph and parallel is not None:
            raise ValueError(f"{op}: graph must not be True with parallel, whose steps are not captured")
        self._statistics = RunningStatistics(net)
        self.graph, self.parallel = graph, parallel
        self.graph_problem: str | None = None
        self.gradients = GradientFlow(net)
        self.silent_batch: tuple[Any, Any] | None = None
        self._silence = Silence()
        # The check and the progress of the epoch that runs.
        self._running: tuple[FiniteCheck, Progress] | None = None

    def prepare(self, batches: Iterable[Any]) -> Calibration | None:
        """Calibrate the network for batches (x, target), as `train` does before the first step; return the result.

        Of an iterator, the first batches are taken; a list or a `Loader` has them again, in the same epoch.

        Returns:
            The result; None if there is no calibration: it is turned off, was done before, or the weights or the
            optimizer are not in their initial state.
        """
        if self._to_calibrate():
            with preserved_epoch(batches):
                self._calibrate(_first(pairs("Trainer", batches)))
        return self.calibration

    def _to_calibrate(self) -> bool:
        return self.calibrate is not None and self.calibration is None and not self.optimizer.steps

    def _calibrate(self, batches: list[Any]) -> None:
        if self.calibrate is not None and batches:
            with np.errstate(over="ignore", invalid="ignore"):
                self.calibration = calibrate_initial(self.net, batches, self.calibrate, self.loss)

    def _calibrated(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield batches, the first after calibration."""
        rest = iter(batches)
        if self._to_calibrate():
            first = _first(rest)
            self._calibrate(first)
            yield from first
        yield from rest

    def _check_step(self, batches: Iterable[Any]) -> None:
        """Warn if a `Loader` has another time step than the neuron of the loss, or than the network's neurons."""
        of_loss, of_net = self._steps()
        dt, whose = (of_loss, "the neuron of the loss one") if of_loss is not None else (of_net, "the network one")
        if isinstance(batches, Loader) and dt is not None and batches.dt != dt:
            check.warn(f"Trainer: the loader has a dt of {batches.dt:g} ms, {whose} of {dt:g} ms")

    def _steps(self) -> tuple[float | None, float | None]:
        """Return the time steps in ms of the loss and of the network's output; None where they are unknown."""
        return getattr(getattr(self.loss, "neuron", None), "dt", None), output_step("Trainer", graph_of(self.net))

    def train(
        self,
        batches: Iterable[Any],
        *,
        title: str = "train",
        steps: int | None = None,
        state: dict[str, Any] | None = None,
        after_step: Callable[[Tally], None] | None = None,
    ) -> Score:
        """Take an optimizer step for each batch and return the score during training.

        Args:
            batches: pairs of spikes (T, N, ...) and classes (N,), or target spike trains for a loss of spike times.
            title: the title of the progress bar.
            steps: stop after so many batches; None for all.
            state: to resume within an epoch: the score of its first batches, as `Tally.state` has it, which are left
                out. The state of `gradients` is loaded by the caller.
            after_step: called after each step with the score so far; what it raises ends the epoch.

        Raises:
            NotFiniteError: a loss, gradient, weight or potential is not finite. On a CPU the step of that batch is not
                taken, unless it makes a weight infinite; on a GPU it is noticed when the progress bar is drawn, or at
                the end.
            ValueError: steps is less than 1.
            TypeError: steps is not an integer, or batches are not pairs.

        Warns:
            UserWarning: batches are a `Loader` with another dt than the neuron of the loss, or than the
                network's where the loss has no neuron; or the input of a batch has no spikes, once for a trainer.
        """
        self._check_step(batches)
        if self.parallel is not None:
            batches = self._shares(batches, self.parallel)
        finite = FiniteCheck("train", self.net, self.optimizer, self.loss_scale)
        progress = self._progress(batches, title, steps, state, finite)
        self._running = finite, progress
        if state is None:
            self.gradients.start_epoch()  # of an epoch that was interrupted, nothing counts
        self.net.train()
        self.silent_batch = batch = None
        graphs, parallel = self._step_graphs(progress, finite), self._parallel_steps(finite, progress)
        first = progress.batches
        for step, batch in enumerate(progress.bar if parallel else self._calibrated(progress.bar), start=first):
            x, target = batch
            sizes = step % _GRADIENT_INTERVAL == 0
            if parallel is not None:
                parallel.train(x, self.gradients if sizes else None, step + 1, first=step == first)
                batch = parallel.last
            else:
                self._silence.note(self._silence.hears(x), step + 1)
                if step == first:
                    finite.first(x)
                if graphs is None or not graphs.run(x, target, sizes):
                    self._step(x, target, sizes, progress, finite, step + 1)
            if after_step is not None:
                after_step(progress)
        self.check_finite()
        self._running = None
        if graphs is not None:
            self._note_graphs(graphs.refused)
        if progress.samples:
            self.gradients.end_epoch()
            self.silent_batch = None if progress.spiked else batch
            if self.silent_batch is not None and parallel is None:
                self._silence.note(self._silence.hears(self.silent_batch[0], on_device=True), progress.batches)
        return progress.score()

    def check_finite(self) -> None:
        """Check that all numbers of the epoch so far are finite, as before a checkpoint; on a GPU this waits for it.

        Raises:
            NotFiniteError: a number of the epoch, or a parameter, is not finite.
        """
        if self._running is not None:
            finite, progress = self._running
            finite.look(progress)
            finite.parameters(progress.batches)

    def _forward(self, x: Any, target: Any) -> tuple[Tensor, Any, Tensor]:
        """Return the output for a batch, the target where loss and score need it, and the loss."""
        with observing(self.loss, self.net):
            spikes = self.net(x)
        target = sent_labels(self.loss, target, spikes)
        return spikes, target, self.loss(spikes, target)

    def _gradient(
        self, x: Any, target: Any, before_backward: Callable[[Tensor, Tensor], None] | None = None
    ) -> tuple[Tensor, Any, Tensor]:
        """Compute the gradients for a batch, and return what `_forward` does."""
        spikes, target, value = self._forward(x, target)
        if before_backward is not None:
            before_backward(spikes, value)
        self.optimizer.zero_grad()
        try:
            value.backward()
        except MemoryError:
            raise step_error("train", graph_of(self.net), as_input(x).shape) from None
        return spikes, target, value

    def _step(self, x: Any, target: Any, sizes: bool, progress: Progress, finite: FiniteCheck, batch: int) -> None:
        """Take an optimizer step for a batch; add the sizes of its gradients if wanted."""
        with np.errstate(over="ignore", invalid="ignore"):  # the check says more than NumPy's warning
            spikes, target, value = self._gradient(x, target, lambda *found: finite.loss(batch, x, *found))
            finite.gradients(batch, x)
            with uninterrupted():  # who goes on after an interrupt finds a step that is counted everywhere or nowhere
                if sizes:
                    self.gradients.add()
                self.optimizer.step()
                finite.updates(batch)
                progress.add(*scored(self.loss, spikes, target), value, scale=self.loss_scale)

    def _step_graphs(self, progress: Progress, finite: FiniteCheck) -> StepGraphs | None:
        """Return the graphs of an epoch; None where steps are not captured."""
        if self.graph is False or self.parallel is not None or device() != "cuda":
            return None

        def count(sizes: bool) -> None:
            progress.count()
            if sizes:
                self.gradients.count()

        def step(x: Any, target: Any, sizes: bool) -> None:
            self._step(x, target, sizes, progress, finite, 0)  # what is on a GPU is not looked at here

        return StepGraphs(self._gradient, step, count, self.optimizer)

    def _note_graphs(self, refused: str | None) -> None:
        if refused and refused != self.graph_problem and self.graph:
            check.warn(f"Trainer: steps are not captured as a CUDA graph: {refused}")
        self.graph_problem = refused

    def test(
        self,
        batches: Iterable[Any],
        *,
        title: str = "test",
        steps: int | None = None,
        state: dict[str, Any] | None = None,
        after_step: Callable[[Tally], None] | None = None,
    ) -> Score:
        """Return the score of batches (spikes, target) in eval mode, without gradients; arguments as in `train`.

        Raises:
            NotFiniteError: a parameter, an output or a loss is not finite.
            ValueError, TypeError: as `train`.

        Warns:
            UserWarning: as `train`.
        """
        self._check_step(batches)
        if self.parallel is not None:
            batches = shares(batches, self.parallel)
        finite = FiniteCheck("test", self.net, self.optimizer, self.loss_scale)
        progress = self._progress(batches, title, steps, state, finite)
        self.net.train(False)
        parallel = self._parallel_steps(finite, progress)
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            for batch, (x, target) in enumerate(progress.bar, start=progress.batches + 1):
                if parallel is not None:
                    parallel.test(x, batch)
                else:
                    self._silence.note(self._silence.hears(x), batch)
                    spikes, target, value = self._forward(x, target)
                    finite.loss(batch, x, spikes, value)
                    progress.add(*scored(self.loss, spikes, target), value, scale=self.loss_scale)
                if after_step is not None:
                    after_step(progress)
        finite.look(progress)
        return progress.score()

    def _progress(
        self, batches: Iterable[Any], title: str, steps: int | None, state: dict[str, Any] | None, finite: FiniteCheck
    ) -> Progress:
        # tqdm is imported when it is first needed.
        from cuslayer.training.progress import Progress

        if steps is not None:
            steps = check.integer("Trainer", "steps", steps, least=1)
        show = self.progress and (self.parallel is None or self.parallel.context.rank == 0)
        return Progress(batches, title, show, steps, state, finite.look)

    def _shares(self, batches: Iterable[Any], parallel: DataParallel) -> Iterable[Any]:
        """Return the shares of batches that this process has, after calibration by whole batches."""
        check_batches("Trainer", batches)
        if isinstance(batches, Iterator):
            batches = self._calibrated(batches)
        else:
            self.prepare(batches)
        same_start(self.net.parameters(), self.optimizer.steps, parallel)
        return shares(batches, parallel)

    def _parallel_steps(self, finite: FiniteCheck, progress: Progress) -> ParallelSteps | None:
        if self.parallel is None:
            return None
        passes = self._forward, self._gradient
        given = *passes, self.optimizer, self.loss, self.loss_scale
        return ParallelSteps(self.parallel, *given, finite, progress, self._statistics, self._silence)
