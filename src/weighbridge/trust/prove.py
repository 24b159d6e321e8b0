"""What a bundle proves, given whose word is taken and how much proof is demanded. No input, no output, no clock.

| step | check | by |
|---|---|---|
| 1 | `bundle.material` | a key that the caller names, or a certificate: never whichever the bundle prefers |
| 2 | `certificate.form`, `.usage`, `.subject`, `.claims` | RFC 5280 section 4.2.1: one that signs, names one signer |
| 3 | `bundle.one-signature`, `bundle.payload-type`, `bundle.artifact` | Sigstore bundle; DSSE, "Verification" |
| 4 | `bundle.signature` | DSSE: over PAE(type, payload); else over the file, which the caller hashed |
| 5 | `bundle.duplicate` | a proof shown twice is no second proof |
| 6 | `log.known` to `log.inclusion` | each log entry, see `inclusion` |
| 7 | `time.timestamp` | RFC 3161 section 2.3: each timestamp is of this signature, by an authority in its interval |
| 8 | `time.future` | no proven moment lies ahead of us |
| 9 | `log.window` | the key of each log was in force at each moment |
| 10 | `certificate.time`, `certificate.chain` | RFC 5280 section 6.1, at every proven moment |
| 11 | `certificate.sct` | RFC 6962 section 3: under the issuer's key out of the path verified |
| 12 | `evidence.*` | the demand: logs, timestamps, times, SCTs, witnesses, age of the checkpoint |

All evidence that a bundle carries is verified, asked for or not, and refuses it where it does not hold. How much of
it is needed stands in the demand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import PAYLOAD_TYPE
from weighbridge.core.tier import Assurance
from weighbridge.keys.public import key_id_of_pem, verify_signature
from weighbridge.trust.artifact import Artifact, missing, verify_file
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.certificates import issuer_of, signer_of
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import Envelope, pae
from weighbridge.trust.entries import Signed
from weighbridge.trust.proof import Proof, Signer
from weighbridge.trust.roots import Roots

if TYPE_CHECKING:  # what nobody brings need not be imported: a bare signature by a key is verified in no time
    from weighbridge.trust.inclusion import Included
    from weighbridge.trust.timestamp import Stamped

__all__ = ["SKEW", "Artifact", "prove", "verify_one_signature"]

SKEW = timedelta(minutes=5)
"""How far another clock may be ahead of the verifier's."""


def prove(
    bundle: Bundle,
    *,
    roots: Roots,
    demand: Demand,
    now: datetime,
    key_pem: str | None = None,
    payload_type: str | None = PAYLOAD_TYPE,
    artifact: Artifact | None = None,
) -> Proof:
    """Return what a bundle proves, after all steps; raises VerificationFailed naming the step.

    With `key_pem` the bundle must be signed by that key; without, its certificate must chain to one of
    `roots.authorities`. `payload_type` None takes an envelope of any type. `artifact` is the file that a bare
    signature is over; for an envelope it is not looked at: whom the payload is about, the caller reads in it.
    """
    signer = _signer(bundle, key_pem)
    signed = _signed(bundle, signer, payload_type, artifact)
    _check_duplicates(bundle)
    # 6 and 7. Everything that somebody else says of this signature.
    included, stamped = _logged(bundle, signed, roots), _stamped(bundle, signed, roots)
    times = [row.time for row in included if row.time] + [row.time for row in stamped]
    moments = [time.moment for time in times] or [now]
    _check_moments(moments, included, now)
    # 10 and 11. An authority vouched for the signer at each of these moments, and not in secret.
    scts: tuple[bytes, ...] = ()
    if signer.certificate:
        if not times and not demand.bare:
            raise _lacks("times", "nothing proves when this was signed", "a certificate is valid for minutes")
        scts = _vouched(bundle, signer, roots, demand, moments)
    # 12. That is as much as was demanded.
    _check_demand(demand, signer, included, stamped, scts)
    _check_freshness(demand, included, now)
    return Proof(
        signer=signer,
        logs=tuple(row.logged for row in included),
        times=tuple(times),
        scts=scts,
        assurance=_assurance(included),
        payload_type=signed.envelope.payload_type if signed.envelope else "",
        payload=signed.envelope.payload if signed.envelope else b"",
        digest=signed.artifact.digest if signed.artifact else None,
    )


