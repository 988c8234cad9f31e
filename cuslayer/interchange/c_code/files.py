"""The text of the two files of a C network."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.interchange.c_code.program import Program, Signal, loop, tidy

# In the order of their sizes, so that the struct has no gaps.
_KINDS = ("int64_t", "float", "int32_t", "uint32_t", "INDEX", "int16_t", "uint8_t")


@dataclass(frozen=True)
class Files:
    """What both files need.

    Attributes:
        program: the parts of the source.
        file: the name of the files without their ending.
        given: the input of the network.
        sent: its output.
        about: lines for the comment at the beginning.
        order: which potentials come where.
    """

    program: Program
    file: str
    given: Signal
    sent: Signal
    about: str
    order: str

    @property
    def parameters(self) -> str:
        """The parameters of a step."""
        name = self.program.name
        taken = f"const {name}_index *events, uint32_t count" if self.given.spikes else "const float *values"
        return f"{name}_state *state, {taken}, {f'{name}_index' if self.sent.spikes else 'float'} *outputs"

    @property
    def returns(self) -> str:
        """The type of a step's result: the number of spikes."""
        return "uint32_t" if self.sent.spikes else "void"

    def header(self) -> str:
        """Return the text of the header."""
        program = self.program
        name = program.name
        kinds = [kind.replace("INDEX", f"{name}_index") for kind in _KINDS]
        fields = sorted(program.fields, key=lambda field: kinds.index(field[0]))
        members = [f"    {kind} {member}{''.join(f'[{size}]' for size in sizes)};" for kind, member, sizes in fields]
        sizes = {"inputs": self.given.size, "outputs": self.sent.size, "neurons": program.neurons}
        constants = ", ".join(f"{name}_{what} = {size}" for what, size in sizes.items())
        parts = [
            f"/*\n{self.about}\n*/",
            f"#ifndef {name}_h_included\n#define {name}_h_included",
            "#include <stdint.h>",
            f"enum {{ {constants} }};",
            f"typedef {program.index} {name}_index;",
            "\n".join(["typedef struct {", *members, f"}} {name}_state;"]),
            f"/* The state before the first step. */\nvoid {name}_reset({name}_state *state);",
            f"/* One step; outputs has room for {name}_outputs elements. */\n"
            f"{self.returns} {name}_step({self.parameters});",
            f"/* The same, with the potentials of all {name}_neurons neurons: {self.order}. */\n"
            f"{self.returns} {name}_observe({self.parameters}, float *potentials);",
            *self._learning(),
            f"/* 0, or the number of the first step that differs from Python. */\nint {name}_selftest(void);",
            "#endif\n",
        ]
        return "\n\n".join(parts)

    def _learning(self) -> list[str]:
        """Return the declarations of a network that learns."""
        name = self.program.name
        if not self.program.learning:
            return []
        weights = [f"extern float {name}_{what}[{size}];" for what, size in self.program.learned.items()]
        return [
            "\n".join(["/* The weights, (inputs, outputs). */", *weights]),
            "/* A step of gradient descent for the output of the last step; returns its probability of the label.\n"
            "   All states share the weights. */\n"
            f"float {name}_learn({name}_state *state, uint32_t label, float rate);",
            f"/* The weights before all learning. */\nvoid {name}_forget(void);",
        ]

    def source(self, test: str) -> str:
        """Return the text of the source; `test` has the function of the self-test."""
        program = self.program
        name = program.name
        functions = [*program.functions, *map(tidy, (self._observe(), self._step(), self._reset(), test))]
        helpers = [helper.strip() for helper in program.helpers.values()]
        text = "\n\n".join([*program.constants, *helpers, *functions])
        pieces = [
            f'#include "{self.file}.h"',
            "#include <float.h>" if "_wide" in text else "",
            "#include <math.h>" if "INFINITY" in text or "NAN" in text else "",
            "#include <stddef.h>",
            _CONTRACTION,
            _WIDE.replace("NAME", name) if "_wide" in text else "",
            _BITS.replace("NAME", name) if f"{name}_bits(" in text else "",
            text,
        ]
        return "\n".join(filter(None, pieces)) + "\n"

    def _observe(self) -> str:
        calls = "\n".join(self.program.calls)
        sent = self.sent
        if sent.spikes:
            copied = f"""
                for (uint32_t e = 0; e < {sent.count}; e++) {{
                outputs[e] = {sent.array}[e];
                }}
                return {sent.count};
            """
        else:
            copied = loop("j", sent.size, f"outputs[j] = {sent.array}[j];")
        return f"""
            {self.returns} {self.program.name}_observe({self.parameters}, float *potentials)
            {{
            {"" if self.program.neurons else "(void)potentials;"}
            {calls}
            /* Before it would overflow, the number of the step goes on at another multiple of 8. */
            state->step = state->step == UINT32_MAX ? 0x80000000u : state->step + 1u;
            {copied}
            }}
        """

    def _step(self) -> str:
        given = "events, count" if self.given.spikes else "values"
        return f"""
            {self.returns} {self.program.name}_step({self.parameters})
            {{
            {"return " if self.sent.spikes else ""}{self.program.name}_observe(state, {given}, outputs, NULL);
            }}
        """

    def _reset(self) -> str:
        starts = "\n".join(self.program.starts)
        return f"""
            void {self.program.name}_reset({self.program.name}_state *state)
            {{
            uint8_t *bytes = (uint8_t *)state;
            for (size_t k = 0; k < sizeof(*state); k++) {{
            bytes[k] = 0;
            }}
            {starts}
            }}
        """


_CONTRACTION = """
#ifdef __FAST_MATH__
#error "compile without -ffast-math: it changes the order of sums"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
"""
_WIDE = """
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 2
typedef long double NAME_wide;
#else
typedef double NAME_wide;
#endif
"""
_BITS = """
static uint32_t NAME_bits(float x)
{
    union { float value; uint32_t bits; } both;
    both.value = x;
    return x != x ? 0x7fc00000u : both.bits;
}
"""
