"""Access: who somebody is who asks over HTTP, and whether they may do what they ask for. Here and in no shell.

Two things say who somebody is: a token of this registry (`registry.tokens`), or an identity token of an issuer that the
authority trusts, for somebody whom the authority names; their roles there are their rights here. Who brings nothing may
read where the project says so (`anonymous-read`), and nothing else.

On the command line nobody is asked who they are: who holds the registry's folder and keys is its operator, and what a
statement needs is a signature. Rights hold for whoever comes by the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from weighbridge.config import Value
from weighbridge.core.errors import Refused, VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.registry import actions, project_settings, tokens, vouched
from weighbridge.registry.rights import Principal, Right
from weighbridge.trust.authority import Authority, AuthorityIdentity
from weighbridge.trust.expect import matches
from weighbridge.trust.tokens import Token

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

__all__ = ["ANONYMOUS", "Principal", "Right", "acting", "identify", "may", "require"]

ANONYMOUS = "anonymous"
MAX_HEADER = 20 * 1024
BY_ROLE: Mapping[Role, frozenset[Right]] = {
    Role.DATA: frozenset({Right.ATTEST}),
    Role.TRAIN: frozenset({Right.SUBMIT, Right.ATTEST}),
    Role.EVALUATE: frozenset({Right.ATTEST}),
    Role.PACKAGE: frozenset({Right.SUBMIT, Right.ATTEST}),
    Role.CONVERT: frozenset({Right.SUBMIT, Right.ATTEST}),
    Role.ORIGIN: frozenset({Right.APPROVE}),
    Role.WAIVE: frozenset({Right.APPROVE}),
    Role.REVOKE: frozenset({Right.APPROVE}),
    Role.POLICY: frozenset({Right.ADMIN}),
}
"""What a role of the authority lets somebody do over HTTP; the roles of the registry's own services only read."""


def identify(registry: Registry, authorization: str) -> Principal:
    """Return who a header `Authorization` is of; raises Refused(access.token) for one that proves nobody.

    Without one it is anybody: who may read where the project says so. A refusal is noted (`registry.actions`).
    """
    try:
        return _identified(registry, authorization)
    except Refused as error:
        if error.check == "access.token":
            actions.note_refusal(registry, ANONYMOUS, "come in", error)
        raise


def _identified(registry: Registry, authorization: str) -> Principal:
    if not authorization.strip():
        return _anonymous(registry)
    scheme, _, secret = authorization.strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(authorization) > MAX_HEADER:
        raise tokens.refused("the header Authorization is not `Bearer` and a token")
    if tokens.is_secret(secret):
        return tokens.principal(registry, secret)
    if secret.count(".") != 2:
        raise tokens.refused("it is neither a token of this registry nor an issuer's")
    return _vouched(registry, secret)


def may(registry: Registry, principal: Principal, right: Right, project: str | None = None) -> bool:
    """Tell whether somebody holds a right in a project (the current one unless told)."""
    return principal.may(right, registry.project if project is None else project)


def require(registry: Registry, principal: Principal, right: Right, project: str | None = None) -> None:
    """Refuse (access.denied) who does not hold a right in a project, say who can give it, and note it."""
    where = registry.project if project is None else project
    if principal.may(right, where):
        return
    held = sorted(principal.held(where))
    refusal = Refused(
        f"{principal.name} does not hold the right {right.value!r} in project {where!r}",
        cause=f"held there: {', '.join(held)}" if held else "nothing is held there",
        remedy=f"ask {_givers(registry, where)} for it: weighbridge access grant NAME --right {right.value}",
        check="access.denied",
    )
    actions.note_refusal(acting(registry, principal.name, where), principal.name, right.value, refusal)
    raise refusal


def acting(registry: Registry, name: str, project: str | None = None) -> Registry:
    """Return the same open registry as somebody else acts in it, perhaps in another project; it is not closed by itself."""
    values = dict(registry.config.values)
    if project is not None:
        values["project"] = Value(project, "the request")
    return replace(registry, actor=name[:128], config=replace(registry.config, values=values))


def _givers(registry: Registry, project: str) -> str:
    """Return the names of who may grant rights in a project."""
    authority = registry.authority
    names = [one.name for one in authority.identities if authority.may(one.name, Role.POLICY, project)]
    return " or ".join(names) or "whoever holds the root key"


def _anonymous(registry: Registry) -> Principal:
    with registry.records.read() as connection:
        setting = project_settings.value_in(connection, registry.project, "anonymous-read")
        text = vouched.signed(connection)
    if setting.value != "on":
        return Principal(ANONYMOUS)
    vouched.vouch(registry, f"{setting.key} {registry.project}", text, setting)
    return Principal(ANONYMOUS, {registry.project: frozenset({Right.READ})})


def _vouched(registry: Registry, jwt: str) -> Principal:
    """Return whom a trusted issuer vouches for; the authority must name them, and they must be in force."""
    from weighbridge.trust.oidc import TokenVerifier  # most who ask bring a token of ours

    now = registry.clock.now()
    try:
        token = TokenVerifier(registry.authority.issuers).verify(jwt, now)
    except VerificationFailed as error:
        raise tokens.refused(f"{error.problem} ({error.check}): {error.cause}") from error
    named = [one for one in registry.authority.keyless if _in_force(one, now) and _is(one, token)]
    if not named:
        raise tokens.refused(f"the authority names nobody who is {token.subject!r} of {token.issuer}")
    return Principal(token.subject, _rights(registry.authority, named), token.issuer)


def _is(identity: AuthorityIdentity, token: Token) -> bool:
    expected: Any = identity.keyless
    wanted = [(expected.issuer, token.issuer), (expected.subject, token.subject)]
    wanted += [(words, token.claims.get(number, "")) for number, words in expected.claims.items()]
    return all(words is None or matches(words, found) for words, found in wanted)


def _in_force(identity: AuthorityIdentity, now: datetime) -> bool:
    return identity.valid_from <= now and (identity.valid_until is None or now <= identity.valid_until)


def _rights(authority: Authority, named: list[AuthorityIdentity]) -> dict[str, frozenset[Right]]:
    """Return the rights that roles give, by project; a project with rules of its own does not take those of `*`."""
    found: dict[str, frozenset[Right]] = {}
    for project in authority.projects:
        roles = [role for role in Role if any(authority.may(one.name, role, project) for one in named)]
        rights = frozenset().union(*(BY_ROLE.get(role, frozenset({Right.READ})) for role in roles))
        found[project] = rights
    return found
