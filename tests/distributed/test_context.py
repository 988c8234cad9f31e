"""What processes say to each other: values, errors, facts that must agree; and how MPI is found."""

import math
import os
import re
import sys
import time
from functools import partial
from itertools import zip_longest
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuslayer._base.threads import part_of_cores
from cuslayer._tape import Tensor
from cuslayer.distributed import Context, DataParallel, mpi, processes, sums, world
from cuslayer.distributed.context import is_on_all
from cuslayer.distributed.sums import Label, Partial, add_later, add_up, fill, labels, share
from tests.support.processes import together


def test_a_process_on_its_own():
    context = Context()
    assert (context.rank, context.size, context.describe()) == (0, 1, "one process")
    assert (context.gather(3), context.sum(3), context.max(3), context.broadcast("a")) == ([3], 3, 3, "a")
    context.barrier()
    x = np.ones(2)
    context.begin_sum(x).wait()
    assert x.tolist() == [1, 1]
    assert context.exchange([x], [x]).done()
    with pytest.raises(SystemExit):
        context.fail("reason", 3)


def test_values_of_several():
    def work(context):
        sums = context.sum(2**70 + context.rank), context.sum([context.rank])
        return *sums, context.max(-context.rank), context.broadcast(context.rank, 2)

    assert together(3, work) == [(3 * 2**70 + 3, [0, 1, 2], 0, 2)] * 3


class Odd(ValueError):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def test_an_error_of_process_0_is_raised_by_all():
    def work(context):
        def fails():
            raise Odd("this", "that")

        try:
            context.from_root(fails)
        except ValueError as problem:
            return type(problem).__name__, str(problem), is_on_all(problem)

    assert together(2, work) == [("Odd", "this and that", True), ("ValueError", "this and that", True)]
    assert together(2, lambda context: context.from_root(lambda: context.rank + 7)) == [7, 7]
    assert not is_on_all(ValueError())


def test_what_each_process_does():
    """An error of all is that of each; one of some names the first of them."""

    def work(context):
        found = [context.on_each(lambda: context.rank)]
        for wrong in ({0, 1, 2}, {1, 2}):

            def read(wrong=wrong):
                if context.rank in wrong:
                    raise FileNotFoundError(f"no file {len(wrong)}")

            with pytest.raises((ValueError, OSError)) as problem:
                context.on_each(read)
            found.append((type(problem.value).__name__, str(problem.value), is_on_all(problem.value)))
        return found

    errors = ("FileNotFoundError", "no file 3", True), ("ValueError", "process 1 of 3: no file 2", True)
    assert together(3, work) == [[rank, *errors] for rank in range(3)]
    with pytest.raises(ZeroDivisionError):
        Context().on_each(lambda: 1 / 0)


def test_facts_that_differ():
    def work(context):
        with pytest.raises(ValueError) as problem:
            context.agree(version="1.0", data="x" if context.rank < 2 else "y")
        return str(problem.value), is_on_all(problem.value)

    message = "all processes must have the same data: process 0 has 'x', process 2 'y'"
    assert together(3, work) == [(message, True)] * 3


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"context": 3}, TypeError, "DataParallel: context must be a Context, got int"),
    ],
)
def test_options_of_data_parallel(options, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        DataParallel(**{"context": Context(), **options})


def test_without_mpiexec_there_is_one_process(monkeypatch):
    for name in mpi._SIZES:
        monkeypatch.delenv(name, raising=False)
    mpi.world.cache_clear()
    assert processes() == 1
    assert world().size == 1
    assert "mpi4py" not in sys.modules
    assert repr(DataParallel(micro=3, fast=True)) == "DataParallel(process 0 of 1, micro=3, fast=True)"


@pytest.mark.parametrize("name", mpi._SIZES)
def test_an_mpiexec_of_another_mpi(monkeypatch, name):
    alone = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1), rc=SimpleNamespace())
    monkeypatch.setattr(mpi, "optional", lambda module, extra: alone)
    monkeypatch.setenv(name, "4")
    mpi.world.cache_clear()
    with pytest.raises(ValueError, match="mpiexec has started 4 processes, mpi4py finds one"):
        world()
    mpi.world.cache_clear()


def test_the_cores_of_a_machine():
    assert [part_of_cores([4, 5, 6, 7, 8], place, 2) for place in range(2)] == [[4, 5], [6, 7, 8]]
    assert [part_of_cores([4, 5], place, 4) for place in range(4)] == [[4], [5], [4], [5]]


