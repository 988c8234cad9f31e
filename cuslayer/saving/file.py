"""`save` and `load`: a network in an npz file of arrays and a JSON description."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.archive import Archive, Refused, open_archive, write_archive
from cuslayer.kernels.host.memory import elements_left
from cuslayer.layers import Layer
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import is_neuron
from cuslayer.saving.describe import Description
from cuslayer.saving.rebuild import ReadArrays, Rebuilt

_FORMAT, _VERSION = "cuslayer network", 1
# The maximum number of occurrences of all tensors in a file: each constructor draws its own tensor.
_PLACES = 64


@check.operation
def save(net: object, path: str | os.PathLike[str]) -> None:
    """Write a network to a file, from which `load` rebuilds it, in any program and on any device.

    The file is an npz archive, usually named ``.npz``, of arrays and the text ``about``, a JSON description of layers,
    neurons and constants. It contains no code. `save` replaces it atomically.

    Your own layers and neurons are saved too, by the name of their class and the arguments of its constructor. These
    must be attributes of the same names, as in a dataclass; otherwise the class defines ``saved_options()``, which
    returns them as a dictionary. Tensors and arrays among the attributes are saved if the constructor creates them with
    the same shapes. Functions, as stages or weight hooks, are saved by name; a lambda has no name, so use
    ``functools.partial(cs.functions.quantize, step=2)``. The only methods that a file can store are ``psp`` and
    ``spike`` of the library's neurons.

    Args:
        net: a network, a layer or a neuron.
        path: the file; an existing one is replaced.

    Raises:
        TypeError: net is none of these, or a part of it cannot be saved. No file is then written.
        ValueError: the file cannot be written, `load` could not rebuild the network, or a tensor has NaN or an
            infinity.

    >>> import tempfile
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM(theta=5.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(net, f"{folder}/net.npz")
    ...     again = load(f"{folder}/net.npz")
    >>> again.notation, again[1].theta, bool((again[0].weight.data == net[0].weight.data).all())
    ('4-3-2', 5.0, True)
    """
    if not isinstance(net, (Sequential, Layer)) and not is_neuron(net):
        raise TypeError(f"net must be a network, a layer or a neuron, got {type(net).__name__}")
    found = Description(net)
    parts = {"objects": found.objects, "tensors": found.tensors, "root": found.root}
    about = {"format": _FORMAT, "version": _VERSION} | parts
    arrays = {f"array/{name}": array for name, array in found.arrays.items()}
    with backend.preserved_generator():
        Rebuilt(json.loads(json.dumps(about)), ReadArrays(arrays, arrays.__getitem__, arrays.__getitem__), found.own)
    write_archive(check.path("path", path), about, arrays)


@check.operation
def load(
    path: str | os.PathLike[str], *, classes: Iterable[Callable[..., object]] | Mapping[str, Callable[..., object]] = ()
) -> Any:
    """Read a file of `save`: an equal network, layer or neuron on the device in use.

    Weights, delays and all other arrays have the same bits. Layers and tensors with several positions are shared again.
    Training or evaluation mode and frozen parameters are restored.

    Args:
        path: the file.
        classes: your own classes and functions in the file, or a dictionary of them by name.

    Raises:
        ValueError: the file is missing, damaged, of a newer version or not from `save`, a class in it is not given, or
            a number in a tensor is not finite.
        TypeError: classes has something else than classes or functions.

    >>> load("no/such.npz")
    Traceback (most recent call last):
        ...
    ValueError: load: no/such.npz is no file
    """
    own, path = _by_name(classes), check.path("path", path)
    with ExitStack() as stack:
        archive, about = _opened(path, stack)
        arrays = ReadArrays(archive.names, archive.header, archive.read)
        left = [_PLACES * path.stat().st_size // 4]
        try:
            with backend.preserved_generator(), elements_left.set(left):
                return Rebuilt(about, arrays, own).root
        except Refused as problem:
            raise ValueError(f"{path} {check.printable(str(problem))}") from None
        except ValueError as problem:
            raise ValueError(f"{path}: {check.printable(str(problem))}") from problem
        except Exception as problem:  # a description that somebody edited may be wrong in any way
            raise ValueError(
                f"{path} is damaged ({type(problem).__name__}: {check.printable(str(problem))})"
            ) from problem


def _by_name(classes: Iterable[object] | Mapping[str, object]) -> dict[str, object]:
    """Return classes and functions by name."""
    if isinstance(classes, Mapping):
        found = dict(classes)
    elif isinstance(classes, Iterable):
        found = {getattr(each, "__name__", ""): each for each in classes}
    else:
        found = {"": classes}
    for name, each in found.items():
        if not name or not callable(each):
            raise TypeError(f"classes must be a list of classes and functions, got {type(each).__name__}")
    return found


def _opened(path: Path, stack: ExitStack) -> tuple[Archive, dict[str, object]]:
    """Open a file until the stack ends; read only the description; return the archive and the description."""
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder, not a file' if path.is_dir() else 'no file'}")
    try:
        archive = stack.enter_context(open_archive(path))
        about = dict(archive.about())
        archive.check_size()
    except Refused as problem:
        raise ValueError(f"{path} {problem}") from None
    except Exception as problem:  # the readers of zip, npy and JSON raise many types
        raise ValueError(f"{path} is damaged or no saved network ({type(problem).__name__})") from None
    if "epoch" in about and "generator" in about:
        raise ValueError(f"{path} is a checkpoint of a run; load_run reads it")
    if about.get("format") != _FORMAT:
        raise ValueError(f"{path} is no saved network, its format is {check.one_line(about.get('format'))}")
    if about.get("version") != _VERSION:
        version = check.one_line(about.get("version"))
        raise ValueError(f"{path} has version {version}, this version of cuslayer reads {_VERSION}")
    return archive, about
