"""Compose what a model owes: its own terms and those of everything it came from, and what does not fit together.

Pure: values in, findings out. Where a licence offers a choice (OR), every combination is tried and the one that works
best is taken and said; with too many to try, each licence gives its lightest branch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weighbridge.bom.licence_rules import RULES, Case, Row
from weighbridge.bom.licence_walk import Link, Reach, reach
from weighbridge.bom.licence_words import (
    CARRIES,
    LIKELY,
    OUTPUTS,
    Alternative,
    Composition,
    Duty,
    Effect,
    LicenceFinding,
    Obligation,
    Standing,
)
from weighbridge.core.digest import Digest

MAX_CHOICES = 512
"""Combinations of alternatives that are tried; beyond, each licence gives its lightest branch."""


def compose(root: Digest, standings: Mapping[Digest, Standing], links: Iterable[Link]) -> Composition:
    """Return what `root` owes and what does not fit, over all its ancestors.

    A node without a standing says nothing of licences itself (weights, whose models speak for them) and lets through what
    is above it. The order of links, and of alternatives, changes nothing.
    """
    reached = reach(root, links, standings)
    met = [root, *dict.fromkeys(row.node for row in reached)]
    choices = {
        node: sorted(standings[node].alternatives, key=_weight)
        for node in met
        if node in standings and standings[node].alternatives
    }
    open_ = [node for node, alternatives in choices.items() if len(alternatives) > 1]
    picks = _picks([choices[node] for node in open_])
    tried = []
    for pick in picks:
        taken = {node: alternatives[0] for node, alternatives in choices.items()} | dict(
            zip(open_, pick, strict=True)
        )
        tried.append(_judge(_Question(root, standings, reached, taken)))
    best = min(tried, key=_score)
    words = tuple((node, _text(best.taken[node])) for node in open_)
    return Composition(best.obligations, best.findings, words, _inherited(best.case))


def _picks(open_: Sequence[Sequence[Alternative]]) -> list[tuple[Alternative, ...]]:
    count = 1
    for alternatives in open_:
        count *= len(alternatives)
        if count > MAX_CHOICES:
            return [tuple(alternatives[0] for alternatives in open_)]
    return list(itertools.product(*open_))


@dataclass(frozen=True, slots=True)
class _Question:
    root: Digest
    standings: Mapping[Digest, Standing]
    reached: tuple[Reach, ...]
    taken: Mapping[Digest, Alternative]


@dataclass(frozen=True, slots=True)
class _Answer:
    case: Case
    taken: Mapping[Digest, Alternative]
    obligations: tuple[Obligation, ...]
    findings: tuple[LicenceFinding, ...]


def _judge(asked: _Question) -> _Answer:
    standing = asked.standings.get(asked.root)
    own = asked.taken.get(asked.root)
    rows = tuple(
        Row(found, asked.standings[found.node], asked.taken.get(found.node, ()))
        for found in asked.reached
        if found.node in asked.standings
    )
    case = Case(asked.root, standing.label if standing else "", own, rows, standing)
    findings = {finding.fingerprint: finding for rule in RULES for finding in _gravest(rule(case))}
    ordered = sorted(findings.values(), key=lambda f: (f.effect.rank, f.code, str(f.node), f.licences))
    return _Answer(case, asked.taken, tuple(_obligations(case)), tuple(ordered))


def _gravest(findings: Iterable[LicenceFinding]) -> list[LicenceFinding]:
    """Return findings so that of two with one fingerprint the graver stays."""
    return sorted(findings, key=lambda finding: (-finding.effect.rank, -len(finding.path)))


def _obligations(case: Case) -> list[Obligation]:
    """List every duty once for each licence and node it comes from; those with the shortest path first."""
    found: dict[tuple[object, ...], Obligation] = {}
    for licence in case.own or ():
        for term in licence.terms:
            found[term, licence.id, case.root] = Obligation(term, licence.id, case.root, case.label, ())
    for row in case.rows:
        for licence, term in row.flowing():
            path = row.reach.path
            duty = Obligation(term, licence.id, row.reach.node, row.standing.label, path)
            known = found.get((term, licence.id, row.reach.node))
            if known is None or len(path) < len(known.path):
                found[term, licence.id, row.reach.node] = duty
    kept = (o for o in found.values() if o.term.duty is not Duty.NO_FURTHER or not o.path)
    order = list(Duty)
    return sorted(kept, key=lambda o: (order.index(o.term.duty), o.term, o.licence, str(o.node)))


def _inherited(case: Case) -> tuple[str, ...]:
    ways = (CARRIES, LIKELY)
    from_weights = {licence.id for row in case.rows if row.reach.way in ways for licence in row.licences}
    by_outputs = {
        licence.id for row in case.rows if row.reach.way == OUTPUTS for licence, _term in row.flowing()
    }
    return tuple(sorted(from_weights | by_outputs))


def _score(answer: _Answer) -> tuple[int, int, int, str]:
    effects = [finding.effect for finding in answer.findings]
    words = " ".join(f"{node} {_text(taken)}" for node, taken in sorted(answer.taken.items()))
    return (effects.count(Effect.BLOCK), effects.count(Effect.WARN), len(answer.obligations), words)


def _weight(alternative: Alternative) -> tuple[int, int, str]:
    terms = [term for licence in alternative for term in licence.terms]
    return (sum(term.duty is Duty.REVIEW for term in terms), len(terms), _text(alternative))


def _text(alternative: Alternative) -> str:
    return " AND ".join(sorted(licence.id for licence in alternative))
