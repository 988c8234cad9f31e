"""Windows that slide over frames: what convolution, pooling and their transposes share."""

from __future__ import annotations

from cuslayer import check
from cuslayer.kernels.geometry import Window


class Sliding:
    """A layer with a window."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def _slide(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int | tuple[int, int],
        dilation: int | tuple[int, int],
    ) -> None:
        """Check and keep the window's constants."""
        op = type(self).__name__
        self.kernel_size = check.pair(op, "kernel_size", kernel_size, least=1)
        self.stride = check.pair(op, "stride", stride, least=1)
        self.padding = check.pair(op, "padding", padding, least=0)
        self.dilation = check.pair(op, "dilation", dilation, least=1)

    @property
    def window(self) -> Window:
        """The window as kernels take it."""
        return Window(self.kernel_size, self.stride, self.padding, self.dilation)
