"""Whose word a recorder takes: the authority of the configured registry, or of a file under the user's pin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from weighbridge.claims.predicates import read_claim, stage_of
from weighbridge.config import Config
from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.evidence import Proven, Revocation
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage
from weighbridge.gate.evidence import revocations
from weighbridge.registry import bundles
from weighbridge.registry.pins import read_pin
from weighbridge.registry.wiring import Registry
from weighbridge.registry.witnesses import witnessed
from weighbridge.source.small import content_of
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_file import verify_authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.verify import verify_bundle


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word is taken, in which project; `registry` where its own claims and revocations can be asked too."""

    authority: Authority
    project: str
    registry: Registry | None = None

    def claims_about(self, digest: Digest) -> list[Bundle]:
        """Return what the registry keeps about a dataset; nothing where there is only an authority."""
        return bundles.about(self.registry, [digest]) if self.registry is not None else []

    def data_claim(self, bundle: Bundle, dataset: Digest, now: datetime) -> Proven:
        """Return what is proven of a data claim about `dataset`; raises VerificationFailed saying why it does not count."""
        statement = Statement.decode(bundle.envelope.payload)
        if stage_of(statement) is not Stage.DATA:
            raise VerificationFailed("it is no claim about data", check="recorder.dataset")
        if not statement.is_about(dataset):
            raise VerificationFailed(
                "it is about another dataset",
                cause=f"it names {', '.join(d.short for d in statement.identities) or 'nothing'}",
                check="recorder.dataset",
            )
        registry = self.registry
        shown = bundle
        if registry is not None and self.authority.trusted.witnesses:
            shown = witnessed(bundle, registry.log)
        proven = verify_bundle(
            shown, authority=self.authority, project=self.project, role=Role.DATA, now=now
        ).proven
        read_claim(statement)
        return proven

    def revoked(self, digests: Sequence[Digest]) -> tuple[Revocation, ...]:
        """Return what of `digests` the registry knows to be revoked."""
        return revocations(self.registry, digests) if self.registry is not None else ()


def trust_file(path: Path, config: Config, now: datetime) -> Trust:
    """Take the word of an authority in a file, under the root keys that this user pinned for its registry.

    Raises RegistryUnusable when the registry is not pinned, VerificationFailed when the file does not hold.
    """
    data = content_of(path)
    try:
        said: Any = parse(Envelope.decode(data, check="authority.form").payload)
        registry = str(said["registry"])
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationFailed(
            f"{path} is no authority", cause=str(error), remedy="give the authority.json of the registry",
            check="authority.form",
        ) from error  # fmt: skip
    pin = read_pin(config.home, registry)
    authority = verify_authority(
        data, root_keys=pin.roots, now=now, minimum_version=pin.authority_version, registry=registry
    )
    return Trust(authority, str(config["project"]))
