"""Files that are damaged, foreign, newer or missing raise one line, and run no code."""

import json
import time
from functools import cached_property, partial

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base.archive import Archive
from cuslayer.training.checkpoint import Checkpoint
from tests.training.test_checkpoint import Trap


@pytest.fixture
def saved(tmp_path):
    cs.seed(0)
    path = tmp_path / "net.npz"
    cs.save(cs.Network("4-3-2", cs.SRM(theta=2.0)), path)
    return path


def refused(path, message, **options):
    with pytest.raises(ValueError, match=f"^load: {path}(: | ){message}") as caught:
        cs.load(path, **options)
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_anywhere(tmp_path, saved):
    refused(tmp_path / "none.npz", "is no file")
    refused(tmp_path, "is a folder, not a file")
    whole = saved.read_bytes()
    for length in (0, 1, 3, 10, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        saved.write_bytes(whole[:length])
        refused(saved, r"is damaged or no saved network \(\w+\)$")


def test_foreign_files(saved, tmp_path):
    path = tmp_path / "other.npz"
    path.write_text("text")
    refused(path, "is damaged or no saved network")
    for about in (np.array(Trap(), dtype=object), np.array("[1]"), np.array("{"), np.zeros(3)):
        np.savez(path, about=about)
        refused(path, "is damaged or no saved network")
    assert not Trap.sprung
    np.savez(path, weight=np.zeros(3))
    refused(path, "is damaged or no saved network")
    np.savez(path, about=np.array('{"format": "another"}'))
    refused(path, "is no saved network, its format is 'another'$")
    net = cs.load(saved)
    Checkpoint.of(1, net, cs.SGD(net.parameters())).save(path)
    refused(path, "is a checkpoint of a run; load_run reads it$")


def rewritten(path, change, **arrays):
    """Write the file again with another description."""
    with np.load(path) as file:
        found = {name: file[name] for name in file.files}
    about = json.loads(str(found.pop("about")))
    change(about)
    np.savez(path, about=np.array(json.dumps(about)), **(found | arrays))


def test_what_unfolds_and_a_newer_version(saved):
    with np.load(saved) as file:
        found = {name: file[name] for name in file.files}
    np.savez_compressed(saved, **found | {"array/0": np.zeros(10**6)})
    refused(saved, r"has arrays of 8,\d+,\d+ bytes in a file of [\d,]+$")
    rewritten(saved, lambda about: about.update(version=2))
    refused(saved, "has version 2, this version of cuslayer reads 1$")


def entry(about, name):
    return next(each for each in about["objects"] if each.get("class", {}).get("name") == name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("objects"), r"is damaged \(KeyError: 'objects'\)$"),
        (lambda a: a.update(root={"object": 99}), r"is damaged \(IndexError: list index out of range\)$"),
        (lambda a: a["tensors"][0].update(array="7"), r"is damaged \(KeyError: 'array/7'\)$"),
        (lambda a: entry(a, "Dense")["class"].update(name="Tense"), "the class Tense is in it, which this version doe"),
        (lambda a: entry(a, "SRM")["options"].update(theta=-1), "SRM cannot be made: SRM: theta must be positive, got"),
        (lambda a: entry(a, "SRM")["options"].update(tau=1), "SRM cannot be made: .*unexpected keyword argument 'tau'"),
        (lambda a: entry(a, "Dense")["options"].update(in_features=2), r"Dense's weight has shape \(4, 3\), its const"),
        (lambda a: entry(a, "Dense")["options"].update(in_features=10**6), "Dense cannot .*is larger than the arrays"),
        (lambda a: entry(a, "Dense")["state"].append([["a", "b"], 1]), "Dense's a.b has no place in the Dense that it"),
        (lambda a: entry(a, "Dense")["state"].append([["__class__", "b"], 1]), "Dense's __class__.b has no place"),
        (lambda a: entry(a, "Network").update({"method": "__init__", "of": 3}), "an object is class and method$"),
    ],
)
def test_a_description_that_does_not_fit(saved, change, message):
    rewritten(saved, change)
    refused(saved, message)


