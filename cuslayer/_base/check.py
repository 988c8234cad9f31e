"""Argument validation at entry points: a check names argument, rule and value; the entry point adds the operation.

`operation` makes a public function an entry point, `named` the methods of a public class. Inner functions do not pass
the name on: the innermost entry point adds it, once, to an error of this package that leaves it.
"""

from __future__ import annotations

import inspect
import math
import operator
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, SupportsIndex, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
E = TypeVar("E", bound=Exception)
C = TypeVar("C", bound=type)


class MissingKey(ValueError):
    """A required key is missing: the one at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is missing")
        self.path = path


# The kinds of errors that entry points name.
_NAMED = (ValueError, TypeError, IndexError, MemoryError, ImportError)
# The special methods that are entry points in addition to the public methods.
_SPECIAL = ("__init__", "__post_init__", "__call__", "__getitem__", "__setitem__", "__iter__", "__len__")


@overload
def operation(given: F) -> F: ...
@overload
def operation(given: str) -> Callable[[F], F]: ...
def operation(given: Any) -> Any:
    """Make a function an entry point: this package's errors that leave it begin with its name, or with a given name.

    >>> @operation
    ... def half(x):
    ...     return number("x", x) / 2
    >>> half("a")
    Traceback (most recent call last):
        ...
    TypeError: half: x must be a number, got str
    """
    if isinstance(given, str):
        return lambda function: _door(function, lambda _: given)
    name = given.__name__
    return _door(given, lambda _: name)


def method(function: F) -> F:
    """Make a method an entry point: this package's errors that leave it begin with the name of its object's class."""
    return _door(function, lambda owner: (owner if isinstance(owner, type) else type(owner)).__name__)


def constructed(kind: C) -> C:
    """Make the constructor that `dataclass` has written an entry point."""
    kind.__init__ = method(kind.__init__)  # type: ignore[misc]
    return kind


def named(kind: type[T]) -> type[T]:
    """Make the public methods of a class and of its subclasses entry points; errors begin with the class name."""
    own = vars(kind).get("__init_subclass__")

    def of_subclass(subclass: Any, /, **options: Any) -> None:
        if own is None:
            super(kind, subclass).__init_subclass__(**options)
        else:
            own.__func__(subclass, **options)
        _name_methods(subclass)

    _name_methods(kind)
    kind.__init_subclass__ = classmethod(of_subclass)  # type: ignore[assignment]
    return kind


def _name_methods(kind: type) -> None:
    for name, value in list(vars(kind).items()):
        if name.startswith("_") and name not in _SPECIAL:
            continue
        if isinstance(value, property):  # a property that raises errors names them by `method`
            if value.fset is not None:
                setattr(kind, name, value.setter(method(value.fset)))
        elif isinstance(value, classmethod):
            setattr(kind, name, classmethod(method(value.__func__)))
        elif isinstance(value, FunctionType) and not hasattr(value, "__wrapped__"):
            setattr(kind, name, method(value))


@contextmanager
def about(what: object) -> Iterator[None]:
    """Prefix this package's errors within the block with a text, such as the name of a file."""
    try:
        yield
    except _NAMED as problem:
        problem.__dict__.pop("operation", None)
        _name(problem, str(what))
        problem.__dict__.pop("operation", None)
        raise


def _door(function: F, name: Callable[[object], str]) -> F:
    """Return a function that adds a name to this package's errors that leave it."""

    def door(*given: object, **options: object) -> Any:
        try:
            return function(*given, **options)
        except _NAMED as problem:
            _explain_call(problem, function, given, options)
            _name(problem, name(given[0] if given else None))
            raise

    def steps(*given: object, **options: object) -> Any:
        try:
            return (yield from function(*given, **options))
        except _NAMED as problem:
            _explain_call(problem, function, given, options)
            _name(problem, name(given[0] if given else None))
            raise

    return cast("F", wraps(function)(steps if inspect.isgeneratorfunction(function) else door))


