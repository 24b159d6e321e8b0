"""Signing an authority with a root key, and believing one under root keys that the caller pinned.

Root keys rotate: version n + 1 is signed by a root that version n lists (`verify_next`), so a caller that
pinned an old root walks the versions in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from weighbridge.core.canonical import canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import key_id_of_pem, verify_signature
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_form import read_authority
from weighbridge.trust.dsse import Envelope, pae, sign

PAYLOAD_TYPE = "application/vnd.weighbridge.authority+json"
SKEW = timedelta(minutes=5)
"""How far two honest clocks may be apart."""


def sign_authority(authority: Authority, root_signer: Signer) -> bytes:
    """Return the document in a DSSE envelope under a root key, as JSON."""
    return canonical(sign(PAYLOAD_TYPE, authority.encode(), root_signer).to_json())


def verify_authority(
    data: bytes,
    *,
    root_keys: Sequence[str],
    now: datetime | None,
    minimum_version: int = 0,
    registry: str | None = None,
    pinned: Digest | None = None,
) -> Authority:
    """Return the authority that `data` (from `sign_authority`) holds, believed.

    `root_keys` are the public keys in PEM that the caller pinned; `minimum_version` the highest version it
    has seen and `pinned` that version's digest; `registry` the one it means to talk to. With `now` None
    the dates are left to the caller, who must hold them against a clock before relying on it. Raises
    VerificationFailed with check authority.form, authority.signature, authority.registry,
    authority.rollback or authority.expired.
    """
    envelope = Envelope.decode(data, check="authority.form")
    # 1. Signed under a pinned root key, before anything inside is looked at (DSSE protocol, "Verification").
    _check_signature(envelope, root_keys)
    # 2. A document of ours, every member known: what we do not understand could have been a restriction.
    authority = read_authority(envelope.payload)
    # 3. Of this registry: one root key may serve several.
    if registry is not None and authority.registry != registry:
        raise VerificationFailed(
            "this authority is of another registry",
            cause=f"expected {registry!r}, found {authority.registry!r}",
            remedy="pin the registry you mean, or fetch its own authority",
            check="authority.registry",
        )
    # 4. Not older than the caller has seen, and not another document of the same version (TUF 5.3.5).
    forked = pinned is not None and authority.version == minimum_version and authority.digest != pinned
    if authority.version < minimum_version or forked:
        raise VerificationFailed(
            "this authority is older than one seen before, or contradicts it",
            cause=f"version {minimum_version} was seen, this is {'another ' if forked else ''}version {authority.version}",
            remedy="fetch the newest authority; when this is the newest, the registry was rolled back",
            check="authority.rollback",
        )
    # 5. In force.
    if now is not None and not authority.issued - SKEW <= now <= authority.expires:
        raise VerificationFailed(
            "this authority is not in force",
            cause=f"it runs from {rfc3339(authority.issued)} to {rfc3339(authority.expires)}; now is {rfc3339(now)}",
            remedy="sign the next version with the root key: weighbridge trust add",
            check="authority.expired",
        )
    return authority


def verify_next(data: bytes, *, current: Authority, now: datetime | None) -> Authority:
    """Return the successor of `current`: same registry, a later version, signed by a root that `current` lists.

    Raises as `verify_authority` does.
    """
    found = verify_authority(
        data,
        root_keys=current.roots,
        now=now,
        minimum_version=current.version + 1,
        registry=current.registry,
    )
    # 6. What was made to try things out stays that, and nothing else becomes it.
    if found.demonstration != current.demonstration:
        raise VerificationFailed(
            "a registry is a demonstration from its first version on, or never",
            cause="the next version says otherwise",
            remedy="make another registry: weighbridge init",
            check="authority.demonstration",
        )
    return found


def _check_signature(envelope: Envelope, root_keys: Sequence[str]) -> None:
    message = pae(envelope.payload_type, envelope.payload)
    signed = len(envelope.signatures) == 1 and any(
        verify_signature(pem, message, envelope.signatures[0].sig) for pem in root_keys
    )
    if not signed or envelope.payload_type != PAYLOAD_TYPE:
        raise VerificationFailed(
            "the authority is not signed by a root key that is pinned here",
            cause=f"pinned are {', '.join(key_id_of_pem(pem).short for pem in root_keys) or 'none'}",
            remedy="pin the right root key, or get the document from whoever holds it",
            check="authority.signature",
        )
