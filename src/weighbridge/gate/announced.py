"""What was announced: the bundles, pending drafts and models of a registry, and files that list bundles or digests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, UsageError, VerificationFailed
from weighbridge.gate.monitor_entries import Announced, announced_by
from weighbridge.registry.outbox import waiting as read_draft
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.minting import key_of

MAX_FILE = 256 * 1024 * 1024


def announced_in(registry: Registry) -> Announced:
    """Return what a registry announces: every bundle it keeps, what waits for the log, and what it has registered.

    What is signed stands in the outbox before it is in the log; so, read after the log, nothing is missing here.
    """
    with registry.records.read() as connection:
        bundles = connection.execute(sa.select(schema.bundle.c.content)).scalars().all()
        rows_of_outbox = sa.select(schema.outbox.c.envelope, schema.outbox.c.public_pem)
        drafts = [read_draft(row) for row in connection.execute(rows_of_outbox).mappings()]
        authorities = connection.execute(sa.select(schema.authority.c.content)).scalars().all()
        rows = connection.execute(sa.select(schema.model.c.digest, schema.model.c.weights)).all()
    models = frozenset(Digest.parse(text) for row in rows for text in row if text)
    signed = [Bundle.from_json(text.encode()) for text in bundles]
    signed += [draft.proven or Bundle(draft.envelope) for draft in drafts]
    signed += [Bundle(Envelope.decode(text.encode())) for text in authorities]
    return _together(announced_by(bundle) for bundle in signed) | Announced(models=models)


def issuers_of(registry: Registry) -> frozenset[Digest]:
    """Return the keys of the registry's certificate authorities, which may issue certificates."""
    chains = registry.authority.trusted.authorities
    return frozenset(Digest.of(key_of(read_certificate(der))) for row in chains for der in row.chain)


def announced_by_file(path: Path) -> Announced:
    """Read a file of lines: digests (`sha256:…`), bundles as JSON, empty lines and comments (#). Raises UsageError."""
    found: list[Announced] = []
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"it has more than {MAX_FILE} bytes")
        for number, line in enumerate(data.decode().split("\n"), 1):
            text = line.strip()
            if text.startswith("{"):
                found.append(announced_by(Bundle.from_json(text.encode())))
            elif text and not text.startswith("#"):
                found.append(_digest(text, number))
    except (OSError, ValueError, VerificationFailed) as error:
        cause = error.problem if isinstance(error, VerificationFailed) else str(error)
        raise UsageError(
            f"{path} cannot be read as a list of what was announced",
            cause=cause,
            remedy="write a digest (sha256:…) or a bundle (JSON) on each line",
        ) from error
    return _together(found)


def _digest(text: str, number: int) -> Announced:
    try:
        digest = Digest.parse(text)
    except BadReference as error:
        raise ValueError(f"line {number}: {error.problem}") from error
    if digest.algorithm in ("wb1", "wbw1"):
        return Announced(models=frozenset((digest,)))
    return Announced(frozenset((digest,)))


def _together(rows: Iterable[Announced]) -> Announced:
    content: set[Digest] = set()
    about: dict[Digest, tuple[Digest, ...]] = {}
    models: set[Digest] | None = None
    for row in rows:
        content |= row.content
        about |= row.about
        if row.models is not None:
            models = (models or set()) | row.models
    return Announced(frozenset(content), about, None if models is None else frozenset(models))
