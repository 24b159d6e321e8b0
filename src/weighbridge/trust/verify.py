"""From a stranger's bytes to belief: the numbered steps that a bundle must pass. No input, no output, no clock.

What is established, and from where each step comes:

| step | check | by |
|---|---|---|
| 1 | `bundle.one-signature` | Sigstore bundle: an envelope in a bundle has exactly one signature |
| 2 | `bundle.payload-type` | DSSE, "Verification": the type is compared before the payload is read |
| 3 | `identity.known` | the authority: a key it does not name is a stranger's |
| 4 | `bundle.signature` | DSSE, "Verification": over PAE(type, payload), under the authority's key |
| 5 | `identity.role` | the authority: who may do this, in this project |
| 6 | `evidence.timestamps`, `evidence.witnesses` | the authority: evidence we cannot verify yet is refused, not waived |
| 7 | `log.entry` | the authority: a bundle cannot choose to stay out of the log |
| 8 | `log.known` | the authority: which log's word is taken |
| 9 | `log.body` | Rekor `dsse/0.0.1`: the entry is of this payload, this signature and this key |
| 10 | `log.timestamp` | Rekor v1 signed entry timestamp: body, time, log and index under the log's key |
| 11 | `log.checkpoint` | C2SP signed note: the tree's size and root under the log's name and key |
| 12 | `log.inclusion` | RFC 9162 section 2.1.3.2: the entry is at that index of that tree |
| 13 | `identity.time` | the authority: the time the log gave lies in the key's interval, and is not ahead of us |
| 14 | `statement.form` | in-toto Statement v1 |

Any step that does not hold raises VerificationFailed with its check; none is skipped, but that 8 to 12 need
an entry. An entry that the authority did not ask for is verified like any other. Without an entry there is
no proven time, and only a key in force now is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed
from weighbridge.core.evidence import Proven
from weighbridge.core.identity import Identity
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.core.tier import Assurance, Role
from weighbridge.keys.public import key_id_of_pem, verify_signature
from weighbridge.ledger.checkpoint import parse_checkpoint, verify_checkpoint
from weighbridge.ledger.entry import promise_message
from weighbridge.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from weighbridge.trust.authority import Authority, AuthorityIdentity
from weighbridge.trust.bundle import KIND, VERSION, Bundle, LogProof
from weighbridge.trust.dsse import Envelope, decode64, describe, pae

SKEW = timedelta(minutes=5)
"""How far the log's clock may be ahead of the verifier's."""

_AGAIN = "fetch the bundle again from the registry that logged it"


@dataclass(frozen=True, slots=True)
class Verified:
    """A statement that was believed, what was proven of it, and its exact bytes."""

    statement: Statement
    proven: Proven
    payload: bytes


def verify_bundle(
    bundle: Bundle, *, authority: Authority, project: str, role: Role, now: datetime
) -> Verified:
    """Return the statement in a bundle after all fourteen steps; raises VerificationFailed naming the step."""
    proven = verify_signed(
        bundle, authority=authority, project=project, role=role, now=now, payload_type=PAYLOAD_TYPE
    )
    # 14. The payload is a claim about digests (in-toto Statement v1), read only now that it is believed.
    statement = Statement.decode(bundle.envelope.payload)
    said = Proven(
        signer=proven.signer,
        bundle=proven.bundle,
        predicate_type=statement.predicate_type,
        log_index=proven.log_index,
        logged_at=proven.logged_at,
        assurance=proven.assurance,
    )
    return Verified(statement, said, bundle.envelope.payload)


def verify_signed(
    bundle: Bundle, *, authority: Authority, project: str, role: Role, now: datetime, payload_type: str
) -> Proven:
    """Run steps 1 to 13 for a payload of any type; raises VerificationFailed naming the step."""
    # 1 to 4. One signature, over a payload of this type, by a key that the authority names.
    identity = _signer(bundle, authority, payload_type)
    # 5. The authority names this identity for this role in this project.
    if not authority.may(identity.name, role, project):
        raise VerificationFailed(
            f"{identity.name} may not sign as {role.value}",
            cause=f"the authority gives this role in {project!r} to others",
            remedy=f"let one of them sign, or give the role: weighbridge trust add {identity.name}",
            check="identity.role",
        )
    # 6, 7. The evidence that the authority demands of this identity is there and can be verified.
    _check_evidence(bundle, identity)
    # 8 to 12. The log has this envelope at this index since this time, and says so.
    entry = bundle.entry
    if entry is not None:
        _check_log(entry, bundle.envelope, identity, authority)
    logged_at = datetime.fromtimestamp(entry.integrated_time, UTC) if entry else None
    # 13. The key was in force when the log took the envelope in.
    _check_time(identity, logged_at, now)
    return Proven(
        signer=Identity(identity.key, identity.name),
        bundle=bundle.digest,
        predicate_type="",
        log_index=entry.index if entry else None,
        logged_at=logged_at,
        assurance=Assurance.SINGLE_OPERATOR if entry else None,
    )


def who_signed(bundle: Bundle, authority: Authority) -> Identity:
    """Return the identity that a bundle *claims* signed it, for messages about a bundle that was refused.

    Nothing is verified. The name is the authority's for that key, empty for a stranger.
    """
    key = _claimed_key(bundle)
    identity = authority.identity_for(key)
    return Identity(key, identity.name if identity else "")


def verify_envelope(envelope: Envelope, public_pem: str, payload_type: str) -> bytes:
    """Return the payload of an envelope with exactly one signature, which is by this key (steps 1, 2 and 4)."""
    # 1. One signature. The bundle format allows no other number, and "any of them" would be a weaker rule.
    if len(envelope.signatures) != 1:
        raise VerificationFailed(
            f"the envelope has {len(envelope.signatures)} signatures, exactly one is needed",
            cause="a bundle says what one signer said",
            remedy="make one bundle for each signer",
            check="bundle.one-signature",
        )
    # 2. The type says how the payload is to be read; the signature covers it, so compare before reading.
    if envelope.payload_type != payload_type:
        raise VerificationFailed(
            "the envelope holds something else",
            cause=f"expected {payload_type!r}, found {envelope.payload_type!r}",
            remedy="hand in the bundle of a claim",
            check="bundle.payload-type",
        )
    # 4. The signature is over PAE(type, payload), so neither can be exchanged.
    message = pae(envelope.payload_type, envelope.payload)
    if not verify_signature(public_pem, message, envelope.signatures[0].sig):
        raise VerificationFailed(
            "the signature does not verify",
            cause="payload, signature or key was changed",
            remedy="fetch the bundle again, or have it signed again",
            check="bundle.signature",
        )
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


def _signer(bundle: Bundle, authority: Authority, payload_type: str) -> AuthorityIdentity:
    # 3. The bundle's hint only selects; the key that verifies is the authority's.
    key = _claimed_key(bundle)
    identity = authority.identity_for(key)
    if identity is None:
        raise VerificationFailed(
            "signed by a stranger",
            cause=f"the authority of {authority.registry!r} names no key {key}",
            remedy="have it signed by a named key, or name this one: weighbridge trust add",
            check="identity.known",
        )
    verify_envelope(bundle.envelope, identity.pem, payload_type)
    return identity


def _claimed_key(bundle: Bundle) -> Digest:
    """Return the key that a bundle names; a certificate or a free hint stands under its own digest, which no key has."""
    return bundle.key or Digest.of(b"".join(bundle.certificates[:1]) or bundle.hint.encode())


def _check_evidence(bundle: Bundle, identity: AuthorityIdentity) -> None:
    # 6. Fail closed: a demand that this version cannot verify is never taken for met.
    for kind, demanded in (
        ("timestamps", identity.evidence.timestamps),
        ("witnesses", identity.evidence.witnesses),
    ):
        if demanded > 0:
            raise VerificationFailed(
                f"the authority demands {kind} of {identity.name}, and this version cannot verify them",
                remedy="use a version that can, or change the demand with the root key",
                check=f"evidence.{kind}",
            )
    if len(bundle.entries) > 1:
        raise VerificationFailed(
            "the bundle has more than one log entry, and this version verifies one",
            remedy="hand in the bundle with the entry of a log that the authority names",
            check="log.entry",
        )
    # 7. Logged, when the authority says so.
    if identity.evidence.log and bundle.entry is None:
        raise VerificationFailed(
            f"what {identity.name} signs must be in the log, and this bundle brings no entry",
            remedy="hand it to the registry, which logs it: weighbridge attest",
            check="log.entry",
        )


def _check_log(
    entry: LogProof, envelope: Envelope, identity: AuthorityIdentity, authority: Authority
) -> None:
    # 8. A log whose word the authority takes.
    log = authority.log_for(entry.log_id)
    if log is None:
        raise VerificationFailed(
            "the entry is in a log that the authority does not name",
            cause=f"log id {entry.log_id}",
            remedy="hand the envelope to this registry, which logs it in its own: weighbridge attest",
            check="log.known",
        )
    # 9. The entry is about this envelope and no other.
    _check_body(entry, envelope, identity)
    # 10. The log signed body, time, log and index together; without this the time is anybody's.
    message = promise_message(entry.body, entry.integrated_time, entry.log_id, entry.index)
    if not verify_signature(log.pem, message, entry.promise):
        raise VerificationFailed(
            "the log did not sign this entry's time and position",
            cause="entry, time, index or promise was changed",
            remedy=_AGAIN,
            check="log.timestamp",
        )
    # 11. The log signed this tree.
    checkpoint = verify_checkpoint(entry.checkpoint, origin=log.origin, public_pem=log.pem)
    # 12. The entry is in that tree; size and root are the checkpoint's, and the bundle may not say otherwise.
    leaf = leaf_hash(entry.body)
    if (entry.size, entry.root) != (checkpoint.size, checkpoint.root) or not verify_inclusion(
        leaf, entry.position, checkpoint.size, entry.hashes, checkpoint.root
    ):
        raise VerificationFailed(
            "the entry is not in the log's tree",
            cause=f"the proof does not lead from entry {entry.position} to the root of {checkpoint.size} entries",
            remedy=_AGAIN,
            check="log.inclusion",
        )


def _check_body(entry: LogProof, envelope: Envelope, identity: AuthorityIdentity) -> None:
    """Compare a `dsse/0.0.1` body with the envelope; `envelopeHash` is passed over, as everywhere (see docs)."""
    try:
        value: Any = parse(entry.body)
        spec = value["spec"]
        (signature,) = spec["signatures"]
        hashed = Digest(spec["payloadHash"]["algorithm"], spec["payloadHash"]["value"])
        verifier = key_id_of_pem(decode64(signature["verifier"]).decode())
        found = (value["kind"], value["apiVersion"], hashed, decode64(signature["signature"]), verifier)
    except (ValueError, TypeError, KeyError, AttributeError, BadReference, VerificationFailed) as error:
        raise VerificationFailed(
            "the log entry is not one of a signed envelope",
            cause=describe(error),
            remedy=_AGAIN,
            check="log.body",
        ) from error
    expected = (KIND, VERSION, Digest.of(envelope.payload), envelope.signatures[0].sig, identity.key)
    if found != expected or (entry.kind, entry.version) != (KIND, VERSION):
        raise VerificationFailed(
            "the log entry is of another envelope",
            cause="payload, signature or key in the entry differ from those in the bundle",
            remedy=_AGAIN,
            check="log.body",
        )


def _check_time(identity: AuthorityIdentity, logged_at: datetime | None, now: datetime) -> None:
    moment = logged_at or now
    if moment > now + SKEW:
        raise VerificationFailed(
            "the log's time lies in the future",
            cause=f"logged at {rfc3339(moment)}, now is {rfc3339(now)}",
            remedy="set this machine's clock, or ask whoever keeps the log to set theirs",
            check="identity.time",
        )
    ended = identity.valid_until is not None and moment > identity.valid_until
    if moment < identity.valid_from or ended:
        until = rfc3339(identity.valid_until) if identity.valid_until else "no end"
        raise VerificationFailed(
            f"the key of {identity.name} was not in force",
            cause=f"signed at {rfc3339(moment)}; in force from {rfc3339(identity.valid_from)} to {until}",
            remedy="have it signed by a key in force",
            check="identity.time",
        )
