"""Base classes of layers: parameters, output shapes, weights with hooks and a bias, windows, checks of the input."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, TypeVar
from zlib import crc32

import numpy as np

from cuslayer import kernels
from cuslayer._base import check, instead
from cuslayer._base.array_like import TensorLike
from cuslayer._parameter import Bounded, replaces, set_values
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, generator, to_device, to_numpy
from cuslayer.kernels import Kernels
from cuslayer.kernels.constants import Window, places_of
from cuslayer.kernels.host.memory import count_elements
from cuslayer.neurons.base import Listed, Usual, usable_names
from cuslayer.neurons.states import Remembering

WeightHook = Callable[[Tensor], Tensor]
WeightHooks: TypeAlias = "WeightHook | tuple[WeightHook, ...] | None"
Shape: TypeAlias = "tuple[int, ...]"
L = TypeVar("L", bound="Layer")

# Frames with unknown rows and columns; the number of channels follows.
FRAME = ("H", "W")
# Places of unknown number and axes, which may be none; the number of features follows.
PLACES = ("...",)


class LoadedState(NamedTuple):
    """What `load_state` did not load.

    Attributes:
        missing: the names of parameters that the state does not have.
        unexpected: the names in the state that are no parameters.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


@instead.attributes("layer")
@check.named
class Layer(metaclass=Listed):
    """Base class of layers: a callable with parameters.

    A layer owns the tensors and layers among its attributes, also inside lists, tuples and dictionaries. `parameters`,
    `state`, `load_state`, `train` and the optimizer find them without registration, also in subclasses of the library's
    layers. A subclass that defines `parameters` itself decides alone which tensors are trained.

    An array that is assigned to a tensor, ``layer.weight = array``, sets its values: layer and optimizer keep the
    tensor, its type and its bounds. The array has the tensor's shape, or is one number. So does a `Tensor` without
    ``requires_grad``. A `Tensor` with it takes the place of the other, such as ``b.weight = a.weight`` for two layers
    that share a weight. This, the result of an operation, or other values raise a ValueError or TypeError where an
    optimizer would go on with the old tensor, or a gradient would be lost.

    Attributes:
        training: whether layers that behave differently in training, such as dropout, do so.
        keeps_shape: whether the output always has the shape of the input.
        keeps_steps: whether step t of the output is the same time as step t of the input, as in the library's layers.
            Neurons before and after the layer must then have the same dt.
        tensors: the names of attributes that are a Tensor or None, never an array.
        state_numbers: the names of number attributes that belong to the state of a network, such as a gain.
        memory: the number of earlier input steps on which an output step depends in evaluation; None if there is no
            limit. A class that defines `__call__` must also define memory.
        form: what the layer computes in evaluation, for files, pages and fused passes; see `form_of`.
        weighted: whether `calibrate` scales this layer rather than earlier ones before the same neurons.
        is_read_out: whether the output of a network that ends in the layer is numbers, not spikes.
        normalizes: whether the layer is a `BatchNorm`, whose statistics calibration, training and advice use.
        of_batch: whether in training the output of a sample depends on the other samples or on random numbers.
        passes_spikes: whether `SparsityLoss` may run the layer again, on spikes before `Dropout`: it has no weights.

    >>> from cuslayer.layers import Dense
    >>> class Gated(Layer):
    ...     def __init__(self):
    ...         self.dense, self.gains = Dense(4, 3), [Tensor([1.0, 1.0, 1.0], requires_grad=True)]
    ...     def __call__(self, x):
    ...         return self.dense(x) * self.gains[0]
    >>> layer = Gated()
    >>> layer, list(layer.state())
    (Gated(dense=Dense(4, 3), gains.0=(3,)), ['dense.weight', 'gains.0'])
    """

    training = True
    keeps_shape = False
    keeps_steps = False
    tensors: ClassVar[tuple[str, ...]] = ()
    state_numbers: tuple[str, ...] = ()
    form: ClassVar[str | None] = None
    weighted: ClassVar[bool] = False
    is_read_out: ClassVar[bool] = False
    normalizes: ClassVar[bool] = False
    of_batch: ClassVar[bool] = False
    passes_spikes: ClassVar[bool] = False
    if TYPE_CHECKING:  # a subclass may define it as an attribute or a property

        @property
        def memory(self) -> int | None: ...
    else:
        memory = None

    # What the library reads and calls.
    _machinery = """
        as_drawn biased check_state children constants continued draw_again drawn_again expand fan_in fan_out for_sample
        form is_read_out joined_shape keeps_shape keeps_steps least_change measure_hooks memory named names_of
        normalizes of_batch own_dt own_scale parameter_names partial_shape passes_spikes path_of per_output_shapes
        position_of scalable scale_output scale_setting stages start_at state_numbers tensors usual_scale usual_scale_of
        weighted
    """

    def __dir__(self) -> list[str]:
        return usable_names(type(self), super().__dir__())

    @property
    def scalable(self) -> bool:
        """Whether `scale_output` can scale the output; by default if the layer has one parameter without bounds."""
        parameters = self.parameters()
        return len(parameters) == 1 and not isinstance(parameters[0], Bounded)

    def scale_output(self, factor: float) -> None:
        """Scale the output by a factor, by default through the layer's only parameter; `calibrate` calls it."""
        for p in self.parameters():
            scale_parameter(p, factor)

    @check.method
    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self).get(name)
        if held is None and name in self.tensors and not (value is None or isinstance(value, Tensor)):
            raise check.mistyped(name, "must be a Tensor or None where the layer has none", value)
        if isinstance(held, Tensor) and held.node is None and value is not held and not replaces(name, held, value):
            set_values(name, held, value)
        else:
            super().__setattr__(name, value)

    def parameters(self) -> list[Tensor]:
        """Return the tensors that an optimizer updates, each once."""
        if lists_parameters(self):
            # A subclass's own `parameters` adds its tensors to these.
            first = list(self._first_parameters().values())
            return first or list({id(p): p for _, p in self._names_found(())}.values())
        return list(self.named_parameters().values())

    def _first_parameters(self) -> dict[str, Tensor]:
        """Return the parameters that come first, by name."""
        return {}

    def named_parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name, each once, under its first name.

        A name is the path of attributes, list indices and dictionary keys to the tensor, such as ``dense.weight``. If a
        subclass's `parameters` returns a tensor that is no attribute, its name is its number.
        """
        return only_once(self.parameter_names())

    def parameter_names(self, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensor]]:
        """Yield each name of each parameter with the parameter; a parameter may have several names.

        States of version 0.2 have the numbers of the first parameters, which `load_state` reads as well.

        Args:
            above: the identities of the layers that contain this one.
        """
        first = self._first_parameters()
        named = [*first.items(), *self._names_found(above)]
        numbered = list(first.values())
        if lists_parameters(self):
            names = {id(p): name for name, p in reversed(named)}
            numbered = self.parameters()
            named = [(names.get(id(p), str(number)), p) for number, p in enumerate(numbered)]
        yield from named
        yield from ((str(number), p) for number, p in enumerate(numbered))

    def _names_found(self, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
        """Yield the names of the parameters in attributes, except for the first ones."""
        first = {id(p) for p in self._first_parameters().values()}
        for name, child in self.children():
            if id(child) not in above:
                found = names_in(name, child, (*above, id(self)))
                yield from ((path, p) for path, p in found if id(p) not in first)

    def children(self) -> Iterator[tuple[str, Layer | Tensor]]:
        """Yield the name of each attribute that is a tensor or a layer, and its value."""
        for name, value in vars(self).items():
            yield from tensors_and_layers(name, value)

    def constants(self) -> list[Tensor]:
        """Return the tensors that evaluation adds independently of the input, such as a bias."""
        return []

    def for_sample(self, x: Tensor, sample: slice) -> Callable[..., Tensor]:
        """Return the layer as it runs now for one sample of an input (T, N, ...), for that sample alone.

        In training, `BatchNorm` and `Dropout` depend on the batch; by default the layer itself.
        """
        return self

    def layers_within(self) -> list[Layer]:
        """Return the layer itself and all layers in it, each once."""
        found: dict[int, Layer] = {}
        waiting: list[Layer] = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                waiting += [child for _, child in layer.children() if isinstance(child, Layer)]
        return list(found.values())

    def train(self: L, training: bool = True) -> L:
        """Put the layer and all layers in it into training or evaluation mode, and return it; dropout differs."""
        for layer in self.layers_within():
            layer.training = training
        return self

    def eval(self: L) -> L:
        """Put the layer and all layers in it into evaluation mode, ``train(False)``, and return it."""
        return self.train(False)

    def state(self) -> dict[str, Array]:
        """Return copies of the parameters on the CPU, by their names in `named_parameters`."""
        return {name: to_numpy(p.data).copy() for name, p in self.named_parameters().items()}

    def load_state(self, state: Mapping[str, Array], *, strict: bool = True) -> LoadedState:
        """Set the parameters from the arrays that `state` returned.

        Args:
            state: the arrays by name, such as ``cs.load("net.npz").state()``.
            strict: whether a missing or an unexpected name is an error; else these parameters do not change.

        Returns:
            The missing names and the unexpected ones.

        Raises:
            ValueError: a name is missing or unknown and strict is True, or a shape differs. Nothing then changes.
            TypeError: state is not a mapping.
        """
        loaded = self.check_state(state, strict=strict)
        names = self._names_in_state(state)
        arrays = [
            (p, to_device(check.as_type(f"parameter {name}", state[name], p.dtype, copy=True)))
            for name, p in names.values()
            if name in state
        ]
        for p, data in arrays:
            p.data = data
        return loaded

    @check.operation("load_state")
    def check_state(self, state: Mapping[str, Array], *, strict: bool = True) -> LoadedState:
        """Raise the errors of `load_state` for a mapping with the names and shapes of a state."""
        check_mapping(state)
        names = self._names_in_state(state)
        known = {name for name, _ in self.parameter_names()}
        missing = tuple(name for name, _ in names.values() if name not in state)
        unexpected = tuple(name for name in state if name not in known)
        for name in (*missing, *unexpected) if strict else ():
            what = "missing" if name in missing else f"unknown{check.nearest(name, known)}"
            raise ValueError(f"parameter {name} is {what}")
        for name, p in names.values():
            if name in state and np.shape(state[name]) != p.shape:
                got = f"parameter {name} has shape {np.shape(state[name])}, the network's has shape {p.shape}"
                raise ValueError(f"{got}; leave {name} out of the state, and pass strict=False")
        return LoadedState(missing, unexpected)

    def _names_in_state(self, state: Mapping[str, Array]) -> dict[int, tuple[str, Tensor]]:
        """Return each parameter with its name in a state, by identity; one that is missing has its first name."""
        names: dict[int, tuple[str, Tensor]] = {}
        for name, p in self.parameter_names():
            if id(p) not in names or (name in state and names[id(p)][0] not in state):
                names[id(p)] = name, p
        return names

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """Return the shape of the output after T and N, without running the layer.

        Args:
            shape: the shape of the input after T and N; None if it is unknown. A network does not ask a class of your
                own for the output of an unknown input.

        Returns:
            The shape; None if it depends on something unknown.

        Raises:
            ValueError: an input of this shape does not fit the layer.
        """
        return shape if self.keeps_shape else None

    def joined_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return `output_shape` for the shapes of all inputs; only a join of branches has several."""
        return self.output_shape(shapes[0])

    def partial_shape(self, shape: Any) -> Any:
        """Return what is known of the output's shape for a partly known shape.

        A partly known shape is None, ("H", "W", channels), or ("...", features) for places of unknown number.
        """
        return self.output_shape(shape)

    def fan_out(self, shape: Shape) -> Array | None:
        """Return the number of synapses of each input of a shape (without T and N), float64; None without synapses."""
        return None

    @property
    def own_dt(self) -> float | None:
        """The time step, in ms, of the layer's delays or filter; None without one."""
        return None

    def least_change(self, p: Tensor) -> float | None:
        """Return the smallest change of a parameter that changes the output; None if there is none."""
        return None

    def usual_scale_of(self, gains: Collection[float]) -> bool:
        """Return whether `calibrate_initial` may scale the layer: it has the default scale, or one of the gains."""
        return False

    def start_at(self, scale: float | None) -> None:
        """Draw initial weights again, from the same random numbers, at the weight_scale of the neurons after the layer.

        A weight_scale that was given stays, and so do weights of a layer that was before other neurons.
        """

    def scale_setting(self) -> tuple[str, float]:
        """Return the name and the value of the option that scales the output, for advice."""
        return "scale", 1.0

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        """Return the layer with a state of its own, for streams and chunks of time; None if it cannot keep a state.

        Call the result with the chunks (T, N, ...) of the input in order, as tensors; it returns their outputs.
        """
        owner = next(c for c in type(self).__mro__ if "__call__" in vars(c) or "memory" in vars(c))
        if self.memory is None or "memory" not in {*vars(owner), *vars(self)}:
            return None
        return Remembering(self, self.memory) if self.memory else self

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the layer's output for x (T, N, ...)."""
        raise TypeError("a layer must define __call__")

    def __repr__(self) -> str:
        parts = (f"{name}={c.shape if isinstance(c, Tensor) else repr(c)}" for name, c in self.children())
        return f"{type(self).__name__}({', '.join(parts)})"


