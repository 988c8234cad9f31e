"""Networks: sequences of layers and neurons, as objects or in the paper's notation, and parallel branches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, TypeAlias, overload
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.compiling.expected_steps import expect
from cuslayer._base.sequences import ended
from cuslayer._parameter import left_behind
from cuslayer._tape import POTENTIAL_FORMATS, Tensor, grad_enabled, keep_unpacked, potential_format
from cuslayer.backend import Array, Setting
from cuslayer.layers.base import (
    Layer,
    LoadedState,
    Shape,
    as_layer,
    check_mapping,
    names_in,
    set_usual_step,
    tensors_and_layers,
)
from cuslayer.network.graph import (
    INPUT,
    Address,
    Graph,
    GraphNode,
    GraphPart,
    as_input,
    feeds,
    flow,
    number_range,
    observed,
    plan,
)
from cuslayer.network.join import SKIPS, Join
from cuslayer.network.online.rule import Online, as_rule
from cuslayer.network.online.stream import LearningStream
from cuslayer.network.shapes import (
    LayerMemoryError,
    check_shapes,
    layer_error,
    output_step,
    same_step,
    shapes_of,
    warn_of_delays,
)
from cuslayer.network.stream import Stream, in_chunks
from cuslayer.neurons.base import (
    Neuron,
    as_neuron,
    has_usual_scale,
    is_balanced,
    is_neuron,
    is_stateful,
    is_usual,
    with_balanced_scale,
)

Stage: TypeAlias = "Layer | Neuron | Callable[[Tensor], Tensor]"
# A layer of a network: its address, its name, or the layer itself.
Where: TypeAlias = "Address | str | Stage"

_DEEPEST = 50
# Networks that contain one another twice have exponentially many stages.
_MOST = 100_000
# Whether another network, which has checked the input, calls a network.
_inside = Setting(False)
# The networks with an input that looked like pixels.
_warned: WeakSet[Any] = WeakSet()


class Container(Layer):
    """Base class of `Sequential` and `Parallel`.

    Attributes:
        stages: the layers or branches in order.
        potentials: how potentials are saved for backward; None to take the enclosing network's setting.
    """

    potentials: str | None = None
    _what = "layer"

    @property
    def stages(self) -> list[Any]:
        raise TypeError("a container must define stages")

    @property
    def graph(self) -> Graph:
        """The graph of the network, with all nested networks and branches.

        >>> from cuslayer.layers import Dense
        >>> from cuslayer.network import Parallel, Sequential
        >>> net = Sequential(Dense(4, 4), Parallel(Sequential(Dense(4, 3), Dense(3, 4)), Sequential()), Dense(4, 2))
        >>> [(node.address, node.inputs) for node in net.graph.nodes]
        [(0, (-1,)), ((1, 0, 0), (0,)), ((1, 0, 1), (1,)), (1, (2, 0)), (2, (3,))]
        """
        graph = Graph()
        graph.output = self.expand(graph, (), INPUT)
        return graph

    def _check_stages(self) -> None:
        """Raise TypeError unless each stage is callable, ValueError if neurons differ in dt or sizes do not fit."""
        for position, stage in enumerate(self.stages):
            name = f"{self._what} {position}"
            check.instance(name, stage)
            if not callable(stage):
                hint = f"; write {type(self).__name__}(*stages)" if isinstance(stage, (list, tuple)) else ""
                raise check.mistyped(name, "must be callable", stage, hint)
        graph = self.graph
        first = dict[int, GraphNode]()
        for node in graph.nodes:
            earlier = first.setdefault(id(node.stage), node)
            if earlier is not node and is_stateful(node.stage):
                why = f"layer {earlier} is the same object and has its state; give each stateful neurons of its own"
                raise ValueError(f"layer {node}, {node.described}, must be new: {why}")
        output_step(graph)
        neurons = [node.stage for node in graph.nodes if is_neuron(node.stage)]
        if all(as_layer(node.stage).keeps_steps for node in graph.nodes if not is_neuron(node.stage)):
            set_usual_step(self, {as_neuron(stage).dt for stage in neurons})
        warn_of_delays(graph)
        check_shapes(graph, getattr(self, "input_shape", None))
        _scale_initial_weights(graph)
        expect(name for step in plan(graph) for name in step.names)

    @property
    def dt(self) -> float | None:
        """The step of the output, ms; None if no neurons determine it."""
        return output_step(self.graph)

    def _set_step(self, dt: float) -> None:
        """Give neurons with the default dt another one; raise ValueError if others differ, or may need another."""
        graph = self.graph
        within, twins = same_step(graph), dict[int, Neuron]()
        for node in graph.nodes:
            if not is_neuron(node.stage):
                continue
            before = as_neuron(node.stage)
            if node.number in within:
                twin = twins.setdefault(id(node.stage), before.with_step(dt))
                if twin.dt != dt:
                    raise ValueError(f"dt must be that of the neurons of layer {node}, {before.dt:g} ms, got {dt:g}")
                if twin is not before:
                    replace_stage(self, node.path, twin)
            elif is_usual(before, "dt"):
                raise ValueError(f"layer {node} needs a dt of its own: a layer before it may change the step")

    def expand(self, graph: Graph, path: tuple[int, ...], source: int) -> int:
        """Add the stages to a graph at a path, and return the number of the node whose output is the container's."""
        raise TypeError("a container must define expand")

    @check.operation("network")
    def __call__(self, x: TensorLike) -> Tensor:
        """Return the output for the input x (T, N, ...).

        Without gradients, on the CPU, a long input runs in chunks of time. Except for input and output, the memory then
        does not grow with T, and the output is the same to the bit. See `in_chunks`.

        In a padded batch, a tensor with `lengths`, the inputs of all stages and the output have these lengths. The
        output is 0 after the end of a recording.

        Raises:
            TypeError: x has neither numbers nor booleans.
            ValueError: x does not fit the first layer, or contains NaN or an infinity.
            MemoryError: there is not enough memory; the message names the layer and a batch that would fit.

        Warns:
            UserWarning: x looks like pixels from 0 to 255; once per network.
        """
        x = as_input(x)
        self.check_input(x)
        check.time_first("x", x)
        self._check_numbers(x)
        graph = self.graph
        saved = nullcontext() if self.potentials is None else potential_format(self.potentials)
        with _inside.set(True), saved:
            y = None if grad_enabled() else in_chunks(self, graph, x)
            y = self._run(graph, x) if y is None else y
        if _inside.get():
            return y
        if x.lengths is not None:
            y = ended(y, lengths=x.lengths)
            y.lengths = x.lengths
        if y is not x:
            y.dt = output_step(graph)
        return y

    def _run(self, graph: Graph, x: Tensor) -> Tensor:
        run, uses, values = observed(self, graph.parts), graph.uses(), {INPUT: x}
        # The first step that needs booleans unpacks packed spikes for all steps.
        if uses[INPUT] > 1:
            keep_unpacked(x)
        try:
            for step, inputs in flow(plan(graph), graph.output, values):
                try:
                    output = values[step.last] = run(step, *inputs)
                except LayerMemoryError:
                    raise
                except MemoryError:
                    raise layer_error(graph, step.start, x.shape) from None
                if x.lengths is not None:
                    if output.shape[:2] != x.shape[:2]:
                        made = f"layer {graph.nodes[step.last]} made {output.shape[0]} steps of {x.shape[0]}"
                        raise ValueError(f"x with lengths needs layers that keep the number of steps, {made}")
                    output.lengths = x.lengths
                if uses[step.last] > 1:
                    keep_unpacked(output)
        finally:
            keep_unpacked(x, False)
        y = values[graph.output]
        keep_unpacked(y, False)
        return y

    def _check_numbers(self, x: Tensor) -> None:
        """Check that numbers are finite, and no pixels; it checks all numbers if the range may be a range of pixels."""
        ends = None if _inside.get() else number_range("x", x)
        found = check.pixels("x", *ends, lambda: bool((x.data % 1 == 0).all())) if ends else None
        if found and self not in _warned:
            _warned.add(self)
            check.warn(found)

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless x fits the network, for networks with a fixed input shape."""

    @overload
    def stream(
        self, lengths: npt.ArrayLike | None = None, *, plasticity: Mapping[Where, Any] | None = None
    ) -> Stream: ...

    @overload
    def stream(self, *, online: str | Online, loss: Callable[..., Tensor], optimizer: Any) -> LearningStream: ...

    @check.operation
    def stream(
        self,
        lengths: npt.ArrayLike | None = None,
        *,
        plasticity: Mapping[Where, Any] | None = None,
        online: str | Online | None = None,
        loss: Callable[..., Tensor] | None = None,
        optimizer: Any = None,
    ) -> Stream:
        """Return the network with a state, for one step or one chunk of steps at a time; see `Stream`.

        Args:
            lengths: the number of steps of each recording in a padded batch, (N,), after which its output is 0.
            plasticity: a local rule for each layer that learns while the stream runs, such as
                ``{0: cs.plasticity.STDP()}``. Each step changes the layer's weight, after its neurons have run.
            online: a rule that learns by the gradient of a loss, `Online` or its name. The stream then has a method
                `learn`, and the network runs as in training; see `LearningStream`.
            loss: the loss of `learn`.
            optimizer: the optimizer of `learn`.

        Raises:
            ValueError: a stage cannot keep a state, such as a network with its own ``__call__`` and no `memory`, or a
                layer cannot learn by a rule.
            TypeError: online comes without loss and optimizer, or has the wrong type.
        """
        graph = graph_in_chunks(self)
        if online is None:
            return Stream(self, graph, lengths, plasticity)
        if lengths is not None or plasticity is not None:
            name = "plasticity" if lengths is None else "lengths"
            raise ValueError(f"{name} must not be given with online")
        if loss is None or optimizer is None:
            missing = "loss" if loss is None else "optimizer"
            raise TypeError(f"{missing} must come with online, got None")
        return LearningStream(self, graph, as_rule(online), loss, optimizer)

    def output_shape(self, shape: Shape | None) -> Shape | None:
        graph = self.graph
        found: Shape | None = shapes_of(graph, shape)[graph.output]
        return found

    def children(self) -> Iterator[tuple[str, Layer | Tensor]]:
        """Yield the position of each stage that is a layer, and the layer; then other attributes like `Layer`."""
        stages = self.stages
        yield from ((str(position), stage) for position, stage in enumerate(stages) if isinstance(stage, Layer))
        yield from self._other_children()

    def _other_children(self) -> Iterator[tuple[str, Layer | Tensor]]:
        stages = self.stages
        for name, value in vars(self).items():
            if value is not stages:
                yield from tensors_and_layers(name, value)

    def names_of(self, position: int) -> tuple[str, ...]:
        """Return the names of a stage in states, its own name first if it has one."""
        return (str(position),)

    def position_of(self, name: str) -> int:
        """Return the position of the stage with a name; raise ValueError if there is none."""
        positions = {own: position for position in range(len(self.stages)) for own in self.names_of(position)}
        if name not in positions:
            raise ValueError(f"layer {name!r} is none of its layers{check.nearest(name, positions)}")
        return positions[name]

    def path_of(self, name: str) -> tuple[int, ...]:
        """Return the path to a stage by its name; names of nested networks have dots between them, ``block.hidden``."""
        path, inside = list[int](), self
        for part in name.split("."):
            if not isinstance(inside, Container):
                raise ValueError(f"layer {name!r} lies in {type(inside).__name__}, which is no network")
            path.append(inside.position_of(part))
            inside = inside.stages[path[-1]]
        return tuple(path)

    def __copy__(self) -> Container:
        """Return a network of its own with the same stages."""
        other = type(self).__new__(type(self))
        vars(other).update((name, copy.copy(x) if isinstance(x, (list, dict)) else x) for name, x in vars(self).items())
        return other

    def _names_found(self, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
        above = (*above, id(self))
        for position, stage in enumerate(self.stages):
            if id(stage) not in above:
                for name in self.names_of(position):
                    yield from names_in(name, stage, above)
        for name, child in self._other_children():
            if id(child) not in above:
                yield from names_in(name, child, above)

    def state(self) -> dict[str, Array]:
        """Return copies of the parameters by name, on the CPU, and numbers that `calibrate` sets, such as gains."""
        numbers = {names[0]: np.array(getattr(layer, key)) for names, layer, key in self._numbers()}
        neurons = {names[0]: node.stage for names, node in self._balanced()}
        scales = {name: np.array(float(each.scale_rho)) for name, each in neurons.items() if is_balanced(each)}
        return super().state() | numbers | scales

    @check.operation
    def load_state(self, state: Mapping[str, Array], *, strict: bool = True) -> LoadedState:
        """Set the parameters and numbers from the arrays that `state` returned. Missing numbers do not change.

        Args:
            state: the arrays by name, such as ``cs.load("net.npz").state()``. A stage with a name of its own is also
                found by its position.
            strict: whether a missing or an unexpected name is an error; else these parameters do not change.

        Returns:
            The missing names and the unexpected ones.

        Raises:
            ValueError: a name is missing or unknown and strict is True, or a shape differs. Nothing then changes.
            TypeError: state is not a mapping.

        >>> from cuslayer.layers import Dense
        >>> from cuslayer.neurons import LIF
        >>> lif = LIF()
        >>> before = Sequential(hidden=Dense(4, 3), spikes=lif, out=Dense(3, 2))
        >>> after = Sequential(hidden=Dense(4, 3), spikes=lif, head=Dense(3, 5))
        >>> after.load_state(before.state(), strict=False)
        LoadedState(missing=('head.weight',), unexpected=('out.weight',))
        """
        check_mapping(state)
        numbers = [
            (layer, key, check.number(name, state[name]))
            for names, layer, key in self._numbers()
            for name in _first_in(state, names)
        ]
        scales = [
            (node, check.positive(name, state[name]))
            for names, node in self._balanced()
            for name in _first_in(state, names)
        ]
        loaded = super().load_state(state, strict=strict)
        for layer, key, value in numbers:
            setattr(layer, key, value)
        for node, value in scales:
            replace_stage(self, node.path, with_balanced_scale(node.stage, value))
        return loaded

    @check.operation("load_state")
    def check_state(self, state: Mapping[str, Array], *, strict: bool = True) -> LoadedState:
        check_mapping(state)
        of_layers = (names for names, *_ in self._numbers())
        of_neurons = (names for names, _ in self._balanced())
        numbers = {name for names in (*of_layers, *of_neurons) for name in names}
        for name in state.keys() & numbers:
            if np.shape(state[name]):
                raise ValueError(f"{name} has shape {np.shape(state[name])}, it must be a number")
        return super().check_state({name: a for name, a in state.items() if name not in numbers}, strict=strict)

    def _numbers(self) -> list[tuple[tuple[str, ...], Layer, str]]:
        """Return the names, the layer and the attribute of each number that belongs to the state."""
        stages = ((node, node.stage) for node in self.graph.nodes if isinstance(node.stage, Layer))
        return [(self._names_at(node, key), stage, key) for node, stage in stages for key in stage.state_numbers]

    def _balanced(self) -> list[tuple[tuple[str, ...], GraphNode]]:
        """Return the neurons whose surrogate `calibrate` may scale, with the names of the scale in the state."""
        nodes = (node for node in self.graph.nodes if has_usual_scale(node.stage))
        return [(self._names_at(node, "scale_rho"), node) for node in nodes]

    def _names_at(self, node: GraphNode, key: str) -> tuple[str, ...]:
        """Return the names of an attribute of a stage: by the names of stages, and by their positions."""
        names = []
        container: Any = self
        for position in node.path:
            names.append(container.names_of(position)[0])
            container = container.stages[position] if isinstance(container.stages[position], Container) else None
        return ".".join((*names, key)), f"{node}.{key}"

    def __getitem__(self, key: object) -> Any:
        """Return the layer at a position or a path, or with a name; the layers of a slice as a network; a given layer.

        Raises:
            IndexError: the position is out of range.
            ValueError: the given layer, or a layer of this name, is not in the network.
        """
        if isinstance(key, str):
            return self[self.path_of(key)]
        if isinstance(key, tuple):
            found: Any = self
            for position in key:
                if not isinstance(found, Container):
                    raise IndexError(f"no layer {key}: {type(found).__name__} is no network")
                found = found[position]
            return found
        if isinstance(key, slice):
            return self._with_stages(range(len(self.stages))[key])
        if isinstance(key, (int, np.integer)):
            if not -len(self.stages) <= key < len(self.stages):
                raise IndexError(f"no {self._what} {key} in {len(self.stages)}")
            return self.stages[key]
        graph = self.graph
        if any(key is each for each in (*(node.stage for node in graph.nodes), *(part[0] for part in graph.parts))):
            return key
        raise ValueError(f"{check.one_line(key)} is none of its layers")

    def _with_stages(self, positions: range) -> Container:
        raise TypeError("a container must define _with_stages")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._rows()})"

    def _rows(self) -> str:
        """Return a line for each stage, the lines of nested networks indented."""
        lines = "".join(f"\n{self.names_of(position)[0]}: {stage!r}" for position, stage in enumerate(self.stages))
        return lines.replace("\n", "\n  ") + "\n" if lines else ""


class Sequential(Container):
    """Layers and neurons that run one after the other.

    A network is a layer: it can be part of another network, or a branch of `Parallel`. An empty network passes its
    input on. Stages given by name, ``Sequential(hidden=Dense(4, 3), spikes=LIF())``, are attributes: ``net.hidden``;
    their parameters have the names ``hidden.weight`` and so on, others the position, ``0.weight``. A layer can have
    several positions; they share its parameters. Positions count from 0. A layer in a nested network has the address
    ``(position of the network, position in it)``, and so on inward. ``net[address]`` is the layer; `record`, `explain`
    and similar functions take addresses as well as layers. Iteration runs over `layers`.

    Args:
        layers: layers, neurons, networks, or any functions from a tensor to a tensor.
        named: the same with names, after the others.
        potentials: how potentials are saved for backward: "full", or "float16" at half the memory. The surrogate then
            has a relative error of at most ``|u| / (2048 tau_rho theta)``; spikes are the same. Nested networks take
            the outer network's setting. With "full" on a CPU, backward recomputes float32 potentials between
            convolution and pooling, to the same bits, if fewer than 5 % of the convolution's input bins have a spike.
            This needs less than a byte per step.
        dt: the step, ms, of neurons that have none of their own; the network has copies of these. By default neurons
            have theirs, usually 1 ms.

    Attributes:
        layers: the stages in order.

    Raises:
        TypeError: a stage is not callable.
        ValueError: potentials is neither "full" nor "float16", a name is that of another attribute, a layer does not
            fit the layers before it, or neurons differ in dt without a function between them that may change it, or
            from the network's dt.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> net = Sequential(Dense(4, 3), srm, Sequential(Dense(3, 2), srm))
    >>> net(np.zeros((10, 1, 4), bool)).shape, len(net.parameters())
    ((10, 1, 2), 2)
    >>> net[2, 0], list(net.state())
    (Dense(3, 2), ['0.weight', '2.0.weight'])
    """

    def __init__(self, *layers: Stage, potentials: str = "full", dt: float | None = None, **named: Stage) -> None:
        self.potentials = check.one_of("potentials", potentials, POTENTIAL_FORMATS)
        self.layers: list[Any] = [*layers, *named.values()]
        for name in named:
            taken = hasattr(type(self), name) or hasattr(self, name) or name in ("input_shape", "notation")
            if name.startswith("_") or not name.isidentifier() or taken:
                raise ValueError(f"a stage must have a name that is no attribute of networks, got {name!r}")
        self._positions = {name: position for position, name in enumerate(named, len(layers))}
        if dt is not None:
            self._set_step(check.time_step("dt", dt))
        self._check_stages()

    @property
    def stages(self) -> list[Any]:
        """The layers."""
        return self.layers

    def expand(self, graph: Graph, path: tuple[int, ...], source: int) -> int:
        for position, layer in enumerate(self.layers):
            source = add_stage(graph, layer, (*path, position), source)
        return source

    def _with_stages(self, positions: range) -> Sequential:
        net = Sequential(*(self.layers[position] for position in positions))
        net.potentials = self.potentials or POTENTIAL_FORMATS[0]
        names = {position: name for name, position in self._positions.items()}
        net._positions = {names[position]: place for place, position in enumerate(positions) if position in names}
        return net

    @property
    def named(self) -> dict[str, Any]:
        """The stages with names, by name.

        Raises:
            TypeError: a stage without a name follows them.
        """
        last = len(self.layers) - len(self._positions)
        if any(position < last for position in self._positions.values()):
            names = ", ".join(self._positions)
            raise TypeError(f"stages with names must be the last, got {names} before others")
        return {name: self.layers[position] for name, position in self._positions.items()}

    def names_of(self, position: int) -> tuple[str, ...]:
        own = [name for name, at in self._positions.items() if at == position]
        return (*own, *super().names_of(position))

    def __getattr__(self, name: str) -> Any:
        position = vars(self).get("_positions", {}).get(name)
        return super().__getattr__(name) if position is None else self.layers[position]  # type: ignore[misc]

    @check.method
    def __setattr__(self, name: str, value: object) -> None:
        position = vars(self).get("_positions", {}).get(name)
        if position is None:
            super().__setattr__(name, value)
            return
        before = self.layers[position]
        kept = {id(p) for _, p in names_in(name, value)}
        if any(id(p) not in kept and left_behind(p, None) for _, p in names_in(name, before)):
            rule = "must stay the stage whose parameters an optimizer has"
            raise ValueError(f"{name} {rule}, got {check.one_line(value)}; make the optimizer afterwards")
        self.layers[position] = value
        try:
            self._check_stages()
        except (TypeError, ValueError):
            self.layers[position] = before
            raise

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._positions]


class Parallel(Container):
    """Branches with the same input, and the join of their outputs.

    ::

        add          y = branch_0(x) + branch_1(x) + ...
        concatenate  y[..., :] = branch_0(x)[..., :], branch_1(x)[..., :], ...     along the last axis, the channels
        and          y = branch_0(x) branch_1(x)                                   of two branches
        iand         y = (1 - branch_0(x)) branch_1(x)                             of two branches

    A branch that ends in a layer returns weighted inputs; their sum is the weighted input of the neurons after the
    join. A branch that ends in neurons returns spikes. The sum of spikes is their count, as numbers from 0 to the
    number of branches, so the layer after the join multiplies matrices. Concatenated spikes stay spikes.

    An empty `Sequential` passes its input on: as a branch it is a skip connection. Branches count from 0. A layer in a
    branch has the address ``(position, branch, position in the branch)``, or ``(position, branch)`` if it is the branch
    itself. The join has the address of the `Parallel`.

    Args:
        branches: layers, neurons, networks, or any functions from a tensor to a tensor.
        join: "add", "and" or "iand", for outputs of one shape; or "concatenate", for outputs whose shapes differ in the
            last axis only. With "and" and "iand" spikes stay spikes.

    Attributes:
        branches: the branches in order.
        join: how the outputs are joined.

    Raises:
        TypeError: a branch is not callable.
        ValueError: there is no branch, join is unknown, neurons differ in dt, or layers or outputs do not fit. A call
            also raises it for outputs of unknown shape that do not fit.

    >>> import numpy as np
    >>> from cuslayer.layers import Conv
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> wide, narrow = Sequential(Conv(2, 4, 5, padding=2), srm), Sequential(Conv(2, 3, 3, padding=1), srm)
    >>> Parallel(wide, narrow, join="concatenate")(np.zeros((10, 1, 6, 6, 2), bool)).shape
    (10, 1, 6, 6, 7)
    >>> with_skip = Parallel(Sequential(Conv(2, 2, 3, padding=1), srm), Sequential())
    >>> with_skip(np.ones((10, 1, 6, 6, 2), bool)).dtype.name
    'float32'
    """

    _what = "branch"

    def __init__(self, *branches: Stage, join: str = "add") -> None:
        if not branches:
            raise ValueError("branches must be at least one, got none")
        self.branches: list[Any] = list(branches)
        self._join = Join(join)
        self._check_stages()

    @property
    def join(self) -> str:
        """How the outputs are joined."""
        return self._join.how

    @property
    def stages(self) -> list[Any]:
        """The branches."""
        return self.branches

    def expand(self, graph: Graph, path: tuple[int, ...], source: int) -> int:
        ends = [add_stage(graph, branch, (*path, number), source) for number, branch in enumerate(self.branches)]
        return graph.add(self._join, path, tuple(ends))

    def _with_stages(self, positions: range) -> Parallel:
        return Parallel(*(self.branches[position] for position in positions), join=self.join)

    def _rows(self) -> str:
        return f"{self.join}{super()._rows()}"


class Residual(Parallel):
    """A block of stages with a skip connection from its input to its output.

    ::

        add     y = f(x) + x          f(x) is what the stages return
        and     y = f(x) x
        iand    y = (1 - f(x)) x

    Stages that end in neurons make the blocks of SEW-ResNet, which join spikes. Stages that begin with neurons and end
    in a layer make the blocks of MS-ResNet: what passes by is a sum of weighted inputs, and "add" its only join.

    Args:
        layers: layers, neurons, networks, or any functions from a tensor to a tensor: the stages of the block.
        join: "add", "and" or "iand".
        shortcut: a stage that x passes in place of the skip connection, where the stages change its shape: for
            instance ``Sequential(Conv(8, 16, 1, stride=2), neuron)``. None for x itself.

    Attributes:
        layers: the stages in order. Their addresses are ``(position, 0, position in the block)``.
        shortcut: the stage beside them, or None.

    Raises:
        TypeError: a stage is not callable.
        ValueError: there is no stage, join is unknown, neurons differ in dt, or layers or outputs do not fit.

    Source: spikes: Fang et al. 2021 (arXiv 2102.04159); weighted inputs: Hu et al. 2021 (arXiv 2112.08954).

    >>> import numpy as np
    >>> from cuslayer.layers import Conv
    >>> from cuslayer.neurons import LIF
    >>> lif = LIF()
    >>> block = Residual(Conv(2, 2, 3, padding=1), lif, Conv(2, 2, 3, padding=1), lif)
    >>> block(np.ones((10, 1, 6, 6, 2), bool)).shape
    (10, 1, 6, 6, 2)
    """

    def __init__(self, *layers: Stage, join: str = "add", shortcut: Stage | None = None) -> None:
        if not layers:
            raise ValueError("layers must be at least one, got none")
        check.one_of("join", join, SKIPS)
        super().__init__(Sequential(*layers), Sequential() if shortcut is None else shortcut, join=join)

    @property
    def layers(self) -> list[Any]:
        """The stages of the block, without the shortcut."""
        stages: list[Any] = self.branches[0].layers
        return stages

    @property
    def shortcut(self) -> Any:
        """The stage beside the block's stages; None where the input itself is joined."""
        beside = self.branches[1]
        return None if type(beside) is Sequential and not beside.layers else beside


