"""Derive the library profiles: which classes and functions of a library a pickle may name, and why each one.

    python tools/derive_profiles.py [--wheels FOLDER] [--fetch] [--why NAME] [LIBRARY ...]

Wheels are read as zip files and syntax trees; nothing of them is imported. Which wheels, by version and
SHA-256, stands in tools/profiles/pins.json; what a person decided, with the reason, in
tools/profiles/<library>.toml; the rule for classes in profile_classes.py. The result goes to
src/weighbridge/scanner/profiles/<library>.json. With `--fetch` pip downloads the pinned wheels that are missing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from profile_classes import Classes, Trust
from profile_reach import Reach
from profile_source import Module, Wheel, World

ROOT = Path(__file__).resolve().parent.parent
HAND = ROOT / "tools" / "profiles"
TARGET = ROOT / "src" / "weighbridge" / "scanner" / "profiles"
LEFT_OUT = frozenset({
    "tests", "test", "testing", "_testing", "conftest", "__main__", "setup", "examples", "example", "cli", "benchmark",
    "benchmarks", "_build_utils", "_vendor", "vendor", "scripts", "tools", "docs", "doc", "this", "antigravity",
})  # fmt: skip
"""Parts of module names that no model names: importing them may run something."""

KINDS: dict[str, dict[str, Any]] = {
    "object": {"new": [""], "build": ["dict"], "key": True, "why": "made empty, then given its attributes; no code of its own runs"},
    "object-by-value": {"new": [""], "build": ["dict"], "why": "made empty, then given its attributes; it compares by value, so it is no key"},
    "object-read": {"new": [""], "build": ["dict"], "key": True, "why": "made empty, then given its attributes through a method of its own that a person read: see `trusted`"},
    "object-read-by-value": {"new": [""], "build": ["dict"], "why": "made empty, then given its attributes through a method of its own that a person read (see `trusted`); it compares by value, so it is no key"},
    "object-made": {"new": [""], "build": ["dict"], "key": True, "made": True, "why": "as object-read; calling the class with arguments can reach outside, so the name may only be used to make an object on the spot"},
    "object-made-by-value": {"new": [""], "build": ["dict"], "made": True, "why": "as object-made; it compares by value, so it is no key"},
    "object-texts": {
        "new": ["", "*str"],
        "build": ["dict"],
        "key": True,
        "why": "as object-read; made with texts that its __new__, which is that of object, ignores",
    },
    "object-texts-by-value": {
        "new": ["", "*str"],
        "build": ["dict"],
        "why": "as object-texts; it compares by value, so it is no key",
    },
    "slots": {"new": [""], "build": ["dict", "tuple=none dict", "tuple=dict dict"], "key": True, "why": "made empty, then given its slots; no code of its own runs"},
    "slots-by-value": {"new": [""], "build": ["dict", "tuple=none dict", "tuple=dict dict"], "why": "made empty, then given its slots; it compares by value, so it is no key"},
    "dict": {"new": [""], "build": ["dict"], "items": ["set"], "why": "a dict under another name; it sets its items as a dict does"},
    "list": {"new": [""], "build": ["dict"], "items": ["append"], "why": "a list under another name"},
    "set": {"new": [""], "calls": ["list"], "build": ["dict"], "items": ["add"], "why": "a set under another name"},
    "str": {"new": ["str"], "build": ["dict"], "why": "a text under another name"},
    "int": {"new": ["int"], "build": ["dict"], "why": "a number under another name"},
    "float": {"new": ["float"], "build": ["dict"], "why": "a number under another name"},
    "tuple": {"new": ["", "tuple|ints"], "build": ["dict"], "why": "a tuple under another name"},
    "fields": {"new": ["*any"], "build": ["dict"], "why": "a tuple with named fields; making one keeps its arguments and does nothing"},
    "named": {"why": "named only: a function that computes, kept as an attribute; loading does not call it"},
    "enum": {"calls": ["str|int"], "key": True, "why": "a member of a closed list, looked up by its value"},
}  # fmt: skip


def merged(rows: dict[str, dict[str, str]]) -> tuple[dict[str, tuple[str, list[str]]], Counter[str]]:
    """Join what each version gives to each name: granted only where no version refuses it, and all agree.

    `rows` maps a version to name → kind, or `!reason`. Returns name → (kind, versions), and the reasons.
    """
    names: dict[str, list[tuple[str, str]]] = {}
    for version, row in rows.items():
        for name, kind in row.items():
            names.setdefault(name, []).append((version, kind))
    granted: dict[str, tuple[str, list[str]]] = {}
    reasons: Counter[str] = Counter()
    for name, found in sorted(names.items()):
        kinds = {kind for _, kind in found}
        refused = next((kind for kind in sorted(kinds) if kind.startswith("!")), "")
        if refused:
            reasons[refused[1:]] += 1
        elif all(kind.startswith("object") for kind in kinds):
            made = any("-made" in kind for kind in kinds)
            texts = any("-texts" in kind for kind in kinds)
            read = (
                "-made"
                if made
                else "-texts"
                if texts
                else "-read"
                if any("-read" in kind for kind in kinds)
                else ""
            )
            same = "-by-value" if any("-by-value" in kind for kind in kinds) else ""
            granted[name] = (f"object{read}{same}", [version for version, _ in found])
        elif len(kinds) > 1:
            reasons["versions differ"] += 1
        else:
            granted[name] = (kinds.pop(), [version for version, _ in found])
    return granted, reasons


class Library:
    """One library: its hand-written file, its pinned wheels, and the wheels that its bases come from."""

    def __init__(self, name: str, pins: dict[str, Any], folder: Path) -> None:
        self.name = name
        self.hand = tomllib.loads((HAND / f"{name}.toml").read_text(encoding="utf-8"))
        self.wheels = [_open(folder, pin) for pin in pins.get(name, ())]
        others = [key for key in self.hand.get("beside", ()) if key != name]
        self.beside = [_open(folder, pins[key][-1]) for key in others]
        accepted: dict[str, frozenset[str]] = {}
        harmless: list[str] = []
        self.aliases: dict[str, str] = {}
        bases: dict[str, str] = {}
        for key in (*others, name):
            hand = tomllib.loads((HAND / f"{key}.toml").read_text(encoding="utf-8"))
            self.aliases |= hand.get("alias", {})
            harmless += [full for row in hand.get("harmless", ()) for full in row["functions"]]
            for row in hand.get("trust", ()):
                for full in (item for pattern in row["classes"] for item in expanded(pattern)):
                    accepted[full] = accepted.get(full, frozenset()) | frozenset(row["accept"])
            bases |= {full: row.get("kind", "") for row in hand.get("base", ()) for full in row["classes"]}
        self.trust = Trust(accepted, bases)
        self.harmless = frozenset(harmless)

    def derive(self) -> tuple[dict[str, tuple[str, list[str]]], Counter[str]]:
        """Return the grants and why others were refused."""
        found: dict[str, dict[str, str]] = {}
        for wheel in self.wheels:
            world = World([wheel, *self.beside], self.aliases)
            found[wheel.version] = self._version(wheel, world)
        granted, reasons = merged(found)
        for number, row in enumerate(self.hand.get("grant", ())):
            granted |= self._by_hand(row, row.get("kind", f"hand-{number + 1}"))
        for row in self.hand.get("refuse", ()):
            for full in row["names"]:
                if granted.pop(full, None):
                    reasons["refused by hand"] += 1
        return granted, reasons

    def _by_hand(self, row: dict[str, Any], kind: str) -> dict[str, tuple[str, list[str]]]:
        """Grant what a person listed, where a wheel has it; raises for a row of which no wheel has anything."""
        found: dict[str, tuple[str, list[str]]] = {}
        for pattern in row["names"]:
            before = len(found)
            for full in expanded(pattern):
                versions = [wheel.version for wheel in self.wheels if self._has(wheel, full, row)]
                if versions or not self.wheels:
                    found[full] = (kind, versions)
            if len(found) == before:
                raise SystemExit(f"{self.name}: {pattern} stands in none of the wheels read")
        return found

    def _version(self, wheel: Wheel, world: World) -> dict[str, str]:
        reach = Reach(world, self.harmless)
        classes = Classes(world, self.trust, reach)
        accepted = {name for row in self.hand.get("import", ()) for name in row["modules"]}
        row: dict[str, str] = {}
        for name in sorted(wheel.paths):
            module = wheel.module(name) if self.wanted(name) else None
            if module is None:
                continue
            importing = "" if name in accepted else reach.of_import(module)
            for own in self._named(module):
                kind, reason = (
                    ("", f"importing it reaches {importing}") if importing else classes.judge(module, own)
                )
                row[f"{name}.{own}"] = kind or f"!{reason}"
            if not importing:
                row |= {f"{name}.{own}": "fields" for own in classes.named_tuples(module)}
                row |= self._functions(module, reach)
        return row

    def _named(self, module: Module) -> list[str]:
        """Return the classes of a module, but for those that the hand-written file leaves out by name."""
        return [name for name in module.classes if not re.search(self.hand.get("without", "$^"), name)]

    def _functions(self, module: Module, reach: Reach) -> dict[str, str]:
        """Functions that models keep as attributes, from the modules a person chose; none that reaches outside."""
        if not any(
            _under(module.name, front) for item in self.hand.get("function", ()) for front in item["of"]
        ):
            return {}
        row: dict[str, str] = {}
        for name in module.functions:
            full = f"{module.name}.{name}"
            if not name.startswith("_") and name not in module.classes:
                found = reach.of_function(full)
                row[full] = f"!reaches outside: {found}" if found else "named"
        return row

    def wanted(self, module: str) -> bool:
        """Tell whether models may name things of this module."""
        parts = module.split(".")
        if any(part in LEFT_OUT or part.startswith("test_") for part in parts):
            return False
        if "skip" in self.hand and any(re.search(self.hand["skip"], part) for part in parts):
            return False
        inside = any(_under(module, name) for name in self.hand["include"])
        return inside and not any(_under(module, name) for name in self.hand.get("exclude", ()))

    def _has(self, wheel: Wheel, full: str, row: dict[str, Any]) -> bool:
        """Tell whether the wheel has what a hand-written grant names: in its Python source, or as an extension."""
        front, _, name = full.rpartition(".")
        world = World([wheel])
        module = wheel.module(front)
        if module is not None:
            tables = (module.classes, module.functions, module.assigned, module.imports)
            if any(name in table for table in tables):
                return True
            if any(world.qualify(module, name) != name for _ in module.stars):
                return True
        if front in wheel.extensions:
            text = row.get("seen", name).encode()
            path = next(file for file in wheel.files if file.replace("/", ".").startswith(f"{front}."))
            return text in wheel.zip.read(path)
        return bool(row.get("unseen")) and front in (*wheel.paths, *row["unseen"])


def _under(module: str, front: str) -> bool:
    return module == front or module.startswith(f"{front}.")


def expanded(pattern: str) -> list[str]:
    """Write out `a.{b,c}.d` as `a.b.d`, `a.c.d`."""
    front, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    middle, _, back = rest.partition("}")
    return [full for word in middle.split(",") for full in expanded(f"{front}{word}{back}")]


def _open(folder: Path, pin: dict[str, str]) -> Wheel:
    path = folder / pin["file"]
    if not path.is_file():
        raise SystemExit(f"{path.name} is not in {folder}\n  help: run again with --fetch")
    wheel = Wheel(path)
    if wheel.sha256 != pin["sha256"]:
        raise SystemExit(f"{path.name} is not the file that was pinned")
    return wheel


def document(library: Library, granted: dict[str, tuple[str, list[str]]]) -> dict[str, Any]:
    """Return the profile as it is shipped."""
    versions = [wheel.version for wheel in library.wheels] or library.hand.get("versions", [])
    kinds = {kind: KINDS[kind] for kind in sorted({kind for kind, _ in granted.values()}) if kind in KINDS}
    for number, row in enumerate(library.hand.get("grant", ())):
        if "kind" not in row:
            kinds[f"hand-{number + 1}"] = {
                key: row[key]
                for key in ("new", "calls", "build", "items", "key", "made", "why")
                if key in row
            }
    grants: dict[str, dict[str, str]] = {}
    for full, (kind, found) in sorted(granted.items()):
        front, _, name = full.rpartition(".")
        note = (
            ""
            if found == versions or not found
            else f" {found[0]}" + (f" to {found[-1]}" if len(found) > 1 else "")
        )
        grants.setdefault(front, {})[name] = kind + note
    return {
        "schema": "weighbridge.profile/1",
        "library": library.name,
        "versions": versions,
        "sources": {wheel.path.name: wheel.sha256 for wheel in library.wheels},
        "trusted": [
            {"classes": row["classes"], "accepts": row.get("accept", []), "why": row["why"]}
            for row in (*library.hand.get("trust", ()), *library.hand.get("base", ()))
        ],
        "kinds": kinds,
        "grants": grants,
    }


def written(content: dict[str, Any]) -> str:
    """Return the file's text: one module a line, so that a difference can be read."""
    head = {key: value for key, value in content.items() if key != "grants"}
    lines = json.dumps(head, indent=1, ensure_ascii=True)[:-2]
    rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in content["grants"].items()]
    return lines + ',\n "grants": {\n' + ",\n".join(rows) + "\n }\n}\n"