# Arguments of other libraries, and ours.
_ARGUMENTS = {
    "learning_rate": "lr",
    "params": "parameters",
    "epsilon": "eps",
    "batch_size": "batch",
    "threshold": "theta",
    "weight": "weights",
    "label_smoothing": "smoothing",
    "learn_alpha": "trained",
    "learn_beta": "trained",
    "reset_mechanism": "reset",
    "spike_grad": "surrogate",
    "surrogate_function": "surrogate",
    "v_threshold": "theta",
    "dim": "axis",
}
_NOT_HERE = {
    "warmup": "the optimizer has it, as in Adam(..., warmup=100)",
    "reduction": "a loss is the sum over batch and neurons; loss / N is the mean",
    "size_average": "a loss is the sum over batch and neurons; loss / N is the mean",
    "detach_reset": "gradient='detached' does so",
    "device": "cs.use('cuda') or cs.use('cpu') chooses the device, before networks are made",
}


def _explain_call(
    problem: Exception, function: Callable[..., object], arguments: tuple[object, ...], options: dict[str, object]
) -> None:
    """Let an error of Python about a call's arguments say which argument was meant, or how the call is written."""
    if not isinstance(problem, TypeError) or problem.__traceback__ is None or problem.__traceback__.tb_next is not None:
        return  # the function ran
    signature = inspect.signature(function)
    try:
        signature.bind(*arguments, **options)
    except TypeError as unfit:
        owner, _, last = function.__qualname__.rpartition(".")
        is_method = bool(owner) and not owner.endswith("<locals>")
        parameters = list(signature.parameters.values())[is_method:]
        known = [parameter.name for parameter in parameters]
        unknown = next((option for option in options if option not in known), None)
        if unknown is None:
            shown = (
                p.name if p.default is p.empty else f"{p.name}=" for p in parameters if p.kind is not p.VAR_KEYWORD
            )
            called = type(arguments[0]).__name__ if last == "__init__" else last
            verb = "it takes " if last == "__call__" else f"write {called}"
            text = f"{unfit}; {verb}({', '.join(shown)})"
        else:
            cured = getattr(arguments[0], "cure", None) if is_method else None
            meant = _ARGUMENTS.get(unknown)
            hint = f"it is {meant} here" if meant in known else nearest(unknown, known).removeprefix("; ")
            own = "" if cured is None else cured(unknown, options)
            hint = own or _NOT_HERE.get(unknown) or hint or f"there are {', '.join(known)}"
            text = f"got an unexpected keyword argument {unknown!r}; {hint}"
        problem.args = (text,)


def _name(problem: Exception, name: str) -> None:
    """Prefix an error with the name of an operation, unless it has one or another package raised it."""
    last = problem.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    raised = "" if last is None else last.tb_frame.f_globals.get("__name__", "")
    # The text of a UnicodeError is not its first argument.
    done = isinstance(problem, UnicodeError) or hasattr(problem, "operation")
    if raised.partition(".")[0] == __name__.partition(".")[0] and not done:
        reason = " ".join(str(problem.args[0]).splitlines()) if problem.args else ""
        # An error from another process has the name only in its text.
        text = reason if reason.startswith(f"{name}: ") else f"{name}: {reason}".removesuffix(": ")
        problem.args = (text, *problem.args[1:])
        vars(problem).update({**_parts(reason), **vars(problem)}, operation=name, reason=reason)
        if isinstance(problem, ImportError):
            problem.msg = text


# A message is an argument, the rule that begins with one of these verbs, what came, and a cure.
_VERBS = "must|is|are|has|have|needs?|cannot|does|expects?|lies|reaches|begins?|ends?|stands?|takes?"
_MESSAGE = re.compile(rf"(?P<argument>.*?) ?\b(?P<rule>(?:{_VERBS})\b.*?)(?:, got .*)?")


def _parts(reason: str) -> dict[str, str]:
    """Return the argument and the rule in the text of an error; a text without a verb is all rule."""
    said = reason.partition("; ")[0]
    found = _MESSAGE.fullmatch(said)
    return found.groupdict() if found else {"argument": "", "rule": said}


