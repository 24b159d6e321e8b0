"""Claims that lie beside a model where it came from: handed in as what they are, claims of whoever signed them.

Taken are statements about this model's training, evaluation, packaging and conversion, and about the data that they name,
signed by a key that the authority names or under a certificate. They are logged here, now, and judged like any other: a signer
whose time has ended says nothing new by an old claim. What only a registry itself can say (bills of materials, scans, acceptances,
the gate's word, changes of anything) is never taken from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weighbridge.claims.predicates import Claim, read_claim
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed, WeighbridgeError
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage
from weighbridge.keys.public import key_id_of_pem
from weighbridge.registry import bundles
from weighbridge.registry.models import Model
from weighbridge.registry.outbox import Draft, submit
from weighbridge.registry.wiring import Registry
from weighbridge.trust.bundle import Bundle

TAKEN = (Stage.DATA, Stage.TRAIN, Stage.EVALUATE, Stage.PACKAGE, Stage.CONVERT)
MAX_BYTES = 1024 * 1024
"""Of one claim."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What became of the claims that came along."""

    taken: int
    known: int
    """Kept here already."""
    left: tuple[str, ...]
    """Why each of the others was not taken."""

    def __str__(self) -> str:
        said = f"{self.taken} came along, {self.known} were here already"
        return f"{said}, {len(self.left)} left: {self.left[0]}" if self.left else said

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {"taken": self.taken, "known": self.known, "left": list[JSON](self.left)}


def take_claims(registry: Registry, model: Model, texts: Sequence[bytes | WeighbridgeError]) -> Attached:
    """Hand in what fits among bundles that somebody else kept beside a model; raises what logging raises."""
    left, read = list[str](), list[tuple[Bundle, Claim]]()
    for text in texts:
        try:
            row = _read(text)
        except WeighbridgeError as error:
            left.append(error.problem)
        else:
            read += [row] if row else []
    about = {model.digest, *([model.manifest.weights] if model.manifest.weights else [])}
    about |= {
        parent.digest
        for _, claim in read
        if about & set(claim.about)
        for parent in claim.parents
        if parent.relation is Relation.DATASET
    }
    pems = {key_id_of_pem(one.pem): one.pem for one in registry.authority.identities if one.keyless is None}
    drafts, known = list[Draft](), 0
    with registry.writing():
        here = {_said(bundle) for bundle in bundles.about(registry, sorted(about))}
        for bundle, claim in read:
            try:
                if not about & set(claim.about):
                    raise VerificationFailed("it is about something else", check="statement.subject")
                if _said(bundle) in here:
                    known += 1
                    continue
                drafts.append(_draft(bundle, pems))
            except WeighbridgeError as error:
                left.append(error.problem)
            here.add(_said(bundle))
        if drafts:
            submit(registry, *drafts)
    return Attached(len(drafts), known, tuple(left))


def _read(text: bytes | WeighbridgeError) -> tuple[Bundle, Claim] | None:
    """Read a bundle as the claim it is; None for what only its own registry says: bills, scans, acceptances, the gate's word."""
    if isinstance(text, WeighbridgeError):
        raise text
    bundle = Bundle.from_json(text[: MAX_BYTES + 1])
    claim = read_claim(Statement.decode(bundle.envelope.payload))
    if claim is None:
        raise VerificationFailed("it is no claim of a kind that is known here", check="statement.type")
    return (bundle, claim) if claim.stage in TAKEN else None


def _said(bundle: Bundle) -> tuple[bytes, bytes]:
    """Return what was signed, and the signature: the rest differs from log to log."""
    return bundle.envelope.payload, b"".join(one.sig for one in bundle.envelope.signatures)


def _draft(bundle: Bundle, pems: Mapping[Digest, str]) -> Draft:
    if bundle.certificates:
        return bundles.take_proven(bundle)
    pem = pems.get(bundle.key) if bundle.key else None
    if pem is None:
        raise NotFound(
            "its signer is unknown to this registry's authority",
            remedy="name the signer with `weighbridge trust`",
        )
    return bundles.take(bundle.envelope, pem)
