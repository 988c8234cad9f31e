"""Loading and compilation of the CUDA sources, and calls of their kernels with checked arguments.

CuPy passes arguments unchecked: a Python float for a ``float`` parameter is read as half a double, a strided view as
contiguous, an array of another type bit by bit. So this module parses each kernel's signature from its source, and a
call binds its arguments by name and checks each. Sizes that a call lacks are read from its arrays, see `shapes`.

Only this module uses RawModule. `Driver` is the interface to CUDA, so tests can compile for the CPU instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from cuslayer import backend
from cuslayer._base import check
from cuslayer.backend import DType
from cuslayer.kernels.cuda import bind, shapes

# Fused multiply-add rounds once where the CPU rounds twice: a potential at the threshold would spike on only one
# device. Memory limits the kernels, not arithmetic, so the option costs nothing.
OPTIONS = ("-std=c++17", "-fmad=false")

# Threads of a block: few, so that a few thousand columns occupy all multiprocessors.
BLOCK = 128
# The largest number of blocks of a launch; the kernels' loops stride over the grid and visit every element.
_MOST_BLOCKS = 1 << 16

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BOUNDS = re.compile(r"__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)")
_KERNEL = re.compile(r'(extern\s+"C"\s+)?__global__\s+void\s+(\w+)\s*\(([^)]*)\)')
_KINDS = "real|double|bool|long long|int|unsigned|float16"
# A struct of numbers, which a kernel takes by value.
_STRUCT = re.compile(rf"\bstruct (\w+) \{{((?:\s*(?:{_KINDS}) \w+(?:, \w+)*;)+\s*)\}};")
# The header of a kind of neuron, which is printed.
KIND = "kind.cuh"
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)
_PARAMETER = re.compile(r"(?:const )?(?:__grid_constant__ )?(long long|\w+) ?(\*)? ?(?:__restrict__ )?(\w+)")
_TABLE = re.compile(rf"Arrays<(?:const )?({_KINDS})> (\w+)")
_INTEGERS = "long long", "int", "unsigned"
_INSTEAD = {"float": "real", "half": "float16", "size_t": "long long", "long": "long long"}
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_DTYPES: dict[str, DType] = {
    "double": np.dtype(np.float64),
    "bool": np.dtype(np.bool_),
    "long long": np.dtype(np.int64),
    "int": np.dtype(np.int32),
    "unsigned": np.dtype(np.uint32),
    "float16": np.dtype(np.float16),
}


# Dynamic shared memory that every kernel may use; for more, an attribute of the function must be set.
_SHARED = 48 << 10


# The most arrays of one argument, and the struct that has their addresses and sizes: Arrays of arrays.cuh.
ARRAYS = 48
_TABLE_TYPE = np.dtype([("at", np.uintp, ARRAYS), ("size", np.int64, ARRAYS)])


class Table(np.ndarray[Any, Any]):
    """Several arrays as one argument, a struct passed by value; `arrays` has them, None for an absent one."""

    arrays: Sequence[Any]


class Launch(Protocol):
    """A compiled kernel, like CuPy's RawKernel."""

    max_dynamic_shared_size_bytes: int

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        """Launch the kernel with some bytes of dynamic shared memory."""


class Driver(Protocol):
    """The interface to the machine that runs kernels."""

    def array_type(self) -> type:
        """Return the type of the machine's arrays."""

    def device(self) -> int:
        """Return the number of the device in use."""

    def device_of(self, x: Any) -> int:
        """Return the number of an array's device."""

    def address_of(self, x: Any) -> int:
        """Return the address of an array on its device."""

    def shared_bytes(self) -> int:
        """Return the largest number of bytes of shared memory that a block can have on the device in use."""

    def __hash__(self) -> int: ...

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, Launch]:
        """Compile a source for the device in use and return a launch function for each of its kernels."""


