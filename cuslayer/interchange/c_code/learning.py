"""A network in C that learns: traces after each step, and a step of gradient descent, by the rule "factored".

See `network/online/`: the trace P of an input through the response of its neurons and of the neurons after them, and
the mean slope R of a neuron. The error of a potential k is G_k; with c_j the sum over k of W_jk G_k::

    dL / dW_ij = c_j R_j P_i                    of a layer before others
    dL / dW_ij = G_j P_i                        of the last layer
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np

from cuslayer.interchange.c_code.program import Program, Ring, Signal, Stage, loop, tidy
from cuslayer.kernels.constants import surrogate_numbers
from cuslayer.kernels.step.kind import SLOPE, Statement, is_condition
from cuslayer.kernels.step.kind import name as named
from cuslayer.kernels.step.print_c import C, number, word
from cuslayer.kernels.step.print_numba import rows_of
from cuslayer.kernels.step.tangent import Tangent, tangent
from cuslayer.layers.base import form_of
from cuslayer.network.graph import INPUT
from cuslayer.network.online.learner import OnlineLearner
from cuslayer.network.online.population import Population

_SINGLE = np.dtype(np.float32)


class LearningNeurons:
    """What neurons, or a read-out, that learn add to the loop over the neurons of a step."""

    def __init__(self, program: Program, population: Population, stage: Stage) -> None:
        by_step = population.by_step
        if by_step is None:
            raise stage.refused("net_learn needs neurons that are written as a step")
        if population.trained:
            raise stage.refused("net_learn does not train constants; use trained=False")
        self.population = population
        self.stage = stage
        self.spiking = by_step.spiking
        self.part: Tangent = tangent(self.spiking.kind, self.spiking.exact, self.spiking.graded, False)
        self.rows = rows_of(self.part)
        size = stage.output.size
        number_of = stage.number
        self.slope = program.state("float", f"slope_{number_of}", size)
        self.mean = program.state("float", f"mean_{number_of}", size) if population.next is not None else ""
        count = sum(map(len, self.rows))
        self.factors = program.state("float", f"factors_{number_of}", count)
        self.show = C(self.spiking.kind, program.name)
        self.show.conditions |= {target for target, value in self.part.body if is_condition(value)}

    def before(self) -> str:
        """Return the statements before the loop over the neurons."""
        return loop("c", sum(map(len, self.rows)), f"{self.factors}[c] = 0.0f;")

    def inside(self, program: Program) -> list[str]:
        """Return the statements of neuron j: its slope, and its share of the mean coefficients of the tangent."""
        lines = _assigned(self.show, self.part.body)
        share = number(1.0 / self.stage.output.size)
        values = [value for row in self.rows for value in row.values()]
        for place, value in enumerate(values):
            lines.append(f"{self.factors}[{place}] += {share} * ({self.show.show(value)});")
        sloped = self.part.rise is not None and not self.stage.is_read_out
        lines.append(f"{self.slope}[j] = {word(SLOPE) if sloped else '0x1.0p+0f'};")
        if self.population.next is not None:
            keep = self.population.window[1]
            lines.append(f"{self.mean}[j] = {number(keep)} * {self.mean}[j] + {number(1 - keep)} * {self.slope}[j];")
        if any(word(SLOPE) in line for line in lines):
            lines[:0] = self._slope_of(word(self.spiking.kind.potential))
        for function in self.show.functions:
            program.call(function)
        return lines

    def _slope_of(self, u: str) -> list[str]:
        """Return the statements of the surrogate gradient at the potential."""
        curve = self.spiking.shape.curve
        numbers = list(surrogate_numbers(self.spiking, _SINGLE).values())
        show = C(self.spiking.kind, self.show.prefix)
        show.conditions |= curve.conditions
        theta, steep, height, *constants = map(number, numbers)
        lines = [f"float {word(SLOPE)};", "{"]
        lines += [f"const float {word(name)} = {value};" for name, value in zip(curve.numbers, constants, strict=True)]
        at = f"({u} < 0.0f ? -{u} : {u})" if self.spiking.kind.two_sided else u
        lines.append(f"const float {word(curve.argument)} = ({at} - {theta}) * {steep};")
        lines += _assigned(show, curve.body)
        lines += [f"{word(SLOPE)} = {height} * {show.show(named(curve.result))};", "}"]
        self.show.functions |= show.functions
        return lines

    def used(self) -> set[str]:
        """Return the names of the step's values that these statements use."""
        values = [value for _, value in self.part.body] + [value for row in self.rows for value in row.values()]
        return {node.id for value in values for node in ast.walk(value) if isinstance(node, ast.Name)}

    def traced(self, program: Program, what: str, size: int, given: str) -> tuple[list[str], list[str], str]:
        """Return the statements that move tangents of inputs i, those after the loop, and the expression of the output.

        Args:
            program: the file.
            what: the end of the names of the tangents' states.
            size: the number of inputs.
            given: the expression of the change of the input.
        """
        part = self.part
        first = len(part.states)
        live = part.reached(first)
        lags = [int(self.spiking.by_name[lag]) for lag in part.lags]
        rings = {at: Ring.of(program, f"sent_{what}_{at}", "float", lag, size) for at, lag in enumerate(lags) if lag}
        names = {first: "given"}
        lines = [f"const float given = {given};"]
        states = {at: program.state("float", f"trace_{what}_{at}", size) for at in range(first) if at in live}
        for at, state in states.items():
            names[at] = f"before_{at}"
            lines.append(f"const float before_{at} = {state}[i];")
        for target in sorted(live & set(part.targets)):
            senders = [ring for at, ring in rings.items() if part.targets[at] == target]
            names[target] = f"late_{target}"
            late = " + ".join(f"{ring.before(ring.rows)}[i]" for ring in senders) or "0.0f"
            lines.append(f"const float late_{target} = {late};")
        texts = []
        place = 0
        for row in self.rows:
            terms = [
                f"{self.factors}[{place + at}] * {names[source]}" for at, source in enumerate(row) if source in live
            ]
            texts.append(" + ".join(terms) or "0.0f")
            place += len(row)
        lines += [f"{state}[i] = {texts[at]};" for at, state in states.items()]
        lines += [f"{ring.now}[i] = {texts[first + at]};" for at, ring in rings.items()]
        return lines, [ring.turn for ring in rings.values()], texts[-1]


