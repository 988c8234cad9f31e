"""Sizes of windows on images, for convolution and pooling."""

from __future__ import annotations

from typing import NamedTuple

from cuslayer import check


class Window(NamedTuple):
    """A window of rows and columns: kernel size, stride, padding and dilation."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, op: str, kernel: object, stride: object, padding: object, dilation: object) -> Window:
        """Return the window of integers or pairs of them; raise as `check.pair` does."""
        return cls(
            check.pair(op, "kernel_size", kernel, least=1),
            check.pair(op, "stride", stride, least=1),
            check.pair(op, "padding", padding, least=0),
            check.pair(op, "dilation", dilation, least=1),
        )

    def outputs(self, op: str, image: tuple[int, ...], *, ceil: bool) -> tuple[int, int]:
        """Return the numbers of rows and columns of windows on an image (H, W).

        If the stride does not divide the image, the last window that begins inside counts with `ceil` only.

        Raises:
            ValueError: the window is larger than the padded image.
        """
        sizes = []
        for axis, name in enumerate(("rows", "columns")):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            free = image[axis] + 2 * self.padding[axis] - reach
            if free < 0 and not (ceil and image[axis] > 0):
                padded = image[axis] + 2 * self.padding[axis]
                raise ValueError(f"{op}: the window spans {reach} {name}, the padded image has {padded}")
            steps = free // self.stride[axis]
            if ceil:
                inside = (image[axis] + 2 * self.padding[axis] - 1) // self.stride[axis]
                steps = max(0, min(-(-free // self.stride[axis]), inside))
            sizes.append(steps + 1)
        return sizes[0], sizes[1]

    def image(self, op: str, outputs: tuple[int, ...], extra: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Return the rows and columns of the smallest image with so many windows, plus `extra`.

        Raises:
            ValueError: there are no windows, or the padding is as large as the image.
        """
        sizes = []
        for axis, name in enumerate(("rows", "columns")):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            size = (outputs[axis] - 1) * self.stride[axis] - 2 * self.padding[axis] + reach + extra[axis]
            for what, count in (("x", outputs[axis]), ("the result", size)):
                if count < 1:
                    raise ValueError(f"{op}: {what} must have {name}, got {count}")
            sizes.append(size)
        return sizes[0], sizes[1]
