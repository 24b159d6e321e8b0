"""`transfer`: carry models, claims and withdrawals from one registry to another over a medium, and see how old the last one is."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe


@click.group()
def transfer() -> None:
    """Carry models, claims and withdrawals to a registry that no network reaches.

    docs/air-gapped.md has the whole way; what arrives counts there as that registry's own authority says.
    """


@transfer.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--evidence-only", is_flag=True, help="Claims and withdrawals without bytes: small, and to be sent often."
)
@click.option(
    "--blobs",
    "blobs_only",
    is_flag=True,
    help="Bytes without claims, to follow evidence that was sent before.",
)
@click.option(
    "--since",
    default="0",
    metavar="ENTRIES|FILE",
    help="Only withdrawals after so many log entries, or after a checkpoint.",
)
@common
def export_(
    shared: Shared,
    folder: Path,
    *,
    models: tuple[str, ...],
    evidence_only: bool,
    blobs_only: bool,
    since: str,
) -> int:
    """Put MODELs, what is claimed about them and what was withdrawn into FOLDER; again into the same goes on."""
    from weighbridge.core.errors import UsageError
    from weighbridge.registry import models as kept
    from weighbridge.registry import transfer as sending

    if evidence_only and blobs_only:
        raise UsageError(
            "--evidence-only and --blobs exclude each other", remedy="leave out both to carry everything"
        )
    with opened(shared) as registry:
        wanted = sending.Wanted(
            tuple(kept.resolve(registry, text) for text in models),
            evidence=not blobs_only, blobs=not evidence_only, since=sending.since_of(since),
        )  # fmt: skip
        sent = sending.export(registry, folder, wanted)
    text = (
        f"{sent.path}: {sent.models} models, {sent.claims} claims, {sent.news} withdrawals and advisories, {sent.blobs} blobs;"
        f" next time: --since {sent.entries}"
    )
    emit(shared, "transfer", [sent.to_json()], text)
    return 0


@transfer.command("import")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--root", type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The first time: the other registry's root public key, which came by another way.",
)  # fmt: skip
@common
def import_(shared: Shared, folder: Path, *, root: Path | None) -> int:
    """Verify FOLDER and take in what it brings: claims as claims of whoever signed them, models into intake.

    Ends with 1 when claims were left out, 3 when bytes of a model are not here yet.
    """
    from weighbridge.registry.transfer_in import take_in

    pem = root.read_text(encoding="ascii", errors="replace") if root else ""
    with opened(shared) as registry:
        found = take_in(registry, folder, root=pem)
    said = f"{found.claims} claims, {found.news} withdrawals and advisories ({found.known} known already)"
    lines = [f"registry {found.registry} as of {found.made}: {said}"]
    lines += [f"in intake: {name}" for name in found.models]
    lines += [f"waiting for bytes: {name}" for name in found.waiting]
    lines += [f"left out: {name}" for name in found.refused]
    emit(shared, "import", [found.to_json()], "\n".join(map(safe, lines)))
    return 1 if found.refused else 3 if found.waiting else 0


@transfer.command("list")
@common
def list_(shared: Shared) -> int:
    """Show from which registries something was taken in, how old it is, and whether that is older than the project allows."""
    from weighbridge.registry.import_age import imports, overdue

    with opened(shared) as registry:
        found, now = imports(registry), registry.clock.now()
        late = list(overdue(registry))
    lines = [
        f"{one.registry}: made {one.made:%Y-%m-%d %H:%M}Z, {(now - one.made).days} days ago"
        for one in found.values()
    ]
    emit(
        shared,
        "import-age",
        [one.to_json() for one in found.values()],
        "\n".join([*lines, *late] or ["nothing was imported"]),
    )
    return 1 if late else 0
