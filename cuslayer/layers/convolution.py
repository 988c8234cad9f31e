"""What a convolution and its transpose share: channels, a window, groups, and one weight."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check
from cuslayer.layers.base import Synapse, WeightHooks, differing
from cuslayer.layers.sliding import Sliding


class Convolution(Sliding, Synapse):
    """A synapse whose weight is a window that slides over frames."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        weight_scale: float = 100.0,
        weight_hook: WeightHooks = None,
    ) -> None:
        op = type(self).__name__
        self.in_channels = check.integer(op, "in_channels", in_channels, least=1)
        self.out_channels = check.integer(op, "out_channels", out_channels, least=1)
        self._slide(kernel_size, stride, padding, dilation)
        self.groups = check.integer(op, "groups", groups, least=1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % self.groups:
                raise ValueError(f"{op}: {name} must be a multiple of {self.groups} groups, got {channels}")
        super().__init__(self.weight_shape(), self.fan_in(), weight_scale, weight_hook)

    def weight_shape(self) -> tuple[int, ...]:
        """Return the shape of the weight, (kh, kw, in_channels / groups, out_channels)."""
        return (*self.kernel_size, self.in_channels // self.groups, self.out_channels)

    def fan_in(self) -> int:
        """Return how many inputs reach an output at most."""
        return math.prod(self.kernel_size) * self.in_channels // self.groups

    def geometry(self) -> dict[str, Any]:
        """Return the options of the operation."""
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    def __repr__(self) -> str:
        rest = differing(self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {self.kernel_size}{rest})"