def context_of(monkeypatch, rank=0, **others):
    """Return a context of two processes and the codes with which it ends all."""
    codes = []
    context = mpi.MPIContext.__new__(mpi.MPIContext)
    context.rank, context.size, context._here = rank, 2, {0: os.getpid(), **others}
    context._names = [("first", os.getpid()), ("second", 4321)]
    context._comm = SimpleNamespace(Abort=codes.append)
    monkeypatch.setattr(mpi, "_GRACE", 0.0)
    return context, codes


def test_a_process_that_has_ended(monkeypatch, capsys):
    """Where mpiexec does not end the others, one that waits does."""
    context, codes = context_of(monkeypatch)
    context._here[1] = 2**22 + 1
    monkeypatch.setattr(mpi, "_LOOK", 0.01)
    answers = iter([False] * 50 + [True])
    module = SimpleNamespace(Request=SimpleNamespace(Testall=lambda _: next(answers)))
    request = mpi._Transfers(context, module, [(1, None)])
    while not codes and not request.done():
        time.sleep(0.002)
    assert codes == [1]
    assert capsys.readouterr().err == f"cuslayer: process 0 of 2: process 1 ({2**22 + 1}) has ended\n"


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        ([1, 1], "process 1 (4321 on second) has"),
        ([0, 1], f"processes 0 ({os.getpid()} on first), 1 (4321 on second) have"),
        ([None], "another process has"),
    ],
    ids=["one", "two", "unknown"],  # those of processes differ in each that collects the tests
)
def test_a_process_that_does_not_answer(monkeypatch, capsys, waiting, said):
    """Those whose transfers are not complete are named; time in which the waiting process was stopped is left out."""
    context, codes = context_of(monkeypatch, rank=1)
    context.timeout = 5.0
    now = [0.0]
    monkeypatch.setattr(mpi.time, "monotonic", lambda: now[0])
    module = SimpleNamespace(Request=SimpleNamespace(Testall=lambda _: False))
    transfers = [(rank, SimpleNamespace(Test=lambda: False)) for rank in waiting]
    request = mpi._Transfers(context, module, [*transfers, (0, SimpleNamespace(Test=lambda: True))])
    for _ in range(5):
        now[0] += 1000.0
        assert not request.done()
    assert codes == []
    now[0] += 0.5
    request.done()
    assert codes == [1]
    why = "not answered for 5 s: stopped, hanging or out of reach; --timeout or Context.timeout sets the limit"
    assert capsys.readouterr().err == f"cuslayer: process 1 of 2: {said} {why}\n"


def test_the_limit_of_waiting():
    context = Context()
    assert context.timeout == 600.0
    context.timeout = 3
    assert context.from_root(lambda: context.timeout, patient=True) is None
    assert context.from_root(lambda: context.timeout) == context.timeout == 3.0
    context.timeout = None
    assert context.timeout is None
    with pytest.raises(ValueError, match="Context: timeout must be positive, got 0"):
        context.timeout = 0


# The order of sums: the same additions on any number of processes


def joined(a, b):
    return f"({a} {b})"


def by_one(leaves):
    partial = Partial(leaves, joined)
    for leaf in range(leaves):
        partial.add(Label(0, leaf), str(leaf))
    [(_, text)] = partial.nodes
    return text


def by_several(leaves, size):
    """Let each process add its leaves, and another one what they have."""
    found = []
    for rank in range(size):
        partial = Partial(leaves, joined)
        for leaf in share(leaves, rank, size):
            partial.add(Label(0, leaf), str(leaf))
        assert [label for label, _ in partial.nodes] == labels(leaves, share(leaves, rank, size))
        assert len(partial.nodes) <= 2 * math.ceil(math.log2(leaves + 1))
        found += partial.nodes
    total = Partial(leaves, joined)
    for label, text in found:
        total.add(label, text)
    [(_, text)] = total.nodes
    return text


def test_the_order_of_a_sum():
    assert by_one(1) == "0"
    assert by_one(4) == "((0 1) (2 3))"
    assert by_one(6) == "(((0 1) (2 3)) (4 5))"
    assert by_one(7) == "(((0 1) (2 3)) ((4 5) 6))"
    for leaves in range(1, 34):
        for size in range(1, 13):
            assert by_several(leaves, size) == by_one(leaves), (leaves, size)
    for leaves in range(20):
        for size in range(1, 9):
            parts = [share(leaves, rank, size) for rank in range(size)]
            assert [leaf for part in parts for leaf in part] == list(range(leaves))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def gradients(leaf, dtypes):
    r = np.random.default_rng(leaf)
    return [(r.standard_normal(shape) * 10.0 ** r.integers(-6, 6)).astype(dtype) for shape, dtype in dtypes]


SHAPES = [((3, 5), np.float32), ((1,), np.float64), ((2,), np.float32), ((7, 2, 1), np.float32), ((0, 3), np.float32)]