def test_folders_that_do_not_exist_and_a_disk_that_is_full(saved, monkeypatch):
    net = cs.load(saved)
    with pytest.raises(ValueError, match=r"^save: .*nowhere/net\.npz cannot be written \(No such file or directory\)$"):
        cs.save(net, saved.parent / "nowhere" / "net.npz")
    old = saved.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ValueError, match=r"^save: .*net\.npz cannot be written \(No space left on device\); free"):
        cs.save(net, saved)
    assert [p.name for p in saved.parent.iterdir()] == ["net.npz"]
    assert saved.read_bytes() == old


# Crafted files: nothing of theirs is looked up, called or evaluated, at once or later


calls = []


class Owner(cs.Layer):
    """A layer of a user's that notes whatever of it runs, but for its constructor."""

    tables = (np.zeros(2),)

    def __init__(self, features, *, rate=1.0):
        self.features, self.rate, self.scale = features, rate, cs.Tensor(np.ones(features))
        self.names, self.several, self.fixed, self.module = {"a": np.zeros(2)}, [np.zeros(2)], 3, np

    @property
    def path(self):
        calls.append("path")
        return self.scale

    @path.setter
    def path(self, value):
        calls.append("path")

    @cached_property
    def table(self):
        calls.append("table")
        return np.zeros(2)

    def write(self, *given):
        calls.append("write")
        return given[0]

    def __float__(self):
        calls.append("__float__")
        return 1.0

    def __hash__(self):
        calls.append("__hash__")
        return 1

    def __setattr__(self, name, value):
        if name in vars(self):
            calls.append(f"set {name}")
        super().__setattr__(name, value)

    def __call__(self, x):
        return x * self.scale


def own(x, *given):
    """A function of a user's."""
    calls.append("own")
    return x


CLASSES = [Owner, own]


# The objects of the file, by number, and the number of one that is added.
FUNCTION, HOOK, DENSE, OWNER, NEXT = ({"object": number} for number in (0, 1, 2, 8, 10))
# An array that is in the file, which its description does not name.
ARRAY = {"array": "more", "on_device": False}


@pytest.fixture
def crafted(tmp_path):
    """Return a file of a small network, in a folder of its own."""
    cs.seed(0)
    path = tmp_path / "net.npz"
    norm = cs.BatchNorm(3, mean_hook=partial(cs.functions.quantize, step=0.5))
    dense = cs.Dense(4, 3, weight_hook=partial(cs.functions.quantize, step=0.25))
    cs.save(cs.Sequential(dense, norm, cs.SRM(theta=2.0), cs.Dropout(0.5), Owner(3), own), path)
    calls.clear()
    return path


def put(kind, name, value):
    """A change that gives an object another argument."""
    return lambda a: entry(a, kind)["options"].update({name: value})


def state(kind, path, value):
    """A change that sets something within an object."""
    return lambda a: entry(a, kind)["state"].append([path, value])


def added(*entries):
    """A change that adds objects before the network; the last is another stage of it."""

    def add(about):
        about["objects"][-1:-1] = entries
        last = len(about["objects"]) - 1
        about["root"], about["objects"][-1]["args"] = (
            {"object": last},
            [*about["objects"][-1]["args"], {"object": last - 1}],
        )

    return add


def call(name, **rest):
    """The description of a function."""
    return {"function": {"name": name, "own": False}} | rest


def method(name, owner):
    return {"method": name, "of": owner}


def of(name, *args, own=False, **options):
    return {"class": {"name": name, "own": own}, "args": [*args], "options": options, "state": []}


def nested(depth, copies=2, beside=0, kind="Sequential"):
    """A change that makes networks of several copies of the one before, and more networks of the last but one."""

    def change(about):
        for number in range(depth + beside):
            last = {"object": len(about["objects"]) - 1 - max(0, number - depth)}
            about["objects"].append(of(kind, *[last] * copies))
        about["root"] = {"object": len(about["objects"]) - 1}

    return change


MANY = "has networks in one another with too many stages, each counted as often as it is there$"