def verify_one_signature(envelope: Envelope, public_pem: str, payload_type: str | None) -> bytes:
    """Return the signature of an envelope that has exactly one, by this key and over this type (steps 3 and 4)."""
    # 3. One signature: the bundle format allows no other number, and "any of them" would be a weaker rule.
    if len(envelope.signatures) != 1:
        raise VerificationFailed(
            f"the envelope has {len(envelope.signatures)} signatures, exactly one is needed",
            cause="a bundle says what one signer said",
            remedy="make one bundle for each signer",
            check="bundle.one-signature",
        )
    # The type says how the payload is to be read; the signature covers it, so compare before reading.
    if payload_type is not None and envelope.payload_type != payload_type:
        raise VerificationFailed(
            "the envelope holds something else",
            cause=f"expected {payload_type!r}, found {envelope.payload_type!r}",
            remedy="hand in the bundle of a claim",
            check="bundle.payload-type",
        )
    # 4. The signature is over PAE(type, payload), so neither can be exchanged.
    signature = envelope.signatures[0].sig
    if not verify_signature(public_pem, pae(envelope.payload_type, envelope.payload), signature):
        raise _unsigned()
    return signature


def _signer(bundle: Bundle, key_pem: str | None) -> Signer:
    # 1. The caller says which mode; material of the other mode is refused rather than passed over.
    if bool(bundle.certificates) != (key_pem is None):
        found = "a certificate" if bundle.certificates else "a key"
        raise VerificationFailed(
            f"the bundle is signed with {found}, and that is not what was asked for",
            cause="a bundle cannot choose how its signer is known",
            remedy="name the key that must have signed"
            if key_pem is None
            else "name the identity that must have signed",
            check="bundle.material",
        )
    if key_pem is not None:
        return Signer(key=key_id_of_pem(key_pem), pem=key_pem)
    # 2. A leaf that signs, with one name; that anybody vouches for it is step 10.
    return signer_of(bundle.certificates[0])


def _signed(bundle: Bundle, signer: Signer, payload_type: str | None, artifact: Artifact | None) -> Signed:
    message = bundle.message
    if message is None:
        signature = verify_one_signature(bundle.envelope, signer.pem, payload_type)
        return Signed(signer, signature, envelope=bundle.envelope)
    # 3. The file itself, and the bundle may not say that it is another.
    if artifact is None or not artifact.digests:
        raise missing("no file was given")
    if message.digest is not None and not _agrees(message.digest, artifact):
        raise VerificationFailed(
            "the signature is over another file",
            cause=f"the bundle is of {message.digest}, the file has {artifact.digest}",
            remedy="give the file that was signed",
            check="bundle.artifact",
        )
    # 4. The signature is over that file.
    if not verify_file(signer.pem, artifact, message.signature):
        raise _unsigned()
    return Signed(signer, message.signature, artifact=artifact)


def _agrees(said: Digest, artifact: Artifact) -> bool:
    """Tell whether a digest that the bundle mentions is the file's; one we have no counterpart of says nothing."""
    return artifact.has(said) or all(row.algorithm != said.algorithm for row in artifact.digests)


def _logged(bundle: Bundle, signed: Signed, roots: Roots) -> list[Included]:
    if not bundle.entries:
        return []
    from weighbridge.trust.inclusion import prove_entry

    return [prove_entry(entry, signed, roots) for entry in bundle.entries]


def _stamped(bundle: Bundle, signed: Signed, roots: Roots) -> list[Stamped]:
    if not bundle.timestamps:
        return []
    from weighbridge.trust.timestamp import verify_timestamp

    return [verify_timestamp(der, signed.signature, roots.timestamps) for der in bundle.timestamps]


def _check_duplicates(bundle: Bundle) -> None:
    # 5. Rows count by who said them below; the very same row twice is somebody's attempt to count double.
    places = [(entry.log_id, entry.position) for entry in bundle.entries]
    for what, rows in (("log entry", places), ("timestamp", bundle.timestamps)):
        if len(set(rows)) != len(rows):
            raise VerificationFailed(
                f"the bundle carries one {what} twice",
                cause="a proof shown twice is no second proof",
                remedy="fetch the bundle again from where it was made",
                check="bundle.duplicate",
            )


