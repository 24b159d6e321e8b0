"""Give every tensor of a checkpoint its name, and write down what is not a tensor as plain JSON.

A name is the path from the root: dict keys, list places and attributes joined by dots. In a pickled
module the three tables `_parameters`, `_buffers` and `_modules` add nothing to the path, so that a
module's tensors are called what its `state_dict()` would call them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from weighbridge.core.canonical import JSON, MAX_DEPTH, MAX_SAFE_INTEGER, canonical, parse
from weighbridge.core.errors import ConversionRefused, OutOfBudget
from weighbridge.formats.pickle_graph import DictNode, Global, Opaque, SetNode, Value, describe
from weighbridge.formats.torch_values import Device, Storage, Tensor

SIDE_SCHEMA = "weighbridge.side/1"
ALIASES = "weighbridge.aliases"
"""Key in `__metadata__`: canonical JSON of {other name: name under which the tensor is written}."""
MAX_NAME_BYTES = 1024
ROOT_NAME = "tensor"
"""The name of a tensor that is the whole checkpoint."""

_MODULE_TABLES = frozenset(("_parameters", "_buffers", "_modules"))
_UNSEEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


@dataclass(frozen=True, slots=True)
class NameLimits:
    """How much one checkpoint may ask for when its graph is walked; spent is OutOfBudget."""

    max_visits: int = 4_000_000
    """Nodes seen; a shared node counts each time it is reached."""
    max_tensors: int = 500_000
    max_names: int = 64 * 1024 * 1024
    """Characters of all names together."""
    max_side: int = 16 * 1024 * 1024
    """Bytes of the side JSON, roughly as written."""


@dataclass(frozen=True, slots=True)
class Named:
    """All tensors by name, in the order of the checkpoint, and the JSON of everything else."""

    tensors: Mapping[str, Tensor]
    side: JSON


def name_tensors(root: Value, limits: NameLimits | None = None) -> Named:
    """Walk the graph from `root`.

    Raises ConversionRefused(conversion.name, .key, .empty) and OutOfBudget(conversion.budget).
    """
    walk = _Walk(limits or NameLimits())
    try:
        content = walk.node(root, "", 2)
    except RecursionError as error:
        raise _spent("objects nested too deeply") from error
    if not walk.tensors:
        raise _refused("empty", "there is no tensor in this checkpoint")
    return Named(walk.tensors, {"schema": SIDE_SCHEMA, "content": _told(content, "")})


class _OnlyTensors:
    """Says that everything below a node is tensors, so that the side JSON need not repeat it."""


_ONLY_TENSORS = _OnlyTensors()
_Said: TypeAlias = "JSON | _OnlyTensors"


def _told(value: _Said, path: str) -> JSON:
    return {"tensors": path} if isinstance(value, _OnlyTensors) else value


class _Walk:
    """One walk: names found, budgets spent, and the nodes that are open above the present one."""

    def __init__(self, limits: NameLimits) -> None:
        self.limits = limits
        self.tensors: dict[str, Tensor] = {}
        self.open: set[int] = set()
        self.visits = 0
        self.size = 0
        self.lettering = 0

    def node(self, value: Value, path: str | None, depth: int) -> _Said:
        """Return the JSON of `value`; `path` is None where no name can be given, `depth` that of the JSON."""
        self.visits += 1
        self.spend(16)
        if self.visits > self.limits.max_visits:
            raise _spent(f"more than {self.limits.max_visits} objects")
        if depth > MAX_DEPTH - 4:
            raise _spent("objects nested too deeply")
        if isinstance(value, Tensor):
            return self.tensor(value, path)
        if not isinstance(value, (list, tuple, DictNode, SetNode, Opaque)):
            return self.leaf(value)
        if id(value) in self.open:
            return {"cycle": describe(value)}
        self.open.add(id(value))
        try:
            return self.container(value, path, depth)
        finally:
            self.open.discard(id(value))

    def container(
        self,
        value: list[Value] | tuple[Value, ...] | DictNode | SetNode | Opaque,
        path: str | None,
        depth: int,
    ) -> _Said:
        if isinstance(value, list):
            return self.sequence(value, path, depth)
        if isinstance(value, tuple):
            said = self.sequence(value, path, depth + 1)
            return said if isinstance(said, _OnlyTensors) else {"tuple": said}
        if isinstance(value, SetNode):
            # The places of a set mean nothing: a tensor in one has no name.
            said = self.sequence(value.items, None, depth + 1)
            return {value.label: [] if isinstance(said, _OnlyTensors) else said}
        if isinstance(value, DictNode):
            said = self.pairs(value.items, path, depth + 1)
            return said if isinstance(said, _OnlyTensors) else {"dict": said}
        return self.opaque(value, path, depth)

    def tensor(self, value: Tensor, path: str | None) -> _Said:
        if path is None:
            raise _refused("name", "a tensor stands where no name can be given to it")
        name = path or ROOT_NAME
        _check_name(name)
        if name in self.tensors:
            raise _refused("name", f"two tensors would be called {name!r}")
        if len(self.tensors) >= self.limits.max_tensors:
            raise _spent(f"more than {self.limits.max_tensors} tensors")
        self.lettering += len(name)
        if self.lettering > self.limits.max_names:
            raise _spent(f"more than {self.limits.max_names} characters of names")
        self.tensors[name] = value
        return _ONLY_TENSORS

    def sequence(self, values: Sequence[Value], path: str | None, depth: int) -> _Said:
        said = [
            (self.node(item, _join(path, str(place)), depth + 1), place) for place, item in enumerate(values)
        ]
        if said and all(isinstance(item, _OnlyTensors) for item, _ in said):
            return _ONLY_TENSORS
        return [_told(item, _join(path, str(place)) or "") for item, place in said]

    def pairs(self, items: Sequence[tuple[Value, Value]], path: str | None, depth: int) -> _Said:
        rows: list[tuple[Value, _Said, str | None]] = []
        for key, value in items:
            below = _join(path, step) if (step := _step(key)) is not None else None
            rows.append((key, self.node(value, below, depth + 2), below))
        named = all(type(key) is str and _is_text(key) for key, _, _ in rows)
        if named and len({key for key, _, _ in rows if isinstance(key, str)}) != len(rows):
            raise _refused("key", "a dict sets the same key twice")
        if rows and named and all(isinstance(said, _OnlyTensors) for _, said, _ in rows):
            return _ONLY_TENSORS
        if named:
            self.spend(sum(len(key) for key, _, _ in rows if isinstance(key, str)))
            return {str(key): _told(said, below or "") for key, said, below in rows}
        return [
            [_told(self.node(key, None, depth + 2), ""), _told(said, below or "")]
            for key, said, below in rows
        ]

    def opaque(self, value: Opaque, path: str | None, depth: int) -> _Said:
        said: dict[str, JSON] = {"object": [value.label.module, value.label.name]}
        self.spend(len(value.label.module) + len(value.label.name))
        if value.args:
            said["args"] = _told(self.sequence(value.args, path, depth + 1), path or "")
        if value.elements:
            said["elements"] = _told(self.sequence(value.elements, path, depth + 1), path or "")
        if value.items:
            said["items"] = _told(self.pairs(value.items, path, depth + 1), path or "")
        if value.built:
            said["state"] = self.state(value.state, path, depth + 1)
        return said

    def state(self, state: Value, path: str | None, depth: int) -> JSON:
        """Say an object's state: attributes by name; the pair (attributes, slots) is joined as CPython does."""
        if (
            isinstance(state, tuple)
            and len(state) == 2
            and all(part is None or isinstance(part, DictNode) for part in state)
        ):
            items = [pair for part in state if isinstance(part, DictNode) for pair in part.items]
        elif isinstance(state, DictNode):
            items = state.items
        else:
            return _told(self.node(state, path, depth), path or "")
        attributes = {key for key, _ in items if isinstance(key, str)}
        if not attributes.issuperset(_MODULE_TABLES):
            return _told(self.pairs(items, path, depth), path or "")
        said: dict[str, JSON] = {}
        for key, value in items:
            if not isinstance(key, str) or not _is_text(key) or key in said:
                raise _refused("key", "a module has an attribute with an impossible name, or one twice")
            below = path if key in _MODULE_TABLES else _join(path, key)
            self.spend(len(key))
            said[key] = _told(self.node(value, below, depth + 1), below or "")
        return said

    def leaf(self, value: Value) -> JSON:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            self.spend(len(value))
            return value if _is_text(value) else {"utf16": value.encode("utf-16-be", "surrogatepass").hex()}
        if isinstance(value, int):
            if abs(value) <= MAX_SAFE_INTEGER:
                return value
            self.spend(value.bit_length() // 4)
            return {"int": hex(value)}
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, bytes):
            self.spend(2 * len(value))
            return {"bytes": value.hex()}
        if isinstance(value, Global):
            self.spend(len(value.module) + len(value.name))
            return {"global": [value.module, value.name]}
        if isinstance(value, Device):
            return {"device": value.text}
        if isinstance(value, Storage):
            raise _refused(
                "storage", "a storage stands where a tensor is needed: a bare storage has no shape"
            )
        raise _refused("value", f"{describe(value)} cannot be written down")

    def spend(self, size: int) -> None:
        self.size += size
        if self.size > self.limits.max_side:
            raise _spent(f"more than {self.limits.max_side} bytes that are not tensors")