REFUSED = {
    # What is called.
    "a method of an array": (added(method("tofile", ARRAY)), "the method tofile of ndarray must not be in it"),
    "a method of a user's": (added(method("write", OWNER)), "the method write of Owner must not be in it"),
    "a property as a method": (added(method("path", OWNER)), "the method path of Owner must not be in it"),
    "a method of a function": (added(method("__getattribute__", FUNCTION)), "the owner of a method must not be a func"),
    "a partial of a layer": (added({"partial": DENSE, "args": [], "options": {}}), "a partial's function must not be"),
    "a class as a function": (added({"function": {"name": "Owner", "own": True}}), "Owner must be a function"),
    "a function as a class": (added(of("own", 1, own=True)), "own must be a class"),
    "a function that calls back": (added(call("on_gradient")), "the function on_gradient is in it, which this version"),
    "a name of Python's": (added(call("__builtins__")), "the function __builtins__ is in it, which this version does"),
    "a class that no file holds": (added(of("Container")), "the class Container is in it, which this version does not"),
    "a class and a function": (added(call("copy") | of("SRM")), "an object is class and function"),
    "nothing": (added({"args": []}), "an object is of no kind"),
    "a hook as the network": (lambda a: a.update(root=HOOK), "the network must not be a partial"),
    "a surrogate as the network": (lambda a: a.update(root={"object": 5}), "the network must be a network, a layer or"),
    # What stands where data belongs.
    "a function as a number": (put("SRM", "theta", FUNCTION), "SRM's theta must not be a function"),
    "a partial in a tuple": (put("BatchNorm", "exponents", {"tuple": [HOOK, 1]}), "BatchNorm's exponents must not"),
    "a function in a partial": (
        lambda a: a["objects"][1]["options"].update(step=FUNCTION),
        "a partial's step must not be a function",
    ),
    "an object by position": (added(of("Dropout", OWNER)), "Dropout's part 0 must not be a class"),
    "a key that has a hash": (added(of("Owner", own=True, features={"dict": [[OWNER, 1]]})), "Owner's features mus"),
    "a huge number": (put("SRM", "theta", 10**400), "SRM cannot be made: int too large to convert to float"),
    "lines in a name": (added(of("A\nB\x1b")), r"the class A B\? is in it"),
    # What is set.
    "a property": (state("Owner", ["path"], {"tensor": 0}), "Owner's path has no place in the Owner that its constru"),
    "a cached property": (state("Owner", ["table"], ARRAY), "Owner's table has no place"),
    "in place of a method": (state("Owner", ["write"], ARRAY), "Owner's write has no place"),
    "what all objects share": (state("Owner", ["tables", 0], ARRAY), r"Owner's tables\.0 has no place"),
    "a number": (state("Owner", ["fixed"], ARRAY), "Owner's fixed has no place"),
    "a new key": (state("Owner", ["names", {"key": "b"}], ARRAY), r"Owner's names\.b has no place"),
    "a negative place": (state("Owner", ["several", -1], ARRAY), r"Owner's several\.-1 has no place"),
    "an argument": (state("Owner", ["features"], ARRAY), "Owner's features has no place"),
    "another flag": (state("Dense", ["own_scale"], True), "Dense's own_scale has no place"),
    "within a tensor": (state("Dense", ["weight", "stored"], ARRAY), r"Dense's weight\.stored has no place"),
    "within the attributes": (state("Dense", ["__dict__", "weight"], ARRAY), r"Dense's __dict__\.weight has no place"),
    "within the class": (state("Dense", ["__class__", "training"], False), r"Dense's __class__\.training has no place"),
    "within a module": (state("Owner", ["module", "array"], ARRAY), r"Owner's module\.array has no place"),
    "within the arguments": (state("SRM", ["surrogate", "theta"], ARRAY), r"SRM's surrogate\.theta has no place"),
    "a function as a flag": (state("Dropout", ["training"], FUNCTION), "Dropout's training must be true or false, got"),
    "a number as a flag": (state("Dropout", ["training"], 1), "Dropout's training must be true or false, got 1$"),
    "a number for what trains": (lambda a: a["tensors"][0].update(requires_grad=1), "Dense's weight's requires_grad m"),
    "a tensor for an array": (state("Owner", ["names", {"key": "a"}], {"tensor": 0}), r"Owner's names\.a has no place"),
    "an array at two places": (lambda a: a["tensors"][1].update(array="0"), r"is damaged \(KeyError: 'array/0'\)$"),
    # What takes time or memory.
    "a cycle": (put("Dense", "weight_hook", DENSE), r"is damaged \(IndexError: list index out of range\)$"),
    "a number below 0": (put("Dense", "weight_hook", {"object": -1}), "Dense's weight_hook is object -1, which is no"),
    "2^45 stages": (nested(45), MANY),
    "2^5000 stages": (nested(5000), MANY),
    "3^8 stages, and many networks of them": (nested(8, copies=3, beside=60), MANY),
    "branches in branches": (nested(20, kind="Parallel"), MANY),
    "many channels": (put("BatchNorm", "features", 10**10), "BatchNorm cannot be made: BatchNorm: a parameter of sha"),
    "a long response": (
        added(of("SRM", tau_sr=1e9), of("TemporalFilter", neuron=NEXT)),
        r"TemporalFilter cannot be made: TemporalFilter: a parameter of shape \(\d+,\) is larger",
    ),
    "a large window": (
        added(of("WeightNorm"), of("Pool", kernel_size=10**5, gain=1.0, weight_hook=NEXT)),
        r"SumPool cannot be made: SumPool: a parameter of shape \(100000, 100000\) is larger",
    ),
    "many layers": (added(*[of("Dense", in_features=300, out_features=300)] * 40), "Dense cannot be made: Dense: a pa"),
}


