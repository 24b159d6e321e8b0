"""Rules on TorchScript: the program in an archive may use operators that compute with tensors, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.pickle_events import Trace
from weighbridge.formats.torchscript import Program
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo(
        "torchscript-operator",
        "The program uses an operator that nobody has listed as harmless",
        Verdict.DANGEROUS,
    ),
    RuleInfo("torchscript-program", "The file holds a program, not weights alone", Verdict.NOTES),
    RuleInfo("torchscript-code", "The program is not one that torch writes", Verdict.UNLISTED),
)
EXPLAINS: frozenset[str] = frozenset()

_NATIVE = ("quantized", "rnn", "sparse")
_ACTING = ("file", "machines")
_MAX_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Operators:
    """Operators by name (`aten::add`): those that compute with data alone, and those known to do more, with the reason."""

    allowed: frozenset[str]
    withheld: Mapping[str, str]


@cache
def operators() -> Operators:
    """Return the table; `tools/torch_operators.py` makes it."""
    path = resources.files("weighbridge.scanner") / "operators" / "torch.json"
    document: Any = json.loads(path.read_bytes())
    allowed = frozenset(f"{space}::{name}" for space, names in document["allowed"].items() for name in names)
    return Operators(allowed, document["withheld"])


@cache
def _short_names() -> frozenset[str]:
    """Return the short names of operators that are not allowed: none may be reached as an attribute."""
    table = operators()
    return frozenset(
        name.partition("::")[2] for name in table.withheld if name.startswith(("aten::", "prim::"))
    ) - frozenset(name.partition("::")[2] for name in table.allowed)


def judge_program(file: ScannedFile, program: Program) -> Iterator[Finding]:
    """Judge what the sources of one archive would run."""
    table = operators()
    for name, (member, line) in list(program.operators.items())[:100_000]:
        if name not in table.allowed:
            yield of_operator(file, name, member, line)
    for name, (member, line) in program.methods.items():
        if name not in program.defined or name in _short_names():
            yield not_printed(
                file, f"the method {name[:80]}, which the archive does not define", member, line
            )
    for name, (member, line) in program.attributes.items():
        if name in _short_names():
            yield not_printed(file, f"the attribute {name[:80]}, which is an operator", member, line)
    for name, (member, line) in program.classes.items():
        if name.partition(".")[0] not in _NATIVE:
            yield not_printed(file, f"the native class {name[:80]}", member, line)
    for what, member, line in program.odd:
        yield not_printed(file, what, member, line)


def note_program(file: ScannedFile, program: Program) -> Finding:
    """Say that there is a program, and how many operators it uses."""
    return Finding(
        rule="torchscript-program",
        verdict=Verdict.NOTES,
        severity=severity_of(Verdict.NOTES),
        location=file.at(0),
        message=f"the file holds a program that uses {len(program.operators)} operators of torch",
        why="torch compiles and runs it; its operators were compared with the list of those that only compute",
        help="prefer weights as safetensors where the model can be built from its own source",
        subject="program",
    )


def of_operator(file: ScannedFile, name: str, member: str, line: int) -> Finding:
    """Say that an operator is not listed, or what it is known to do."""
    reason = operators().withheld.get(name, "")
    acting = any(word in reason for word in _ACTING)
    verdict = Verdict.DANGEROUS if acting else Verdict.UNLISTED
    shown = printable(name, 80)
    return Finding(
        rule="torchscript-operator",
        verdict=verdict,
        severity=severity_of(verdict),
        location=(file.inside(member, b"") if member else file).at(line),
        message=f"the program uses the operator {shown}, which {reason or 'nobody has listed as harmless'}",
        why="the operators of a program run when the model does, and some of them already when it is loaded",
        help="ask who published it for the weights as safetensors, and build the model from its own source",
        evidence=(f"line {line}: {shown}",) if line else (),
        subject=name[:160],
    )


def native_classes(inside: ScannedFile, one: Trace) -> Iterator[Finding]:
    """Judge the classes of native libraries that the pickle of a program makes objects of."""
    for event in one.events:
        full = f"{event.module}.{event.name}"
        if event.kind == "global" and full.startswith("__torch__.torch.classes."):
            name = full.removeprefix("__torch__.torch.classes.")
            if name.partition(".")[0] not in _NATIVE:
                yield not_printed(inside, f"the native class {name[:80]}", "", event.pos)


def not_printed(file: ScannedFile, what: str, member: str, line: int) -> Finding:
    """Return the finding for something that torch's own writer never writes; `member` is the source it stands in."""
    place = file.inside(member, b"") if member else file
    return Finding(
        rule="torchscript-code",
        verdict=Verdict.UNLISTED,
        severity=severity_of(Verdict.UNLISTED),
        location=place.at(line),
        message=f"the program holds {printable(what)}",
        why="torch compiles and runs the source in the archive; only what its own printer writes is known to be harmless",
        help="ask who published it for the weights as safetensors, and build the model from its own source",
        subject=printable(what),
    )
