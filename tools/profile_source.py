"""Read the Python source inside wheels without importing it: what each module defines, and what a name there means."""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

_EXTENSION = re.compile(r"\.(?:cpython-[^/]*|abi3)\.(?:so|dylib|pyd)$|(?<!\.dylib)\.so$")
_DEEP = 12
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(slots=True)
class Module:
    """What one module binds at its top level; a name bound in several branches keeps all its definitions."""

    name: str
    package: bool
    classes: dict[str, list[ast.ClassDef]] = field(default_factory=dict)
    functions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    assigned: dict[str, list[ast.expr]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    typed: dict[str, str] = field(default_factory=dict)
    """Imports for type checkers: in a package that imports lazily they say where its names come from."""
    loose: list[ast.stmt] = field(default_factory=list)
    """Statements that run when the module is imported, other than definitions and imports."""

    @property
    def around(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.package else self.name.rpartition(".")[0]


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, or an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return ""


def read_module(name: str, source: bytes, *, package: bool) -> Module:
    """Collect the definitions of one module; raises SyntaxError for what is no Python 3."""
    module = Module(name, package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    _collect(module, tree.body)
    return module


def _collect(module: Module, body: list[ast.stmt]) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            module.classes.setdefault(node.name, []).append(node)
        elif isinstance(node, FUNCTIONS):
            module.functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            _imported(module, node)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            _branches(module, node)
        else:
            module.loose.append(node)
            _assigned(module, node)


def _branches(module: Module, node: ast.If | ast.Try | ast.With) -> None:
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        module.loose.append(ast.copy_location(ast.Expr(node.test), node))
        if test.endswith("TYPE_CHECKING"):
            apart = Module(module.name, module.package)
            _collect(apart, node.body)
            module.typed |= apart.imports
            module.stars += apart.stars
        elif "__main__" not in test:
            _collect(module, node.body)
        _collect(module, node.orelse)
        return
    _collect(module, node.body)
    if isinstance(node, ast.Try):
        for handler in node.handlers:
            _collect(module, handler.body)
        _collect(module, node.orelse + node.finalbody)


def _assigned(module: Module, node: ast.stmt) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else []
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        if isinstance(target, ast.Name) and value is not None:
            module.assigned.setdefault(target.id, []).append(value)


def _imported(module: Module, node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            full = alias.name
            module.imports[alias.asname or full.partition(".")[0]] = (
                full if alias.asname else full.partition(".")[0]
            )
        return
    front = node.module or ""
    if node.level:
        parts = module.around.split(".")
        parts = parts[: len(parts) - node.level + 1]
        front = ".".join([*parts, *([front] if front else [])])
    for alias in node.names:
        if alias.name == "*":
            module.stars.append(front)
        else:
            module.imports[alias.asname or alias.name] = f"{front}.{alias.name}"


class Wheel:
    """One wheel: its name, version, digest, and its modules, parsed when they are first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        name, self.version = path.name.split("-")[:2]
        self.name = name.lower().replace("_", "-")
        self.version = self.version.partition("+")[0]
        with path.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.zip = zipfile.ZipFile(path)
        self.files = self.zip.namelist()
        self.paths: dict[str, str] = {}
        self.extensions: set[str] = set()
        for file in self.files:
            if file.endswith(".py"):
                parts = file[:-3].split("/")
                self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
            elif _EXTENSION.search(file):
                self.extensions.add(_EXTENSION.sub("", file).replace("/", "."))
        self.parsed: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return the module of this name, or None when the wheel has none that can be read."""
        if name not in self.parsed:
            path = self.paths.get(name)
            try:
                self.parsed[name] = (
                    read_module(name, self.zip.read(path), package=path.endswith("__init__.py"))
                    if path
                    else None
                )
            except (SyntaxError, ValueError, RecursionError):
                self.parsed[name] = None
        return self.parsed[name]


class World:
    """Several wheels looked at together: one of each library, so that bases of other libraries can be followed."""

    def __init__(self, wheels: list[Wheel], aliases: dict[str, str] | None = None) -> None:
        self.aliases = aliases or {}
        """What a name stands for where the source has two answers, as in `try: import … except: class …`."""
        self.owners = {name: wheel for wheel in reversed(wheels) for name in wheel.paths}

    def module(self, name: str) -> Module | None:
        """Return the module of this name, whichever wheel has it."""
        owner = self.owners.get(name)
        return owner.module(name) if owner else None

    def qualify(self, module: Module, name: str, depth: int = 0) -> str:
        """Return the full name of what `name` (perhaps dotted) means inside `module`; itself when unknown."""
        head, dot, rest = name.partition(".")
        found = self._bound(module, head, depth)
        return self.canonical(f"{found}{dot}{rest}", depth + 1) if found else name

    def _bound(self, module: Module, head: str, depth: int) -> str:
        if depth > _DEEP:
            return ""
        if f"{module.name}.{head}" in self.aliases:
            return self.aliases[f"{module.name}.{head}"]
        if head in module.classes or head in module.functions:
            return f"{module.name}.{head}"
        if head in module.imports:
            return module.imports[head]
        values = module.assigned.get(head, [])
        if len(values) == 1 and (alias := dotted(values[0])) and alias.partition(".")[0] != head:
            return self.qualify(module, alias, depth + 1)
        for star in module.stars:
            other = self.module(star)
            if other and not head.startswith("_") and (found := self._bound(other, head, depth + 1)):
                return found
        if module.package and head in module.typed:
            return module.typed[head]
        return f"builtins.{head}" if hasattr(builtins, head) else ""

    def canonical(self, full: str, depth: int = 0) -> str:
        """Follow re-exports until the place where the thing is defined; `full` itself when that is not known."""
        parts = full.split(".")
        for count in range(len(parts), 0, -1):
            module = self.module(".".join(parts[:count]))
            if module is None:
                continue
            if count == len(parts):
                return full
            head, rest = parts[count], parts[count + 1 :]
            found = self._bound(module, head, depth) if depth <= _DEEP else ""
            if not found or found in (f"{module.name}.{head}", f"builtins.{head}"):
                return full
            return self.canonical(".".join([found, *rest]), depth + 1)
        return full

    def definitions(self, full: str, kind: str) -> tuple[Module, list[ast.stmt]] | None:
        """Return the module and the statements that define `full`; `kind` is `classes` or `functions`."""
        front, _, name = full.rpartition(".")
        module = self.module(front)
        if module is None:
            return None
        table: dict[str, list[ast.stmt]] = getattr(module, kind)
        return (module, table[name]) if name in table else None
