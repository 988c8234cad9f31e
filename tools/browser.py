"""Control a headless Chromium: run scripts in a page, click, press keys, and read its console.

It uses the DevTools protocol over pipes (--remote-debugging-pipe), JSON messages with a zero byte at the end, so it
needs neither a port nor a library.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update"),
    *("--remote-debugging-pipe", "--window-size=1500,1400"),
)
# Seconds without a word after which a browser hangs: far more than it needs on a machine that has much to do.
SILENCE = 300.0


def find() -> str | None:
    """Return the path of a Chromium, None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def _start(command: list[str]) -> tuple[int, int, int]:
    """Start a Chromium; return its process id, the descriptor to write to and the descriptor to read from."""
    (their_in, mine_out), (mine_in, their_out) = os.pipe(), os.pipe()
    # Chromium uses descriptors 3 and 4: move ours to other numbers first.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (their_in, their_out)]
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, end, fd) for end, fd in zip(ends, (3, 4), strict=True)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    for end in (their_in, their_out, *ends):
        os.close(end)
    return pid, mine_out, mine_in


def _write(end: int, data: bytes) -> None:
    while data:
        data = data[os.write(end, data) :]


class Browser:
    """One page in a Chromium.

    Attributes:
        said: console messages and uncaught exceptions of the page, as text: "error: ..."
        asked: the addresses of its network requests.
    """

    def __init__(self, profile: Path) -> None:
        command = [find() or NAMES[0], *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.pid, self.down, self.up = _start(command)
        self.number, self.session, self.rest = 0, "", b""
        self.said: list[str] = []
        self.asked: list[str] = []
        self.events: list[str] = []

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        # Browser.close ends all its processes; the pipe ends with the last of them.
        with contextlib.suppress(OSError, RuntimeError):
            os.write(self.down, b'{"id": 0, "method": "Browser.close"}\0')
            while True:
                self._read()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.down)
        os.close(self.up)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self.number += 1
        asked = {"id": self.number, "method": method, "params": params}
        if self.session:
            asked["sessionId"] = self.session
        _write(self.down, json.dumps(asked).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == asked["id"]:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def _read(self) -> bytes:
        if not select.select([self.up], [], [], SILENCE)[0]:
            raise RuntimeError(f"chromium has said nothing for {SILENCE:g} s")
        more = os.read(self.up, 1 << 20)
        if not more:
            raise RuntimeError("chromium has ended")
        return more

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            self.rest += self._read()
        first, self.rest = self.rest.split(b"\0", 1)
        return json.loads(first)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method", ""), message.get("params", {})
        self.events.append(method)
        if method == "Runtime.consoleAPICalled":
            words = (str(a.get("value", a.get("description"))) for a in params["args"])
            self.said.append(f"{params['type']}: {' '.join(words)}")
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.said.append(f"error: {details.get('exception', {}).get('description', details['text'])}")
        elif method == "Log.entryAdded":
            self.said.append(f"{params['entry']['level']}: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def open(self, path: Path) -> None:
        """Open a page and wait until it has loaded."""
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.loaded()

    def loaded(self) -> None:
        """Wait until the page has loaded."""
        while "Page.loadEventFired" not in self.events:
            self._note(self._next())

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def wait(self, condition: str) -> bool:
        """Wait until a JavaScript expression is true, and return whether it is."""
        end = time.monotonic() + SILENCE
        while not (holds := bool(self.run(condition))) and time.monotonic() < end:
            time.sleep(0.02)
        return holds

    def click(self, x: float, y: float, times: int = 1) -> None:
        """Move the mouse to a point of the window, and click the left button a number of times."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for number in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=number)

    def press(self, key: str) -> None:
        """Press and release a key by its name, such as "ArrowLeft"."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def color_scheme(self, scheme: str) -> None:
        """Show the page in colours, "light" or "dark", and wait until its listeners have heard of it."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert self.wait(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        self.frames()

    def frames(self) -> None:
        """Wait until the page has drawn what it is now: listeners of sizes and media are called before a frame."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self, path: Path, *, dark: bool = False, whole: bool = True) -> None:
        """Write a screenshot of the page as PNG."""
        self.color_scheme("dark" if dark else "light")
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
