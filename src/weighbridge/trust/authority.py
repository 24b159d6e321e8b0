"""`weighbridge.authority/1`: which key may do what, in which project, with how much proof. docs/reference/authority.md.

Values only: an authority is edited by making its next version (`with_identity`, `with_log`, …) and signing
that with a root key. `authority_form` reads the document, `authority_file` signs and believes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.keys.ports import Algorithm
from weighbridge.keys.public import algorithm_of_pem, key_id_of_pem
from weighbridge.ledger.checkpoint import is_origin, log_id_of
from weighbridge.trust import authority_approvals
from weighbridge.trust.authority_issuers import issuers_json
from weighbridge.trust.authority_keyless import keyless_json
from weighbridge.trust.authority_services import check_services, key_uses, services_json, window_json
from weighbridge.trust.authority_words import is_label, malformed
from weighbridge.trust.demand import Demand
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.roots import LogKey, Roots, Window

if TYPE_CHECKING:
    from weighbridge.trust.issuers import TrustedIssuer

AUTHORITY_SCHEMA = "weighbridge.authority/1"
EVERY_PROJECT = "*"

REQUIRED: Mapping[Origin, tuple[Stage, ...]] = MappingProxyType(
    {
        Origin.OWN: (Stage.DATA, Stage.TRAIN, Stage.EVALUATE, Stage.PACKAGE),
        Origin.THIRD_PARTY: (Stage.ORIGIN,),
        Origin.LEGACY: (Stage.ORIGIN,),
    }
)
"""The stages a model of each origin needs where a project does not say otherwise."""


@dataclass(frozen=True, slots=True)
class AuthorityIdentity:
    """A named signer and the closed interval in which what it signs counts; a revoked one has an end.

    It is a key (`pem`), or somebody that a certificate authority vouches for (`keyless`): one of the two.
    """

    name: str
    pem: str
    valid_from: datetime
    valid_until: datetime | None = None
    evidence: Demand = field(default_factory=Demand)
    keyless: ExpectedIdentity | None = None

    @property
    def key(self) -> Digest:
        """The signer's name: SHA-256 of the key's DER, or of the canonical JSON of who is expected."""
        return (
            key_id_of_pem(self.pem)
            if self.keyless is None
            else Digest.of(canonical(keyless_json(self.keyless)))
        )

    @property
    def algorithm(self) -> Algorithm:
        """What the key is; for managed keys only."""
        return algorithm_of_pem(self.pem)

    def to_json(self) -> dict[str, JSON]:
        """Return the identity as it stands under its name."""
        who: dict[str, JSON] = (
            {"pem": self.pem, "algorithm": self.algorithm}
            if self.keyless is None
            else {"keyless": keyless_json(self.keyless)}
        )
        return {
            **who,
            "valid_from": rfc3339(self.valid_from),
            "valid_until": rfc3339(self.valid_until) if self.valid_until else None,
            "evidence": self.evidence.to_json(),
        }


@dataclass(frozen=True, slots=True)
class AuthorityLog:
    """A transparency log whose word is taken: its origin and its key, and until when where that has an end."""

    origin: str
    pem: str
    window: Window = field(default_factory=Window)

    @property
    def log_id(self) -> Digest:
        """The log's id, by which entries name it (see `ledger.checkpoint.log_id_of`)."""
        return log_id_of(self.origin, self.pem)

    def to_json(self) -> dict[str, JSON]:
        """Return the log as JSON; an open interval is left out."""
        ends = {} if self.window == Window() else window_json(self.window)
        return {"origin": self.origin, "pem": self.pem, **ends}