# What `form_of` describes.
_FORMS = (
    "dense",
    "read_out",
    "conv",
    "conv_transpose",
    "pool",
    "unpool",
    "mean",
    "global_mean",
    "first_step",
    "relu",
    "quantized_relu",
    "max",
    "count_max",
    "winners",
    "norm",
    "delay",
    "filter",
    "vote",
    "join",
    "recurrent",
    "same",
)


@cache
def _form_of_class(kind: type) -> str | None:
    for owner in kind.__mro__:
        if "form" in vars(owner):
            form: str | None = vars(owner)["form"]
            if form is not None and form not in _FORMS:
                raise ValueError(f"form of {kind.__name__} must be one of {', '.join(_FORMS)}, got {form!r}")
            return form
        if "__call__" in vars(owner):
            return None
    return None


def form_of(stage: object) -> str | None:
    """Return what a stage computes; None if it is no layer, has no form, or has a `__call__` of its own.

    ========================== ===========================================================================
    form                       attributes
    ========================== ===========================================================================
    dense, read_out            in_features, out_features, effective_weight(), bias, delays
    conv, conv_transpose       window, groups, effective_weight(), bias, delays
    pool, unpool, mean         window, gain, and effective_weight() where there is a weight_hook
    max, count_max             window
    global_mean                none: the mean of each channel over a frame
    first_step                 none: the first step, then 0
    relu                       none: the positive part
    quantized_relu             levels, limit
    winners                    k, among
    norm                       fixed_map()
    delay                      lags(), linear, dt
    filter                     weight
    vote                       groups
    join                       how
    recurrent                  layer, neuron, steps
    same                       none: the output is the input
    ========================== ===========================================================================
    """
    kind: Any = type(stage)
    return _form_of_class(kind)


