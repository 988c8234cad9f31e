"""Record the arrays of a network's forward and backward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, cast

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.record import derived
from cuslayer.inspection.record.fused import FusedConv, FusedPool, record_neurons, with_effective_weight
from cuslayer.inspection.record.recording import Record, Recording
from cuslayer.inspection.record.selection import Request
from cuslayer.inspection.structure import Unit, check_network, note_rates
from cuslayer.network.fusion import Run, Step, observe, one_pass
from cuslayer.network.graph import Address
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import OnePass, as_neuron
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor, no_grad

# Called with the gradient of a step's output.
GradientHook: TypeAlias = "Callable[[Array], None]"


def record(
    net: Any, layers: Any = None, neurons: Any = None, samples: Any = None, window: tuple[float, float] | None = None
) -> AbstractContextManager[Recording]:
    """Open a context that records the arrays of a network's layers while it runs: ``recording[layer].potential``.

    Each `Record` of SRM neurons has the weighted input, the filtered input, the refractory part, the membrane
    potential, the spikes and the surrogate. After backward, within the block or later, it also has the errors on the
    spikes, the potential and the weighted input. Other neurons have some of these, and `Loihi` its current (`Record`).
    Only selected arrays are stored; the network's spikes and gradients do not change by a bit. A later call replaces
    the record of an earlier one. The context applies to the thread that opens it.

    Args:
        net: a `Network` or `Sequential`.
        layers: addresses or layers, one or a list; all by default. The address of a layer of the network is its
            position; of one in a nested network or a branch, the tuple of positions, such as (2, 0, 1).
        neurons: the neurons of each layer, one or a list: flat indices, or tuples such as (row, column, channel); or a
            mapping from layers to these, which also selects the layers. All by default.
        samples: indices of samples in the batch, one or a list; all by default.
        window: start and stop in ms; all steps by default.

    Returns:
        A context that yields a `Recording`.

    Raises:
        TypeError: net is not a network.
        ValueError: a layer is not in the network, or window is not a pair; when the network runs, also if the window
            is out of range.
        IndexError: the position of a layer is out of range; when the network runs, also a neuron or a sample.

    >>> import numpy as np
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM())
    >>> with record(net, layers=1, neurons=[0, 2]) as seen:
    ...     out = net(np.ones((20, 1, 4), bool))
    >>> seen[1].potential
    Labelled(potential: time 20, sample 1, neuron 2; float32)
    """
    check_network("record", net)
    return _recording(net, Request(net, layers, neurons, samples, window))


@contextmanager
def _recording(net: Any, request: Request) -> Iterator[Recording]:
    recording = Recording(request)
    with observe(net, Recorder(request, recording)):
        yield recording


class Recorder:
    """Observer that runs the steps of a network and records the selected arrays."""

    def __init__(self, request: Request, recording: Recording) -> None:
        self.net, self.recording = request.net, recording
        self.rates: dict[Address, float] = {}
        self.recorded = {node.number: u for u in request.units for node in u if node is not None}

    def __call__(self, run: Run, step: Step, *inputs: Tensor) -> Tensor:
        if not any(position in self.recorded for position in range(step.start, step.start + len(step.stages))):
            return run(step, *inputs)
        if step.keeps_potentials:
            return self._fused(run, step, *inputs)
        for part in step.parts():
            inputs = (self._stage(run, part, *inputs),)
        return inputs[0]

    def _stage(self, run: Run, step: Step, *inputs: Tensor) -> Tensor:
        """Run and record a single stage."""
        of = self.recorded.get(step.start)
        if of is None or step.start != of.last.number:
            return run(step, *inputs)
        if of.neurons is None:
            return self._output(of, run(step, *inputs))
        (x,) = inputs
        srm = one_pass(step.stages[0])
        if srm is None:
            return self._other_neurons(of, run, step, x)
        potentials: list[Potentials] = []
        with on_potential(potentials.append):
            s = run(step, x)
        selection, record = self.recording.begin(of, s.shape)
        errors = record_neurons(record, selection, srm, potentials[0], selection.pick_copy(x.data))
        self._note_rate(of, record)
        return on_gradient(s, callback=lambda g: errors(selection.pick_copy(g)))

    def _output(self, of: Unit, y: Tensor) -> Tensor:
        """Record the output of a layer without neurons."""
        check.time_first("record", f"the output of layer {of.last}", y)
        selection, record = self.recording.begin(of, y.shape)
        record.store(output=selection.pick_copy(y.data))
        return on_gradient(y, callback=lambda g: record.store(output_error=selection.pick_copy(g)))

    def _other_neurons(self, of: Unit, run: Run, step: Step, x: Tensor) -> Tensor:
        """Record neurons that are not plain SRM: input, current, spikes, errors, and the potential if it is saved."""
        selection, record = self.recording.begin(of, x.shape)
        neurons, weighted = as_neuron("record", step.stages[0]), selection.pick_copy(x.data)
        record.store(weighted=weighted)
        potentials: list[Potentials] = []
        with on_potential(potentials.append):
            hooked = on_gradient(x, callback=lambda g: record.store(weighted_error=selection.pick_copy(g)))
            s = run(step, hooked)
        spikes = selection.pick_copy(s.data)
        record.store(spikes=spikes)
        if potentials:
            potential = potentials[0].pick_copy(selection)
            record.store(potential=potential)
            if neurons.parts == "exact" and not selection.all_steps:  # it depends on spikes before the window
                response = derived.refractory_response(neurons)
                record.store(refractory=derived.refractory(response, spikes, potential.dtype))
        if neurons.recurrence is not None:
            with no_grad():
                record.store(recurrent=selection.pick_copy(neurons.recurrence(s.detach()).data))
        if neurons.current(weighted[:0]) is not None:
            record.register(current=lambda: cast(Array, neurons.current(weighted)))
        return on_gradient(s, callback=lambda g: record.store(spikes_error=selection.pick_copy(g)))

    def _fused(self, run: Run, step: Step, x: Tensor) -> Tensor:
        """Run a fused pass, of a convolution and neurons or also of pooling and neurons, and record inside it."""
        at, layer = step.start, with_effective_weight(step.stages[0])
        srm, *pool_srm = [cast(OnePass, one_pass(neuron)) for neuron in step.stages[1::2]]
        potentials: list[Potentials] = []
        with on_potential(potentials.append):
            y = run(step.with_layer(layer), x)
        conv = FusedConv(layer, srm, potentials[0], x)
        pool = FusedPool(conv, step.stages[2], pool_srm[0], potentials[1], y.shape) if pool_srm else None
        hooks: list[GradientHook] = []
        if at in self.recorded:
            selection, record = self.recording.begin(self.recorded[at], conv.shape)
            errors = record_neurons(record, selection, srm, potentials[0], conv.weighted(selection))
            spikes_error = pool.conv_spikes_error(selection) if pool else selection.pick_copy
            hooks.append(lambda g: errors(spikes_error(g)))
            self._note_rate(self.recorded[at], record)
        if pool and at + 2 in self.recorded:
            pooled, record = self.recording.begin(self.recorded[at + 2], y.shape)
            pool_errors = record_neurons(record, pooled, pool.srm, potentials[1], pool.weighted(pooled))
            hooks.append(lambda g: pool_errors(pooled.pick_copy(g)))
            self._note_rate(self.recorded[at + 2], record)

        def call_hooks(g: Array) -> None:
            for hook in hooks:
                hook(g)

        return on_gradient(y, callback=call_hooks)

    def _note_rate(self, of: Unit, record: Record) -> None:
        """Note the mean rate of a layer whose neurons are all recorded, for the notebook's table of the network."""
        if record.indices is None and record.spikes.size:
            share = np.count_nonzero(record.spikes.values) / record.spikes.size
            self.rates[of.address] = 1000.0 * share / as_neuron("record", of.last.stage).dt
            note_rates(self.net, self.rates)
