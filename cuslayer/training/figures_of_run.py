"""The figures of a run: learning curves, gradient flow, and a recording in all layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuslayer.backend import Array
from cuslayer.network.network import Network
from cuslayer.network.walk import Walk, ends_in_read_out, eval_mode
from cuslayer.tape import Tensor, no_grad
from cuslayer.training.config import Config
from cuslayer.training.figures import draw_curves, draw_rasters, save_figure
from cuslayer.training.folder import FIGURES
from cuslayer.training.gradient_flow import GradientFlow
from cuslayer.training.stats import Stats


def save_figures(
    out: Path, net: Network, config: Config, stats: Stats, gradients: GradientFlow, example: tuple[str, Array, Any]
) -> None:
    """Draw the figures of a run and write them to its folder.

    Args:
        out: the folder.
        net: the trained network.
        config: the configuration.
        stats: the statistics.
        gradients: the sizes of gradients.
        example: a recording: title, spikes (T, ...), target.
    """
    curves, flow, rasters = (out / name for name in FIGURES)
    if stats.epochs:
        save_figure(curves, lambda figure: draw_curves(figure, stats.epochs), size=(9, 3.5))
        save_figure(flow, lambda figure: gradients.plot(figure.subplots()), size=(6, 3.5))
    title, spikes, _ = example
    trains = [(title, spikes), *_layer_spikes(net, spikes)]
    save_figure(rasters, lambda f: draw_rasters(f, trains, config.neuron.dt), size=(8, 2 + 1.6 * len(trains)))


def _layer_spikes(net: Network, spikes: Array) -> list[tuple[str, Array]]:
    """Return a title and the spikes of each layer of neurons for one recording (T, ...)."""
    found = list[tuple[str, Array]]()
    with eval_mode(net), no_grad():
        for at in Walk(net, Tensor(spikes[:, None])):
            if at.neurons is not None:
                layer = at.unit.layer
                found.append((f"after {'neurons' if layer is None else repr(layer.stage)}", at.output.numpy()[:, 0]))
    if ends_in_read_out(net):
        return found
    return [*found[:-1], *(("output", spikes) for _, spikes in found[-1:])]
