"""What the house tests look at: the tracked files, and our modules with their syntax trees."""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "weighbridge"
# The program directories hold to the same sizes and names as the package.
PROGRAMS = (SOURCE, ROOT / "tools", ROOT / "benchmarks")


@dataclass(frozen=True)
class Module:
    """One of our Python files: path from the root, text and syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def room(self):
        """The first folder below the package, or the module's own name; empty outside the package."""
        prefix = "src/weighbridge/"
        return self.path.removeprefix(prefix).split("/")[0] if self.path.startswith(prefix) else ""


@cache
def modules():
    """Return every module of the package and of the programs beside it."""
    found = []
    for folder in PROGRAMS:
        for path in sorted(folder.rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Module(path.relative_to(ROOT).as_posix(), text, ast.parse(text, str(path))))
    assert len(found) > 10
    return found


def package():
    """Return the modules of the package only."""
    return [module for module in modules() if module.room]


@cache
def kept_files():
    """Return the paths of all files that are tracked, or would be: new ones that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    found = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert len(found) > 20
    return found


@cache
def texts():
    """Return (path, text) of every kept file that is UTF-8 text."""
    found = []
    for path in kept_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def functions(tree):
    """Yield every function of a syntax tree, methods and inner ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted(node):
    """Return `a.b.c` for a chain of names and attributes, or an empty string."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join(reversed([*parts, node.id]))


def imported(tree):
    """Yield (line, full name) of everything that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def resolved(tree):
    """Yield (line, full name) of every name used in a module, with its imports followed.

    `from datetime import datetime as d; d.now()` yields `datetime.datetime.now`.
    """
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                alias.asname or alias.name.split(".")[0]: alias.asname and alias.name for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        name = dotted(node)
        if name:
            first, dot, rest = name.partition(".")
            yield node.lineno, (known.get(first) or first) + dot + rest
