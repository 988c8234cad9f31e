r"""LaTeX formulas, `$...$` and `$$...$$`, as MathML, which browsers draw without a script or a font of ours."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$`\w])\$([^$`\n]+(?:\n[^$`\n]+)?)\$(?![\w$`])")


def with_mathml(text: str) -> str:
    """Return Markdown with MathML in place of its formulas; code in backticks is left as it is."""
    text = DISPLAYED.sub(lambda found: _mathml(found[1], "block"), text)
    parts = re.split(r"(`[^`\n]+`|<math.*?</math>)", text, flags=re.DOTALL)
    parts[::2] = (INLINE.sub(lambda found: _mathml(found[1], "inline"), part) for part in parts[::2])
    return "".join(parts)


def _mathml(formula: str, display: str) -> str:
    # In an attribute the formula itself, for readers of screens that know no MathML. Signs of Markdown become entities.
    made = convert(" ".join(formula.split()), display=display)
    return re.sub(r"(?<=>)([*_])(?=<)", lambda found: f"&#{ord(found[1])};", made)