def ties(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return {other name: kept name} for names that show the very same elements; the first one is kept.

    Tensors without elements are never tied: writing them under each name costs nothing.
    """
    first: dict[tuple[object, ...], str] = {}
    return {
        name: kept
        for name, tensor in tensors.items()
        if tensor.numel and (kept := first.setdefault(tensor.view, name)) != name
    }


def metadata_of(aliases: Mapping[str, str]) -> dict[str, str]:
    """Return the `__metadata__` of an output: `format`, and the aliases where there are any."""
    metadata = {"format": "pt"}
    if aliases:
        metadata[ALIASES] = canonical(dict(aliases)).decode()
    return metadata


def read_aliases(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return {other name: kept name} from a file's `__metadata__`; ConversionRefused when it is ill-formed.

    A loader gives each other name the tensor of its kept name; then every name of the source is there.
    """
    text = metadata.get(ALIASES)
    if text is None:
        return {}
    try:
        value: Any = parse(text)
    except ValueError as error:
        raise _refused("aliases", f"the alias map is not JSON: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _refused("aliases", "the alias map is not names to names")
    return value


def _join(path: str | None, step: str) -> str | None:
    """Lengthen a path; None once it could not be a name any more, so that no hostile path grows."""
    if path is None or len(path) + len(step) > MAX_NAME_BYTES:
        return None
    return f"{path}.{step}" if path else step


def _step(key: Value) -> str | None:
    """Return what a dict key adds to a path: texts and plain numbers do, nothing else."""
    if type(key) is int:
        return str(key) if abs(key) <= MAX_SAFE_INTEGER else None
    return key if isinstance(key, str) and key else None


def _check_name(name: str) -> None:
    if not _is_text(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise _refused("name", f"a tensor's name is longer than {MAX_NAME_BYTES} bytes or not UTF-8")
    if name == "__metadata__" or any(unicodedata.category(char) in _UNSEEN_CATEGORIES for char in name):
        raise _refused("name", f"the tensor name {name!r} is reserved or holds control characters")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else True


def _refused(check: str, problem: str) -> ConversionRefused:
    return ConversionRefused(
        problem,
        cause="a safetensors file is a flat set of named tensors, and nothing is guessed to make one",
        remedy="save a plain `model.state_dict()` where the model is trusted, or ask the publisher for safetensors",
        check=f"conversion.{check}",
    )


def _spent(problem: str) -> OutOfBudget:
    return OutOfBudget(
        f"the checkpoint holds {problem}",
        cause="the limits keep a hostile file from taking all memory",
        remedy="save the weights alone, or raise the limits where this model is known to be that large",
        check="conversion.budget",
    )
