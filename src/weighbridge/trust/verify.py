"""From a stranger's bytes to belief: what a bundle proves, held against who may say such a thing. No input, no output, no clock.

| step | check | by |
|---|---|---|
| 1 | `identity.known` | the authority: a key it does not name, or a certificate nobody here expects, is a stranger's |
| 2 | `identity.role` | the authority: who may do this, in this project |
| 3 | the checks of `prove` | signature, certificate, logs, timestamps, witnesses, as much as the authority demands of this signer |
| 4 | `identity.time` | the authority: every proven moment lies in the signer's interval; without one, now does |
| 5 | `statement.form` | in-toto Statement v1, read only now that it is believed |

Any step that does not hold raises VerificationFailed with its check. The bundle's own words select a signer and
nothing else: key, log, certificate authority and the amount of proof are the authority's. Who is expected by several
entries of the authority at once owes what the strictest of them asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.evidence import Proven
from weighbridge.core.identity import Identity
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.core.tier import Role
from weighbridge.ledger.checkpoint import parse_checkpoint, verify_checkpoint
from weighbridge.ledger.merkle import verify_consistency
from weighbridge.trust.authority import Authority, AuthorityIdentity
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.certificates import signer_of
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.expect import named
from weighbridge.trust.proof import Proof, Signer
from weighbridge.trust.prove import SKEW, prove, verify_one_signature

__all__ = [
    "SKEW",
    "Verified",
    "verify_bundle",
    "verify_envelope",
    "verify_log_extension",
    "verify_signed",
    "who_signed",
]


@dataclass(frozen=True, slots=True)
class Verified:
    """A statement that was believed, what was proven of it, and its exact bytes."""

    statement: Statement
    proven: Proven
    payload: bytes


def verify_bundle(
    bundle: Bundle, *, authority: Authority, project: str, role: Role, now: datetime
) -> Verified:
    """Return the statement in a bundle after all steps; raises VerificationFailed naming the step."""
    proven = verify_signed(
        bundle, authority=authority, project=project, role=role, now=now, payload_type=PAYLOAD_TYPE
    )
    # 5. The payload is a claim about digests (in-toto Statement v1), read only now that it is believed.
    statement = Statement.decode(bundle.envelope.payload)
    said = replace(proven, predicate_type=statement.predicate_type)
    return Verified(statement, said, bundle.envelope.payload)


def verify_signed(
    bundle: Bundle, *, authority: Authority, project: str, role: Role, now: datetime, payload_type: str
) -> Proven:
    """Run steps 1 to 4 for a payload of any type; raises VerificationFailed naming the step."""
    # 1. Somebody the authority knows. Nothing is believed yet: this selects whom the rest is held against.
    known = _named(bundle, authority)
    if not known:
        raise _stranger(bundle, authority)
    # 2. The authority names one of them for this role in this project.
    holders = [one for one in known if authority.may(one.name, role, project)]
    if not holders:
        name = known[0].name
        raise VerificationFailed(
            f"{name} may not sign as {role.value}",
            cause=f"the authority gives this role in {project!r} to others",
            remedy=f"let one of them sign, or give the role: weighbridge trust add {name}",
            check="identity.role",
        )
    # 3. That signer signed this, and brings as much proof as is demanded of it.
    proof = prove(
        bundle,
        roots=authority.material,
        demand=_strictest([one.evidence for one in known]),
        now=now,
        key_pem=known[0].pem or None,
        payload_type=payload_type,
    )
    identity = holders[0]
    # 4. The signer was in force whenever this is known to have existed.
    for moment in [time.moment for time in proof.times] or [now]:
        _check_time(identity, moment)
    return _proven(bundle, identity, proof)


def who_signed(bundle: Bundle, authority: Authority) -> Identity:
    """Return the identity that a bundle *claims* signed it, for messages about a bundle that was refused.

    Nothing is verified. The name is the authority's for that signer, empty for a stranger.
    """
    known = _named(bundle, authority)
    name = known[0].name if known else ""
    if not bundle.certificates:
        return Identity(_claimed_key(bundle), name)
    said = _leaf(bundle)
    key = known[0].key if known else _claimed_key(bundle)
    return Identity(key, name, said.issuer, said.subject) if said else Identity(key, name)


def verify_envelope(envelope: Envelope, public_pem: str, payload_type: str) -> bytes:
    """Return the payload of an envelope with exactly one signature, which is by this key, over this type."""
    verify_one_signature(envelope, public_pem, payload_type)
    return envelope.payload


def verify_log_extension(
    old_checkpoint: str, new_checkpoint: str, proof: Sequence[bytes], log_pem: str
) -> None:
    """Prove that the log of the new checkpoint only added to that of the old one, which a client pinned.

    Raises VerificationFailed with check log.checkpoint, or log.consistency when the proof (RFC 9162 section
    2.1.4.2) does not hold: the log was then rolled back, rewritten or forked.
    """
    origin = parse_checkpoint(old_checkpoint)[0].origin
    old = verify_checkpoint(old_checkpoint, origin=origin, public_pem=log_pem)
    new = verify_checkpoint(new_checkpoint, origin=origin, public_pem=log_pem)
    if not verify_consistency(old.size, new.size, proof, old_root=old.root, new_root=new.root):
        raise VerificationFailed(
            "the log does not extend the one that was pinned",
            cause=f"nothing proves that its {new.size} entries begin with the {old.size} seen before",
            remedy="keep both checkpoints: together they prove that the log was rolled back, rewritten or forked",
            check="log.consistency",
        )


def _named(bundle: Bundle, authority: Authority) -> list[AuthorityIdentity]:
    """Return whom the authority knows under the key, or the names in the certificate, that a bundle shows."""
    if not bundle.certificates:
        identity = authority.identity_for(_claimed_key(bundle))
        return [identity] if identity else []
    said = _leaf(bundle)
    if said is None:
        return []
    return [
        one for one in authority.identities if one.keyless is not None and one.keyless.refusal(said) is None
    ]


def _leaf(bundle: Bundle) -> Signer | None:
    """Return whom the bundle's certificate names, unverified; None for one that names nobody."""
    try:
        return signer_of(bundle.certificates[0])
    except VerificationFailed:
        return None


