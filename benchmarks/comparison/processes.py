"""Processes of workers, started and asked by their parent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1]


class NotRun(Exception):
    """The reason why a library, `model`, did not answer a request."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(reason)
        self.model = model


class Process:
    """The process of a worker; its first request imports the library."""

    def __init__(self, python: Path, model: str, threads: int, log: Path) -> None:
        count = str(threads)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "JAX_PLATFORMS": "cpu"}
        self.model, self.log = model, log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [str(python), "-m", "comparison.worker", model],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=BENCHMARKS,
                env=environment,
                text=True,
                encoding="utf-8",
            )

    def ask(self, do: str, **arguments: Any) -> dict:
        """Return the worker's answer.

        Raises:
            NotRun: the worker has a problem, or is gone.
        """
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise NotRun(self.model, f"ended with {self.process.wait()}{': ' + said[-1] if said else ''}")
        answer = json.loads(line)
        if "problem" in answer:
            raise NotRun(self.model, answer["problem"])
        return answer

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
