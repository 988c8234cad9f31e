"""What every page must have for readers who use a keyboard, a phone, a dark screen or a program that reads aloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.browser import Browser

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}

_PROBLEMS = Path(__file__).with_suffix(".js").read_text("utf-8")


def show(there: Browser, *, dark: bool = False, phone: bool = False) -> None:
    """Show the page in light or dark colours, and on a phone with a finger in place of a mouse."""
    there.call("Emulation.setTouchEmulationEnabled", enabled=phone)
    if phone:
        there.call("Emulation.setDeviceMetricsOverride", **PHONE)
    else:
        there.call("Emulation.clearDeviceMetricsOverride")
    there.color_scheme("dark" if dark else "light")


def reset(there: Browser) -> None:
    """Show the page as at first."""
    show(there)
    there.call("Emulation.setEmulatedMedia", features=[])


def problems(there: Browser) -> list[str]:
    """Return what is wrong with the page as it is shown, one text each; [] if nothing is."""
    found: list[str] = there.run(_PROBLEMS)
    return found


def key(there: Browser, name: str, code: int, text: str = "", **more: Any) -> None:
    """Press and release a key that acts on the focused element, such as Tab, 9, or Enter, 13."""
    kind = "keyDown" if text else "rawKeyDown"
    for each in (kind, "keyUp"):
        written = {"text": text} if text and each == kind else {}
        there.call(
            "Input.dispatchKeyEvent", type=each, key=name, code=name, windowsVirtualKeyCode=code, **written, **more
        )


def tab_stops(there: Browser, most: int = 200) -> list[str]:
    """Press Tab from the top of the page to its end; return the id or text of each element, after "!" if unmarked."""
    there.run("document.activeElement.blur(); scrollTo(0, 0); window.seen = new Set(); 0")
    found: list[str] = []
    for _ in range(most):
        key(there, "Tab", 9)
        stop = there.run(
            "(() => { const node = document.activeElement;"
            "if (node === document.body || window.seen.has(node)) return null;"
            "window.seen.add(node); const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(node);"
            "const shown = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';"
            "return (shown ? '' : '!') + (node.id || node.getAttribute('aria-label') || node.textContent.trim()); })()"
        )
        if stop is None:
            break
        found.append(stop)
    return found
