"""Vet a policy before it is used: read it as the engine does, review it, and try it on the canned set.

`vet` tells everything that there is to say (`policy check`); `refuse` raises for what must not be used (`policy use`);
`barred` is the part that the gate repeats whenever it meets a policy for the first time: what makes it open. A policy that
refuses everything only blocks, so that part is not asked again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from weighbridge.core.canonical import JSON
from weighbridge.core.decision import ACTIONS, EngineAnswer, Outcome
from weighbridge.core.errors import BadSetting, CannotTell, Unreachable
from weighbridge.policy.canned import CLASSES, Canned, bad, good
from weighbridge.policy.contract import Hearing
from weighbridge.policy.form import HOUSE, errors, form, hidden
from weighbridge.policy.lint import NOTHING
from weighbridge.policy.review import Remark, review
from weighbridge.policy.settings import PolicyBundle, starter
from weighbridge.policy.syntax import Module

Ask = Callable[[str, Mapping[str, Any]], EngineAnswer]
"""Puts a question to a policy as one about a class."""

_INSTEAD = (
    (r"`if` keyword is required", "this is Rego of before version 1: write `allow if { … }` and `deny contains … if { … }`"),
    (r"`contains` keyword is required", "write `deny contains {…} if { … }`"),
    (r"use of undefined variable `(\S+)` is unsafe", "give {0} a value first (`some {0} in …`, `{0} := …`), or import the package that has it"),
    (r"could not find function (\S+)", "is {0} misspelt? A function of another package needs `import data.weighbridge.…`"),
    (r"invalid character", "outside of texts only ASCII letters may stand: one of these may only look like one"),
    (r"conflicts with rule|multiple (?:different )?(?:outputs|values)|conflict", "one name has two values: write one rule, or `contains` for a set"),
    (r"assignment operator :=", "`:=` gives a name a value; compare with =="),
    (r"cannot be shadowed", "give it another name"),
    (r"requires .* argument|expects .* argument", "ask first whether it is there and of that type: is_string, is_array, is_number"),
    (r"parse datetime|datetime", "times are texts like 2026-01-31T00:00:00Z; predicates.moment is undefined for any other"),
    (r"recursion|recursive", "a rule cannot ask for itself"),
    (r"expect|unexpected|missing", "compare with the shipped rules, or with docs/reference/policy.md"),
)  # fmt: skip


_NEGATED = "do not negate a call or a comparison with a part that may be missing: docs/reference/engines.md"


@runtime_checkable
class Looking(Protocol):
    """An engine that shows how it reads a policy."""

    def look(self, modules: Mapping[str, str]) -> Any:
        """Return the syntax tree of each module; raises CannotTell for what is no Rego, Unreachable when not reached."""
        ...


class Reading(Looking, Protocol):
    """An engine that shows how it reads a policy, and answers."""

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> EngineAnswer:
        """Return the answer to a question."""
        ...


@dataclass(frozen=True, slots=True)
class Vetted:
    """What vetting came to: remarks, and which questions of the canned set the policy allows."""

    remarks: tuple[Remark, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    tried: int

    @property
    def sound(self) -> bool:
        """Whether nothing refuses it."""
        return not errors(self.remarks)

    def to_json(self) -> dict[str, JSON]:
        """Return what vetting came to as JSON."""
        return {
            "sound": self.sound,
            "remarks": [remark.to_json() for remark in self.remarks],
            "tried": self.tried,
            "good_allowed": list(self.good),
            "bad_allowed": list(self.bad),
        }


def vet(bundle: PolicyBundle, engine: Reading, also: Hearing | None = None) -> Vetted:
    """Return everything that there is to say about a policy.

    `also` is the engine that decisions are made with, where that is another one: it is put the same questions, and refuses a
    policy as well. Raises Unreachable when it cannot be asked.
    """
    remarks = [*read({**bundle.modules, **bundle.tests}, engine), *_older(bundle)]
    if errors(remarks):
        return Vetted(tuple(sorted(remarks)), (), (), 0)

    def ask(package: str, question: Mapping[str, Any]) -> EngineAnswer:
        return engine.evaluate(bundle.modules, bundle.data, question, f"data.{HOUSE}.{package}")

    vetted = _tried(bundle, ask, remarks)
    return vetted if also is None or not vetted.sound else _also(bundle, vetted, also)


def refuse(bundle: PolicyBundle, engine: Reading, also: Hearing | None = None) -> Vetted:
    """Return what vetting came to; raises BadSetting with the first error, where there is one, and as `vet`."""
    vetted = vet(bundle, engine, also)
    found = errors(vetted.remarks)
    if found:
        more = f"; and {len(found) - 1} more: weighbridge policy check" if len(found) > 1 else ""
        first = found[0]
        where = f"{first.file}:{first.line}: " if first.line else f"{first.file}: " if first.file else ""
        raise BadSetting(
            "this policy cannot be used",
            cause=f"{where}{first.text}{more}",
            remedy=first.remedy or "write each rule as what must be true, and deny when it is not",
        )
    return vetted


def read(texts: Mapping[str, str], engine: Looking) -> list[Remark]:
    """Return what reading rules shows, without asking them anything; raises Unreachable when the engine is not."""
    remarks = [remark for file, text in texts.items() for remark in hidden(file, text)]
    modules = []
    for file, text in texts.items():
        try:
            modules.append(Module(file, text, engine.look({file: text})[file]))
        except Unreachable:
            raise
        except CannotTell as error:
            remarks.append(_unread(file, error.problem))
    if not errors(remarks):
        remarks += [*form(modules), *review(modules)]
    return remarks


def barred(package: str, ask: Ask) -> str:
    """Say why a policy gets no say about a class: it allows without evidence, or all that is bad; empty when neither."""
    for words, question in NOTHING.items():
        if ask(package, question).outcome is Outcome.PASS:
            return f"data.{HOUSE}.{package} allows {words}"
    rows = bad(package)
    if rows and all(ask(package, row.question).outcome is Outcome.PASS for row in rows):
        return f"data.{HOUSE}.{package} allows all of {len(rows)} models that it must refuse, among them: {rows[0].name}"
    return ""


def _tried(bundle: PolicyBundle, ask: Ask, remarks: list[Remark]) -> Vetted:
    admitted: list[Canned] = []
    let_in: list[Canned] = []
    closest: list[tuple[int, str]] = []
    tried = 0
    for package in CLASSES:
        if not _has(bundle, package):
            continue
        if problem := barred(package, ask):
            remarks.append(Remark(_file(bundle, package), 0, "error", problem, "deny what is not proven"))
        for row in good(package, bundle.settings):
            tried += 1
            answer = ask(package, row.question)
            if answer.outcome is Outcome.PASS:
                admitted.append(row)
            else:
                closest.append((len(answer.denials) + 100 * bool(answer.problem), _why(row, answer)))
                remarks += [_unread(_file(bundle, package), answer.problem)] if answer.problem else []
        remarks += _later(bundle, package, admitted, ask)
        let_in += [row for row in bad(package) if ask(package, row.question).outcome is Outcome.PASS]
        tried += len(bad(package))
    if not admitted:
        remarks.append(_nothing(bundle, closest))
    remarks += [_open(bundle, row) for row in let_in if _stands(row)]
    names = tuple(row.name for row in admitted), tuple(row.name for row in let_in)
    return Vetted(tuple(sorted(set(remarks))), *names, tried)


def _also(bundle: PolicyBundle, vetted: Vetted, also: Hearing) -> Vetted:
    """Add what the engine that decides says of a policy in which the one that reads it finds no error."""

    def ask(package: str, question: Mapping[str, Any]) -> EngineAnswer:
        heard = also.hear(bundle.modules, bundle.data, question, f"data.{HOUSE}.{package}")
        if not heard.well:
            raise Unreachable(
                "the policy engine that decides cannot be asked about this policy",
                cause=heard.answer.problem,
                remedy="weighbridge doctor says more; or look with policy_engine set to regorus",
                check="policy.engine",
            )
        return heard.answer

    again = _tried(bundle, ask, [])
    known = {(remark.file, remark.text) for remark in vetted.remarks}
    more = [
        Remark(row.file, row.line, row.severity, f"{also.digest}: {row.text}", row.remedy)
        for row in again.remarks
        if (row.file, row.text) not in known
    ]
    if not errors(again.remarks):
        more += [
            Remark("", 0, "warning", f"{also.digest} {verb} {name}, and the engine that reads policies does not", _NEGATED)
            for verb, names in (
                ("allows", sorted({*again.good, *again.bad} - {*vetted.good, *vetted.bad})),
                ("refuses", sorted({*vetted.good, *vetted.bad} - {*again.good, *again.bad})),
            )
            for name in names
        ]  # fmt: skip
    both = tuple(name for name in vetted.good if name in again.good)
    either = tuple(dict.fromkeys([*vetted.bad, *again.bad]))
    return Vetted(tuple(sorted({*vetted.remarks, *more})), both, either, vetted.tried + again.tried)


def _later(bundle: PolicyBundle, package: str, admitted: Sequence[Canned], ask: Ask) -> list[Remark]:
    """Say where a policy lets a model be promoted and then not run, or not stay, though nothing about it changed."""
    row = next(
        (row for row in admitted if row.package == package and row.question["action"] == "promote"), None
    )
    if row is None:
        return []
    remarks = []
    for action in ACTIONS[1:]:
        answer = ask(package, {**row.question, "action": action})
        if answer.outcome is not Outcome.PASS:
            text = f"what it lets be promoted it refuses when asked to {action}: {_why(row, answer)}"
            remedy = f"let the rule hold for {action} as well, if that is not what you want"
            remarks.append(Remark(_file(bundle, package), 0, "warning", text, remedy))
    return remarks


def _nothing(bundle: PolicyBundle, closest: list[tuple[int, str]]) -> Remark:
    why = min(closest, default=(0, "it is asked about no class of models"))[1]
    text = f"it allows none of the {len(closest)} models in which nothing is wrong; closest is {why}"
    file = next((_file(bundle, package) for package in CLASSES if _has(bundle, package)), "")
    return Remark(file, 0, "error", text, "correct that rule, or set what it asks for in policy.toml")


def _open(bundle: PolicyBundle, row: Canned) -> Remark:
    text = f"this allows {row.name}, and the floor would let it pass as well"
    return Remark(_file(bundle, row.package), 0, "warning", text, "deny it, if that is not what you want")


def _stands(row: Canned) -> bool:
    """Tell whether the floor has nothing against a question."""
    return all(check["outcome"] == "pass" for check in row.question["floor"])


def _why(row: Canned, answer: EngineAnswer) -> str:
    rules = ", ".join(dict.fromkeys(rule for rule, _ in answer.denials))
    return f"{row.name!r}: {answer.problem or (f'denied by {rules}' if rules else 'not allowed, and no rule says why')}"


def _older(bundle: PolicyBundle) -> Sequence[Remark]:
    """Say where a shared file is not the one that comes with this version."""
    shipped = starter()
    return [
        Remark(name, 0, "warning", "this is not the file that comes with this version", "weighbridge policy starter FOLDER writes it")
        for name in ("predicates.rego", "require.rego")
        if name in bundle.modules and bundle.modules[name].encode() != shipped[name]
    ]  # fmt: skip


def _unread(file: str, problem: str) -> Remark:
    """Make a remark of what the engine refused: where, and what to write instead."""
    said = problem.removeprefix("the policy engine refused: ")
    place = re.match(r"(?P<file>[a-z0-9_]+\.rego):(?P<line>[0-9]+):[0-9]+: ", said)
    if place is not None:
        file, said = place["file"], said[place.end() :]
    for pattern, remedy in _INSTEAD:
        if (match := re.search(pattern, said)) is not None:
            name = match.group(1) if match.groups() else ""
            return Remark(
                file, int(place["line"]) if place else 0, "error", said, remedy.replace("{0}", name)
            )
    return Remark(file, int(place["line"]) if place else 0, "error", said)


def _has(bundle: PolicyBundle, package: str) -> bool:
    return any(_is(text, package) for text in bundle.modules.values())


def _file(bundle: PolicyBundle, package: str) -> str:
    return next((name for name, text in bundle.modules.items() if _is(text, package)), "")


def _is(text: str, package: str) -> bool:
    return (
        re.search(rf"^[ \t]*package[ \t]+{HOUSE}\.{package}[ \t\r]*(?:#.*)?$", text, re.MULTILINE) is not None
    )