class Cuda:
    """CUDA through CuPy."""

    def array_type(self) -> type:
        """Return cupy.ndarray."""
        return backend.cupy().ndarray

    def device(self) -> int:
        """Return the number of the current device."""
        return backend.cupy().cuda.runtime.getDevice()

    def device_of(self, x: Any) -> int:
        """Return the number of a CuPy array's device."""
        return x.data.device_id

    def address_of(self, x: Any) -> int:
        """Return the address of a CuPy array."""
        return int(x.data.ptr)

    def shared_bytes(self) -> int:
        """Return the device attribute MaxSharedMemoryPerBlockOptin."""
        return int(backend.cupy().cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, Launch]:
        """Compile a source with NVRTC, or load it from CuPy's cache on disk."""
        module = backend.cupy().RawModule(code=text, options=OPTIONS)
        return {name: module.get_function(name) for name in names}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel."""

    name: str
    kind: str  # its C type
    array: bool
    fields: tuple[Parameter, ...] = ()  # of a struct
    table: bool = False  # whether it is several arrays
    shape: shapes.Shape = ()  # of an array
    optional: bool = False  # whether a call may lack the array


@cache
def _files() -> Mapping[str, str]:
    files = [file for file in Path(__file__).parents[1].rglob("*") if file.suffix in (".cu", ".cuh")]
    sources = {file.name: file.read_text("utf-8") for file in files}
    return dict(sorted(sources.items()))


def topics() -> list[str]:
    """Return the names of the sources, without their suffix."""
    return [name[:-3] for name in _files() if name.endswith(".cu")]


def source_of(topic: str) -> str:
    """Return a source of the library, as in its file."""
    return _files()[f"{topic}.cu"]


def text(topic: str, dtype: DType, kind: str = "") -> str:
    """Return the text to compile for a source of the library; see `with_header`."""
    return with_header(f"{topic}.cu", source_of(topic), dtype, kind)


def has_neurons(topic: str) -> bool:
    """Return whether a source of the library is compiled for a kind of neuron."""
    return f'#include "{KIND}"' in source_of(topic)


def with_header(file: str, code: str, dtype: DType, kind: str = "") -> str:
    """Return the text to compile for a source: the type `real`, the common header, the source.

    The text of a header of the library replaces a line ``#include "NAME.cuh"``, and `kind` the line
    ``#include "kind.cuh"``: what `kernels/step/print_cuda.py` prints for a kind of neuron.
    """
    headers = {**_files(), KIND: kind}

    def included(match: re.Match[str]) -> str:
        line = code.count("\n", 0, match.start()) + 1
        return f'#line 1 "{match[1]}"\n{headers[match[1]]}#line {line + 1} "{file}"'

    text = _INCLUDE.sub(included, code)
    return f'typedef {REALS[dtype]} real;\n#line 1 "common.cuh"\n{_files()["common.cuh"]}#line 1 "{file}"\n{text}'


@check.operation("kernel")
def signatures(code: str) -> dict[str, list[Parameter]]:
    """Return the parameters of each kernel in a source, or raise ValueError for one that cannot be called."""
    code = _BOUNDS.sub("", _COMMENT.sub("", shapes.marked(code)))
    structs = {match[1]: tuple(_fields(match[2])) for match in _STRUCT.finditer(code)}
    rule = 'must be declared as extern "C" __global__ void'
    parameters: dict[str, list[Parameter]] = {}
    for place in re.finditer("__global__", code):
        match = next((m for m in _KERNEL.finditer(code) if m.start() <= place.start() < m.end()), None)
        if match is None:
            line = " ".join(code[place.start() :].partition("{")[0].split())[:60]
            raise ValueError(f"a kernel {rule} name(...), got '{line}'")
        linkage, name, inside = match.groups()
        if linkage is None:
            raise ValueError(f'kernel: {name} {rule} {name}(...), extern "C" is missing')
        lines = inside.split(",") if inside.strip() not in ("", "void") else []
        parameters[name] = [_parameter(name, line, structs) for line in lines]
    return parameters


def _fields(inside: str) -> Iterator[Parameter]:
    """Yield the fields of a struct."""
    for line in inside.split(";")[:-1]:
        first, *further = line.split(",")
        kind, _, name = first.strip().rpartition(" ")
        yield from (Parameter(field.strip(), kind, False) for field in (name, *further))


def _parameter(kernel: str, line: str, structs: Mapping[str, tuple[Parameter, ...]]) -> Parameter:
    line, _, mark = line.partition("@")
    declaration = " ".join(line.replace("*", " * ").split()).replace("unsigned int ", "unsigned ")
    table = _TABLE.fullmatch(declaration)
    if table:
        return Parameter(table[2], table[1], array=False, table=True)
    match = _PARAMETER.fullmatch(declaration)
    if match and match[1] in structs and not match[2]:
        return Parameter(match[3], match[1], False, structs[match[1]])
    if not match or match[1] not in _KINDS.split("|"):
        words = line.replace("*", " ").split()
        instead = next((f"; write {_INSTEAD[word]} for {word}" for word in words if word in _INSTEAD), "")
        raise ValueError(
            f"{kernel}: a parameter must be real (float or double, by the arrays of a call), double, bool, int, "
            f"unsigned or long long, or an array of one of them or of float16, got '{' '.join(line.split())}'{instead}"
        )
    if match[1] == "float16" and not match[2]:
        raise ValueError(f"{kernel}: float16 is a type of arrays only, got '{declaration}'")
    optional = bool(match[2]) and mark.endswith("?")
    return Parameter(match[3], match[1], bool(match[2]), shape=shapes.shape_of(mark), optional=optional)


class Source(NamedTuple):
    """A CUDA source."""

    file: str
    code: str


@cache
def _source_with(kernel: str) -> Source:
    topic = kernel_names()[kernel]
    return Source(f"{topic}.cu", source_of(topic))


@cache
def kernel_names() -> Mapping[str, str]:
    """Return the topic of each kernel, by the kernel's name."""
    codes = {topic: _BOUNDS.sub("", _COMMENT.sub("", source_of(topic))) for topic in topics()}
    return {match[2]: topic for topic, code in codes.items() for match in _KERNEL.finditer(code)}


