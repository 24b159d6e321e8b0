"""The verification script as one file: its modules put behind each other, for an auditor who has nothing of this project."""

from __future__ import annotations

import ast
from importlib import resources

MODULES = ("verify_pack", "pack_formats", "pack_changes", "pack_lists", "pack_records")
"""The first gives the docstring and stands last, with what runs."""


def script() -> bytes:
    """Return the script: standard library and `cryptography` only. Equal sources give equal bytes."""
    folder = resources.files("weighbridge.gate")
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    first = ast.parse(sources[MODULES[0]])
    opening = ast.get_source_segment(sources[MODULES[0]], first.body[0]) or ""
    imports: set[str] = set()
    bodies = []
    for name in (*MODULES[1:], MODULES[0]):
        taken, body = _parted(sources[name])
        imports |= taken
        bodies.append(body.strip("\n"))
    plain = sorted(line for line in imports if line.startswith("import "))
    named = sorted(line for line in imports if line.startswith("from "))
    head = [opening, "", "from __future__ import annotations", "", *plain, *named]
    return ("\n".join(head) + "\n\n" + "\n\n\n".join(bodies) + "\n").encode()


def _parted(source: str) -> tuple[set[str], str]:
    """Return what a module imports from elsewhere, and its text without docstring and imports."""
    lines, tree = source.split("\n"), ast.parse(source)
    taken: set[str] = set()
    left_out: set[int] = set()
    for number, statement in enumerate(tree.body):
        docstring = number == 0 and isinstance(statement, ast.Expr)
        if docstring or isinstance(statement, ast.Import | ast.ImportFrom):
            assert statement.end_lineno is not None
            left_out |= set(range(statement.lineno, statement.end_lineno + 1))
        if isinstance(statement, ast.Import):
            taken.add(ast.unparse(statement))
        elif isinstance(statement, ast.ImportFrom) and not _own(statement.module or ""):
            taken.update(f"from {statement.module} import {alias.name}" for alias in statement.names)
    return taken, "\n".join(line for number, line in enumerate(lines, 1) if number not in left_out)


def _own(module: str) -> bool:
    return module == "__future__" or module.startswith("weighbridge.")