def _claimed_key(bundle: Bundle) -> Digest:
    """Return the key that a bundle names; a certificate or a free hint stands under its own digest, which no key has."""
    return bundle.key or Digest.of(b"".join(bundle.certificates[:1]) or bundle.hint.encode())


def _stranger(bundle: Bundle, authority: Authority) -> VerificationFailed:
    cause = f"the authority of {authority.registry!r} names no key {_claimed_key(bundle)}"
    if bundle.certificates:
        signer_of(bundle.certificates[0])  # one that names nobody is refused for that, with its own check
        said = who_signed(bundle, authority)
        cause = (
            f"the authority of {authority.registry!r} expects nobody like {said.subject!r} of {said.issuer!r}"
        )
    return VerificationFailed(
        "signed by a stranger",
        cause=cause,
        remedy="have it signed by somebody named, or name this signer: weighbridge trust add",
        check="identity.known",
    )


def _strictest(demands: Sequence[Demand]) -> Demand:
    """Return what meets every one of these demands; an entry in a log must have a proven time."""
    ages = [row.checkpoint_age for row in demands if row.checkpoint_age is not None]
    logs = max(row.logs for row in demands)
    return Demand(
        logs=logs,
        timestamps=max(row.timestamps for row in demands),
        scts=max(row.scts for row in demands),
        times=max(*(row.times for row in demands), 1 if logs else 0),
        witnesses=max(row.witnesses for row in demands),
        checkpoint_age=min(ages, default=None),
    )


def _check_time(identity: AuthorityIdentity, moment: datetime) -> None:
    ended = identity.valid_until is not None and moment > identity.valid_until
    if moment < identity.valid_from or ended:
        until = rfc3339(identity.valid_until) if identity.valid_until else "no end"
        raise VerificationFailed(
            f"{identity.name} was not in force",
            cause=f"signed at {rfc3339(moment)}; in force from {rfc3339(identity.valid_from)} to {until}",
            remedy="have it signed by somebody in force",
            check="identity.time",
        )


def _proven(bundle: Bundle, identity: AuthorityIdentity, proof: Proof) -> Proven:
    first = proof.logs[0] if proof.logs else None
    moments = [time.moment for time in proof.times]
    return Proven(
        signer=Identity(identity.key, identity.name, proof.signer.issuer, proof.signer.subject),
        bundle=bundle.digest,
        predicate_type="",
        log_index=first.index if first else None,
        logged_at=min(moments, default=None) if first else None,
        assurance=proof.assurance,
        certificate={named(number): value for number, value in sorted(proof.signer.claims.items())},
    )
