"""The words of licences: duties, licences, what holds for a thing, and along which relations duties reach a child."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Parentage, Relation


class Duty(StrEnum):
    """What a licence asks of whoever uses or passes on a model. docs/reference/licences.md explains each."""

    ATTRIBUTION = "attribution"
    NON_COMMERCIAL = "non-commercial"
    USE = "use-restrictions"
    SHARE_ALIKE = "share-alike"
    NO_DERIVATIVES = "no-derivatives"
    NO_FURTHER = "no-further-restrictions"
    NAME_PREFIX = "name-prefix"
    DISPLAY = "display"
    MONTHLY_USERS = "monthly-users"
    REVENUE = "revenue"
    OUTPUTS = "outputs"
    OUTPUT_DERIVATIVES = "output-derivatives"
    TERRITORY = "territory"
    HOSTING = "hosting"
    REVIEW = "review"


NUMERIC = (Duty.MONTHLY_USERS, Duty.REVENUE)
"""Duties whose value is a threshold: the lower one is the stricter."""


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """One duty of one licence: its value if it has one, the section it rests on, and what that says in our words.

    `outputs` tells that the section itself names models trained on outputs, so that the duty reaches them even
    where nothing else of the licence does.
    """

    duty: Duty
    value: str = ""
    section: str = ""
    says: str = ""
    outputs: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Licence:
    """One licence text as far as it is known here.

    `shares_into` are licences that a share-alike text itself lets derivatives pass to, `conflicts` those its
    own text cannot stand beside, `format_change` the section by which a change of format makes no derivative,
    `results_free` the section by which what is learned from data is free of its terms.
    """

    id: str
    terms: tuple[Term, ...] = ()
    bespoke: bool = False
    shares_into: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    format_change: str = ""
    results_free: str = ""
    review: bool = False

    def has(self, *duties: Duty) -> bool:
        """Tell whether any of `duties` is among its terms."""
        return any(term.duty in duties for term in self.terms)

    def of(self, duty: Duty) -> tuple[Term, ...]:
        """Return its terms of one duty."""
        return tuple(term for term in self.terms if term.duty is duty)

    def sections(self, *duties: Duty) -> str:
        """Return the sections of `duties`, as `id §…`."""
        found = dict.fromkeys(term.section for term in self.terms if term.duty in duties and term.section)
        return f"{self.id} {', '.join(found)}" if found else self.id


UNKNOWN = Licence("NOASSERTION", (Term(Duty.REVIEW),), review=True)
"""No licence is known: nobody may rely on anything until a person concludes one."""

Alternative = tuple[Licence, ...]
"""Licences that hold together (AND)."""


class Basis(StrEnum):
    """What a licence is known by, from the strongest to the weakest.

    A person concluded it and signed; a licence text in the files says so; its tag or card does; the name of the
    base says so; or nothing does.
    """

    CONCLUDED = "concluded"
    TEXT = "text"
    DECLARED = "declared"
    NAMED = "named"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Standing:
    """Under which licence one node of a lineage stands: the alternatives (OR), as written, and by what.

    No alternatives at all mean that nothing was said and nothing need be: our own work, whose terms are those of
    what it came from. `UNKNOWN` as the only alternative means that something had to be said and was not.
    """

    label: str
    text: str
    alternatives: tuple[Alternative, ...]
    basis: Basis
    place: str = ""
    against: str = ""
    """How text and tag contradict each other, where they do."""


@dataclass(frozen=True, slots=True)
class Flow:
    """How duties pass along one relation, and why we decided so."""

    way: str
    reason: str


CARRIES, OUTPUTS, DATA, PART, LIKELY = "carries", "outputs", "data", "part", "likely"

FLOWS: Mapping[Relation, Flow] = {
    Relation.PACKAGING: Flow(CARRIES, "the model holds the very weights"),
    Relation.SAME_AS: Flow(CARRIES, "it is the same thing under another name"),
    Relation.FINE_TUNE: Flow(CARRIES, "the tuned weights are a modification of the base's"),
    Relation.CONTINUED_PRETRAINING: Flow(
        CARRIES, "training starts from the parent's weights: longer than a fine-tune, and the same in kind"
    ),
    Relation.MERGE: Flow(CARRIES, "each merged parent's weights are part of the sum"),
    Relation.ADAPTER: Flow(CARRIES, "an adapter is trained against the base and works with it only"),
    Relation.QUANTIZATION: Flow(CARRIES, "the same weights in fewer bits"),
    Relation.PRUNING: Flow(
        CARRIES, "what is left after pruning is a part of the parent's weights, unchanged"
    ),
    Relation.CONVERSION: Flow(CARRIES, "the same weights in another format"),
    Relation.DISTILLATION: Flow(
        OUTPUTS, "only a licence that speaks of outputs reaches what learned from them"
    ),
    Relation.DATASET: Flow(
        DATA, "whether terms of data reach the weights learned from it is unsettled: warned of"
    ),
    Relation.TOKENIZER: Flow(PART, "its files lie beside the weights: warned of, the weights are free of it"),
    Relation.SHARED_TENSORS: Flow(
        LIKELY, "the same tensors, but nobody has said which came first: warned of"
    ),
}
"""Every relation has its place here; a test holds the table against the enumeration."""


class Effect(StrEnum):
    """What a finding does by itself: `block` is refused by the starter policy, `warn` and `note` are shown."""

    BLOCK = "block"
    WARN = "warn"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 is the gravest."""
        return list(Effect).index(self)


