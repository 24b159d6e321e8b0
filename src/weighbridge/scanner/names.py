"""Which names a pickle may use: exact names with the shapes of their calls, and the names known to be dangerous.

Data, not code: `profiles/*.json`. `inert.json` lists data constructors; each library has a profile that
`tools/derive_profiles.py` derived from its source (docs/reference/profiles.md); `index.json` says which
profile answers for which first part of a module's name, so that a small file loads none. A shape is a row
of arguments; each argument gives the kinds it may have, separated by `|` (`int`, `ints` for a tuple of
integers, `global:NAME`, `result:NAME` for what calling NAME gave, `str=TEXT` for exactly this text, `str<N` for
a text of fewer than N characters, `zone` for the key of a time zone, `tuple=int+bytes` for a tuple of exactly these kinds, `any`, `array` for any
of the ways an array is written); a leading `*` repeats the last one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from weighbridge.formats.pickle_events import Arg, Event

_FOLDER = Path(__file__).parent / "profiles"
"""Read as files, because importlib.resources costs more to import than a small scan."""
PROFILES = (
    "accelerate.json",
    "catboost.json",
    "category-encoders.json",
    "chemprop.json",
    "dangerous.json",
    "dill.json",
    "fastai.json",
    "fastcore.json",
    "fasttransform.json",
    "flair.json",
    "gensim.json",
    "gymnasium.json",
    "hmmlearn.json",
    "huggingface-hub.json",
    "imbalanced-learn.json",
    "index.json",
    "inert.json",
    "joblib.json",
    "lightgbm.json",
    "lightning-utilities.json",
    "lightning.json",
    "numpy.json",
    "pandas.json",
    "peft.json",
    "python.json",
    "pytorch-lightning.json",
    "pytz.json",
    "scikit-learn.json",
    "scipy.json",
    "sentence-transformers.json",
    "setfit.json",
    "spacy.json",
    "stable-baselines3.json",
    "thinc.json",
    "tokenizers.json",
    "torch.json",
    "torchmetrics.json",
    "torchvision.json",
    "transformers.json",
    "typed-argument-parser.json",
    "ultralytics.json",
    "xgboost.json",
)
"""Every data file of this room; each counts into the ruleset digest. A test compares it with the folder."""

STORAGE_WIDTHS: Mapping[str, int] = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
    "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QUInt8Storage": 1, "QInt8Storage": 1,
    "QInt32Storage": 4, "UntypedStorage": 1,
}  # fmt: skip
"""Bytes of one element, by the storage type that a persistent id names."""

_DISTANCES = (
    "BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard", "Kulsinski", "Mahalanobis",
    "Manhattan", "Matching", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean", "SokalMichener", "SokalSneath", "WMinkowski",
)  # fmt: skip

MACROS: Mapping[str, frozenset[str]] = {
    "array": frozenset({
        "result:numpy.core.multiarray._reconstruct", "result:numpy._core.multiarray._reconstruct",
        "result:numpy.core.numeric._frombuffer", "result:numpy._core.numeric._frombuffer",
        "result:joblib.numpy_pickle.NumpyArrayWrapper", "result:sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
    }),
    "number": frozenset({
        "int", "float", "bool", "result:numpy.core.multiarray.scalar", "result:numpy._core.multiarray.scalar",
    }),
    "text": frozenset({"bytes", "str", "result:_codecs.encode"}),
    "tensor": frozenset({
        "result:torch._utils._rebuild_tensor_v2", "result:torch._utils._rebuild_tensor",
        "result:torch._utils._rebuild_tensor_v3", "result:torch._utils._rebuild_parameter",
        "result:torch._utils._rebuild_qtensor",
    }),
    "distance": frozenset(
        f"global:sklearn.{module}.{name}Distance{bits}"
        for module in ("metrics._dist_metrics", "neighbors._dist_metrics", "neighbors.dist_metrics")
        for name in _DISTANCES
        for bits in ("", "32", "64")
    ),
    "pairs": frozenset({"result:collections.OrderedDict", "none", "dict"}),
}  # fmt: skip
"""Words for what is written in several ways, so that a shape stays readable."""

_FILLING: Mapping[str, str] = {
    "APPEND": "append", "APPENDS": "append", "SETITEM": "set", "SETITEMS": "set", "ADDITEMS": "add",
}  # fmt: skip
_DEEPEST = 12
"""Parts of a dotted name that are looked up: no listed name has as many, and a hostile one may have millions."""
_LONGEST = 400
"""Characters of a module and a name together; a test holds every list against it."""
_ZONE = re.compile(r"(?=.{1,64}\Z)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*){0,2}", re.ASCII)
"""The key of a time zone as the IANA data base writes it: no dots, nothing absolute, at most three parts."""
_MADE_EMPTY = frozenset({"NEWOBJ", "RECONSTRUCT"})

_Alternatives = frozenset[str]


@dataclass(frozen=True, slots=True)
class Shape:
    """One way a name may be called: alternatives for each argument; `rest` repeats after them."""

    fixed: tuple[_Alternatives, ...]
    rest: _Alternatives | None = None

    def fits(self, args: tuple[Arg, ...]) -> bool:
        """Tell whether the call has this shape."""
        if len(args) < len(self.fixed) or (self.rest is None and len(args) > len(self.fixed)):
            return False
        for index, arg in enumerate(args):
            wanted = self.fixed[index] if index < len(self.fixed) else self.rest
            if wanted is None or not _fits(arg, wanted):
                return False
        return True


def _fits(arg: Arg, wanted: _Alternatives) -> bool:
    if "any" in wanted or arg.kind in wanted:
        return True
    if arg.kind in ("global", "result"):
        return f"{arg.kind}:{arg.text}" in wanted
    if arg.kind == "tuple":
        return f"tuple={arg.text.replace(' ', '+')}" in wanted
    if "zone" in wanted and arg.kind == "str":
        return _ZONE.fullmatch(arg.text) is not None
    return arg.kind == "str" and (f"str={arg.text}" in wanted or _short(arg.text, wanted))


def _short(text: str, wanted: _Alternatives) -> bool:
    """Tell whether a bound on length is wanted and kept; an empty text may stand for one that was not kept."""
    bounds = [int(word[4:]) for word in wanted if word.startswith("str<")]
    return any(0 < len(text) < bound for bound in bounds)


@dataclass(frozen=True, slots=True)
class Listed:
    """A name that may be used: how it may be called, what state and items its result may be given.

    `new` are the shapes for making an empty object (`__new__` alone), `calls` those for a call that runs
    `__init__` or a function. `made` says that the name may be used for nothing but making objects. `library` is empty for the data constructors of inert.json.
    """

    library: str
    new: tuple[Shape, ...]
    calls: tuple[Shape, ...]
    build: frozenset[str]
    items: frozenset[str]
    key: bool
    made: bool
    why: str

    def allows(self, event: Event) -> bool:
        """Tell whether this event is one that the list permits."""
        if event.kind == "global":
            return True
        if event.kind == "items":
            return _FILLING.get(event.opcode, "") in self.items
        if event.kind == "key":
            return self.key
        if event.args is None:
            return False
        if event.kind == "build":
            return len(event.args) == 1 and self._takes(event.args[0])
        if event.kind != "call":
            return False
        shapes = self.new if event.opcode in _MADE_EMPTY else self.calls
        return any(shape.fits(event.args) for shape in shapes)

    def _takes(self, state: Arg) -> bool:
        return state.kind in self.build or f"{state.kind}={state.text}" in self.build


def parse_shape(text: str) -> Shape:
    """Parse one row such as `persistent int ints ints bool dict|none` or `*str`."""
    fixed: list[_Alternatives] = []
    for word in text.split():
        alternatives: frozenset[str] = frozenset()
        for name in word.removeprefix("*").split("|"):
            alternatives |= MACROS.get(name, frozenset((name,)))
        if word.startswith("*"):
            return Shape(tuple(fixed), alternatives)
        fixed.append(alternatives)
    return Shape(tuple(fixed))


def profile_bytes(name: str) -> bytes:
    """Return a data file of this room, byte for byte; it counts into the ruleset digest."""
    return (_FOLDER / name).read_bytes()


@cache
def _document(name: str) -> Any:
    return json.loads(profile_bytes(name))


def _listed(row: Mapping[str, Any], library: str) -> Listed:
    calls = tuple(parse_shape(shape) for shape in row.get("calls", ()))
    new = tuple(parse_shape(shape) for shape in row.get("new", ())) if library else calls
    return Listed(
        library=library,
        new=new,
        calls=calls,
        build=frozenset(row.get("build", ())),
        items=frozenset(row.get("items", ())),
        key=bool(row.get("key", False)),
        made=bool(row.get("made", False)),
        why=row.get("why", ""),
    )


def inert() -> Mapping[str, Mapping[str, Any]]:
    """Return the rows of inert.json, by full dotted name."""
    rows: Mapping[str, Mapping[str, Any]] = _document("inert.json")["names"]
    return rows


def find_inert(module: str, name: str) -> Listed | None:
    """Return the inert entry for exactly this module and name; a dotted name never has one."""
    found = find(module, name)
    return found if found is not None and not found.library else None


def find_attribute(module: str, name: str) -> Listed | None:
    """Return what is listed for what getattr finds: `name` is the name and its attribute, joined by a dot."""
    if len(module) + len(name) > _LONGEST:
        return None
    row = _document("inert.json")["attributes"].get(f"{module}.{name}")
    return _listed(row, "") if row is not None else None


def find(module: str, name: str) -> Listed | None:
    """Return what is listed for exactly this module and name, inert or in a profile; None when nothing is."""
    if "." in name or not name or len(module) + len(name) > _LONGEST:
        return None
    return _find(module, name)


@lru_cache(maxsize=8192)  # hostile files hold any number of names
def _find(module: str, name: str) -> Listed | None:
    row = inert().get(f"{module}.{name}")
    if row is not None:
        return _listed(row, "")
    file = _document("index.json")["roots"].get(module.partition(".")[0])
    if file is None:
        return None
    profile = _document(file)
    kind = profile["grants"].get(module, {}).get(name)
    if kind is None:
        return None
    return _listed(profile["kinds"][kind.partition(" ")[0]], profile["library"])


def read_versions(library: str) -> str:
    """Return the versions a profile was derived from, as a text: `1.0.2, 1.3.2, 1.7.2`."""
    return ", ".join(_document(f"{library}.json")["versions"])


@cache
def _dangerous() -> Mapping[str, str]:
    modules: Mapping[str, str] = _document("dangerous.json")["modules"]
    return modules


def danger(module: str, name: str) -> str:
    """Say what the name is known to do, or return an empty text. Used for wording only.

    The name, each module above it, and each attribute path inside a dotted name are looked up.
    """
    table = _dangerous()
    parts = f"{module}.{name}".split(".", _DEEPEST)[:_DEEPEST]
    for count in range(len(parts), 0, -1):
        found = table.get(".".join(parts[:count]))
        if found:
            return found
    steps = name.split(".", _DEEPEST)[:_DEEPEST]
    for count in range(len(steps) - 1, 0, -1):
        found = table.get(".".join(steps[:count]))
        if found:
            return found
    if module in ("builtins", "__builtin__") and steps[0].startswith("__"):
        return "reaches any attribute"
    return ""
