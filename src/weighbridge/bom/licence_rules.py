"""The rules by which licences fit together or do not: one small function each, from a case to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weighbridge.bom.licence_walk import Reach
from weighbridge.bom.licence_words import (
    CARRIES,
    DATA,
    LIKELY,
    NUMERIC,
    OUTPUTS,
    PART,
    Alternative,
    Duty,
    Effect,
    Licence,
    LicenceFinding,
    Standing,
    Term,
)
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation

BINDING = (Duty.NON_COMMERCIAL, Duty.USE)
PASSED_ON = (Duty.NAME_PREFIX, Duty.DISPLAY, Duty.MONTHLY_USERS, Duty.REVENUE, Duty.TERRITORY, Duty.HOSTING)
OF_DATA = (Duty.NON_COMMERCIAL, Duty.SHARE_ALIKE, Duty.NO_DERIVATIVES, Duty.REVIEW)
OF_PARTS = (*OF_DATA, Duty.USE)


@dataclass(frozen=True, slots=True)
class Row:
    """One ancestor with the licences taken for it."""

    reach: Reach
    standing: Standing
    licences: Alternative

    @property
    def carried(self) -> bool:
        """Whether its weights are, or are likely to be, in the model."""
        return self.reach.way in (CARRIES, LIKELY)

    def binding(self) -> tuple[Licence, ...]:
        """Return those of its licences that reach the model as a whole."""
        if self.carried:
            return self.licences
        if self.reach.way == OUTPUTS:
            return tuple(licence for licence in self.licences if licence.has(Duty.OUTPUT_DERIVATIVES))
        return ()

    def flowing(self) -> Iterator[tuple[Licence, Term]]:
        """Yield the terms that reach the model; a ban on further restrictions binds whoever passes it on, not below."""
        whole = self.binding()
        for licence in self.licences:
            for term in licence.terms:
                by_outputs = self.reach.way == OUTPUTS and term.outputs
                if (licence in whole or by_outputs) and term.duty is not Duty.NO_FURTHER:
                    yield licence, term


@dataclass(frozen=True, slots=True)
class Case:
    """A model with its own licences (None: it names none) and everything above it."""

    root: Digest
    label: str
    own: Alternative | None
    rows: tuple[Row, ...]
    said: Standing | None = None

    def bound(self) -> Iterator[tuple[Row, Licence]]:
        """Yield each licence that reaches the model as a whole, with where it comes from."""
        for row in self.rows:
            for licence in row.binding():
                yield row, licence

    def finding(
        self, code: str, effect: Effect, row: Row | None, licences: tuple[str, ...], message: str,
        *, remedy: str, sections: tuple[str, ...] = (),
    ) -> LicenceFinding:  # fmt: skip
        """Make a finding; what is only said or likely blocks nothing."""
        if row is None:
            return LicenceFinding(
                code, effect, message, remedy, self.root, self.root, self.label, licences, sections
            )
        if row.reach.weak and effect is Effect.BLOCK:
            effect, message = Effect.WARN, f"{message} (by a link that nobody here has proven)"
        return LicenceFinding(
            code, effect, message, remedy, self.root, row.reach.node, row.standing.label, licences, sections,
            row.reach.path,
        )  # fmt: skip


def laundering(case: Case) -> Iterator[LicenceFinding]:
    """Find a declared licence that is weaker than one inherited: non-commercial, use, share-alike."""
    if case.own is None:
        return
    ours = " AND ".join(licence.id for licence in case.own)
    for row, licence in case.bound():
        missing = [duty for duty in BINDING if licence.has(duty) and not _any(case.own, duty)]
        if missing:
            words = " and ".join(duty.value for duty in missing)
            yield case.finding(
                "LICENCE_LAUNDERING", Effect.BLOCK, row, (licence.id,),
                f"{ours} drops {words} of {licence.id}, under which {row.standing.label} stands",
                remedy=_keep(licence), sections=(licence.sections(*missing),),
            )  # fmt: skip
        elif licence.has(Duty.SHARE_ALIKE) and not _any(case.own, Duty.SHARE_ALIKE):
            allowed = {licence.id, *licence.shares_into} & {own.id for own in case.own}
            if not allowed:
                yield case.finding(
                    "LICENCE_LAUNDERING", Effect.WARN, row, (licence.id,),
                    f"{ours} is not the share-alike licence {licence.id} of {row.standing.label}",
                    remedy=_keep(licence), sections=(licence.sections(Duty.SHARE_ALIKE),),
                )  # fmt: skip


def no_derivatives(case: Case) -> Iterator[LicenceFinding]:
    """Find a work made of one whose licence allows none; a mere change of format may be excepted by its text."""
    for row, licence in case.bound():
        changed = row.reach.changed
        if not licence.has(Duty.NO_DERIVATIVES) or not changed:
            continue
        only_format = bool(licence.format_change) and set(changed) == {Relation.CONVERSION}
        sections = (licence.sections(Duty.NO_DERIVATIVES),)
        message = f"{licence.id} of {row.standing.label} lets nobody pass on what is made of it ({changed[0].value})"
        if only_format:
            sections = (f"{licence.id} {licence.format_change}",)
            message = (
                f"{licence.id} of {row.standing.label} allows no adaptation; a change of format alone is none"
            )
        yield case.finding(
            "NO_DERIVATIVES", Effect.WARN if only_format else Effect.BLOCK, row, (licence.id,), message,
            remedy="keep it inside, or ask its licensor for another licence", sections=sections,
        )  # fmt: skip


def not_carried(case: Case) -> Iterator[LicenceFinding]:
    """Find duties about names, users, revenue, territory or hosting that the declared licence does not have."""
    if case.own is None:
        return
    for row, licence in case.bound():
        missing = tuple(
            dict.fromkeys(
                term.duty for term in licence.terms if term.duty in PASSED_ON and not _covers(case.own, term)
            )
        )
        if missing:
            yield case.finding(
                "OBLIGATION_NOT_CARRIED", Effect.WARN, row, (licence.id,),
                f"the declared licence says nothing of {', '.join(duty.value for duty in missing)},"
                f" which {licence.id} of {row.standing.label} asks for",
                remedy=_keep(licence), sections=(licence.sections(*missing),),
            )  # fmt: skip


def incompatible(case: Case) -> Iterator[LicenceFinding]:
    """Find two licences that cannot hold for one work."""
    met: dict[str, tuple[Row | None, Licence]] = {}
    for licence in case.own or ():
        met[licence.id] = (None, licence)
    for row, licence in case.bound():
        known = met.get(licence.id)
        if known is None or (known[0] is not None and known[0].reach.weak and not row.reach.weak):
            met[licence.id] = (row, licence)
    for one, first in met.values():
        for other, second in met.values():
            reason, duties = _clash(first, second)
            if not reason:
                continue
            where = next((r for r in (other, one) if r is not None and r.reach.weak), other or one)
            yield case.finding(
                "INCOMPATIBLE", Effect.BLOCK, where, tuple(sorted((first.id, second.id))), reason,
                remedy="use only one of the two, or ask a licensor for another licence",
                sections=(first.sections(*duties), second.sections(*duties)),
            )  # fmt: skip
    yield from _share_alike(case, [(row, licence) for row, licence in met.values()])


def _clash(first: Licence, second: Licence) -> tuple[str, tuple[Duty, ...]]:
    """Say why two licences cannot stand together, seen from the first; empty when they can."""
    duties = (Duty.NO_FURTHER, *BINDING)
    if first.has(Duty.NO_FURTHER) and not second.has(Duty.NO_FURTHER) and second.has(*BINDING):
        return f"{first.id} lets nobody add restrictions, and {second.id} adds some", duties
    if second.id in first.conflicts:
        return f"{first.id} cannot be combined with {second.id}", duties
    return "", ()


def _share_alike(case: Case, met: list[tuple[Row | None, Licence]]) -> Iterator[LicenceFinding]:
    """Find share-alike licences of which each wants the whole and none lets it pass to another one here."""
    shares = [(row, licence) for row, licence in met if licence.has(Duty.SHARE_ALIKE)]
    for _row, target in shares:
        if all(target.id in (licence.id, *licence.shares_into) for _, licence in shares):
            return
    if len(shares) < 2:
        return
    names = tuple(sorted(licence.id for _, licence in shares))
    rows = [row for row, _ in shares if row is not None]
    row = next((row for row in rows if row.reach.weak), rows[-1] if rows else None)
    yield case.finding(
        "INCOMPATIBLE", Effect.BLOCK, row, names,
        f"each of {', '.join(names)} wants the whole under itself, and none lets it pass to another of these",
        remedy="use only one of them, or ask a licensor for another licence",
        sections=tuple(licence.sections(Duty.SHARE_ALIKE) for _, licence in shares),
    )  # fmt: skip


def output_training(case: Case) -> Iterator[LicenceFinding]:
    """Find training on outputs that their licence forbids; models of the same licence are excepted where it says so."""
    kin = {licence.id for row, licence in case.bound() if row.carried} | {o.id for o in case.own or ()}
    for row in case.rows:
        if row.reach.way != OUTPUTS:
            continue
        for licence in row.licences:
            for term in licence.of(Duty.OUTPUTS):
                excepted = "except-own" in term.value and licence.id in kin
                yield case.finding(
                    "OUTPUT_TRAINING", Effect.NOTE if excepted else Effect.BLOCK, row, (licence.id,),
                    f"it learned from outputs of {row.standing.label}, and {licence.id} forbids that"
                    + (" except for its own derivatives, of which this is one" if excepted else ""),
                    remedy="train it without those outputs, or ask the licensor",
                    sections=(licence.sections(Duty.OUTPUTS),),
                )  # fmt: skip


def dataset_terms(case: Case) -> Iterator[LicenceFinding]:
    """Warn of data whose terms may reach the weights: non-commercial, share-alike, no derivatives, unknown."""
    unknown = []
    for row in case.rows:
        if row.reach.way != DATA:
            continue
        for licence in row.licences:
            duties = tuple(duty for duty in OF_DATA if licence.has(duty))
            if Duty.REVIEW in duties:
                unknown.append(row)
            elif duties and not licence.results_free:
                words = ", ".join(duty.value for duty in duties)
                yield case.finding(
                    "DATASET_TERMS", Effect.WARN, row, (licence.id,),
                    f"it learned from {row.standing.label}, which is {words} ({licence.id}); what that means for weights is unsettled",
                    remedy="have a lawyer look at it, or train without it", sections=(licence.sections(*duties),),
                )  # fmt: skip
    if unknown:
        labels = sorted({row.standing.label for row in unknown})
        shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
        yield case.finding(
            "DATASET_TERMS", Effect.WARN, unknown[0], ("NOASSERTION",),
            f"no licence is known of {len(labels)} set(s) of data it learned from: {shown}",
            remedy="conclude them: weighbridge licence conclude name:ORG/NAME LICENCE --reason … (or its digest)",
        )  # fmt: skip


def tokenizer_terms(case: Case) -> Iterator[LicenceFinding]:
    """Warn of a tokenizer under terms: its files are passed on with the model."""
    for row in case.rows:
        if row.reach.way != PART:
            continue
        for licence in row.licences:
            duties = tuple(duty for duty in OF_PARTS if licence.has(duty))
            if duties:
                yield case.finding(
                    "TOKENIZER_TERMS", Effect.WARN, row, (licence.id,),
                    f"its tokenizer comes from {row.standing.label} under {licence.id}"
                    f" ({', '.join(duty.value for duty in duties)})",
                    remedy="pass those terms on with the tokenizer's files, or use another tokenizer",
                    sections=(licence.sections(*duties),),
                )  # fmt: skip


def naming(case: Case) -> Iterator[LicenceFinding]:
    """Warn when more than one duty about the name holds; a name that begins with the longer serves the shorter too."""
    asked: dict[str, tuple[Row | None, str, Term]] = {}
    for row, licence, term in _all_terms(case):
        if term.duty in (Duty.NAME_PREFIX, Duty.DISPLAY):
            asked.setdefault(f"{term.duty.value} {term.value}", (row, licence.id, term))
    names = sorted(term.value for _, _, term in asked.values() if term.duty is Duty.NAME_PREFIX)
    clash = [name for name in names if not names[-1].startswith(name)]
    shown = sorted(term.value for _, _, term in asked.values() if term.duty is Duty.DISPLAY)
    licences = tuple(sorted({licence for _, licence, _ in asked.values()}))
    if not clash and (len(shown) < 2 or len(licences) < 2):
        return
    row = next((row for row, _, _ in asked.values() if row is not None), None)
    both = (
        f"a name cannot begin with {' and with '.join(names)}"
        if clash
        else f"all of these must be shown: {'; '.join(shown)}"
    )
    yield case.finding(
        "NAMING_CONFLICT", Effect.WARN, row, licences, both,
        remedy="ask the licensors" if clash else "show each of them where its licence says",
    )  # fmt: skip


def bespoke(case: Case) -> Iterator[LicenceFinding]:
    """Warn when more than one agreement of a company's own holds: nobody wrote them to fit each other."""
    met: dict[str, Row | None] = {licence.id: None for licence in case.own or () if _special(licence)}
    for row, licence in case.bound():
        if _special(licence):
            met.setdefault(licence.id, row)
    if len(met) > 1:
        names = tuple(sorted(met))
        yield case.finding(
            "MULTIPLE_BESPOKE_AGREEMENTS", Effect.WARN, next((r for r in met.values() if r), None), names,
            f"{len(names)} agreements hold at once: {', '.join(names)}",
            remedy="have a lawyer read them against each other",
        )  # fmt: skip