def reason(problem: BaseException) -> str:
    """Return the text of an error without the operation."""
    return str(problem.__dict__.get("reason", problem))


def refusal(argument: str, rule: str, value: object, got: object, kind: type[E] = ValueError) -> E:  # type: ignore[assignment]
    """Return the error for an argument that breaks a rule; it has argument, rule and value as attributes.

    `got` is the value as the message shows it, with a hint after it, if any.

    >>> problem = refusal("rate", "must be positive", -1.0, -1)
    >>> str(problem), problem.argument, problem.rule, problem.value
    ('rate must be positive, got -1', 'rate', 'must be positive', -1.0)
    """
    problem = kind(f"{argument} {rule}, got {got}")
    vars(problem).update(argument=argument, rule=rule, value=value)
    return problem


def mistyped(argument: str, rule: str, value: object, hint: str = "") -> TypeError:
    """Return the error for an argument of the wrong type."""
    got = "type" if isinstance(value, type) else type(value).__name__
    return refusal(argument, rule, value, f"{got}{hint}", TypeError)


def number(name: str, value: object) -> float:
    """Return value as a finite float."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) != 0:
        raise mistyped(name, "must be a number", value)
    result = float(value)
    if not math.isfinite(result):
        raise refusal(name, "must be finite", value, result)
    return result


def flag(name: str, value: object) -> bool:
    """Return value if it is a bool."""
    if not isinstance(value, bool):
        raise mistyped(name, "must be a bool", value)
    return value


def instance(name: str, value: object) -> None:
    """Raise TypeError if value is a class, not an object."""
    if isinstance(value, type):
        raise TypeError(f"{name} is the class {value.__name__}; write {value.__name__}(...)")


def positive(name: str, value: object) -> float:
    """Return value as a finite float above zero."""
    result = number(name, value)
    if result <= 0:
        raise refusal(name, "must be positive", value, f"{result:g}")
    return result


def not_negative(name: str, value: object) -> float:
    """Return value as a finite float of at least zero."""
    result = number(name, value)
    if result < 0:
        raise refusal(name, "must not be negative", value, f"{result:g}")
    return result


def fraction(name: str, value: object) -> float:
    """Return value as a float in [0, 1), also in float32."""
    result = number(name, value)
    if not 0 <= result < 1 - 2.0**-25:
        raise refusal(name, "must lie in [0, 1)", value, f"{result:.9g}")
    return result


# Kernels compute in float32, which loses more and more bits below the first of these numbers. The gradient of a network
# contains the product of such constants of several layers, and Adam its square: float32 can represent the fourth power
# of the second.
_LEAST, _MOST = 2.0**-126, 2.0**31


def factor(name: str, value: object) -> float:
    """Return value as a float from 0 to 2^31, by which kernels multiply in float32."""
    return signed_factor(name, not_negative(name, value))


def signed_factor(name: str, value: object) -> float:
    """Return value as a float from -2^31 to 2^31, by which kernels multiply in float32."""
    result = number(name, value)
    if abs(result) > _MOST:
        size = "" if result > 0 else " in size"
        raise refusal(name, f"must be at most {_MOST:.3g}{size}, since float32 overflows soon", value, f"{result:g}")
    return result


def constant(name: str, value: object) -> float:
    """Return value as a float from 2^-126 to 2^31, by which kernels multiply and divide in float32."""
    result = factor(name, positive(name, value))
    if result < _LEAST:
        raise refusal(name, f"must be at least {_LEAST:.3g}, float32 has no less", value, f"{result:g}")
    return result


# Steps, ms, at or beyond these limits are probably in seconds or in microseconds.
_SECONDS, _MICROSECONDS = 1e-3, 1e3


def time_step(name: str, value: object) -> float:
    """Return a step in ms, like `constant`; warn if it looks like seconds or microseconds."""
    step = constant(name, value)
    if not _SECONDS < step < _MICROSECONDS:
        unit = "seconds" if step <= _SECONDS else "microseconds"
        warn(f"{name} is in ms, and {step:g} ms looks like {unit}; 1 ms is {name}=1.0")
    return step


def integer(name: str, value: Any, *, least: int) -> int:
    """Return value as an int of at least `least`."""
    if isinstance(value, bool):
        raise mistyped(name, "must be an integer", value)
    try:
        result = operator.index(value)
    except TypeError:
        raise mistyped(name, "must be an integer", value) from None
    if result < least:
        raise refusal(name, f"must be at least {least}", value, result)
    return result


def pair(name: str, value: object, *, least: int) -> tuple[int, int]:
    """Return (rows, columns) from one integer or two."""
    given = value if isinstance(value, (tuple, list)) else (value, value)
    if len(given) != 2:
        raise refusal(name, "must be one integer or two", value, len(given))
    rows, columns = (integer(name, size, least=least) for size in given)
    if max(rows, columns) >= 2**31:
        raise refusal(name, "must be less than 2**31", value, max(rows, columns))
    return rows, columns


def two(name: str, value: object, rule: str = "must be two numbers") -> Any:
    """Return a tuple or a list of two values."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise refusal(name, rule, value, one_line(value))
    return value