def _assigned(show: C, body: Iterable[Statement]) -> list[str]:
    """Return assignments as lines of C."""
    lines = []
    for target, value in body:
        kind = "int" if is_condition(value) else "float"
        lines.append(f"const {kind} {word(target)} = {show.show(value, condition=is_condition(value))};")
    return lines


class Learning:
    """The functions of a network that learns, and what its stages add.

    Raises:
        ValueError: a layer cannot learn in C.
    """

    def __init__(self, program: Program, learner: OnlineLearner, stages: Mapping[int, Stage], given: Signal) -> None:
        self.program = program
        self.given = given
        self.neurons: dict[int, LearningNeurons] = {}
        self.inputs: dict[int, Signal] = {}
        for at, population in learner.populations.items():
            stage = stages[at]
            dense = population.dense
            plain = dense is not None and not dense.weight_hook and dense.bias is None and population.recurrent is None
            between = all(form_of(node.stage) == "same" for node in population.stages)
            if not plain or not between or len(population.sources) != 1:
                raise stage.refused("net_learn needs a Dense layer without bias and weight hook right before it")
            (source,) = population.sources
            self.inputs[at] = given if source == INPUT else stages[source].output
            self.neurons[at] = LearningNeurons(program, population, stage)
            program.learned[f"weight_{population.dense_number}"] = int(np.prod(dense.weight.shape))
        self.last = max(self.neurons, default=INPUT)
        if self.last != learner.graph.output:
            raise ValueError("net must end in neurons or a ReadOut to learn in C")

    def write(self) -> None:
        """Add the traces, which run after each step, and the functions that learn and forget."""
        name = self.program.name
        lines = [line for at in self.neurons for line in self._traces(at)]
        given = f"const {name}_index *events, uint32_t count" if self.given.spikes else "const float *values"
        head = f"static void {name}_trace({name}_state *state, {given})"
        traces = tidy("\n".join(["{", *lines, "}"]))
        self.program.functions.append(f"/* What each input has changed so far. */\n{head}\n{traces}")
        self.program.calls.append(f"{name}_trace(state, {'events, count' if self.given.spikes else 'values'});")
        self.program.functions += [tidy(self._learn()), tidy(self._forget())]

    def _traces(self, at: int) -> list[str]:
        """Return the statements that move the traces of the inputs of a layer."""
        neurons = self.neurons[at]
        program = self.program
        signal = self.inputs[at]
        size = signal.size
        program.longest = max(program.longest, size)
        lines = ["{"]
        if signal.spikes:
            lines.append(loop("i", size, "state->row[i] = 0.0f;"))
            lines.append(f"for (uint32_t e = 0; e < {signal.count}; e++) {{\nstate->row[{signal.array}[e]] = 1.0f;\n}}")
        else:
            lines.append(loop("i", size, f"state->row[i] = {signal.array}[i];"))
        trace = program.state("float", f"trace_{at}", size)
        after = neurons.population.next
        chain = [(neurons, f"{at}", "state->row")]
        if after is not None:
            chain.append((self.neurons[after.node.number], f"{at}_next", trace))
        for number_of, (part, what, _) in enumerate(chain):
            target = trace if number_of == len(chain) - 1 else "state->row"
            moved, turns, output = part.traced(program, what, size, "state->row[i]")
            lines += [loop("i", size, *moved, f"{target}[i] = {output};"), *turns]
        return [*lines, "}"]

    def _learn(self) -> str:
        """Return the function of a step of gradient descent."""
        name = self.program.name
        numbers = list(reversed(self.neurons))
        last = self.neurons[self.last]
        sent = last.stage.output
        size = sent.size
        errors = {at: self.program.state("float", f"error_{at}", self.neurons[at].stage.output.size) for at in numbers}
        error = errors[self.last]
        exp = self.program.call("exp")
        lines = [f"float {name}_learn({name}_state *state, uint32_t label, float rate)", "{"]
        lines += ["float most = 0.0f, sum = 0.0f, probability;"]
        if sent.spikes:
            lines.append(loop("k", size, f"{error}[k] = 0.0f;"))
            lines.append(f"for (uint32_t e = 0; e < {sent.count}; e++) {{\n{error}[{sent.array}[e]] = 1.0f;\n}}")
        else:
            lines.append(loop("k", size, f"{error}[k] = {sent.array}[k];"))
        lines += [
            loop("k", size, f"most = k == 0 || {error}[k] > most ? {error}[k] : most;"),
            loop("k", size, f"{error}[k] = {exp}({error}[k] - most);", f"sum += {error}[k];"),
            loop("k", size, f"{error}[k] /= sum;"),
            f"probability = {error}[label];",
            f"{error}[label] -= 1.0f;",
            loop("k", size, f"{error}[k] *= {last.slope}[k];"),
        ]
        for at, before in pairwise(numbers):
            neurons = self.neurons[before]
            after = self.neurons[at].stage.output.size
            sums = loop("k", after, f"total += {self._weight(at)}[j * {after}u + k] * {errors[at]}[k];")
            of_next = self.neurons[at].population
            gain = number(of_next.window[0]) if of_next.next is not None else "0x1.0p+0f"
            share = f"{errors[before]}[j] = total * {gain} * {neurons.mean}[j];"
            lines.append(loop("j", neurons.stage.output.size, "float total = 0.0f;", sums, share))
        for at in numbers:
            inputs = self.inputs[at].size
            outputs = self.neurons[at].stage.output.size
            moved = f"{self._weight(at)}[i * {outputs}u + j] -= rate * state->trace_{at}[i] * {errors[at]}[j];"
            lines.append(loop("i", inputs, loop("j", outputs, moved)))
        return "\n".join([*lines, "return probability;", "}"])

    def _forget(self) -> str:
        """Return the function that brings the weights of the file back."""
        name = self.program.name
        lines = [f"void {name}_forget(void)", "{"]
        for at in self.neurons:
            size = self.inputs[at].size * self.neurons[at].stage.output.size
            lines.append(loop("i", size, f"{self._weight(at)}[i] = {self._weight(at, 'first_')}[i];"))
        return "\n".join([*lines, "}"])

    def _weight(self, at: int, prefix: str = "") -> str:
        return f"{self.program.name}_{prefix}weight_{self.neurons[at].population.dense_number}"
