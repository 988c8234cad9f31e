"""cuslayer._base.check: who names an error, and which errors are left as they are."""

import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base import check
from tests.support.refused import refused


class Own(cs.Layer):
    def __call__(self, x):
        raise ValueError("a user's own text")

    def at(self, place):
        return check.index("place", place, 2)


def test_the_innermost_door_names_an_error_once():
    net = cs.Sequential(cs.Dense(3, 2))
    with pytest.raises(ValueError, match=r"^dense: x has 4 features, weight expects 3$") as problem:
        net(np.ones((2, 1, 4)))
    assert problem.value.operation == "dense"
    assert check.reason(problem.value) == "x has 4 features, weight expects 3"
    assert check.reason(ValueError("as it is")) == "as it is"


def test_a_class_names_the_errors_of_its_subclasses_and_leaves_those_of_others():
    refused("Own: place must be under 2", lambda: Own().at(3))
    with pytest.raises(ValueError, match=r"^a user's own text$"):
        cs.Sequential(Own())(np.ones((2, 1, 4)))
    with pytest.raises(ValueError, match=r"^no digits here$"):
        cs.functions.psp(np.ones((2, 1, 4)), response=Failing())
    with pytest.raises(TypeError, match=r"^(Conv\.)?__init__\(\) (missing|takes)|^Conv: missing"):
        cs.Conv(1)


def test_a_text_that_is_no_utf_8_is_described_by_python():
    read = check.operation(eval("lambda raw: raw.decode()", {"__name__": "cuslayer.own"}))
    with pytest.raises(UnicodeDecodeError) as problem:
        read(b"\xff")
    assert problem.value.args[0] == "utf-8"


class Failing:
    @property
    def ndim(self):
        raise ValueError("no digits here")

    taps = filter = dt = ndim


def test_steps_of_a_generator_are_named_too():
    @check.operation("count")
    def steps(most):
        yield 1
        check.integer("most", most, least=2)
        yield 2

    assert list(steps(2)) == [1, 2]
    refused("count: most must be at least 2", lambda: list(steps(1)))


def test_a_text_comes_between_the_operation_and_the_reason():
    @check.operation
    def read(path):
        with check.about(path):
            cs.LIF(tau=-1.0)

    refused("read: a.yaml: LIF: tau must be positive and finite", lambda: read("a.yaml"))


def test_a_warning_has_the_name_and_the_line_of_the_caller():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        cs.layers.Shift(1e-4, dt=1e-4)
    assert [str(each.message).split(" is in ms")[0] for each in found] == ["Shift: dt"]
    assert found[0].filename == __file__