def _check_moments(moments: Sequence[datetime], included: Sequence[Included], now: datetime) -> None:
    # 8. Nothing was signed in the future, nor cosigned: a checkpoint would be fresh for ever.
    cosigned = [moment for row in included for _, moment in row.logged.witnesses]
    for moment in [*moments, *cosigned]:
        if moment > now + SKEW:
            raise VerificationFailed(
                "the signature is said to be made in the future",
                cause=f"signed at {rfc3339(moment)}, now is {rfc3339(now)}",
                remedy="set this machine's clock, or ask whoever gave that time to set theirs",
                check="time.future",
            )
    # 9. A log's word counts while its key is in force: at its own time, else at every moment known.
    for row in included:
        for moment in [row.time.moment] if row.time else moments:
            if not row.log.window.holds(moment):
                raise VerificationFailed(
                    "the log was not trusted when this was logged",
                    cause=f"{row.logged.origin} is not trusted for {rfc3339(moment)}",
                    remedy="have it logged in a log that is trusted now",
                    check="log.window",
                )


def _vouched(
    bundle: Bundle, signer: Signer, roots: Roots, demand: Demand, moments: Sequence[datetime]
) -> tuple[bytes, ...]:
    """Verify the path at every moment, and the SCTs under the issuer found in it; return the ids of their logs."""
    issuer = issuer_of(
        signer.certificate,
        roots.authorities,
        moments,
        brought=bundle.certificates[1:] if demand.bare else (),
        named=not demand.bare,
    )
    from weighbridge.trust.sct import verify_scts

    return verify_scts(signer.certificate, issuer, roots.ctlogs)


def _check_demand(
    demand: Demand,
    signer: Signer,
    included: Sequence[Included],
    stamped: Sequence[Stamped],
    scts: Sequence[bytes],
) -> None:
    logs = {row.logged.log_id for row in included}
    authorities = {row.authority for row in stamped}
    times = {row.logged.log_id for row in included if row.time} | authorities
    witnessed = {row.logged.log_id for row in included if len(row.logged.witnesses) >= demand.witnesses}
    wanted = [
        ("logs", demand.logs, len(logs)),
        ("timestamps", demand.timestamps, len(authorities)),
        ("times", demand.times, len(times)),
        ("witnesses", demand.logs if demand.witnesses else 0, len(witnessed)),
        ("scts", demand.scts if signer.certificate else 0, len(scts)),
    ]
    for name, needed, found in wanted:
        if found < needed:
            raise _lacks(name, "the signature brings less proof than is demanded", f"{found} of {needed}")


def _check_freshness(demand: Demand, included: Sequence[Included], now: datetime) -> None:
    """Hold the newest moment at which a log is known to have stood at its checkpoint against the age demanded."""
    if demand.checkpoint_age is None:
        return
    oldest = now - timedelta(seconds=demand.checkpoint_age)
    fresh = {row.logged.log_id for row in included if (seen := row.seen(demand.witnesses)) and seen >= oldest}
    if len(fresh) < demand.logs:
        raise _lacks("checkpoint-age", "the log's checkpoint is too old", f"older than {rfc3339(oldest)}")


def _assurance(included: Sequence[Included]) -> Assurance | None:
    """Return the weakest sentence that is true of all logs counted."""
    if not included:
        return None
    from weighbridge.trust.assurance import is_public

    if all(is_public(row.log) for row in included):
        return Assurance.PUBLIC
    seen = all(row.logged.witnesses or is_public(row.log) for row in included)
    return Assurance.WITNESSED if seen else Assurance.SINGLE_OPERATOR


def _unsigned() -> VerificationFailed:
    return VerificationFailed(
        "the signature does not verify",
        cause="payload, signature or key was changed",
        remedy="fetch the bundle again, or have it signed again",
        check="bundle.signature",
    )


def _lacks(what: str, problem: str, cause: str) -> VerificationFailed:
    return VerificationFailed(
        problem,
        cause=f"{what}: {cause}",
        remedy="hand in a bundle that brings it, or have the demand changed by whoever signs the authority",
        check=f"evidence.{what}",
    )
