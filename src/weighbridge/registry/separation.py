"""Separation: who handed a model in, or made claims about it, is not also the one who approves it (setting `other-approver`).

What the authority asks of approvals (`registry.approvals`: two identities for a waiver, a lift, a policy) holds by keys and
stands in a signed document. This closes what one identity may do there: accept a stranger's model that it brought in, and
excuse one that it brought in or signed for. Who signed is known by keys; who brought something in is known by name, as
the one who acted: over HTTP that is who was identified, on this machine whoever holds the keys can be called anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused
from weighbridge.registry.project_settings import switched_on
from weighbridge.store import schema

if TYPE_CHECKING:
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.wiring import Registry

CLAIMED = ("data", "train", "evaluate", "package", "convert")
"""Stages of claims that somebody makes who hands a model in; what the registry itself says of a model is none."""


def check_other(registry: Registry, digest: Digest, *, signer: Signer | None = None) -> None:
    """Refuse (access.other) that who acts or signs now approves a model that they brought in or signed for."""
    with registry.records.read() as connection:
        if not switched_on(connection, registry.project, "other-approver"):
            return
        names, keys = _submitters(connection, registry.project, digest)
    ours = {registry.intake_key.key_id, registry.gate_key.key_id}
    by_name = registry.actor in names
    by_key = signer is not None and signer.key_id not in ours and str(signer.key_id) in keys
    if by_name or by_key:
        who = registry.actor if by_name or signer is None else f"key {signer.key_id.short}"
        raise Refused(
            f"{who} handed {digest.short} in, and cannot be the one to approve it",
            cause=f"project {registry.project!r} asks for somebody else (other-approver): "
            + ("they took it in or recorded claims about it" if by_name else "they signed claims about it"),
            remedy="have somebody else do this, with a key and a name of their own",
            check="access.other",
        )


def _submitters(connection: sa.Connection, project: str, digest: Digest) -> tuple[set[str], set[str]]:
    """Return the names of who took a model in or handed claims in about it, and the keys that signed those."""
    model, bundle, subject = schema.model, schema.bundle, schema.bundle_subject
    here = (model.c.project == project, model.c.digest == str(digest))
    row = connection.execute(sa.select(model.c.actor, model.c.weights).where(*here)).first()
    names = {row.actor} if row is not None else set()
    about = [str(digest), *([row.weights] if row is not None and row.weights else [])]
    query = (
        sa.select(bundle.c.actor, bundle.c.signer)
        .join(subject, subject.c.bundle == bundle.c.digest)
        .where(subject.c.identity.in_(about), bundle.c.stage.in_(CLAIMED), bundle.c.project == project)
    )
    claims = connection.execute(query).all()
    return names | {claim.actor for claim in claims}, {claim.signer for claim in claims}
