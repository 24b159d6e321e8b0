"""Remove, one at a time, each condition of the code that decides, and see that a test fails every time.

A mutant is the same file with one thing changed: a guard that never fires, an operand or a filter left
out, a comparison turned round, a call or a row of a table removed. Whoever survives is either a missing test or a
change without effect; the latter are listed with their reason in tools/mutants.accepted. benchmarks/results/mutants.json
keeps what came of each module, with the digests of the source and of the tests it was measured with. Usage:
`python tools/mutants.py [part of a path …]`.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import resource
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ACCEPTED = ROOT / "tools" / "mutants.accepted"
RESULTS = ROOT / "benchmarks" / "results" / "mutants.json"
CPU_SECONDS = 30

# What decides, and the tests that answer for it; a later file is run only where the earlier ones noticed nothing.
_TRUST, _LEDGER, _POLICY = (f"tests/{room}/test_{room}_" for room in ("trust", "ledger", "policy"))
_PROVING = tuple(
    f"{_TRUST}{name}.py"
    for name in ("prove", "inclusion", "witnessed", "certificates", "timestamp", "mutants_limits")
)
_AUTHORITY = tuple(
    f"{_TRUST}{name}.py"
    for name in ("mutants_document", "mutants_authority", "authority_services", "authority")
)
_WALK = tuple(f"tests/claims/test_claims_{name}.py" for name in ("depth", "chain", "explain"))
_READ = tuple(
    f"tests/claims/test_claims_{name}.py" for name in ("conditions", "reports", "predicates", "docs")
)
_RECORDS = tuple(f"tests/claims/test_claims_{name}.py" for name in ("record_conditions", "records"))
TARGETS: dict[str, tuple[str, ...]] = {
    "weighbridge.claims.graph": _WALK,
    "weighbridge.claims.chain": _WALK,
    "weighbridge.claims.explain": (_WALK[-1],),
    "weighbridge.claims.slsa": ("tests/claims/test_claims_slsa.py",),
    "weighbridge.claims.readers": _READ,
    "weighbridge.claims.provenance": _READ,
    "weighbridge.claims.reports": _READ,
    "weighbridge.claims.predicates": (*_READ, *_RECORDS),
    "weighbridge.claims.words": (*_READ, *_RECORDS),
    "weighbridge.claims.records": _RECORDS,
    "weighbridge.claims.results": _RECORDS,
    "weighbridge.claims.settings": _RECORDS,
    "weighbridge.claims.summary": _RECORDS,
    "weighbridge.trust.prove": _PROVING,
    "weighbridge.trust.inclusion": (f"{_TRUST}inclusion.py", *_PROVING),
    "weighbridge.trust.certificates": (f"{_TRUST}certificates.py", *_PROVING),
    "weighbridge.trust.sct": (f"{_TRUST}certificates.py", *_PROVING),
    "weighbridge.trust.timestamp": (f"{_TRUST}timestamp.py", *_PROVING),
    "weighbridge.trust.entries": (f"{_TRUST}inclusion.py", *_PROVING),
    "weighbridge.trust.entry_parts": (f"{_TRUST}inclusion.py", *_PROVING),
    "weighbridge.trust.verify": (f"{_TRUST}verify.py", f"{_TRUST}mutants_verify.py"),
    "weighbridge.trust.artifact": (f"{_TRUST}prove.py",),
    "weighbridge.trust.demand": (f"{_TRUST}mutants_limits.py", *_PROVING, *_AUTHORITY),
    "weighbridge.trust.roots": (f"{_TRUST}inclusion.py", *_PROVING),
    "weighbridge.trust.dsse": (f"{_TRUST}dsse.py", f"{_TRUST}bundle.py"),
    "weighbridge.trust.bundle_form": (f"{_TRUST}mutants_bundle.py", f"{_TRUST}bundle.py", *_PROVING),
    "weighbridge.trust.trusted_root": (f"{_TRUST}trusted_root.py", f"{_TRUST}mutants_roots.py"),
    "weighbridge.trust.expect": (f"{_TRUST}expect.py",),
    "weighbridge.trust.pattern": (f"{_TRUST}mutants_pattern.py", f"{_TRUST}expect.py"),
    "weighbridge.trust.authority": (*_AUTHORITY, f"{_TRUST}verify.py"),
    "weighbridge.trust.authority_form": _AUTHORITY,
    "weighbridge.trust.authority_file": _AUTHORITY,
    "weighbridge.trust.authority_words": _AUTHORITY,
    "weighbridge.trust.authority_keyless": _AUTHORITY,
    "weighbridge.trust.authority_services": _AUTHORITY,
    "weighbridge.ledger.cosignature": (f"{_LEDGER}mutants_cosign.py",),
    "weighbridge.ledger.checkpoint": (f"{_LEDGER}mutants.py", f"{_LEDGER}checkpoint.py"),
    "weighbridge.ledger.merkle": (f"{_LEDGER}mutants.py", f"{_LEDGER}merkle.py"),
    "weighbridge.ledger.shards": (f"{_LEDGER}shards.py", f"{_LEDGER}mutants.py"),
    "weighbridge.policy.floor": (f"{_POLICY}floor.py", f"{_POLICY}floor_removed.py"),
    "weighbridge.policy.judge": (f"{_POLICY}judge.py", f"{_POLICY}exceptions.py"),
    "weighbridge.policy.exceptions": (f"{_POLICY}exceptions.py",),
    "weighbridge.policy.contract": (f"{_POLICY}contract.py",),
    "weighbridge.gate.evidence": ("tests/gate/test_gate_evidence.py",),
    "weighbridge.gate.excuses": ("tests/gate/test_gate_excuses.py",),
    "weighbridge.gate.break_glass": ("tests/gate/test_gate_break_glass.py",),
    "weighbridge.gate.claimed": ("tests/gate/test_gate_claimed.py",),
    "weighbridge.gate.judging": ("tests/gate/test_gate_judging_conditions.py",),
    "weighbridge.registry.approvals": ("tests/registry/test_registry_approvals_conditions.py",),
    "weighbridge.core.exceptions": (f"{_POLICY}exceptions.py",),
}
# Loaded once, before the first fork, so that no mutant pays for them.
WARM = (
    "asn1crypto.tsp",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.x509.verification",
    "numpy",
    "rfc3161_client",
)
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """One changed module: its name, where it differs, and the source to run instead."""

    module: str
    place: str
    """Class and function it is in."""
    line: int
    change: str
    source: str

    @property
    def key(self) -> str:
        """Name the mutant without its line, so that it keeps its name when the file grows."""
        return f"{self.module}{self.place}: {self.change}"


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every mutant of one module."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    nodes, places = list(ast.walk(tree)), _places(tree, "")
    for index, node in enumerate(nodes):
        for choice in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[index]
            what = _changes(target)[choice]
            what.apply()
            source = ast.unparse(ast.fix_missing_locations(changed))
            yield Mutant(module, places[node], getattr(node, "lineno", 0), what.text, source)


def _places(node: ast.AST, place: str) -> dict[ast.AST, str]:
    """Return for each node the class and function it stands in."""
    found = {node: place}
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        place = f"{place}.{node.name}"
    for inner in ast.iter_child_nodes(node):
        found |= _places(inner, place)
    return found


@dataclass(frozen=True)
class _Change:
    """Something that can be done to one node: a description, and where to put what."""

    text: str
    place: ast.AST
    field: str
    value: object

    def apply(self) -> None:
        setattr(self.place, self.field, self.value)


def _changes(node: ast.AST) -> list[_Change]:
    """Return what can be changed at one node; the same for a copy of it."""
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return []  # never holds
        never = _Change(f"`{ast.unparse(node.test)}` never holds", node, "test", ast.Constant(value=False))
        return [never]
    if isinstance(node, ast.BoolOp):
        return [
            _Change(
                f"`{ast.unparse(node)}` without `{ast.unparse(value)}`",
                node,
                "values",
                _without(node.values, at),
            )
            for at, value in enumerate(node.values)
        ]
    if isinstance(node, ast.Compare):
        return [
            _Change(
                f"`{ast.unparse(node)}` with {type(op).__name__} turned", node, "ops", _turned(node.ops, at)
            )
            for at, op in enumerate(node.ops)
        ]
    if isinstance(node, ast.comprehension):
        return [
            _Change(
                f"`if {ast.unparse(test)}` left out of a comprehension", node, "ifs", _without(node.ifs, at)
            )
            for at, test in enumerate(node.ifs)
        ]
    return _removals(node)


def _removals(node: ast.AST) -> list[_Change]:
    """Return the node without a call that stands alone (a verification step is one), or without a row of a table."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [_Change(f"`{ast.unparse(node)}` left out", node, "value", ast.Constant(value=None))]
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) > 1:
        if not all(isinstance(row, ast.Call) for row in node.elts):
            return []
        return [
            _Change(f"row `{ast.unparse(row)[:60]}` left out", node, "elts", _without(node.elts, at))
            for at, row in enumerate(node.elts)
        ]
    return []


