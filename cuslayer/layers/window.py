"""Frames, and layers with a window that slides over them."""

from __future__ import annotations

from typing import Any, TypeAlias

from cuslayer.kernels.constants import Window

Pair: TypeAlias = "int | tuple[int, int]"


def check_frames(op: str, shape: tuple[Any, ...]) -> None:
    """Raise ValueError unless a shape is (T, N, H, W, C)."""
    if len(shape) != 5:
        hint = "; one sample needs a batch axis, x[:, None]" if len(shape) == 4 else ""
        raise ValueError(f"{op}: x must be (T, N, H, W, C), got shape {shape}{hint}")


class Sliding:
    """Mixin of layers with a window that slides over frames."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def _set_window(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
        """Validate and set the window's constants."""
        window = Window.of(type(self).__name__, kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding, self.dilation = window

    @property
    def window(self) -> Window:
        """The window in the form that kernels take."""
        return Window(self.kernel_size, self.stride, self.padding, self.dilation)
