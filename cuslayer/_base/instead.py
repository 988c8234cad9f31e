"""Replacements for names that users of PyTorch look for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

C = TypeVar("C", bound=type)

_DEVICE = "cs.use('cuda') or cs.use('cpu') chooses the device, before networks and tensors are made"
_LOADED = "load_state(state) loads what state() has returned, and cs.load what cs.save has written"
_STATE = {"state_dict": "state() returns the arrays by name", "load_state_dict": _LOADED}
_TYPES = "astype('float32'), astype('float64') or astype(bool) converts it; integers are arrays of NumPy"
_WRITE = "w.data *= 2 or w.data[...] = 0 writes to the array, before the next forward pass"

ATTRIBUTES: dict[str, dict[str, str]] = {
    "layer": _STATE
    | dict.fromkeys(("to", "cuda", "cpu"), _DEVICE)
    | dict.fromkeys(("half", "float", "double"), "parameters are float32; potentials='float16' saves memory")
    | {
        "forward": "define __call__(self, x), and call net(x)",
        "modules": "layers_within() returns the layer and all layers in it",
        "zero_grad": "optimizer.zero_grad() clears the gradients",
        "requires_grad_": "set p.requires_grad = False for p in net.parameters()",
        "register_forward_hook": "cs.record(net) records what layers compute",
        "register_parameter": "an attribute that is a cs.Tensor with requires_grad=True is a parameter",
        "register_buffer": "an attribute that is a cs.Tensor is saved with the layer",
        "save": "cs.save(net, path) writes a network, cs.load(path) reads it",
    },
    "tensor": dict.fromkeys(("to", "cuda", "cpu", "device"), _DEVICE + "; numpy() returns a NumPy array")
    | dict.fromkeys(("float", "double", "half", "long", "int", "bool"), _TYPES)
    | dict.fromkeys(("zero_", "fill_", "copy_", "add_", "sub_", "mul_", "div_"), _WRITE)
    | {
        "view": "reshape(...) is the same",
        "permute": "transpose(...) takes all axes",
        "unsqueeze": "cs.expand_dims(x, axis), or x[:, None]",
        "clone": "copy() is the same",
        "contiguous": "data is contiguous always",
        "numel": "size is the number of elements",
        "dim": "ndim is the number of axes",
        "requires_grad_": "set x.requires_grad = True",
        "grad_fn": "node is the graph node",
        "retain_grad": "cs.functions.on_gradient(x, callback=...) is called with the gradient",
        "register_hook": "cs.functions.on_gradient(x, callback=...) is called with the gradient",
    },
    "optimizer": _STATE
    | {
        "param_groups": "groups has the groups of parameters, each with an lr; lr is the optimizer's",
        "add_param_group": "make an optimizer with all groups",
    },
    "package": {
        "nn": "layers, neurons and losses are in cs itself, as cs.Dense",
        "Module": "cs.Layer is the base class of layers",
        "Parameter": "cs.Tensor(data, requires_grad=True) is a parameter",
        "Linear": "cs.Dense(inputs, outputs) is the layer",
        "Conv2d": "cs.Conv(channels, maps, kernel) is the layer",
        "ConvTranspose2d": "cs.ConvTranspose(channels, maps, kernel) is the layer",
        "AvgPool2d": "cs.AvgPool(size) is the layer; cs.SumPool(size, gain) is SLAYER's, with neurons after it",
        "MaxPool2d": "cs.MaxPool(size) is the layer, for spikes and numbers",
        "AdaptiveAvgPool2d": "cs.GlobalAvgPool() is the mean over each frame",
        "BatchNorm1d": "cs.BatchNorm(features) is the layer",
        "BatchNorm2d": "cs.BatchNorm(features) is the layer",
        "Flatten": "cs.Dense takes frames (H, W, C) as they are",
        **dict.fromkeys(("Leaky", "LIFNode", "ParametricLIFNode"), "cs.LIF(tau=...) are the neurons"),
        **dict.fromkeys(("CosineAnnealingLR", "StepLR"), "cs.optim.cosine_decay and cs.optim.step_decay are schedules"),
        "Synaptic": "cs.CUBA(tau_i=..., tau_v=...) are the neurons",
        **dict.fromkeys(("RLeaky", "RSynaptic", "LSTM", "RNN"), "cs.Recurrent(cs.Dense(n, n), cs.LIF()) are neurons"),
        **dict.fromkeys(("MSELoss", "MeanSquaredError"), "cs.MeanSquaredErrorLoss() is the loss"),
        "BCEWithLogitsLoss": "cs.BinaryCrossEntropyLoss() is the loss",
        "NLLLoss": "cs.CrossEntropyLoss() is the loss",
        "random_split": "cs.data.split(data, ...) divides a data set",
        "Dataset": "any object with len and data[i] is a data set; cs.data.Arrays(x, y) is one of arrays",
        "spikegen": "cs.encode_poisson, cs.encode_latency and cs.encode_delta make spikes",
        "functional": "cs.functions has the operations",
        "AdamW": "cs.Adam(parameters, weight_decay=...) is the optimizer",
        "DataLoader": "cs.data.Loader(data, batch) makes batches",
        "TensorDataset": "cs.data.Arrays(x, y) is a data set of arrays",
        "tensor": "cs.Tensor(data) is a tensor",
        "from_numpy": "cs.Tensor(array) is a tensor, without a copy",
        "manual_seed": "cs.seed(number) seeds weights, dropout and shuffling",
        "cuda": _DEVICE,
    },
}


def attributes(kind: str) -> Callable[[C], C]:
    """Let the instances of a class answer a name in ``ATTRIBUTES[kind]`` that they lack with its replacement."""

    def missing(instance: object, name: str) -> object:
        replacement = ATTRIBUTES[kind].get(name)
        if replacement is None:
            return object.__getattribute__(instance, name)  # raises Python's error
        raise AttributeError(f"{type(instance).__name__}: {name} is PyTorch's; {replacement}")

    def add(owner: C) -> C:
        # Not a method in the class, where it would let every misspelt attribute pass the type checker.
        owner.__getattr__ = missing  # type: ignore[attr-defined]
        return owner

    return add