def _without(items: Sequence[ast.AST], at: int) -> list[ast.AST]:
    return [item for index, item in enumerate(items) if index != at]


def _turned(ops: Sequence[ast.cmpop], at: int) -> list[ast.cmpop]:
    return [TURNED[type(op)]() if index == at else op for index, op in enumerate(ops)]


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a mutant's source where the real module is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for one module only."""
        del path, target
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.mutant.module else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the changed source."""
        exec(compile(self.mutant.source, f"<mutant of {self.mutant.module}>", "exec"), module.__dict__)


def survives(mutant: Mutant | None, tests: Sequence[str]) -> bool:
    """Run the tests on a mutant (None: on the real code) in this process; True when they all pass."""
    # A mutant that never ends is noticed: the process is killed (an alarm would fight with pytest's).
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    if mutant is not None:
        sys.meta_path.insert(0, _Instead(mutant))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=60"]
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        return all(pytest.main([*options, one]) == pytest.ExitCode.OK for one in dict.fromkeys(tests))


def _work(mutant: Mutant | None, tests: Sequence[str], answer: Connection) -> None:
    os.chdir(ROOT)
    alive = survives(mutant, tests)
    answer.send(alive)


def forked(mutant: Mutant | None, tests: Sequence[str]) -> tuple[BaseProcess, Connection]:
    """Start the tests in a process of their own; its answer comes through the pipe, or never."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(mutant, tests, send))
    process.start()
    send.close()
    return process, receive


