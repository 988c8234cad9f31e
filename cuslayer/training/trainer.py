"""`Trainer`: epochs of training, validation and test."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import device
from cuslayer.data.batches import check_batches, none_in, pairs, preserved_epoch
from cuslayer.data.loader import Loader
from cuslayer.distributed.parallel import DataParallel
from cuslayer.loss.base import step_of
from cuslayer.network.calibration import SAMPLES, Calibration, balance_again, calibrate_initial, layers_set
from cuslayer.network.graph import as_input
from cuslayer.network.network import Sequential, graph_in_chunks
from cuslayer.network.online.learner import OnlineLearner
from cuslayer.network.online.rule import Online, as_rule
from cuslayer.network.stream import check_continued
from cuslayer.network.walk import check_network
from cuslayer.neurons.base import is_stateful
from cuslayer.optim import Optimizer
from cuslayer.training.finite import FiniteCheck, NotFiniteError
from cuslayer.training.growth import GradientWatch
from cuslayer.training.score import GradientFlow, Score, Tally
from cuslayer.training.stats import Stats
from cuslayer.training.steps import GraphStep, ParallelStep, PlainStep, RunningStatistics, Silence, Task

if TYPE_CHECKING:
    from cuslayer.training.checkpoint import Place
    from cuslayer.training.progress import Progress

# The steps of recordings, at least, that calibrate a network for training in chunks of time.
_CALIBRATED = 1000

_NO_BATCH = "batches must have a batch, {}"


class Callback:
    """Base class of callbacks, which `Trainer` calls before and after epochs and steps. By default they do nothing.

    `Trainer.fit` calls all; `Trainer.train` and `Trainer.test` call the methods of steps. An error ends the training.

    >>> class StopAtLoss(Callback):
    ...     def goes_on(self, trainer):
    ...         return not trainer.stats.epochs or trainer.stats.epochs[-1].train_loss > 0.1
    """

    # Whether the callback says why the output has no spikes; else `Trainer` says how to find out.
    explains_silence = False

    def goes_on(self, trainer: Trainer) -> bool:
        """Return whether another epoch follows; called before each epoch."""
        return True

    def before_epoch(self, trainer: Trainer) -> None:
        """Called before the first step of an epoch, whose number from 0 is ``trainer.optimizer.epoch``."""

    def before_step(self, trainer: Trainer, batch: tuple[Any, Any]) -> bool:
        """Called before each step of training, with its batch; return whether the optimizer takes the step."""
        return True

    def after_step(self, trainer: Trainer, score: Tally) -> None:
        """Called after each step of training, with the score of the epoch so far."""

    def after_test_step(self, trainer: Trainer, score: Tally) -> None:
        """Called after each batch of validation or test, with its score so far."""

    def after_epoch(self, trainer: Trainer) -> None:
        """Called after training and validation of an epoch, whose row is ``trainer.stats.epochs[-1]``."""


@check.named
class Trainer:
    """Trains and tests a network: one epoch by `train` or `test`, several by `fit`.

    Args:
        net: the network. With its own ``__call__`` it may return several outputs, in a tuple or a dictionary.
        loss: a function from the network's output and the targets to a scalar tensor.
        optimizer: the optimizer of the network's parameters.
        score: a function from the output and the targets of a batch to a number, the mean of its samples, which `Score`
            has in place of an accuracy. None for the accuracy if the targets are classes.
        callbacks: `Callback` objects, which are called in this order.
        log: a function of each line that the trainer says; by default it prints to standard error.
        progress: whether to show a progress bar on a terminal.
        calibrate: the mean firing rate of each layer, Hz, to which `calibrate` scales the weights before the first
            step; the output gets the rate that the loss desires. This needs a network in which all weights are as they
            were drawn; a line of the log says so. Layers with their own weight_scale do not change. Where the errors of
            layers later differ in size by more than a factor of 4, an epoch begins with scales of the surrogates that
            level them; a `Loader` or a list of batches is looked at after 1, 2, 4, ... steps. None for neither.
        loss_scale: the factor of the loss in scores and the progress bar; gradients do not change.
        graph: whether to capture steps on a GPU as CUDA graphs, which saves launches on the host. By default if
            possible: the input is spikes from a `Loader`, the targets are classes, and no layer needs the host.
        truncate: the number of steps of a chunk of time in training. The states of neurons, delays and filters continue
            from chunk to chunk; gradients stop at its edge. So memory, except for input and output, does not grow with
            T. A pass without gradients gives the output, and the loss its gradient; then each chunk runs again with its
            part of the gradient. There is one optimizer step per batch. Dropout silences the same neurons in all
            chunks, a weight hook runs for each. Calibration takes 1,000 steps, or the first chunk if that is longer.
            None for whole recordings.
        recompute: the same with the gradients of whole recordings. The pass saves the states at the edges of chunks,
            and backward goes from the last chunk to the first and runs each again. Memory, except for input and output,
            grows only with the number of chunks.
        online: a rule that learns forward in time, `Online` or its name: "exact", "factored" or "eprop". A first pass
            without traces gives the output, and the loss its gradient; the second has traces. There is one optimizer
            step per batch; memory, except for input and output, does not grow with T. None for backward in time.
        parallel: division of batches among processes; see `distributed.DataParallel`. Each process trains and tests its
            part, and all have the same weights and scores. None for one process and whole batches.

    Raises:
        TypeError: net, loss, optimizer, graph, parallel or a number has the wrong type.
        ValueError: calibrate or loss_scale is not positive, graph is True on the CPU or with parallel, or truncate or
            recompute is less than 1. None of truncate, recompute and online works with another, graph, parallel, a
            loss that observes the network, a network with its own ``__call__``, or a stage that cannot keep a state in
            training, such as `BatchNorm`. A stage cannot learn online.

    Attributes:
        calibration: the result of the calibration; None without calibration.
        graph_problem: the reason why a step of the last epoch could not be captured as a CUDA graph; None if all could,
            or with graph=False, parallel, or a CPU, where none is tried.
        stats: the log of `fit`, one row per epoch. Set it to go on with an earlier log.
        gradients: the size of each layer's gradient in every fourth step, one epoch per call of `train`.
        silent_batch: the last batch of `train` if the output had no spike in any batch, as input for `diagnose`;
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
        loss: Callable[..., Tensor],
        optimizer: Optimizer,
        *,
        score: Callable[..., object] | None = None,
        callbacks: Iterable[Callback] = (),
        log: Callable[[str], None] | None = None,
        progress: bool = False,
        calibrate: float | None = 30.0,
        loss_scale: float = 1.0,
        graph: bool | None = None,
        parallel: DataParallel | None = None,
        truncate: int | None = None,
        recompute: int | None = None,
        online: str | Online | None = None,
    ) -> None:
        check_network(net)
        check.instance("loss", loss)
        check.instance("optimizer", optimizer)
        if not callable(loss):
            raise TypeError(f"loss must be a function of spikes and target, got {type(loss).__name__}")
        if not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer must be an optimizer, such as Adam, got {type(optimizer).__name__}")
        self.loss_scale = check.constant("loss_scale", loss_scale)
        if score is not None and not callable(score):
            raise TypeError(f"score must be a function of output and target, got {type(score).__name__}")
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be Callback objects, got {check.one_line(callback)}")
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.score = score
        self.progress = check.flag("progress", progress)
        self.log = _say if log is None else log
        self.stats = Stats()
        self.calibrate = None if calibrate is None else check.positive("calibrate", calibrate)
        self.calibration: Calibration | None = None
        if graph is not None and not isinstance(graph, bool):
            raise TypeError(f"graph must be a bool or None, got {type(graph).__name__}")
        if graph and device() != "cuda":
            raise ValueError("graph must not be True on the CPU, a CUDA graph needs a GPU")
        if parallel is not None and not isinstance(parallel, DataParallel):
            raise TypeError(f"parallel must be a DataParallel or None, got {type(parallel).__name__}")
        if graph and parallel is not None:
            raise ValueError("graph must not be True with parallel, whose steps are not captured")
        self.truncate = None if truncate is None else check.integer("truncate", truncate, least=1)
        self.recompute = None if recompute is None else check.integer("recompute", recompute, least=1)
        chosen = {"recompute": recompute, "truncate": truncate, "online": online}
        names = [name for name, value in chosen.items() if value is not None]
        if len(names) > 1:
            raise ValueError(f"{names[0]} must not be given with {names[1]}, which has other gradients")
        for name in names:
            if graph or parallel is not None:
                raise ValueError(f"{name} must not be given with graph=True, micro or parallel, whose steps are whole")
            if callable(getattr(loss, "observing", None)):
                raise ValueError(f"{name} must not be given with {type(loss).__name__}, that needs all steps of layers")
            check_continued(graph_in_chunks(net), whole=recompute is not None)
        self._learner = None if online is None else OnlineLearner(graph_in_chunks(net), as_rule(online))
        self._said_kept = False  # that weights are not calibrated
        self._statistics = RunningStatistics(net)
        self.graph, self.parallel = graph, parallel
        self.graph_problem: str | None = None
        self.gradients = GradientFlow(net)
        self._watch = GradientWatch(net, optimizer, self.gradients)
        self.silent_batch: tuple[Any, Any] | None = None
        self._trained: int | None = None  # the last epoch that `train` has ended
        self._silence = Silence()
        # The check and the progress of the current epoch.
        self._running: tuple[FiniteCheck, Progress] | None = None

    @check.operation
    def prepare(self, batches: Iterable[object]) -> Calibration | None:
        """Calibrate the network for batches (x, target), as `train` does before the first step; return the result.

        It consumes the first batches of an iterator; a list or a `Loader` yields them again, in the same epoch.

        Returns:
            The result; None without calibration: it is off or already done, or the weights or the optimizer are not in
            their initial state.

        Raises:
            ValueError: calibration has no batch.
        """
        self._calibrated(batches, None)
        return self.calibration

    @check.operation
    def fit(
        self,
        batches: Iterable[object],
        validation: Iterable[object] | None = None,
        *,
        epochs: int,
        place: Place | None = None,
    ) -> Stats:
        """Train until the log has a number of epochs or a callback ends the training, and return the log, `stats`.

        Args:
            batches: pairs of spikes and targets, as in `train`; a list or a `Loader`, which yields them in each epoch.
            validation: the same, to test after each epoch; None for none.
            epochs: the number of epochs, with those that `stats` already has.
            place: the place of a checkpoint within an epoch, to go on from there.

        Raises:
            ValueError: epochs is less than 1, or as in `train`.
            TypeError: epochs is not an integer, or as in `train`.
        """
        epochs = check.integer("epochs", epochs, least=1)
        while len(self.stats.epochs) < epochs and all(callback.goes_on(self) for callback in self.callbacks):
            epoch = len(self.stats.epochs)
            self.optimizer.epoch = epoch
            if isinstance(batches, Loader):
                batches.epoch = epoch
            for callback in self.callbacks:
                callback.before_epoch(self)
            begun = time.perf_counter()
            state = None if place is None else place.trained
            trained = self.train(batches, title=f"epoch {epoch + 1}/{epochs}", state=state)
            seconds = time.perf_counter() - begun + (0.0 if state is None else state["seconds"])
            validated = None
            if validation is not None:
                state = None if place is None else place.tested
                validated = self.test(validation, title="validation", state=state)
            self.stats.end_epoch(trained, validation=validated, seconds=seconds, lr=self.optimizer.lr)
            place = None
            for callback in self.callbacks:
                callback.after_epoch(self)
        return self.stats

    @check.operation
    def train(
        self,
        batches: Iterable[object],
        *,
        title: str = "train",
        steps: int | None = None,
        state: dict[str, object] | None = None,
    ) -> Score:
        """Take an optimizer step for each batch, count an epoch of the optimizer, and return the score during training.

        Args:
            batches: pairs of spikes (T, N, ...) and classes (N,), or target spike trains for a loss of spike times.
            title: the title of the progress bar.
            steps: the maximum number of batches; None for all.
            state: to resume within an epoch, the result of `Tally.state` for its first batches, which are skipped. The
                caller loads the state of `gradients`.

        Raises:
            NotFiniteError: a loss, gradient, weight or potential is not finite. On a CPU the error comes before the
                step of this batch, unless the step makes a weight infinite. On a GPU it comes when the progress bar is
                drawn, or at the end.
            ValueError: steps is less than 1, or there is no batch, or none with a recording or a labelled step.
            TypeError: steps is not an integer, or batches are not pairs.

        Warns:
            UserWarning: batches are a `Loader` with another dt than the loss's neuron, or than the network if the loss
                has no neuron. Once per trainer, also if the input of a batch has no spikes.
        """
        # Of a schedule; a loop that sets the epoch itself has another one by now.
        self.optimizer.epoch += self._trained == self.optimizer.epoch
        step = self._strategy()
        task, progress = self._begin(True, step, batches, title, steps, state)
        self._running = task.finite, progress
        if state is None:
            self.gradients.start_epoch()  # nothing from an interrupted epoch counts
        self._watch.start_epoch()
        was_silent = self.silent_batch is not None
        self.silent_batch = None
        trains = True
        self.net.train()
        try:
            for number, batch in enumerate(progress.bar, start=progress.batches + 1):
                trains = all([callback.before_step(self, batch) for callback in self.callbacks])
                (step.train if trains else step.test)(task, batch, number)
                for callback in self.callbacks:
                    callback.after_step(self, progress)
            self.check_finite()
        except NotFiniteError:
            self._watch.warn_of_growth(share=0.0)
            raise
        _check_counted(progress, batches)
        self._running = None
        if step.problem and step.problem != self.graph_problem and self.graph:
            check.warn(f"steps are not captured as a CUDA graph: {step.problem}")
        self.graph_problem = step.problem
        if trains:
            self._watch.end_epoch()
            self.gradients.end_epoch()
        if not progress.spiked:
            if not was_silent and not any(callback.explains_silence for callback in self.callbacks):
                self._say(
                    "Trainer: the output has no spikes in this epoch; cs.diagnose(net, [trainer.silent_batch]) says why"
                )
            self.silent_batch = step.last
            step.end(task)
        self._trained = self.optimizer.epoch
        return progress.score()

    @check.operation
    def test(
        self,
        batches: Iterable[object],
        *,
        title: str = "test",
        steps: int | None = None,
        state: dict[str, object] | None = None,
    ) -> Score:
        """Return the score of batches (spikes, target) in evaluation mode, without gradients. Arguments: see `train`.

        The network is then in the mode of before.

        Raises:
            NotFiniteError: a parameter, an output or a loss is not finite.
            ValueError, TypeError: as in `train`.

        Warns:
            UserWarning: as in `train`.
        """
        step = self._strategy()
        task, progress = self._begin(False, step, batches, title, steps, state)
        modes = [(layer, layer.training) for layer in self.net.layers_within()]
        self.net.eval()
        try:
            with no_grad(), np.errstate(over="ignore", invalid="ignore"):
                for number, batch in enumerate(progress.bar, start=progress.batches + 1):
                    step.test(task, batch, number)
                    for callback in self.callbacks:
                        callback.after_test_step(self, progress)
        finally:
            for layer, training in modes:
                layer.training = training
        task.finite.look(progress)
        _check_counted(progress, batches)
        return progress.score()

    @check.operation("train")
    def check_finite(self) -> None:
        """Check that all numbers of the epoch so far are finite, such as before a checkpoint; this waits for a GPU.

        Raises:
            NotFiniteError: a number of the epoch, or a parameter, is not finite.
        """
        if self._running is not None:
            finite, progress = self._running
            finite.look(progress)
            finite.parameters(progress.batches)

    def _strategy(self) -> PlainStep:
        """Return the strategy for the steps of this epoch."""
        if self.parallel is not None:
            return ParallelStep(self.parallel, self._statistics, at_steps=getattr(self.loss, "at_steps", True))
        if self.graph is False or device() != "cuda":
            return PlainStep()
        problem = None
        if self.truncate is not None or self.recompute is not None or self._learner is not None:
            problem = "truncate, recompute and online run steps in chunks of time"
        elif self.score is not None:
            problem = "a score of one's own may read the device"
        elif any(is_stateful(node.stage) for node in self.net.graph.nodes):
            problem = "forget() of stateful neurons would not reach a captured step"
        return GraphStep(self.optimizer, problem)

    def _begin(
        self,
        train: bool,
        step: PlainStep,
        batches: Iterable[object],
        title: str,
        steps: int | None,
        state: dict[str, object] | None,
    ) -> tuple[Task, Progress]:
        """Prepare an epoch, with checks and calibration; return the task of its steps, and its progress."""
        # Imports tqdm on first use.
        from cuslayer.training.progress import Progress

        self._check_step(batches)
        if steps is not None:
            steps = check.integer("steps", steps, least=1)
        finite = FiniteCheck(train, self.net, self.optimizer, self.loss_scale)
        total = len(batches) if isinstance(batches, Sized) else None
        if train:
            batches = self._calibrated(batches, steps)
            if state is None and total is not None:
                self._balance_again(batches, total if steps is None else min(total, steps))
            step.start(self.net, self.optimizer.steps)
        shown = self.progress and step.shows
        own = self.score is not None
        progress = Progress(step.own(batches), title, shown, total, steps, state, finite.look, own)
        task = Task(
            net=self.net,
            loss=self.loss,
            optimizer=self.optimizer,
            scale=self.loss_scale,
            flow=self.gradients,
            silence=self._silence,
            score=progress,
            finite=finite,
            watch=self._watch,
            own_score=self.score,
            truncate=self.truncate,
            recompute=self.recompute,
            learner=self._learner,
        )
        return task, progress

    def _calibrated(self, batches: Iterable[object], steps: int | None) -> Iterable[object]:
        """Return batches after calibration by the first ones; an iterator yields these again."""
        check_batches(batches)
        if self.calibrate is None or self.calibration is not None or self.optimizer.steps:
            return batches
        first, samples = list[Any](), 0
        with preserved_epoch(batches), np.errstate(over="ignore", invalid="ignore"):
            rest = iter(batches)
            for batch in pairs(islice(rest, steps)):
                first.append(batch)
                samples += as_input(batch[0]).shape[1]
                if samples >= SAMPLES:
                    break
            if not first:
                raise ValueError(_NO_BATCH.format(none_in(batches)))
            self.calibration = calibrate_initial(self.net, first, self.calibrate, self.loss, self._calibration_steps)
            if self.calibration is not None:
                self._say(
                    "Trainer: weights without a weight_scale of their own are scaled so that neurons fire at "
                    f"{self.calibrate:g} Hz; calibrate=None "
                    "(initialization: slayer in a configuration) leaves them as they are"
                )
            elif not self._said_kept and (changed := layers_set(self.net)):
                self._said_kept = True
                self._say(
                    f"Trainer: weights of layer {changed} were set or loaded, so none is scaled; cs.calibrate(net, "
                    "batches, keep=...) scales the others, calibrate=None leaves out this line"
                )
        return batches if isinstance(batches, Loader) else chain(first, rest)

    @property
    def _calibration_steps(self) -> int:
        """The most steps of recordings that a calibration uses."""
        return max(self.truncate or self.recompute or sys.maxsize, _CALIBRATED)

    def _balance_again(self, batches: Iterable[object], steps: int) -> None:
        """Balance errors after epochs of so many steps in which the number of steps passed a power of two."""
        taken = self.optimizer.steps
        passed = taken.bit_length() > max(taken - steps, 0).bit_length()
        if self.calibrate is not None and passed and isinstance(batches, (Loader, Sequence)):
            balance_again(self.net, batches, self._calibration_steps)

    def _say(self, line: str) -> None:
        """Log a line, of several processes in the first."""
        if self.parallel is None or self.parallel.context.rank == 0:
            self.log(line)

    def _check_step(self, batches: Iterable[object]) -> None:
        """Warn if a `Loader` has another time step than the loss's neuron or the network's neurons."""
        of_loss = step_of(self.loss)
        dt, whose = (of_loss, "the loss one") if of_loss is not None else (self.net.dt, "the network one")
        if isinstance(batches, Loader) and dt is not None and batches.dt != dt:
            check.warn(f"the loader has a dt of {batches.dt:g} ms, {whose} of {dt:g} ms")


def _say(line: str) -> None:
    """Print a line to standard error, unless it is closed."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")


def _check_counted(score: Tally, batches: Iterable[object]) -> None:
    """Raise ValueError if an epoch had no sample: its score would be that of nothing."""
    if not score.batches:
        raise ValueError(_NO_BATCH.format(none_in(batches)))
    if not score.samples:
        raise ValueError("batches must have a recording, with labels at each step a labelled step, got none")