def unknown(case: Case) -> Iterator[LicenceFinding]:
    """Find what nobody knows the licence of: the model itself, and weights on which it is surely built."""
    remedy = "read its licence, then: weighbridge licence conclude MODEL LICENCE --reason …"
    for licence in case.own or ():
        if licence.has(Duty.REVIEW):
            yield case.finding(
                "UNKNOWN_LICENCE", Effect.BLOCK, None, (licence.id,),
                f"no licence is known that it could be used under ({licence.id})", remedy=remedy,
            )  # fmt: skip
    for row in case.rows:
        if row.reach.way not in (CARRIES, LIKELY, OUTPUTS):
            continue
        for licence in row.licences:
            if licence.has(Duty.REVIEW):
                sure = row.reach.open and row.reach.way == CARRIES
                yield case.finding(
                    "UNKNOWN_LICENCE", Effect.BLOCK if sure else Effect.WARN, row, (licence.id,),
                    f"no licence is known of {row.standing.label}, which it came from ({licence.id})",
                    remedy="read its licence, then: weighbridge licence conclude name:ORG/NAME LICENCE --reason … (or its digest)",
                )  # fmt: skip


def contradicted(case: Case) -> Iterator[LicenceFinding]:
    """Warn when the licence text in the model and its tag are of different families."""
    if case.said is not None and case.said.against:
        yield case.finding(
            "TAG_CONTRADICTED", Effect.WARN, None, tuple(licence.id for licence in case.own or ()),
            f"text and tag are two licences, and both are taken to hold: {case.said.against}",
            remedy="read both, then: weighbridge licence conclude MODEL LICENCE --reason …",
        )  # fmt: skip


RULES: tuple[Callable[[Case], Iterator[LicenceFinding]], ...] = (
    laundering, no_derivatives, not_carried, incompatible, output_training, dataset_terms, tokenizer_terms, naming,
    bespoke, contradicted, unknown,
)  # fmt: skip


def _all_terms(case: Case) -> Iterator[tuple[Row | None, Licence, Term]]:
    for licence in case.own or ():
        for term in licence.terms:
            yield None, licence, term
    for row in case.rows:
        for licence, term in row.flowing():
            yield row, licence, term


def _any(licences: Alternative, duty: Duty) -> bool:
    return any(licence.has(duty) for licence in licences)


def _covers(licences: Alternative, term: Term) -> bool:
    """Tell whether a licence asks for at least what `term` does; of thresholds the lower is the stricter."""
    for other in (other for licence in licences for other in licence.of(term.duty)):
        if term.duty in NUMERIC and other.value.isdecimal() and term.value.isdecimal():
            if int(other.value) <= int(term.value):
                return True
        elif other.value == term.value:
            return True
    return False


def _special(licence: Licence) -> bool:
    return licence.bespoke and not licence.has(Duty.REVIEW)


def _keep(licence: Licence) -> str:
    return f"pass it on under {licence.id} as well, or build on something else"