@dataclass(frozen=True, slots=True)
class Project:
    """Who may do what in one project, and the stages its models need."""

    roles: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    require: Mapping[Origin, tuple[Stage, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        holders = {role: tuple(sorted(set(names))) for role, names in self.roles.items()}
        object.__setattr__(self, "roles", holders)

    def to_json(self) -> dict[str, JSON]:
        """Return the project as JSON."""
        return {
            "roles": {role.value: list(names) for role, names in self.roles.items()},
            "require": {
                origin.value: [stage.value for stage in stages] for origin, stages in self.require.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Authority:
    """One version of the document. Building one checks it; raises VerificationFailed(authority.form)."""

    registry: str
    version: int
    issued: datetime
    expires: datetime
    roots: tuple[str, ...]
    """Public keys in PEM, one of which must sign the next version."""
    identities: tuple[AuthorityIdentity, ...] = ()
    logs: tuple[AuthorityLog, ...] = ()
    projects: Mapping[str, Project] = field(default_factory=lambda: {EVERY_PROJECT: Project()})
    trusted: Roots = field(default_factory=Roots)
    """Certificate authorities, certificate logs, timestamp authorities and witnesses; logs are `logs`."""
    checkpoint_age: int | None = None
    """Seconds: how old the newest cosigned checkpoint of the log may be when the gate decides; None for any age."""
    issuers: tuple[TrustedIssuer, ...] = ()
    """Whose tokens the registry's own certificate authority turns into certificates."""
    approvals: authority_approvals.Approvals = field(default_factory=dict)
    """How many identities a kind of change takes, by project; what is not said takes the fewest (`needed`)."""
    demonstration: bool = False
    """Made to try things out: the development issuer counts here. No later version can change this."""

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.identities, key=lambda identity: identity.name))
        object.__setattr__(
            self, "identities", ordered
        )  # order says nothing, so that equal means equal digest
        _check_head(self)
        _check_keys(self)
        authority_approvals.check_approvals(self.approvals)
        names = {identity.name for identity in self.identities}
        for project, rules in self.projects.items():
            for role, holders in rules.roles.items():
                if strangers := sorted(set(holders) - names):
                    raise malformed(
                        f"{project!r} gives the role {role.value} to {strangers[0]!r}, who is no identity here"
                    )

    # What a verifier asks.

    def identity_for(self, key: Digest) -> AuthorityIdentity | None:
        """Return the identity that has this key, or None for a stranger."""
        return next((one for one in self.identities if one.keyless is None and one.key == key), None)

    @property
    def keyless(self) -> tuple[AuthorityIdentity, ...]:
        """The identities that certificates vouch for."""
        return tuple(identity for identity in self.identities if identity.keyless is not None)

    @property
    def material(self) -> Roots:
        """Everything a verifier believes: the logs and the parties of `trusted`."""
        logs = tuple(
            LogKey(bytes.fromhex(log.log_id.hex), log.pem, log.window, log.origin) for log in self.logs
        )
        return replace(self.trusted, logs=logs)

    def log_for(self, log_id: Digest) -> AuthorityLog | None:
        """Return the log that has this id, or None."""
        return next((log for log in self.logs if log.log_id == log_id), None)

    def may(self, name: str, role: Role, project: str) -> bool:
        """Tell whether `name` holds `role` in `project`."""
        return name in self._rules(project).roles.get(role, ())

    def needed(self, kind: str, project: str) -> int:
        """Return how many identities a kind of change takes in this project; 1 where nothing is said, 2 to break glass."""
        return authority_approvals.needed(self.approvals, project, kind)

    def required(self, project: str, origin: Origin) -> tuple[Stage, ...]:
        """Return the stages that a model of this origin needs in this project."""
        return self._rules(project).require.get(origin, REQUIRED[origin])

    def _rules(self, project: str) -> Project:
        """Find a project's rules: its own entry replaces `*` wholly, without one it falls to `*`."""
        return self.projects.get(project, self.projects[EVERY_PROJECT])

    # The document.

    def to_json(self) -> dict[str, JSON]:
        """Return the document."""
        return {
            "schema": AUTHORITY_SCHEMA,
            "registry": self.registry,
            "version": self.version,
            "issued": rfc3339(self.issued),
            "expires": rfc3339(self.expires),
            "roots": list(self.roots),
            "identities": {identity.name: identity.to_json() for identity in self.identities},
            "logs": [log.to_json() for log in self.logs],
            **services_json(self.trusted),
            **({} if self.checkpoint_age is None else {"checkpoint_age": self.checkpoint_age}),
            **({"demonstration": True} if self.demonstration else {}),
            **issuers_json(self.issuers),
            **authority_approvals.approvals_json(self.approvals),
            "projects": {name: rules.to_json() for name, rules in self.projects.items()},
        }

    def encode(self) -> bytes:
        """Return the canonical JSON of the document: what is signed."""
        return canonical(self.to_json())

    @property
    def digest(self) -> Digest:
        """SHA-256 of `encode()`."""
        return Digest.of(self.encode())

    # Edits: each returns the next version, unsigned.

    def with_identity(
        self,
        name: str,
        pem: str,
        roles: Sequence[Role] = (),
        *,
        project: str = EVERY_PROJECT,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        evidence: Demand | None = None,
        keyless: ExpectedIdentity | None = None,
    ) -> Authority:
        """Name a new signer (valid from `issued` on unless told otherwise) and give it roles in one project.

        `pem` is empty for somebody whom certificates name (`keyless`).
        """
        if any(identity.name == name for identity in self.identities):
            raise malformed(f"the name {name!r} is taken")
        identity = AuthorityIdentity(
            name, pem, valid_from or self.issued, valid_until, evidence or Demand(), keyless
        )
        grown = replace(self, identities=(*self.identities, identity))
        return grown.with_roles(name, roles, project=project)

    def with_roles(self, name: str, roles: Sequence[Role], *, project: str = EVERY_PROJECT) -> Authority:
        """Give a named identity more roles; a project met for the first time starts as a copy of `*`."""
        rules = self._rules(project)
        granted = dict(rules.roles)
        for role in roles:
            granted[role] = tuple(sorted({*granted.get(role, ()), name}))
        projects = {**self.projects, project: replace(rules, roles=granted)}
        return replace(self, version=self.version + 1, projects=projects)

    def without_roles(self, name: str, roles: Sequence[Role], *, project: str = EVERY_PROJECT) -> Authority:
        """Take roles from an identity; claims it signed in them before no longer count either."""
        rules = self._rules(project)
        left = {
            role: tuple(holder for holder in holders if holder != name or role not in roles)
            for role, holders in rules.roles.items()
        }
        projects = {**self.projects, project: replace(rules, roles=left)}
        return replace(self, version=self.version + 1, projects=projects)

    def with_log(self, origin: str, pem: str) -> Authority:
        """Take one more log's word."""
        return replace(self, version=self.version + 1, logs=(*self.logs, AuthorityLog(origin, pem)))

    def with_log_ended(self, origin: str, at: datetime) -> Authority:
        """Take a log's word no further than `at`: what it took in before still counts."""
        if all(log.origin != origin for log in self.logs):
            raise malformed(f"no log here has the origin {origin!r}")
        logs = tuple(
            replace(log, window=Window(log.window.start, at)) if log.origin == origin else log
            for log in self.logs
        )
        return replace(self, version=self.version + 1, logs=logs)

    def with_trusted(self, trusted: Roots) -> Authority:
        """Take the word of these parties, and of no other beside the logs."""
        return replace(self, version=self.version + 1, trusted=replace(trusted, logs=()))

    def with_issuer(self, issuer: TrustedIssuer) -> Authority:
        """Believe an issuer about who somebody is; it takes the place of one with the same URL."""
        others = tuple(known for known in self.issuers if known.url != issuer.url)
        return replace(self, version=self.version + 1, issuers=(*others, issuer))

    def without_issuer(self, url: str) -> Authority:
        """Believe an issuer no longer; certificates it led to keep what they prove."""
        others = tuple(known for known in self.issuers if known.url != url)
        return replace(self, version=self.version + 1, issuers=others)

    def with_checkpoint_age(self, seconds: int | None) -> Authority:
        """Ask for a checkpoint of the log that a witness saw no longer ago than this."""
        return replace(self, version=self.version + 1, checkpoint_age=seconds)

    def with_required(
        self, origin: Origin, stages: Sequence[Stage], *, project: str = EVERY_PROJECT
    ) -> Authority:
        """Set the stages that models of one origin need in one project."""
        rules = self._rules(project)
        require = {**rules.require, origin: tuple(stages)}
        projects = {**self.projects, project: replace(rules, require=require)}
        return replace(self, version=self.version + 1, projects=projects)

    def with_approvals(self, kind: str, number: int, *, project: str = EVERY_PROJECT) -> Authority:
        """Say how many identities a kind of change takes in one project, or in every one that says nothing itself."""
        rows = {**self.approvals.get(project, {}), kind: number}
        return replace(self, version=self.version + 1, approvals={**self.approvals, project: rows})

    def revoked(self, name: str, at: datetime) -> Authority:
        """End an identity: nothing logged after `at` counts; one that ended before stays so. Raises NotFound for names not here."""
        if all(identity.name != name for identity in self.identities):
            raise NotFound(
                f"the authority names no {name!r}",
                cause=f"known are {', '.join(sorted(identity.name for identity in self.identities))}",
                remedy="look with: weighbridge trust show",
            )
        identities = tuple(
            replace(identity, valid_until=min(at, identity.valid_until or at))
            if identity.name == name
            else identity
            for identity in self.identities
        )
        return replace(self, version=self.version + 1, identities=identities)

    def renewed(
        self, issued: datetime, expires: datetime, *, roots: Sequence[str] | None = None
    ) -> Authority:
        """Give the document new dates, and new root keys when told so (the old ones sign that version)."""
        return replace(
            self,
            version=self.version + 1,
            issued=issued,
            expires=expires,
            roots=self.roots if roots is None else tuple(roots),
        )


def _check_head(authority: Authority) -> None:
    if not is_label(authority.registry):
        raise malformed("its registry has no name that can be shown")
    if authority.version < 1:
        raise malformed("versions start at 1")
    if authority.expires <= authority.issued:
        raise malformed("it expires before it is issued")
    if not authority.roots:
        raise malformed("without a root key there could be no next version")
    if not all(is_label(project) for project in authority.projects):
        raise malformed("a project has no name that can be shown")
    if EVERY_PROJECT not in authority.projects:
        raise malformed("projects need an entry '*'")
    for log in authority.logs:
        if not is_origin(log.origin):
            raise malformed(f"{log.origin!r} is not a log origin")
    if authority.trusted.logs:
        raise malformed("logs stand in a member of their own")
    check_services(authority.trusted)
    for identity in authority.identities:
        if not is_label(identity.name):
            raise malformed("an identity has no name that can be shown")
        if identity.valid_until is not None and identity.valid_until < identity.valid_from:
            raise malformed(f"{identity.name!r} ends before it begins")
        if (identity.keyless is None) == (not identity.pem):
            raise malformed(f"{identity.name!r} is either a key or somebody a certificate names")


def _check_keys(authority: Authority) -> None:
    """One key, one purpose, one name: or a signature made for one could be shown for another."""
    held: dict[Digest, str] = {}
    uses = [(f"the root {number}", pem) for number, pem in enumerate(authority.roots, start=1)]
    uses += [(f"the log {log.origin!r}", log.pem) for log in authority.logs]
    uses += key_uses(authority.trusted)
    uses += [(f"the identity {one.name!r}", one.pem) for one in authority.identities if one.keyless is None]
    for use, pem in uses:
        key = key_id_of_pem(pem)
        if key in held:
            raise malformed(f"{held[key]} and {use} have the same key {key.short}")
        held[key] = use
    expected = [one.key for one in authority.keyless]
    if len(set(expected)) != len(expected):
        raise malformed("two identities expect the same certificate")
    names = [identity.name for identity in authority.identities]
    if len(set(names)) != len(names):
        raise malformed("two identities have the same name")
    origins = [log.origin for log in authority.logs]
    if len(set(origins)) != len(origins):
        raise malformed("two logs have the same origin")