def fetch(pins: dict[str, Any], folder: Path) -> None:
    """Ask pip for each pinned wheel that is missing; its digest is checked when it is opened."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in pins.items():
        for pin in rows:
            if not (folder / pin["file"]).is_file():
                command = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                ]
                platforms = [f"--platform={tag}" for tag in pin["file"][:-4].split("-")[-1].split(".")]
                tag = pin["file"].split("-")[-3]
                python = pin.get("python", tag[2:] if tag.startswith("cp") else "311")
                command += [
                    *platforms,
                    f"--python-version={python}",
                    f"--dest={folder}",
                    f"{name}=={pin['version']}",
                ]
                subprocess.run(command, check=True)


def index(names: list[str]) -> dict[str, Any]:
    """Return which file answers for which first part of a module name."""
    roots: dict[str, str] = {}
    for name in names:
        content = json.loads((TARGET / f"{name}.json").read_text(encoding="utf-8"))
        for module in content["grants"]:
            root = module.partition(".")[0]
            if roots.setdefault(root, f"{name}.json") != f"{name}.json":
                raise SystemExit(f"{root} stands in two profiles")
    return {"schema": "weighbridge.profiles/1", "roots": dict(sorted(roots.items()))}


def main() -> int:
    """Derive the profiles asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--why", help="say what becomes of the names that contain this text")
    parser.add_argument("library", nargs="*")
    asked = parser.parse_args()
    pins = json.loads((HAND / "pins.json").read_text(encoding="utf-8"))
    every = sorted(path.stem for path in HAND.glob("*.toml"))
    if asked.fetch:
        fetch(pins, asked.wheels)
    for name in asked.library or every:
        library = Library(name, pins, asked.wheels)
        if asked.why:
            for wheel in library.wheels:
                rows = library._version(wheel, World([wheel, *library.beside], library.aliases))  # noqa: SLF001  one program
                for full, kind in rows.items():
                    if asked.why in full:
                        print(wheel.version, full, kind)
            continue
        granted, reasons = library.derive()
        text = written(document(library, granted))
        (TARGET / f"{name}.json").write_text(text, encoding="utf-8")
        kinds = Counter(kind for kind, _ in granted.values())
        print(
            f"{name}: {len(granted)} granted {dict(kinds.most_common())}, {sum(reasons.values())} refused, {len(text)} bytes"
        )
        for reason, count in reasons.most_common(12):
            print(f"  {count:5} {reason[:180]}")
    if not asked.why:
        done = [name for name in every if (TARGET / f"{name}.json").is_file()]
        (TARGET / "index.json").write_text(json.dumps(index(done), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