def sequence(name: str, value: object) -> Any:
    """Return a sequence other than a text, or an array."""
    if not isinstance(value, (Sequence, np.ndarray)) or isinstance(value, (str, bytes)):
        raise mistyped(name, "must be a sequence", value)
    return value


def index(name: str, value: object, size: int, what: str = "") -> int:
    """Return value as an index from 0 into `size` items, which messages call `what`, such as "steps"."""
    place = integer(name, value, least=-sys.maxsize)
    if not 0 <= place < size:
        rule = f"under {size}{what and ' ' + what}" if place >= 0 else "at least 0"
        raise refusal(name, f"must be {rule}", value, place, IndexError)
    return place


def position(index: SupportsIndex, length: int, what: str = "samples", kinds: str = "an integer") -> int:
    """Return index as a position from 0 among `length` items, called `what`; a negative index counts from the end.

    A missing item is an IndexError, which also ends iteration over a data set. `kinds` names the allowed kinds of
    index, for messages.
    """
    try:
        place = operator.index(index)
    except TypeError:
        hint = "; Subset(data, range(...)) takes several" if isinstance(index, slice) and what == "samples" else ""
        raise mistyped("index", f"must be {kinds}", index, hint) from None
    if not -length <= place < length:
        raise refusal("index", f"must lie within {length} {what}", index, place, IndexError)
    return place % length


def neuron_index(shape: tuple[int, ...], index: Any, name: str = "neuron") -> tuple[int, ...]:
    """Return the index of a neuron in a layer of a shape, from such an index or a flat index in C order."""
    index = index.tolist() if isinstance(index, np.ndarray) else index
    several = isinstance(index, (tuple, list))
    sizes = shape if several and len(index) == len(shape) else (math.prod(shape),)
    given = tuple(integer(name, n, least=-sys.maxsize) for n in (index if several else (index,)))
    if any(n < 0 for n in given):
        raise refusal(name, "must be at least 0", index, index, IndexError)
    if (several and sizes is not shape) or any(n >= size for n, size in zip(given, sizes, strict=True)):
        raise IndexError(f"{name} {index} lies outside a layer of shape {shape}")
    return given if several else tuple(map(int, np.unravel_index(given[0], shape)))


def warn(message: str) -> None:
    """Issue a UserWarning, with the innermost entry point's name, for the line outside this package and tqdm."""
    frame, level, name = sys._getframe(1), 2, ""
    inside = (__name__.partition(".")[0], "tqdm", "contextlib")
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        if not name and _is_door(frame):
            name = frame.f_locals["name"](next(iter(frame.f_locals["given"]), None)) + ": "
        frame, level = frame.f_back, level + 1
    warnings.warn(name + message, UserWarning, stacklevel=level)