def collected(started: tuple[BaseProcess, Connection]) -> bool:
    """Wait for a process and return whether its tests passed; one that died noticed something."""
    process, receive = started
    try:
        alive = bool(receive.recv())
    except EOFError:
        alive = False
    process.join()
    return alive


def accepted() -> dict[str, str]:
    """Return the mutants that change nothing, by key, with the reason."""
    lines = ACCEPTED.read_text(encoding="utf-8").splitlines() if ACCEPTED.exists() else []
    rows = [line.split(" || ") for line in lines if line and not line.startswith("#")]
    return {key: reason for key, reason in rows}  # noqa: C416 (each row is a pair or a mistake)


def examine(module: str, tests: Sequence[str], known: dict[str, str]) -> tuple[int, list[Mutant]]:
    """Return how many mutants a module has and which survived without being accepted."""
    if not collected(forked(None, tests)):
        raise SystemExit(f"the tests of {module} fail without any mutant: {' '.join(tests)}")
    every = list(mutants(module))
    todo = [mutant for mutant in reversed(every) if mutant.key not in known]
    running: dict[Connection, tuple[Mutant, BaseProcess]] = {}
    alive = []
    while todo or running:
        while todo and len(running) < (os.cpu_count() or 1):
            mutant = todo.pop()
            process, answer = forked(mutant, tests)
            running[answer] = (mutant, process)
        ended = wait(list(running))
        for answer in [one for one in running if one in ended]:
            mutant, process = running.pop(answer)
            if collected((process, answer)):
                alive.append(mutant)
    return len(every), sorted(alive, key=lambda mutant: mutant.line)


def record(module: str, tests: Sequence[str], row: dict[str, object]) -> None:
    """Keep what came of a module beside what came of the others."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))["modules"] if RESULTS.exists() else {}
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    row |= {
        "source": _digest([Path(spec.origin)]),
        "tests": _digest([ROOT / one for one in dict.fromkeys(tests)]),
    }
    kept = {name: kept[name] for name in kept if name in TARGETS} | {module: row}
    document = {"schema": "weighbridge.mutants/1", "modules": dict(sorted(kept.items()))}
    RESULTS.write_text(f"{json.dumps(document, indent=1, sort_keys=True)}\n", encoding="utf-8")


def _digest(paths: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def main(words: Sequence[str]) -> int:
    """Examine every target whose name holds one of the words; 1 when a mutant survived."""
    for name in WARM:
        importlib.import_module(name)
    known = accepted()
    total = survived = 0
    unknown = set(known)
    for module, tests in TARGETS.items():
        if words and not any(word in module for word in words):
            continue
        keys = [mutant.key for mutant in mutants(module)]
        unknown -= set(keys)
        count, alive = examine(module, tests, known)
        found = {"mutants": count, "accepted": sum(key in known for key in keys)}
        record(module, tests, found | {"survived": [mutant.key for mutant in alive]})
        total, survived = total + count, survived + len(alive)
        print(f"{module}: {count} mutants, {len(alive)} survived", flush=True)
        for mutant in alive:
            print(f"  line {mutant.line}: {mutant.change}", flush=True)
    print(f"{total} mutants, {survived} survived, {len(known)} accepted as changing nothing")
    for key in () if words else sorted(unknown):
        print(f"accepted, and there is no such mutant: {key}")
    return 1 if survived or not total or (unknown and not words) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