def summed(context, leaves, **options):
    """Return the sums of gradients that a step adds, as bytes."""
    parallel = DataParallel(context, micro=1, **options)
    parameters = [Tensor(np.zeros(shape, dtype), requires_grad=True) for shape, dtype in SHAPES]
    frozen = Tensor(np.zeros(2))
    sums = parallel.sums([*parameters, frozen], leaves)
    part = share(leaves, context.rank, context.size)
    for leaf in part:
        for p, g in zip(parameters, gradients(leaf, SHAPES), strict=True):
            p.grad = g
        sums.add(leaf, leaf == part[-1])
    sums.finish()
    assert frozen.grad is None
    return [(p.grad.shape, p.grad.dtype.name, p.grad.tobytes()) for p in parameters]


@pytest.mark.parametrize("bucket", [1e-5, 4.0])
def test_sums_of_arrays(bucket):
    """Odd shapes, two types, more processes than leaves, buckets of one and of all parameters."""
    for leaves in (1, 5, 8):
        alone = summed(Context(), leaves, bucket=bucket)
        exact = [sum(each) for each in zip(*(gradients(leaf, SHAPES) for leaf in range(leaves)), strict=True)]
        for (shape, dtype, found), wanted in zip(alone, exact, strict=True):
            got = np.frombuffer(found, dtype).reshape(shape)
            scale = max(np.abs(each).max(initial=0) for leaf in range(leaves) for each in gradients(leaf, SHAPES))
            np.testing.assert_allclose(got, wanted, atol=1e-6 * scale)
        for size in (2, 3, 4):
            found = together(size, partial(summed, leaves=leaves, bucket=bucket))
            assert all(each == alone for each in found)


def test_fast_sums_are_the_same_but_for_rounding():
    alone = summed(Context(), 7)
    found = together(3, lambda context: summed(context, 7, fast=True))
    assert any(each != alone for each in found)
    for each in found:
        for (_, dtype, a), (_, _, b) in zip(each, alone, strict=True):
            np.testing.assert_allclose(np.frombuffer(a, dtype), np.frombuffer(b, dtype), rtol=1e-3, atol=1.0)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["f4", "f8"])), min_size=1, max_size=12), st.integers(0, 99)
)
@example([(1, "f4"), (1, "f4")], 8)
def test_buckets_have_parameters_of_one_type_from_the_last_on_and_are_full(drawn, limit):
    parameters = [Tensor(np.zeros(n, t)) for n, t in drawn]
    buckets = fill(parameters, limit / 1e6)
    assert [id(p) for bucket in buckets for p in bucket.parameters] == [id(p) for p in reversed(parameters)]
    limit = limit / 1e6 * 1e6
    for bucket, after in zip_longest(buckets, buckets[1:]):
        held = sum(p.data.nbytes for p in bucket.parameters)
        assert {p.dtype for p in bucket.parameters} == {bucket.dtype}
        assert held <= limit or len(bucket.parameters) == 1
        if after:
            first = after.parameters[0]
            assert first.dtype != bucket.dtype or held + first.data.nbytes > limit


@pytest.mark.parametrize("size", [0, 1, (1 << 15) - 1, (1 << 15) + 3, 3 << 15])
@pytest.mark.parametrize("arrays", [1, 2, 3, 4, 5, 8])
def test_additions_that_wait(size, arrays):
    """The sum of pairs, in whatever pieces: four arrays are added in one pass."""
    given = [(np.random.default_rng(n).standard_normal(size) * 10.0**n).astype(np.float32) for n in range(arrays)]
    wanted, later, waiting = given[0].copy(), given[0].copy(), []
    for each in given[1:]:
        wanted = wanted + each
        later = add_later(later, each.copy())
        waiting.append(isinstance(later, tuple))
    assert waiting == [True, True, False, True, True, False, True][: arrays - 1]
    out = np.full(size, np.nan, np.float32)
    assert add_up(later, out) is out
    assert out.tobytes() == wanted.tobytes()
    assert add_up(later).tobytes() == wanted.tobytes()


def test_additions_of_a_right_operand_that_waits(monkeypatch):
    a, b, c, d = (np.full(3, 10.0**n, np.float32) for n in (8, 0, 0, -3))
    wanted = a + (b + (c + d))
    assert add_up((a.copy(), (b.copy(), (c.copy(), d.copy())))).tolist() == wanted.tolist()
    four = add_later(add_later(a.copy(), b.copy()), add_later(c.copy(), d.copy()))
    assert four.tolist() == ((a + b) + (c + d)).tolist()
    monkeypatch.setattr(sums, "_MOST_BYTES", 20)
    a = np.ones(3, np.float32)
    assert add_later(a, np.ones(3, np.float32)) is a
    assert a.tolist() == [2.0] * 3