class Kernel:
    """A compiled kernel for one number type and one device; calling it checks its arguments and launches it."""

    def __init__(self, name: str, parameters: list[Parameter], launch: Launch, driver: Driver, dtype: DType):
        self.name = name
        self.parameters = parameters
        self._launch = launch
        self._names = [parameter.name for parameter in parameters]
        self._array_type: Any = driver.array_type()
        self._device = driver.device()
        self._device_of = driver.device_of
        self._address_of = driver.address_of
        self._shared_bytes = driver.shared_bytes
        dtypes = {"real": dtype} | _DTYPES
        binds = {"real": bind.real, "double": bind.real, "bool": bind.boolean} | dict.fromkeys(_INTEGERS, bind.integer)
        places = list(enumerate(parameters))
        # For each array its index, its type, and what replaces it in a call that lacks it.
        self._arrays = [
            (
                place,
                dtypes[p.kind],
                self._array_type((0,) * max(len(p.shape), 1), dtypes[p.kind]) if p.optional else None,
            )
            for place, p in places
            if p.array
        ]
        self._tables = [(place, dtypes[p.kind]) for place, p in places if p.table]
        # For each number its index, the type that is passed unchanged, and the conversion of any other type.
        numbers = [
            (place, dtypes[p.kind].type, binds[p.kind](self._label(place), dtypes[p.kind]))
            for place, p in places
            if not (p.array or p.table or p.fields)
        ]
        # A call may lack a size that is an axis of an array, and optional arrays.
        words = " ".join(axis for p in parameters for axis in p.shape).split()
        sizes = [place for place, p in places if p.kind in _INTEGERS and p.name in words]
        self._sizes = [number for number in numbers if number[0] in sizes]
        self._numbers = [number for number in numbers if number[0] not in sizes]
        self._lacking = {p.name: None for place, p in places if p.optional or place in sizes}
        labels = {self._label(place): parameters[place].shape for place, _, _ in self._arrays}
        names = [self._names[place] for place, _, _ in self._sizes]

        @lru_cache(256)
        def sizes_of(*call: Any) -> list[tuple[int, Any]]:
            actual_sizes = shapes.sizes(labels, names, call[: len(labels)], call[len(labels) :])
            return [(place, convert(size)) for (place, _, convert), size in zip(self._sizes, actual_sizes, strict=True)]

        self._sizes_of = sizes_of
        self._structs = [
            (
                place,
                np.dtype([(f.name, dtypes[f.kind]) for f in p.fields], align=True),
                {f.name: binds[f.kind](f"{self._label(place)}.{f.name}", dtypes[f.kind]) for f in p.fields},
            )
            for place, p in places
            if p.fields
        ]
        self._shared = _SHARED

    def __call__(self, threads: int, /, **arguments: Any) -> None:
        """Check the arguments and run the kernel.

        Args:
            threads: the least number of threads, up to the largest grid; with 0 the call only checks the arguments.
            arguments: one for each parameter of the kernel, by its name in the source. Sizes that are an axis of an
                array, and arrays that may be empty, may be missing.

        Raises:
            TypeError: a name is missing or unknown, or an argument is of the wrong type.
            ValueError: an array is not C-contiguous, on another device or not of its shape, or a number does not fit
                its type.
        """
        bound = self._bound(arguments)
        if threads > 0:
            blocks = min(-(-threads // BLOCK), _MOST_BLOCKS)
            self._launch((blocks,), (BLOCK,), bound)

    def launch(self, grid: tuple[int, ...], block: tuple[int, ...], shared: int = 0, /, **arguments: Any) -> None:
        """Check the arguments and run the kernel with a given number of blocks; with a 0 in `grid` only check."""
        bound = self._bound(arguments)
        if shared > self._shared:
            most = self._shared_bytes()
            if shared > most:
                raise ValueError(f"{self.name}: shared must be at most {most} bytes on this device, got {shared}")
            self._launch.max_dynamic_shared_size_bytes = shared
            self._shared = shared
        if 0 not in grid:
            self._launch(grid, block, bound, shared_mem=shared)

    def _bound(self, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the arguments in the order of the parameters, checked and converted."""
        # Every launch pays for these lines, so the loops look up no name twice.
        named = {**self._lacking, **arguments}
        try:
            bound = [named[name] for name in self._names]
        except KeyError:
            raise self._wrong_names(arguments) from None
        if len(named) != len(bound):
            raise self._wrong_names(arguments)
        array_type = self._array_type
        device = self._device
        device_of = self._device_of
        call: list[Any] = []  # the shapes of its arrays, then its sizes
        for place, dtype, nothing in self._arrays:
            x = bound[place]
            if x is None:
                x = nothing
                bound[place] = nothing
            if not isinstance(x, array_type) or x.dtype != dtype or not x.flags.c_contiguous or device_of(x) != device:
                raise self._unfit(self._label(place), x, dtype)
            call.append(x.shape)
        for place, dtype in self._tables:
            bound[place] = self._table(self._label(place), bound[place], dtype)
        for place, exact, convert in self._numbers:
            if type(bound[place]) is not exact:
                bound[place] = convert(bound[place])
        for place, exact, convert in self._sizes:
            size = bound[place]
            call.append(size if size is None or type(size) is exact else convert(size))
        for place, size in self._sizes_of(*call):
            bound[place] = size
        for place, dtype, converts in self._structs:
            bound[place] = bind.struct(self._label(place), bound[place], dtype, converts)
        return tuple(bound)

    def _table(self, label: str, arrays: Sequence[Any], dtype: DType) -> Table:
        """Return the struct of some arrays; None has the address 0 and no elements."""
        table = np.zeros(1, _TABLE_TYPE).view(Table)
        (at,) = table["at"]
        (size,) = table["size"]
        for i, x in enumerate(arrays):
            if x is None:
                continue
            fits = isinstance(x, self._array_type) and x.dtype == dtype and x.flags.c_contiguous
            if not fits or self._device_of(x) != self._device:
                raise self._unfit(f"{label}{i}", x, dtype)
            at[i] = self._address_of(x)
            size[i] = x.size
        table.arrays = arrays
        return table

    def _unfit(self, label: str, x: Any, dtype: DType) -> Exception:
        """Return the error of an array that does not fit a parameter."""
        if not isinstance(x, self._array_type):
            return TypeError(f"{label} is {_full_name(type(x))}, the kernel wants {_full_name(self._array_type)}")
        if x.dtype != dtype:
            return TypeError(f"{label} is {x.dtype}, the kernel wants {dtype}")
        if not x.flags.c_contiguous:
            return ValueError(f"{label} must be C-contiguous, got strides {x.strides} of shape {x.shape}")
        return ValueError(f"{label} is on device {self._device_of(x)}, the kernel runs on device {self._device}")

    def _wrong_names(self, arguments: Mapping[str, Any]) -> TypeError:
        named = {**self._lacking, **arguments}
        missing = ", ".join(name for name in self._names if name not in named)
        unknown = ", ".join(name for name in arguments if name not in self._names)
        problems = [f"{what} {names}" for what, names in (("lack", missing), ("have unknown", unknown)) if names]
        return TypeError(f"{self.name}: arguments {' and '.join(problems)}; the kernel wants {', '.join(self._names)}")

    def _label(self, place: int) -> str:
        return f"{self.name}: {self.parameters[place].name}"


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


class Library:
    """The kernels of all sources for one driver, compiled at their first use for a number type and device."""

    def __init__(self, driver: Driver):
        self.driver = driver
        self._kernels: dict[tuple[Source, str, DType, int, str], Kernel] = {}

    def kernel(self, name: str, dtype: DType, kind: str = "", source: Source | None = None) -> Kernel:
        """Return a kernel for arrays of a number type on the device in use, by default of a source of the library.

        `kind` is the header of a kind of neuron, for sources that are compiled for each kind.

        Raises:
            TypeError: the number type is neither float32 nor float64.
            ValueError: the source does not compile.
        """
        source = source or _source_with(name)
        device = self.driver.device()
        kernel = self._kernels.get((source, name, dtype, device, kind))
        if kernel is None:
            if dtype not in REALS:
                raise TypeError(f"{name}: arrays must be float32 or float64, got {dtype}")
            self._build(source, name, dtype, device, kind)
            kernel = self._kernels[source, name, dtype, device, kind]
        return kernel

    def _build(self, source: Source, name: str, dtype: DType, device: int, kind: str) -> None:
        code = with_header(*source, dtype, kind)
        parameters = signatures(code)
        try:
            launches = self.driver.build(code, parameters)
        except Exception as problem:  # of the compiler, whose log follows in the cause
            lines = str(problem).splitlines() or [type(problem).__name__]
            first = next((line for line in lines if "error" in line), lines[0]).strip()
            raise ValueError(f"{name}: the source does not compile: {first}") from problem
        for of_source, launch in launches.items():
            kernel = Kernel(of_source, parameters[of_source], launch, self.driver, dtype)
            self._kernels[source, of_source, dtype, device, kind] = kernel


library = Library(Cuda())


def kernel(name: str, dtype: DType, kind: str = "") -> Kernel:
    """Return a kernel of the library in use. Errors: see `Library.kernel`."""
    return library.kernel(name, dtype, kind)
