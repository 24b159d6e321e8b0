"""Profiles are derived from source: what is granted, what is not, and that what is shipped is what the tool writes."""

import importlib.util
import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner import names
from weighbridge.scanner.engine import scan_files

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "weighbridge" / "scanner" / "profiles"
LIBRARIES = sorted(path.stem for path in (ROOT / "tools" / "profiles").glob("*.toml"))


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("derive_profiles", ROOT / "tools" / "derive_profiles.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["derive_profiles"] = module
    spec.loader.exec_module(module)
    return module


GOOD = """
import abc, collections, dataclasses, enum, functools, typing
from collections import OrderedDict, namedtuple
from .other import Base as Renamed

class Plain:
    def __init__(self, command):
        self.command = command
    def predict(self, x):
        return x

class Child(Renamed, abc.ABC):
    pass

class State:
    def __getstate__(self):
        return {}
    def __setstate__(self, state):
        state = state.copy()
        state.pop("_version", None)
        if "missing" not in state:
            state["missing"] = None
        self.__dict__.update(state)
        self.cache = {}

class Super(State):
    def __setstate__(self, state):
        super().__setstate__(state)
        self.extra = None

class Named(OrderedDict):
    pass

class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Data:
    x: int = 0

class Slots:
    __slots__ = ("a", "b")

class Short:
    def __getattr__(self, name):
        if name == "T":
            return self.transpose()
        raise AttributeError(name)

class Fields(typing.NamedTuple):
    x: int

Pair = namedtuple("Pair", "a b")
Alias = Plain
"""

BAD = """
import os, subprocess
import functools
from nowhere import Unknown
from pickle import loads

class Evaluates:
    def __setstate__(self, state):
        eval(state["code"])

class Reduces:
    def __reduce__(self):
        return (Reduces, ())

class Makes:
    def __new__(cls, path=None):
        open(path)
        return super().__new__(cls)

class Dict:
    @property
    def __dict__(self):
        return {}

class Meta(type):
    def __call__(cls, *args):
        return None
    def __getattribute__(cls, name):
        return None

class HasMeta(metaclass=Meta):
    pass

def base():
    return object

class Dynamic(base()):
    pass

class Strange(Unknown):
    pass

def wrap(cls):
    return cls

@wrap
class Decorated:
    pass

class Asks:
    def __getattr__(self, name):
        return getattr(self.inner, name)

class Dies:
    def __del__(self):
        self.handle.close()

class Calls:
    def __setstate__(self, state):
        state["hook"]()

class Sets:
    def __setstate__(self, state):
        for key, value in state.items():
            setattr(self, key, value)

class Compares:
    def __setstate__(self, state):
        if state["version"] == 1:
            self.__dict__.update(state)

class Prints:
    def __setstate__(self, state):
        self.__dict__.update(state)
        print(f"{state['x']}")

class Property:
    @property
    def x(self):
        return 1
    @x.setter
    def x(self, value):
        value()
    def __setstate__(self, state):
        self.x = state["x"]

class SlotSetter:
    __slots__ = ("a",)
    @property
    def b(self):
        return 1
    @b.setter
    def b(self, value):
        value()

class Reaches:
    def predict(self, x):
        return subprocess.run(self.command)

def helper(path):
    return os.remove(path)

class ReachesThrough:
    def transform(self, x):
        return self._apply(x)
    def _apply(self, x):
        return helper(self.path)

class Loads:
    def score(self, x):
        return loads(x)

class Inherits(Evaluates):
    pass

class Aliased:
    pass

Aliased = functools.lru_cache(Aliased)

class Fills(dict):
    def __setitem__(self, key, value):
        value()

class Metaclassed(type):
    pass

class Enclosing:
    for x in (1, 2):
        y = eval("x")

def __getattr__(name):
    return eval(name)
"""
GRANTED = {
    "Plain": "object", "Child": "object", "State": "object", "Super": "object", "Named": "dict", "Colour": "enum",
    "Data": "object-by-value", "Slots": "slots", "Short": "object", "Fields": "fields", "Pair": "fields",
}  # fmt: skip


@pytest.fixture(scope="module")
def derived(tool, tmp_path_factory):
    """Derive the profile of a small wheel written here; its source must never run, so it fails when it does."""
    folder = tmp_path_factory.mktemp("wheels")
    path = folder / "small-1.0-py3-none-any.whl"
    files = {
        "small/__init__.py": "raise SystemExit('imported')\nfrom .good import Plain",
        "small/good.py": GOOD,
        "small/bad.py": BAD,
        "small/other.py": "class Base:\n    pass\n",
        "small/startup.py": "import subprocess\nsubprocess.run('true')\nclass Late:\n    pass\n",
        "small/tests/test_x.py": "class Test:\n    pass\n",
        "small/__main__.py": "class Main:\n    pass\n",
        "small/broken.py": "class (:\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    hand = folder / "hand"
    hand.mkdir()
    (hand / "small.toml").write_text(
        'include = ["small"]\n[[grant]]\nnames = ["small.bad.{helper,nothing}"]\ncalls = ["str"]\nwhy = "for the test"\n'
    )
    old = tool.HAND
    tool.HAND = hand
    try:
        pin = {"version": "1.0", "file": path.name, "sha256": Digest.of(path.read_bytes()).hex}
        library = tool.Library("small", {"small": [pin]}, folder)
        granted, reasons = library.derive()
        return tool.document(library, granted), reasons, tool.written(tool.document(library, granted))
    finally:
        tool.HAND = old


def test_a_class_is_granted_what_its_source_justifies(derived):
    document, _, _ = derived
    assert document["grants"]["small.good"] == GRANTED
    assert document["grants"]["small.other"] == {"Base": "object"}


def test_what_runs_code_is_refused(derived):
    """Whatever the name of the module promises, each class of it has a way to run something."""
    document, _, _ = derived
    assert set(document["grants"]["small.bad"]) == {"helper"}
    assert set(document["grants"]) == {"small.good", "small.other", "small.bad"}


@pytest.mark.parametrize(
    "reason",
    ["__setstate__ of", "pickled in its own way", "__new__ of", "metaclass", "computed base", "is not known",
     "decorated", "__getattr__ of", "__del__ of", "slots are set", "reaches outside", "bound more than once",
     "its own __setitem__", "importing it reaches", "__dict__ of"],
)  # fmt: skip
def test_each_refusal_says_why(derived, reason):
    assert any(reason in text for text in derived[1])


def test_what_is_written_is_valid_and_says_where_it_came_from(derived):
    document = json.loads(derived[2])
    jsonschema.validate(document, schema())
    assert document == derived[0]
    assert list(document["sources"]) == ["small-1.0-py3-none-any.whl"]
    assert document["kinds"]["hand-1"] == {"calls": ["str"], "why": "for the test"}


def test_versions_that_differ_grant_nothing(tool):
    granted, reasons = tool.merged(
        {
            "1": {"a": "object", "b": "object", "c": "object"},
            "2": {"a": "object-by-value", "b": "!bad"},
            "3": {"d": "dict"},
        }
    )
    assert granted == {
        "a": ("object-by-value", ["1", "2"]), "c": ("object", ["1"]), "d": ("dict", ["3"]),
    }  # fmt: skip
    assert reasons == {"bad": 1}


def schema():
    return json.loads((ROOT / "docs/reference/schemas/profile.schema.json").read_text(encoding="utf-8"))


def shipped(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_every_data_file_counts_into_the_ruleset():
    assert sorted(path.name for path in FOLDER.glob("*.json")) == list(names.PROFILES)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 3_000_000


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_shipped_profile_is_valid_and_stands_in_the_index(library):
    document = shipped(library)
    jsonschema.validate(document, schema())
    assert document["library"] == library
    used = {kind.partition(" ")[0] for row in document["grants"].values() for kind in row.values()}
    assert used == set(document["kinds"])
    roots = shipped("index")["roots"]
    for module, row in document["grants"].items():
        assert roots[module.partition(".")[0]] == f"{library}.json"
        assert all(name.isidentifier() for name in row), module


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_profile_was_made_from_the_pinned_wheels(library):
    pins = json.loads((ROOT / "tools" / "profiles" / "pins.json").read_text(encoding="utf-8"))
    wanted = {pin["file"]: pin["sha256"] for pin in pins.get(library, ())}
    assert shipped(library)["sources"] == wanted


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_grant_is_known_to_be_dangerous(library):
    """The two lists were written apart; a name in both is a mistake in one."""
    known = {
        f"{module}.{name}": names.danger(module, name)
        for module, row in shipped(library)["grants"].items()
        for name in row
        if names.danger(module, name)
    }
    assert set(known) <= {"functools.partial", "torch.storage._load_from_bytes"} | {
        name for name in known if name.startswith("joblib.")
    }


def text(value):
    raw = value.encode()
    return b"\x8c" + bytes((len(raw),)) + raw


def named(full):
    module, _, name = full.rpartition(".")
    return text(module) + text(name) + b"\x93"


def stream(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def scan(data, path="model.bin"):
    entry = FileEntry(path, len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


LINEAR = "sklearn.linear_model._base.LinearRegression"
FOREST = "sklearn.ensemble._forest.RandomForestClassifier"
STATE = b"}" + text("coef_") + b"K\x01s"


def test_one_note_for_each_library_of_a_file():
    report = scan(stream(b"]", named(LINEAR), b")\x81", STATE, b"ba", named(FOREST), b")\x81", STATE, b"ba"))
    (finding,) = report.findings
    assert report.verdict is Verdict.NOTES
    assert (finding.rule, finding.subject) == ("pickle-profile", "scikit-learn")
    assert "2 names" in finding.message
    assert finding.evidence == (LINEAR, FOREST)
    assert "1.7.2" in finding.why
    two = scan(stream(named(LINEAR)) + stream(named(FOREST)))
    assert [f.subject for f in two.findings if f.rule == "pickle-profile"] == ["scikit-learn"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_in_another_form_is_judged_alike(protocol):
    module, _, name = LINEAR.rpartition(".")
    head = b"\x80" + bytes((protocol,))
    both = (
        head + b"c" + module.encode() + b"\n" + name.encode() + b"\n)\x81}b.",
        head + b"ccopy_reg\n_reconstructor\n(c" + module.encode() + b"\n" + name.encode()
        + b"\nc__builtin__\nobject\nNtR}b.",
    )  # fmt: skip
    assert [scan(data).verdict for data in both] == [Verdict.NOTES, Verdict.NOTES]


MISUSED = {
    "the class itself is called": (named(LINEAR), b")R"),
    "with arguments": (named(LINEAR), text("x") + b"\x85\x81"),
    "made by OBJ": (b"(" + named(LINEAR), b"o"),
    "made by NEWOBJ_EX": (named(LINEAR), b")}\x92"),
    "slot state": (named(LINEAR), b")\x81N" + STATE + b"\x86b"),
    "a list as state": (named(LINEAR), b")\x81]b"),
    "state from a call": (named(LINEAR), b")\x81" + named("collections.OrderedDict") + b")Rb"),
    "items": (named(LINEAR), b")\x81N" + b"N" + b"s"),
    "appended": (named(LINEAR), b")\x81Na"),
    "a dotted name": (named("sklearn.linear_model._base.LinearRegression")[:-1] + b"0" + text("LinearRegression.fit"), b"\x93"),
    "a special name in the state": (named(LINEAR), b")\x81}" + text("__class__") + named(FOREST) + b"sb"),
    "another module's name for it": (named("sklearn.linear_model.LinearRegression"), b")\x81"),
    "another module of the library": (named("sklearn.utils._testing.LinearRegression"), b")\x81"),
    "main": (named("__main__.LinearRegression"), b")\x81"),
    "a distance of anything": (
        named("sklearn.metrics._dist_metrics.newObj"),
        named("sklearn.linear_model._logistic.LogisticRegression") + b"\x85R",
    ),
    "a newObj for anything": (named("sklearn.neighbors._kd_tree.newObj"), named(FOREST) + b"\x85R"),
    "a generator of the file's choice": (named("numpy.random._pickle.__bit_generator_ctor"), named(LINEAR) + b"\x85R"),
    "partial of a call": (named("functools.partial"), named("builtins.range") + b"K\x01K\x01K\x01\x87R\x85R"),
    "a layout by number": (named("torch.serialization._get_layout"), b"K\x01\x85R"),
    "a distribution": (named("scipy.stats._continuous_distns.norm_gen"), b")\x81}b"),
    "an allocation": (named("numpy.zeros"), b"K\x01\x85R"),
    "ones of a shape": (named("numpy._core.numeric.ones"), b"K\x01\x85R"),
    "bytes of a length": (named("builtins.bytearray"), b"J\xff\xff\xff\x7f\x85R"),
    "a list of a range": (named("builtins.list"), named("builtins.range") + b"K\x00J\xff\xff\xff\x7fK\x01\x87R\x85R"),
    "code": (named("types.CodeType"), b")R"),
    "dill's maker of types": (named("dill._dill._create_type"), b")R"),
    "cloudpickle's maker of functions": (named("cloudpickle.cloudpickle._make_function"), b")R"),
    "an operator": (named("operator.attrgetter"), text("x") + b"\x85R"),
    "getattr of a granted class": (named("builtins.getattr"), named(LINEAR) + text("fit") + b"\x86R"),
    "a lazy module": (named("transformers.utils.import_utils._LazyModule"), b")\x81}b"),
    "a joblib memory": (named("joblib.memory.Memory"), b")\x81}b"),
    "a wrapper that opens a file": (named("joblib.numpy_pickle_compat.ZNDArrayWrapper"), b")\x81}b"),
    "a checkpoint inside": (named("torch.storage._load_from_bytes"), b"C\x01x\x85R"),
    "a function of torch that is called": (named("torch.nn.functional.relu"), b")R"),
    "a graph module": (named("torch.fx.graph_module.reduce_graph_module"), b"}" + text("x") + b"\x86R"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSED)
def test_a_granted_library_opens_no_other_door(case):
    report = scan(stream(*MISUSED[case]))
    assert not report.verdict.passes, case


def test_a_key_that_compares_by_value_is_refused():
    """A dataclass compares its fields, which are of the file's choice, while loading."""
    plain = stream(b"}", named(LINEAR), b")\x81", b"K\x01s")
    assert scan(plain).verdict is Verdict.NOTES
    module, name = next(
        (module, name)
        for module, row in shipped("scikit-learn")["grants"].items()
        for name, kind in row.items()
        if kind.startswith("object-by-value")
    )
    assert not scan(stream(b"}", named(f"{module}.{name}"), b")\x81", b"K\x01s")).verdict.passes
    assert not scan(stream(b"}", named(f"{module}.{name}"), b")\x81\x85", b"K\x01s")).verdict.passes


def test_names_of_torchscript_pass_only_inside_of_it():
    assert not scan(stream(named("__torch__.torch.nn.modules.linear.Linear"), b")\x81}b")).verdict.passes


def test_plain_pickles_load_no_profile(monkeypatch):
    read = []
    original = names.profile_bytes
    monkeypatch.setattr(names, "profile_bytes", lambda name: read.append(name) or original(name))
    names._document.cache_clear()
    names._find.cache_clear()
    scan_files("m", Manifest.of([entry := FileEntry("x", 3, Digest.of(b"N.x"))]), lambda _: b"N.x")
    read.clear()
    names.find("collections", "OrderedDict")
    names.find("nowhere", "Thing")
    assert set(read) <= {"inert.json", "index.json"}
    assert entry.size == struct.calcsize("<3B")


YOLO = "ultralytics.nn.tasks.DetectionModel"


def test_a_class_that_may_only_be_made_is_not_kept_as_a_value():
    """Its __init__ evaluates text: called later, by a hook or a partial, it would run what the file says."""
    made = stream(b"]", named(YOLO), b"\x94)\x81", STATE, b"ba", b"h\x00)\x81", b"a")
    assert scan(made).verdict is Verdict.NOTES
    module, _, name = YOLO.rpartition(".")
    old = b"\x80\x02]c" + f"{module}\n{name}\n".encode() + b"q\x00)\x81q\x01}bah\x00)\x81a."
    assert scan(old).verdict is Verdict.NOTES
    for kept in (
        stream(named(YOLO)),
        stream(b"]", named(YOLO), b"a"),
        stream(b"]", named(YOLO), b"\x94)\x81a", b"h\x00a"),
        stream(named("functools.partial"), named(YOLO), b"\x85R"),
        stream(b"]", named(YOLO), b"q\x07)\x81a", b"h\x07a"),
        stream(b"]", named(YOLO), b"\x94)\x81a0", text("ultralytics.nn.tasks") + b"q\x05", text("DetectionModel") + b"q\x06", b"0h\x05h\x06\x93"),
        b"\x80\x02]c" + f"{module}\n{name}\n".encode() + b"q\x00)\x81q\x01}bah\x00a.",
    ):  # fmt: skip
        report = scan(kept)
        assert not report.verdict.passes
        assert any(YOLO in finding.message for finding in report.findings)


MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."
STORAGE = (
    MAGIC
    + b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04NtQ."
    b"\x80\x02]X\x01\x00\x00\x000a." + struct.pack("<q", 4) + bytes(16)
)
LOAD = named("torch.storage._load_from_bytes")


def carrying(*contents):
    calls = [LOAD + b"B" + struct.pack("<I", len(content)) + content + b"\x85Ra" for content in contents]
    return stream(b"]", *calls)


def test_tensors_pickled_without_torch_save_are_judged_one_by_one():
    assert scan(carrying(STORAGE, STORAGE)).verdict is Verdict.NOTES
    evil = MAGIC + b"cposix\nsystem\n(S'true'\ntR.\x80\x02]."
    report = scan(carrying(STORAGE, evil))
    assert report.verdict is Verdict.DANGEROUS
    assert any(finding.location.members == ("tensor 1",) for finding in report.findings)
    for odd in (b"N.", b"cposix\nsystem\n(S'true'\ntR.", STORAGE[:-1], b"PK\x03\x04", carrying(evil)):
        assert not scan(carrying(STORAGE, odd)).verdict.passes
    assert not scan(
        stream(b"]", LOAD + b"\x94B" + struct.pack("<I", len(STORAGE)) + STORAGE + b"\x85Rah\x00a")
    ).verdict.passes
    assert not scan(
        stream(LOAD, named("_codecs.encode"), text("x"), text("latin1"), b"\x86R\x85R")
    ).verdict.passes


def test_shapes_with_words_for_arrays():
    for name in ("numpy.core.multiarray._reconstruct", "joblib.numpy_pickle.NumpyArrayWrapper"):
        assert names.parse_shape("array").fits((names.Arg("result", name),))
    assert not names.parse_shape("array").fits((names.Arg("result", "numpy.dtype"),))
    assert names.parse_shape("*any").fits((names.Arg("other", ""), names.Arg("dict", "")))


def test_real_pickles_of_harmless_values():
    import array
    import ipaddress

    for value in (
        [array.array("d", [1.0])],
        {ipaddress.ip_address("127.0.0.1"): 1},
        [ValueError("x")],
        [...],
    ):
        for protocol in (2, 4, 5):
            assert scan(pickle.dumps(value, protocol)).verdict is Verdict.CLEAN