def as_layer(stage: object) -> Layer:
    """Return a stage itself if it is a layer; else, for neurons and functions, a layer without traits."""
    return stage if isinstance(stage, Layer) else _NO_TRAITS


def scale_parameter(p: Tensor, factor: float) -> None:
    """Multiply a parameter by a factor, in the parameter's type."""
    p.data = p.data * p.data.dtype.type(factor)


def tensors_and_layers(name: str, value: object) -> Iterator[tuple[str, Layer | Tensor]]:
    """Yield the tensors and layers in a value with their names; the result of an operation is no parameter."""
    if isinstance(value, Layer) or (isinstance(value, Tensor) and value.node is None):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors_and_layers(f"{name}.{key}", item)


def lists_parameters(layer: object) -> bool:
    """Return whether an object has its own `parameters` in place of `Layer.parameters`."""
    return hasattr(layer, "parameters") and getattr(type(layer), "parameters", None) is not Layer.parameters


def only_once(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors by name, each once, under its first name."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, p in named:
        first.setdefault(id(p), (name, p))
    return dict(first.values())


def names_in(name: str, child: Any, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """Yield the names of the parameters in a named tensor, layer, neuron or hook."""
    if isinstance(child, Tensor):
        yield name, child
    elif isinstance(child, Layer):
        yield from ((f"{name}.{rest}", p) for rest, p in child.parameter_names(above))
    elif lists_parameters(child):
        attributes = {id(value): attribute.lstrip("_") for attribute, value in getattr(child, "__dict__", {}).items()}
        numbered = list(enumerate(child.parameters()))
        yield from ((f"{name}.{attributes.get(id(p), number)}", p) for number, p in numbered)
        yield from ((f"{name}.{number}", p) for number, p in numbered)


_NO_TRAITS = Layer()


def count_synapses(layer: Callable[[Tensor], Tensor], shape: Shape) -> Array:
    """Return how often each input of a shape enters the outputs of a layer whose weights are 1."""
    with no_grad(active=False):
        x = Tensor(to_device(np.zeros((1, 1, *shape), np.float32)), requires_grad=True)
        y = layer(x)
        y.backward(to_device(np.ones(y.shape, np.float32)))
    # Counts are whole numbers, which products of images give only up to rounding.
    counts: Array = np.rint(to_numpy(x.grad).reshape(shape).astype(np.float64))
    return counts


class Hooked(Layer):
    """Base class of layers whose weight passes through hooks before each use: one, or a tuple in order.

    A hook is a function from a tensor to a tensor. It may also have ``parameters()``, which returns tensors to train
    with the layer, and ``attach(layer)``, which the layer calls once when it has its weight.

    Attributes:
        weight: the weight before its hooks.
        weight_hook: the hooks.
    """

    keeps_steps = True
    weight: Tensor
    weight_hook: WeightHooks

    def _check_hooks(self, hooks: WeightHooks) -> None:
        for hook in _as_tuple(hooks):
            if not callable(hook):
                hint = "; several are a tuple, (first, second)" if isinstance(hook, list) else ""
                raise check.mistyped("weight_hook", "must be callable", hook, hint)

    def _attach_hooks(self, hooks: WeightHooks) -> None:
        """Set the hooks of a layer that has its weight."""
        self.weight_hook = hooks
        for hook in _as_tuple(hooks):
            if hasattr(hook, "attach"):
                hook.attach(self)

    def _first_parameters(self) -> dict[str, Tensor]:
        several = isinstance(self.weight_hook, tuple)
        hooks = enumerate(_as_tuple(self.weight_hook))
        named = ((f"weight_hook.{number}" if several else "weight_hook", hook) for number, hook in hooks)
        return only_once(pair for name, hook in named for pair in names_in(name, hook))

    def measure_hooks(self) -> None:
        """Let hooks that start from the weight, such as `WeightNorm`, start from the present one."""
        for hook in _as_tuple(self.weight_hook):
            if hasattr(hook, "measure"):
                hook.measure(self)

    def effective_weight(self) -> Tensor:
        """Return the weight after its hooks, as the layer uses it."""
        weight = given = self.weight
        for hook in _as_tuple(self.weight_hook):
            weight = hook(weight)
            if not isinstance(weight, Tensor):
                raise check.mistyped("weight_hook", "must return a Tensor", weight)
            check.same_shape("what weight_hook returns", weight, "weight", given)
        return weight

    def per_output_shapes(self) -> tuple[Shape, Shape]:
        """Return a shape for the weight, and a shape of one number per output that broadcasts with it.

        The axes where the second shape has 1 run over the weights of one output.
        """
        shape = self.weight.shape
        return shape, (*(1 for _ in shape[:-1]), shape[-1])


class Synapse(Hooked):
    """Base class of layers with one trained weight, initially uniform in ``+-weight_scale / sqrt(fan_in)``.

    Attributes:
        weight: the trained weight.
        weight_hook: the hooks; see `Hooked`.
        bias: a trained number for each output, added at each step; None without bias.
        delays: the trained delays of the synapses; None without delays.
        usual_scale: the weight_scale of the kind of layer before neurons without one of their own.
        own_scale: whether weight_scale was given.
        drawn_again: whether `draw_again` has set the initial weight.
    """

    tensors = ("weight", "bias")
    usual_scale = 10.0
    scalable = True
    weighted = True
    delays: Any = None

    def __init__(
        self,
        shape: Shape,
        fan_in: int,
        weight_scale: float | None,
        weight_hook: WeightHooks,
        bias: bool | Tensor | None = False,
    ) -> None:
        self._scale = self.usual_scale if weight_scale is None else check.constant("weight_scale", weight_scale)
        self._check_hooks(weight_hook)
        if math.prod(shape) > _MOST_WEIGHTS:
            raise ValueError(f"a weight of shape {check.one_line(shape, 60)} does not fit into memory")
        bound = self._scale / math.sqrt(fan_in)
        self.own_scale = weight_scale is not None
        self.drawn_again = self._before_neurons = False
        self._random_state = generator().bit_generator.state
        self.weight = Tensor(draw_uniform(-bound, bound, shape), requires_grad=True)
        self._drawn_checksum = self._checksum()
        self.bias = as_bias(bias, shape[-1])
        self._attach_hooks(weight_hook)

    def _set_delays(self, delays: Any) -> None:
        """Set the delays of the synapses, which get the weight's shape; None for no delays."""
        if delays is not None and (isinstance(delays, type) or not hasattr(delays, "over_lags")):
            raise check.mistyped("delays", "must be SynapticDelays", delays)
        self.delays = None if delays is None else delays.attach(self.weight.shape)

    @property
    def memory(self) -> int:
        """The number of earlier steps on which a step of the output depends."""
        return 0 if self.delays is None else int(self.delays.memory)

    @property
    def own_dt(self) -> float | None:
        return None if self.delays is None else float(self.delays.dt)

    def fan_out(self, shape: Shape) -> Array | None:
        ones = copy.copy(self)
        weight = Tensor(to_device(np.ones(self.weight.shape, np.float32)))
        vars(ones).update(effective_weight=lambda: weight, bias=None, delays=None)
        return count_synapses(ones, shape)

    def usual_scale_of(self, gains: Collection[float]) -> bool:
        return self.weight.requires_grad and not self.own_scale

    def scale_setting(self) -> tuple[str, float]:
        """Return the weight_scale of uniform weights with the root mean square of the present ones."""
        with no_grad():
            weight: Array = to_numpy(self.effective_weight().data)
        if not weight.any():
            weight = to_numpy(self.weight.data)
        return "weight_scale", math.sqrt(3.0 * self.fan_in() * float(np.mean(np.square(weight, dtype=np.float64))))

    def fan_in(self) -> int:
        """Return the largest number of inputs of an output."""
        return int(self.weight.shape[0])

    def biased(self, y: Tensor) -> Tensor:
        """Return the weighted input plus the bias, if any."""
        return y if self.bias is None else y + self.bias

    def constants(self) -> list[Tensor]:
        return [] if self.bias is None else [self.bias]

    def _first_parameters(self) -> dict[str, Tensor]:
        return {"weight": self.weight} | super()._first_parameters()

    def scale_output(self, factor: float) -> None:
        scale_parameter(self.weight, factor)
        if self.bias is not None:
            scale_parameter(self.bias, factor)
        for hook in _as_tuple(self.weight_hook):
            if hasattr(hook, "scale_output"):
                hook.scale_output(factor)

    def start_at(self, scale: float | None) -> None:
        fixed = self.own_scale or self.drawn_again or self._before_neurons
        self._before_neurons = True
        if fixed or scale is None or scale == self._scale or not self.as_drawn:
            return
        again = np.random.Generator(np.random.PCG64())
        again.bit_generator.state = self._random_state
        bound = scale / math.sqrt(self.fan_in())
        self.draw_again(draw_uniform(-bound, bound, self.weight.shape, again))
        self.drawn_again = False
        self._scale = scale

    @property
    def as_drawn(self) -> bool:
        """Whether the weight has its initial values: it was not set, loaded, scaled or trained."""
        return self._checksum() == self._drawn_checksum

    def draw_again(self, weight: Array) -> None:
        """Replace the drawn initial weight by an array."""
        self.weight.data = to_device(weight.astype(self.weight.dtype))
        self._drawn_checksum = self._checksum()
        self.drawn_again = True
        self.measure_hooks()

    def _checksum(self) -> int:
        """Return a checksum of the weight; a sum would be the same for the same numbers at other places."""
        return crc32(np.ascontiguousarray(to_numpy(self.weight.data), np.float32).data)


def as_bias(given: object, outputs: int) -> Tensor | None:
    """Return a bias (outputs,), initially 0; None for False or None, and a tensor of this shape unchanged."""
    if isinstance(given, Tensor):
        if given.shape != (outputs,):
            raise ValueError(f"bias must be ({outputs},), got shape {given.shape}")
        return given
    if given is not None and not isinstance(given, bool):
        raise check.mistyped("bias", "must be a bool or a Tensor", given)
    return Tensor(np.zeros(outputs, np.float32), requires_grad=True) if given else None


# More elements fit into no memory, and more than any float counts.
_MOST_WEIGHTS = 2**60


def draw_uniform(low: float, high: float, shape: Shape, random: np.random.Generator | None = None) -> Array:
    """Return the initial values of a parameter, float32, by default drawn from the library's generator."""
    count_elements(shape)
    try:
        return (random or generator()).uniform(low, high, shape).astype(np.float32)
    except (MemoryError, ValueError, OverflowError):
        raise ValueError(f"a weight of shape {shape} does not fit into memory") from None


def _as_tuple(hooks: WeightHooks) -> tuple[WeightHook, ...]:
    """Return no, one or several hooks as a tuple."""
    return hooks if isinstance(hooks, tuple) else () if hooks is None else (hooks,)


def check_mapping(state: Mapping[str, Array]) -> None:
    """Raise TypeError unless a state is a mapping."""
    if not isinstance(state, Mapping):
        hint = "; pass its .state()" if isinstance(state, Layer) else "; cs.load reads a file"
        raise check.mistyped("state", "must be a mapping from names to arrays", state, hint)


def set_usual_step(layer: Layer, steps: set[float]) -> None:
    """Give the delays and read-outs in a layer that have the default step that of its neurons, if it is one."""
    for each in layer.layers_within() if len(steps) == 1 else ():
        if isinstance(vars(each).get("dt"), Usual):
            vars(each)["dt"] = min(steps)


def changed_options(layer: Layer, **defaults: object) -> str:
    """Return the options of a layer that differ from their defaults, as text for a call."""
    changed = {name: getattr(layer, name) for name, default in defaults.items() if getattr(layer, name) != default}
    return "".join(f", {name}={value}" for name, value in changed.items())


Pair: TypeAlias = "int | tuple[int, int]"


class Sliding(Layer):
    """Base class of layers with a window that slides over frames."""

    options: ClassVar[tuple[str, ...]] = ("stride", "padding", "dilation")
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def _set_window(self, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
        """Validate and set the window's constants."""
        window = Window.of(kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding, self.dilation = window

    @property
    def window(self) -> Window:
        """The window in the form that kernels take."""
        return Window(self.kernel_size, self.stride, self.padding, self.dilation)

    def partial_shape(self, shape: Any) -> Any:
        return shape if shape is None else (*FRAME, shape[-1])

    def geometry(self) -> dict[str, tuple[int, int]]:
        """Return the options of the operation."""
        return {name: getattr(self, name) for name in self.options}


def check_dense(x: Array, weight: Array) -> Shape:
    """Validate the arguments of `dense`; return T, N and the places that the weight maps one by one."""
    check.time_first("x", x, least_dimensions=3)
    check.floating("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight must be (inputs, outputs), got shape {weight.shape}")
    places = places_of(x.shape[2:], weight.shape[0])
    check.fits("x", x, weight.dtype)
    return (*x.shape[:2], *places)


def check_frames(shape: tuple[int | str, ...]) -> None:
    """Raise ValueError unless a shape is (T, N, H, W, C)."""
    if len(shape) != 5:
        hint = "; one sample needs a batch axis, x[:, None]" if len(shape) == 4 else ""
        raise ValueError(f"x must be (T, N, H, W, C), got shape ({', '.join(map(str, shape))}){hint}")


def check_channels(shape: tuple[int | str, ...], expected: int) -> None:
    """Raise ValueError unless a shape (T, N, H, W, C) has the expected number of channels."""
    if shape[4] != expected:
        hint = "; channels come last, np.moveaxis(x, 2, -1)" if shape[2] == expected else ""
        raise ValueError(f"x has {shape[4]} channels, weight expects {expected}{hint}")


def check_frame(shape: Shape, channels: int) -> None:
    """Raise ValueError unless frames of a shape (H, W, C) have the given number of channels."""
    check_frames(("T", "N", *shape))
    check_channels(("T", "N", *shape), channels)


def prepare(
    x: Array, weight: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int, *, transposed: bool = False
) -> tuple[Kernels, Array, Window, int]:
    """Validate the arguments of a convolution; return the kernels, the frames (T N, H, W, C), window and groups."""
    check_frames(x.shape)
    if weight.ndim != 4:
        sizes = "outputs / groups, channels" if transposed else "channels / groups, outputs"
        raise ValueError(f"weight must be (kh, kw, {sizes}), got shape {weight.shape}")
    check.floating("weight", weight)
    groups = check.integer("groups", groups, least=1)
    check_channels(x.shape, weight.shape[3] if transposed else weight.shape[2] * groups)
    if weight.shape[3] % groups:
        got = f"{'x' if transposed else 'weight'} has {weight.shape[3]} {'channels' if transposed else 'outputs'}"
        raise ValueError(f"{got}, not a multiple of {groups} groups")
    check.fits("x", x, weight.dtype)
    window, k = Window.of(weight.shape[:2], stride, padding, dilation), kernels.of(weight)
    frames = k.spikes.in_frames(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
    return k, k.spikes.synapse_input(frames), window, groups
