"""A process with PyTorch's convolutions, which are oneDNN's on a CPU: `python -m comparison.onednn`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from common import answers
from torch.nn.functional import conv2d

# PyTorch stores images as channels first; both orders of memory are tried.
FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def passes(x: np.ndarray, w: np.ndarray, g: np.ndarray, padding: int, order: str) -> dict[str, Any]:
    """Return the convolution and its two gradients as functions of nothing; arrays have the channels last."""
    images, weight, errors = (
        torch.from_numpy(a).permute(axes).contiguous(memory_format=FORMATS[order])
        for a, axes in ((x, (0, 3, 1, 2)), (w, (3, 2, 0, 1)), (g, (0, 3, 1, 2)))
    )

    def gradient(of: int) -> Any:
        options = (None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1, [of == 0, of == 1, False])
        return torch.ops.aten.convolution_backward(errors, images, weight, *options)[of]

    return {
        "forward": lambda: conv2d(images, weight, padding=padding).permute(0, 2, 3, 1),
        "input": lambda: gradient(0).permute(0, 2, 3, 1),
        "weight": lambda: gradient(1).permute(2, 3, 1, 0),
    }


def main() -> None:
    state: dict[str, Any] = {}

    def answer(given: dict[str, Any]) -> dict[str, Any]:
        if given["do"] == "hello":
            torch.set_num_threads(given["threads"])
            return {"versions": {"torch": torch.__version__}, "onednn": torch.backends.mkldnn.is_available()}
        if given["do"] == "arrays":
            with np.load(given["path"]) as file:
                arrays = [file[name] for name in ("x", "w", "g")]
            state.update({order: passes(*arrays, given["padding"], order) for order in FORMATS})
            results = {name: run().numpy() for name, run in state["channels last"].items()}
            np.savez(given["results"], **results)
            return {}
        run = state[given["order"]][given["pass"]]
        run()
        start = time.perf_counter()
        with torch.no_grad():
            run()
        return {"seconds": time.perf_counter() - start}

    answers(answer)


if __name__ == "__main__":
    main()