def _is_door(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == __name__ and frame.f_code.co_name in ("door", "steps")


def finite_range(name: str, low: float, high: float) -> None:
    """Raise ValueError if an array, given by its smallest and its largest element, is not finite in float32."""
    if not (math.isfinite(low) and math.isfinite(high)):
        wrong = high if math.isfinite(low) else low
        raise refusal(name, "must be finite", wrong, f"{wrong} in it")
    as_type(name, np.array([low, high], np.float64), np.float32)


def as_type(name: str, x: Any, dtype: npt.DTypeLike, *, copy: bool = False) -> npt.NDArray[np.generic]:
    """Return an array in another type of numbers, by default copied only if necessary; no number may become infinite.

    Numbers that are already on a GPU are not read back.
    """
    with np.errstate(over="ignore"):
        converted = x.astype(dtype, copy=copy)
    if narrows(x, converted.dtype):
        lost = np.isinf(converted) & np.isfinite(x)
        if lost.any():
            first = x[lost].flat[0]
            rule = f"must be at most {np.finfo(converted.dtype).max:.3g} in size, {converted.dtype} has no more"
            raise refusal(name, rule, first, f"{first:g} in it")
    return converted


def fits(name: str, x: object, dtype: np.dtype[np.generic]) -> None:
    """Raise ValueError if an array, or a list of spikes, has a finite number that is infinite in another type."""
    if narrows(x, dtype):
        as_type(name, x, dtype)


def narrows(x: object, dtype: np.dtype[np.generic]) -> bool:
    """Return whether a type of floating numbers is narrower than that of an array on the CPU."""
    return isinstance(x, (np.ndarray, np.floating)) and x.dtype.kind == "f" and dtype.itemsize < x.dtype.itemsize


def unmasked(x: object) -> None:
    """Raise TypeError if x, or an item of a list, has masked elements, whose numbers would count."""
    if isinstance(x, np.ma.MaskedArray):
        hidden = int(np.ma.getmaskarray(x).sum())
        if hidden:
            raise TypeError(
                f"masked array: its mask would be lost, {hidden} of {x.size} elements are masked; fill them first, as "
                f"x.filled(0) does"
            )
    elif isinstance(x, (list, tuple)):
        for each in x:
            if isinstance(each, (list, tuple, np.ma.MaskedArray)):
                unmasked(each)


def pixels(name: str, low: float, high: float, whole: Callable[[], bool]) -> str | None:
    """Return a warning if an array from `low` to `high` looks like pixels from 0 to 255, and not like currents.

    `whole` returns whether all elements are whole; it is called only if they are from 0 to 255.
    """
    if not 0 <= low <= 128 < high <= 255 or not (high == 255 or whole()):
        return None
    return (
        f"{name} looks like pixels from 0 to 255, its largest value is {high:g}; divide it by 255, or make "
        f"spikes of it, as encode_poisson({name} / 255, steps=...) does"
    )


def path(name: str, value: object) -> Path:
    """Return value as a path; raise TypeError if it is not a path, ValueError if it has a zero byte."""
    if not isinstance(value, (str, os.PathLike)):
        raise mistyped(name, "must be a path", value)
    if "\0" in os.fsdecode(value):
        raise refusal(name, "must not hold a zero byte", value, one_line(os.fsdecode(value)))
    return Path(value)


def memory(what: str, shape: tuple[int, ...], itemsize: int = 1) -> None:
    """Raise ValueError if an array, called `what`, is larger than the memory of this machine."""
    needed, there = math.prod(shape) * itemsize, _machine_memory()
    if needed > there:
        sizes = f"{needed / 2**30:.4g} GiB, this machine has {there / 2**30:.4g} GiB"
        raise refusal(what, "must fit into memory", shape, f"shape {shape} of {sizes}")


def _machine_memory() -> int:
    """Return the bytes of this machine's memory; the largest size of an array if unknown."""
    try:
        return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), sys.maxsize)
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def one_line(value: object, most: int = 200) -> str:
    """Return the repr of a value in one line, cut after `most` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def printable(text: str, most: int = 300) -> str:
    """Return any text, such as from a file, as one line of printable characters, cut after `most`.

    >>> printable("a" + chr(10) + "b" + chr(27))
    'a b?'
    """
    text = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with each character that a terminal obeys or does not show as an escape, except for some.

    >>> print(visible("a" + chr(27) + "[2J" + chr(10) + chr(0x202E)))
    a\x1b[2J\n\u202e
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def columns(rows: Iterable[Sequence[str]], *, left: bool = False) -> list[str]:
    """Return rows of texts as lines of right-aligned columns; the last, and with `left` the first, is left-aligned."""
    rows = [[*map(visible, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    found = []
    for *texts, last in rows:
        padded = [text.rjust(width) for text, width in zip(texts, widths, strict=True)]
        if left:
            padded[0] = texts[0].ljust(widths[0])
        found.append("  ".join((*padded, last)).rstrip())
    return found


def shown(owner: object, *hidden: str, **other: object) -> str:
    """Return an object as text: its class, and the arguments of its constructor that are not None or `hidden`.

    The object has an attribute for each argument, or `other` has a value instead.
    """
    names = [name for name in inspect.signature(type(owner)).parameters if name not in hidden]
    found = {name: other.get(name, getattr(owner, name, None)) for name in names}
    text = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v!r}" for k, v in found.items() if v is not None)
    return f"{type(owner).__name__}({', '.join(text)})"


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """Return value if it is one of the known words; raise a ValueError that suggests the nearest."""
    words = list(known)
    if isinstance(value, str) and value in words:
        return value
    raise refusal(name, f"must be one of {', '.join(words)}", value, f"{one_line(value)}{nearest(value, words)}")


def nearest(word: object, known: Iterable[object]) -> str:
    """Return '; did you mean X?' with the known word nearest to `word`, or '' if none is near."""
    lowered = {str(k).lower(): str(k) for k in known}
    close = get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]}?" if close else ""


def time_first(name: str, x: Any, *, least_dimensions: int = 2) -> None:
    """Raise ValueError unless x is an array (T, N, ...)."""
    if x.ndim < least_dimensions:
        layout = "(T, N, C)" if least_dimensions == 3 else "(T, N, ...)"
        hint = f"; one sample needs a batch axis, {name}[:, None]" if x.ndim == least_dimensions - 1 > 1 else ""
        raise refusal(name, f"must be {layout}", x, f"shape {tuple(x.shape)}{hint}")


def lengths(given: Any, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the numbers of steps of recordings in a batch of a shape (T, N, ...) as int64 (N,), or raise an error."""
    if given.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, got {given.dtype}")
    if len(shape) < 2 or given.shape != shape[1:2]:
        raise ValueError(f"lengths must be one for each recording of x (T, N, ...), got {given.shape} for {shape}")
    if given.size and not 1 <= given.min() <= given.max() <= shape[0]:
        wrong = given[(given < 1) | (given > shape[0])][0]
        raise ValueError(f"lengths must be from 1 to {shape[0]}, the steps of x, got {wrong}")
    return given.astype(np.int64)


def floating(name: str, x: Any) -> None:
    """Raise TypeError unless x is of type float32 or float64."""
    if x.dtype.name not in ("float32", "float64"):
        raise refusal(name, "must be float32 or float64", x, x.dtype, TypeError)


def weighted_input(name: str, x: Any) -> None:
    """Raise an error unless x is (T, N, ...), float32 or float64: spikes need a layer before the neurons."""
    time_first(name, x)
    if x.dtype == bool:
        rule = "must be the weighted input of a layer, float32 or float64"
        hint = "put a layer, such as Dense or Conv, before the neurons"
        raise refusal(name, rule, x, f"spikes (bool); {hint}", TypeError)
    floating(name, x)


def same_shape(name: str, x: Any, other: str, y: Any) -> None:
    """Raise ValueError unless x and y have the same shape."""
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"{name} has shape {tuple(x.shape)}, {other} has shape {tuple(y.shape)}")