def _scale_initial_weights(graph: Graph) -> None:
    """Let layers start at the scale of the neurons after them."""
    for node in graph.nodes:
        if not is_neuron(node.stage):
            continue
        _, between = feeds(graph.nodes, node.inputs)
        for number in between:
            layer = as_layer(graph.nodes[number].stage)
            if not layer.is_read_out:
                layer.start_at(as_neuron(node.stage).weight_scale)


def _first_in(state: Mapping[str, Array], names: tuple[str, ...]) -> list[str]:
    """Return the first of some names that a state has; nothing if it has none."""
    return [name for name in names if name in state][:1]


def replace_stage(net: Container, address: Address, stage: object) -> None:
    """Put another stage at an address of a network."""
    path = address if isinstance(address, tuple) else (address,)
    net[path[:-1]].stages[path[-1]] = stage


def graph_in_chunks(net: Container) -> Graph:
    """Return the graph of a network that runs in chunks of time; one with its own ``__call__`` is a stage."""
    if type(net).__call__ is Container.__call__:
        return net.graph
    graph = Graph()
    graph.output = graph.add(net, (0,), (INPUT,))
    return graph


def chain_of(net: Container) -> list[GraphNode]:
    """Return the nodes of a network that is a chain, including nested ones; for files that can only store chains."""
    nodes = net.graph.nodes
    for node in nodes:
        if len(node.inputs) > 1:
            raise ValueError(f"net must be a chain of layers, layer {node} joins branches")
    return nodes


@check.operation("network")
def add_stage(graph: Graph, stage: object, path: tuple[int, ...], source: int) -> int:
    """Add a stage with its nested stages to a graph, and return the number of its output node.

    A container with its own `__call__` may compute something else: it is a stage like any function.
    """
    if len(graph.nodes) + len(graph.parts) >= _MOST:
        raise ValueError(f"stages must be at most {_MOST:,}, each counted as often as the network has it")
    if not isinstance(stage, Container) or type(stage).__call__ is not Container.__call__:
        return graph.add(stage, path, (source,))
    if len(path) > _DEEPEST:
        raise ValueError(f"networks must be nested up to {_DEEPEST} deep; is one nested in itself?")
    first = len(graph.nodes)
    output = stage.expand(graph, path, source)
    graph.parts.append(GraphPart(stage, path, first, len(graph.nodes), output))
    return output
