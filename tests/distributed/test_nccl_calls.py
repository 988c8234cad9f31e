"""What is called of cupyx.distributed has the arguments that the installed CuPy has; no GPU is needed to read that."""

import ast
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from cuslayer import backend
from cuslayer.distributed import Context, sums
from tests.distributed.test_trainer import Group


def package(name):
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("CuPy is not installed")
    return Path(spec.submodule_search_locations[0])


def signatures(path):
    """Return the signatures of all functions of a source, by name; of methods of several classes, the first's."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name not in found:
            names = {}
            arguments = re.sub(r"=_store[.]\w+", "=None", ast.unparse(node.args))
            exec(f"def f({arguments}): ...", names)
            found[node.name] = inspect.signature(names["f"])
    return found


def test_a_group_of_processes():
    """By MPI, which knows the machines: no address and no port is needed."""
    found = signatures(package("cupyx") / "distributed" / "_init.py")["init_process_group"]
    [call] = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(backend.process_group)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "init_process_group"
    ]
    assert ast.unparse(call) == "init_process_group(size, rank, use_mpi=True)"
    bound = found.bind(4, 1, use_mpi=True)
    assert bound.arguments == {"n_devices": 4, "rank": 1, "use_mpi": True}
    text = (package("cupyx") / "distributed" / "_nccl_comm.py").read_text()
    begin = text[text.index("def _init_with_mpi") : text.index("def _init_with_tcp_store")]
    assert "_store" not in begin


def test_transfers():
    found = signatures(package("cupyx") / "distributed" / "_nccl_comm.py")
    for name in ("send", "recv", "all_reduce"):
        # The stand-in of the tests takes what CuPy takes, in its order.
        assert list(found[name].parameters) == list(inspect.signature(getattr(Group, name)).parameters), name
    source = inspect.getsource(sums.NCCLTransport)
    used = set(re.findall(r"self\._group\.(\w+)\(", source))
    assert used == {"send", "recv", "all_reduce"}
    [library] = (package("cupy_backends") / "cuda" / "libs").glob("nccl.*.so")
    for name in set(re.findall(r"self\._nccl\.(\w+)\(", source)):
        assert name.encode() in library.read_bytes(), name


def test_what_is_sent_is_ready_and_what_came_is_awaited(monkeypatch):
    """Each stream waits for an event that was recorded on the other one; the host waits for nothing."""
    log = []

    class Stream:
        def __init__(self, name="moves", non_blocking=False):
            self.name = name

        def __enter__(self):
            current.append(self)

        def __exit__(self, *problem):
            current.pop()

        def record(self):
            return Event().record()

        def wait_event(self, event):
            log.append(f"{self.name} waits for {event.after}")

    class Event:
        def record(self):
            self.after = current[-1].name
            return self

    class Moves(Stream):
        def record(self):
            with self:
                return super().record()

    current = [Stream("computes")]
    cuda = SimpleNamespace(Event=Event, Stream=Moves, get_current_stream=lambda: current[-1])
    monkeypatch.setattr(backend, "cupy", lambda: SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(backend, "process_group", lambda size, rank: (SimpleNamespace(), SimpleNamespace()))
    moved = sums.NCCLTransport(Context())
    with moved.used():
        log.append(f"{current[-1].name} sends")
    log.append(f"{current[-1].name} goes on")
    moved.join()
    assert log == ["moves waits for computes", "moves sends", "computes goes on", "computes waits for moves"]