@dataclass(frozen=True, slots=True)
class Obligation:
    """One duty that a model is under: by which licence and section, from which node, over which edges (none: its own)."""

    term: Term
    licence: str
    node: Digest
    label: str
    path: tuple[Parentage, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `obligations` of `weighbridge.licence/1`."""
        return {
            "duty": self.term.duty.value,
            "value": self.term.value,
            "licence": self.licence,
            "section": self.term.section,
            "says": self.term.says,
            "from": str(self.node),
            "label": self.label,
            "path": [edge.to_json() for edge in self.path],
        }


@dataclass(frozen=True, slots=True)
class LicenceFinding:
    """Something that does not fit: its code, what it does, where, by which licences and over which path."""

    code: str
    effect: Effect
    message: str
    remedy: str
    root: Digest
    node: Digest
    label: str
    licences: tuple[str, ...]
    sections: tuple[str, ...] = ()
    path: tuple[Parentage, ...] = ()

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits, the same as long as code, model, ancestor and licences are: what a waiver names."""
        parts = (self.code, str(self.root), str(self.node), *sorted(self.licences))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def rule(self) -> str:
        """The name a policy gives it: `licence.` and the code in lower case."""
        return f"licence.{self.code.lower().replace('_', '-')}"

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `findings` of `weighbridge.licence/1`."""
        return {
            "code": self.code,
            "rule": self.rule,
            "effect": self.effect.value,
            "fingerprint": self.fingerprint,
            "message": self.message,
            "remedy": self.remedy,
            "from": str(self.node),
            "label": self.label,
            "licences": list(self.licences),
            "sections": list(self.sections),
            "path": [edge.to_json() for edge in self.path],
        }


@dataclass(frozen=True, slots=True)
class Composition:
    """What composing came to: the obligations, the findings, and which alternative was taken where there was a choice."""

    obligations: tuple[Obligation, ...]
    findings: tuple[LicenceFinding, ...]
    chosen: tuple[tuple[Digest, str], ...] = ()
    inherited: tuple[str, ...] = ()
    """The licences that reach the model from its ancestors, sorted."""

    @property
    def blocked(self) -> bool:
        """Whether any finding blocks."""
        return any(finding.effect is Effect.BLOCK for finding in self.findings)
