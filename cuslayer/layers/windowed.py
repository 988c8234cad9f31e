"""What pooling and its transpose share: a window and a gain."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.layers.base import Layer, differing
from cuslayer.layers.sliding import Sliding


class Windowed(Sliding, Layer):
    """A layer whose window slides over each channel of a frame, every input weighing the same."""

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        gain: float,
    ) -> None:
        self._slide(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        self.gain = check.number(type(self).__name__, "gain", gain)

    def geometry(self) -> dict[str, Any]:
        """Return the options of the operation."""
        return {name: getattr(self, name) for name in ("kernel_size", "stride", "padding", "dilation", "gain")}

    def __repr__(self) -> str:
        rest = differing(self, stride=self.kernel_size, padding=(0, 0), dilation=(1, 1))
        return f"{type(self).__name__}({self.kernel_size}{rest}, gain={self.gain:g})"