@pytest.mark.filterwarnings("ignore:SRM. dt must be at least")
@pytest.mark.parametrize("trick", REFUSED)
def test_what_is_refused(crafted, trick):
    change, message = REFUSED[trick]
    rewritten(crafted, change, **{"array/more": np.zeros(2)})
    begun = time.process_time()
    refused(crafted, message, classes=CLASSES)
    assert time.process_time() - begun < 2
    assert calls == []
    assert [each.name for each in crafted.parent.iterdir()] == ["net.npz"]


@pytest.mark.parametrize("depth", [600, 10**5])
def test_deep_values(crafted, depth):
    deep = '{"tuple": [' * depth + "1" + "]}" * depth
    with np.load(crafted) as file:
        found = {name: file[name] for name in file.files}
    found["about"] = np.array(str(found["about"]).replace('"rate": 1.0', f'"rate": {deep}'))
    np.savez(crafted, **found)
    refused(crafted, r"is damaged.*\(RecursionError", classes=CLASSES)


WEIGHTS = {
    "strings": (np.full((4, 3), "1"), "must be float32, float64 or bool, got <U1"),
    "the other byte order": (np.zeros((4, 3), ">f4"), "must be float32, float64 or bool, got >f4"),
    "records": (np.zeros((4, 3), [("a", "f4")]), r"must be float32, float64 or bool, got \|V4"),
    "spikes": (np.zeros((4, 3), bool), r"has type \|b1, its constructor's has type <f4"),
    "NaN": (np.full((4, 3), np.nan), "has NaN or an infinity"),
}


@pytest.mark.parametrize("weight", WEIGHTS)
def test_weights_of_other_types(crafted, weight):
    array, message = WEIGHTS[weight]
    rewritten(crafted, lambda about: None, **{"array/0": array})
    refused(crafted, f"Dense's weight {message}$", classes=CLASSES)


def test_arrays_that_are_not_named_are_not_read(crafted, monkeypatch):
    read, header = [], Archive.header
    monkeypatch.setattr(Archive, "header", lambda archive, name: read.append(name) or header(archive, name))
    rewritten(crafted, lambda about: None, **{f"array/{number}": np.zeros(9) for number in range(6, 99)})
    refused(crafted, "has 93 arrays that its description does not name$", classes=CLASSES)
    assert set(read) == {"about", *(f"array/{number}" for number in range(6))}
    crafted.write_bytes(crafted.read_bytes().replace(b"array/98.npy", b"a\n\x1b[31mb.npy"))
    refused(crafted, r"has an array of the name 'a\\n", classes=CLASSES)


def test_what_is_allowed(crafted):
    """Functions of the library, and methods of neurons, where something is called."""
    rewritten(
        crafted,
        added(
            {"method": "spike", "of": {"object": 6}},
            call("absolute"),
            {"partial": {"object": 11}, "args": [], "options": {}},
        ),
    )
    net = cs.load(crafted, classes=CLASSES)
    assert isinstance(net[-1], partial)
    assert net(np.ones((5, 2, 4), bool)).shape == (5, 2, 3)
    assert calls == ["own"]
