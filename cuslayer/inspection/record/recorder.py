"""Recording: a context in which a network keeps what it had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, cast

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.record.fused import Maps, Pooled, fixed, neurons
from cuslayer.inspection.record.recording import Record, Recording
from cuslayer.inspection.record.selection import Request
from cuslayer.inspection.structure import Unit, dt_at, network, note_rates
from cuslayer.network.fusion import Step, one_pass
from cuslayer.network.hooks import Run, observe, on_gradient
from cuslayer.neurons.base import OnePass
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor

Show: TypeAlias = "Callable[[Array], None]"


def record(
    net: Any, layers: Any = None, neurons: Any = None, samples: Any = None, window: tuple[float, float] | None = None
) -> AbstractContextManager[Recording]:
    """Open a context that keeps what a network has while it runs, by layer: ``seen[layer].potential``.

    Each `Record` has the weighted input, the filtered potential, the refractory part, the membrane potential, the
    spikes and the surrogate, and when backward has passed, within the block or later, the errors on the spikes, the
    potential and the weighted input. Nothing is computed or kept of what is not asked for; spikes and gradients are
    the same to the bit. Of several calls, the last is kept. It concerns the thread that opens it.

    Args:
        net: a `Network` or `Sequential`.
        layers: positions or layers, one or a list; all by default.
        neurons: those of each layer, one or a list: numbers, or places such as (row, column, channel); or a mapping
            from layers to such, which are then the layers. All by default.
        samples: numbers of samples within the batch, one or a list; all by default.
        window: start and stop in ms; all times by default.

    Returns:
        A context that yields a `Recording`.

    Raises:
        TypeError: net is no network.
        ValueError: a layer is none of the network's, or window is no pair; when the network runs, also where a neuron,
            a sample or the window lies outside of what there is.

    >>> import numpy as np
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM())
    >>> with record(net, layers=1, neurons=[0, 2]) as seen:
    ...     out = net(np.ones((20, 1, 4), bool))
    >>> seen[1].potential
    Labelled(potential: time 20, sample 1, neuron 2; float32)
    """
    network("record", net)
    return _recording(net, Request(net, layers, neurons, samples, window))


@contextmanager
def _recording(net: Any, request: Request) -> Iterator[Recording]:
    recording = Recording(request)
    with observe(net, Recorder(request, recording)):
        yield recording


class Recorder:
    """Runs the passes of a network in its place, and records what is asked for."""

    def __init__(self, request: Request, recording: Recording) -> None:
        self.net, self.recording = request.net, recording
        self.half = request.net.potentials == "float16"
        self.rates: dict[int, float] = {}
        self.asked = {at: u for u in request.units for at in u if at is not None}

    def __call__(self, run: Run, step: Step, x: Tensor) -> Tensor:
        if not any(position in self.asked for position in range(step.start, step.start + len(step.stages))):
            return run(step, x)
        if step.keeps_potentials:
            return self._pass(run, step, x)
        for part in step.parts():
            x = self._stage(run, part, x)
        return x

    def _stage(self, run: Run, step: Step, x: Tensor) -> Tensor:
        """Run a stage that stands alone."""
        of = self.asked.get(step.start)
        if of is None or step.start != of.last:
            return run(step, x)
        if of.neurons is None:
            return self._output(of, run(step, x))
        computed = one_pass(step.stages[0])
        if computed is not None:
            shown: list[Potentials] = []
            with on_potential(shown.append):
                s = run(step, x)
            part, kept = self.recording.begin(of, s.shape)
            errors = neurons(kept, part, computed, shown[0], part.own(x.data), self.half)
            self._note(of, kept)
            return on_gradient(s, callback=lambda g: errors(part.own(g)))
        return self._others(of, run, step, x)

    def _output(self, of: Unit, y: Tensor) -> Tensor:
        """Record what a layer without neurons returns."""
        check.time_first("record", f"the output of layer {of.last}", y)
        part, kept = self.recording.begin(of, y.shape)
        kept.put(output=part.own(y.data))
        return on_gradient(y, callback=lambda g: kept.put(output_error=part.own(g)))

    def _others(self, of: Unit, run: Run, step: Step, x: Tensor) -> Tensor:
        """Record neurons of which nothing else is known: what goes in and out, and the potential where it is kept."""
        part, kept = self.recording.begin(of, x.shape)
        kept.put(weighted=part.own(x.data))
        shown: list[Potentials] = []
        with on_potential(shown.append):
            s = run(step, on_gradient(x, callback=lambda g: kept.put(weighted_error=part.own(g))))
        kept.put(spikes=part.own(s.data))
        if shown:
            kept.put(potential=shown[0].own(part))
        return on_gradient(s, callback=lambda g: kept.put(spikes_error=part.own(g)))

    def _pass(self, run: Run, step: Step, x: Tensor) -> Tensor:
        """Run a convolution and its neurons, and perhaps a pooling layer and its neurons, as the one pass they are."""
        at, conv = step.start, fixed(step.stages[0])
        srm, *behind_pool = [cast(OnePass, one_pass(neuron)) for neuron in step.stages[1::2]]
        shown: list[Potentials] = []
        with on_potential(shown.append):
            y = run(step.with_layer(conv), x)
        maps = Maps(conv, srm, shown[0], x)
        pooled = Pooled(maps, step.stages[2], behind_pool[0], shown[1], y.shape) if behind_pool else None
        shows: list[Show] = []
        if at in self.asked:
            part, kept = self.recording.begin(self.asked[at], maps.shape)
            errors = neurons(kept, part, srm, shown[0], maps.weighted(part), self.half)
            back = pooled.errors_of_maps(part, self.half) if pooled else part.own
            shows.append(lambda g: errors(back(g)))
            self._note(self.asked[at], kept)
        if pooled and at + 2 in self.asked:
            behind, kept = self.recording.begin(self.asked[at + 2], y.shape)
            errors_behind = neurons(kept, behind, pooled.srm, shown[1], pooled.weighted(behind), self.half)
            shows.append(lambda g: errors_behind(behind.own(g)))
            self._note(self.asked[at + 2], kept)

        def show(g: Array) -> None:
            for each in shows:
                each(g)

        return on_gradient(y, callback=show)

    def _note(self, of: Unit, kept: Record) -> None:
        """Keep the rate of neurons that are recorded whole, for the network's table."""
        if kept.places is None and kept.spikes.size:
            share = np.count_nonzero(kept.spikes.values) / kept.spikes.size
            self.rates[of.last] = 1000.0 * share / dt_at(self.net, of.last)
            note_rates(self.net, self.rates)
