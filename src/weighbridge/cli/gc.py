"""`gc`: remove kept bytes that nothing refers to, or raw checkpoints that a conversion replaced."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, size
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--grace", type=click.FloatRange(0), default=24.0, show_default=True, metavar="HOURS",
    help="Leave alone what was put or needed within so many hours: longer than the longest intake.",
)  # fmt: skip
@click.option(
    "--drop-raw", metavar="MODEL",
    help="Instead: let the pickled files of this model go, which a proven conversion here replaced.",
)  # fmt: skip
@click.option("--reason", default="", help="With --drop-raw: why; is kept with who and when.")
@common
def gc(shared: Shared, *, dry_run: bool, grace: float, drop_raw: str | None, reason: str) -> int:
    """Remove the bytes that no model and no policy refers to, while others go on writing.

    Nothing that is referred to can be removed, whatever else runs or is killed: docs/reference/gc.md. With --drop-raw
    only the raw files of one model go, for ever; its digests, claims and decisions stay (docs/reference/stores.md).
    """
    if drop_raw is not None:
        return _drop(shared, drop_raw, reason, dry=dry_run)
    if reason:
        raise UsageError("--reason goes with --drop-raw", remedy="name the model with --drop-raw")
    from weighbridge.registry.gc import collect

    with opened(shared) as registry:
        found = collect(registry, grace_hours=grace, dry=dry_run)
    word = "would be removed" if found.dry else "removed"
    lines = [f"{digest.short} {word}" for digest in found.removed]
    lines.append(
        f"{len(found.removed)} blobs ({found.freed} bytes) {word}, {found.referenced} referred to,"
        f" {found.young} younger than {grace:g} h"
    )
    if found.brought_back:
        lines.append(f"{found.brought_back} that were set aside came back")
    if found.halves:
        lines.append(f"{found.halves} halves of files that never came whole {word}")
    if found.going:
        lines.append(f"{found.going} were asked to be removed before, and may be gone in some minutes")
    lines += [
        f"{digest.short} may still be there: {reason}; the next collection looks again"
        for digest, reason in found.left.items()
    ]
    emit(shared, "collection", [found.to_json()], "\n".join(lines))
    return 0


def _drop(shared: Shared, text: str, reason: str, *, dry: bool) -> int:
    from weighbridge.registry import dropping, models

    with opened(shared) as registry:
        model = models.get(registry, models.resolve(registry, text))
        result = dropping.conversion_of(registry, model)
        gone = dropping.drop(registry, model, result, reason=reason, dry=dry)
    word = "would go" if dry else "gone"
    freed = sum(entry.size for entry in {entry.sha256: entry for entry in gone}.values())
    lines = [f"{entry.path} {word}, {size(entry.size)}, {entry.sha256}" for entry in gone]
    lines += [
        f"{len(gone)} files ({freed} bytes) {word} of {model.digest}",
        f"what they became stays: {result.digest}",
        "manifest, claims and decisions stay; the raw model itself is admitted no more",
    ]
    item: JSON = {
        "model": str(model.digest),
        "result": str(result.digest),
        "files": [{"path": e.path, "digest": str(e.sha256), "size": e.size} for e in gone],
        "freed": freed,
        "dry": dry,
    }
    emit(shared, "dropping", [item], "\n".join(lines))
    return 0
