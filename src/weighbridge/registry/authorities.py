"""The authority of an open registry: publishing its next version, and asking whether a key may do something."""

from __future__ import annotations

from weighbridge.core.errors import Refused
from weighbridge.core.tier import Role
from weighbridge.keys.ports import Signer
from weighbridge.registry.outbox import Draft, submit
from weighbridge.registry.wiring import Registry
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import sign_authority, verify_next
from weighbridge.trust.dsse import Envelope


def publish(registry: Registry, authority: Authority, root: Signer) -> None:
    """Sign the next version of the authority with a root key, log it and take it over.

    Raises VerificationFailed when the key is no root of the version in force, or the version is not the next.
    """
    with registry.writing():
        signed = sign_authority(authority, root)
        verify_next(signed, current=registry.authority, now=None)
        submit(registry, Draft(Envelope.decode(signed), root.public_pem))
        registry.remember()


def require(registry: Registry, signer: Signer, role: Role, *, project: str | None = None) -> None:
    """Refuse a key that the authority does not name for `role` in the project (the current one unless told).

    Asked before anything is signed: a statement by somebody else would be kept and would change nothing.
    """
    where = registry.project if project is None else project
    named = registry.authority.identity_for(signer.key_id)
    if named is not None and registry.authority.may(named.name, role, where):
        return
    raise Refused(
        f"key {signer.key_id.short} does not hold the role {role.value!r} in project {where!r}",
        cause=f"the authority names it {named.name!r}, without that role"
        if named
        else "the authority does not know it",
        remedy="sign with a key that has the role: weighbridge trust show",
        check="identity.role",
    )
