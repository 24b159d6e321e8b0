"""`verify`: check who signed what about a model, offline, and print what was proven by which key and when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from weighbridge.cli.expected import Asked

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--signer",
    default="",
    metavar="WHO",
    help="Who must have signed: an address or URI in a certificate, a public key file, or a name in the registry's authority.",
)
@click.option(
    "--issuer", "--certificate-oidc-issuer", default="", metavar="URL", help="Who vouched for that name."
)
@click.option(
    "--certificate-identity", "identity", default="", metavar="WHO", help="As --signer, never a file."
)
@click.option(
    "--certificate-identity-regexp",
    "identity_pattern",
    default="",
    metavar="PATTERN",
    help="A pattern that the whole name must match.",
)
@click.option(
    "--certificate-oidc-issuer-regexp",
    "issuer_pattern",
    default="",
    metavar="PATTERN",
    help="A pattern that the whole issuer must match.",
)
@click.option("--key", type=_FILE, help="The signer's public key.")
@click.option(
    "--bundle",
    "--signature",
    type=_FILE,
    help="Where the signature is; else it is looked for beside the model.",
)
@click.option("--trusted-root", type=_FILE, help="Whose word is taken: a Sigstore trusted root.")
@click.option(
    "--certificate-chain",
    type=_FILE,
    multiple=True,
    help="An organisation's own root certificate (PEM), instead of a Sigstore's.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="The claim that is wanted: package, train, …, oms, slsaprovenance1, or a URI.",
)
@click.option(
    "--demand",
    multiple=True,
    metavar="NAME=NUMBER",
    help="More or less proof than the roots provide for: logs, timestamps, scts, times, witnesses, checkpoint_age.",
)
@click.option("--allow-ignored", is_flag=True, help="Let pass what the signer left out of a model signature.")
@click.option(
    "--allow-unsigned", multiple=True, metavar="PATH", help="Let pass this file or folder of the model."
)
@click.option(
    "--sha256", "thorough", is_flag=True, help="Compare SHA-256 where the signed BLAKE3 table would do."
)
@common
def verify(shared: Shared, *, model: Path, bundle: Path | None, **options: Any) -> int:
    """Verify a model against who must have signed it: signature, identity, claim, and every byte.

    Or verify an admitted model (the path that promote printed), for which nothing else need be said. No
    database and no network are used. Every file is read and hashed.
    """  # fmt: skip
    from weighbridge.cli.expected import Asked, likely_command
    from weighbridge.source.cache import chosen_snapshot

    asked = Asked(**options)
    model = chosen_snapshot(model.resolve()) or model  # a hub's cache folder stands for its main revision
    if not asked.nobody:
        item, text = _signed(shared, model, bundle, asked)
    elif bundle is None and _is_admitted(model):
        item, text = _admitted(model)
    else:
        from weighbridge.gate.signatures import signatures_of

        try:
            found, problems = signatures_of(model, bundle)
        except NotFound as error:
            raise UsageError(
                "say whose signature is expected, and where it is",
                cause=f"{error.problem}, and it is no admitted model (no evidence lies beside it)",
                remedy="weighbridge verify MODEL --signer WHO --issuer URL --bundle FILE",
                check="expect.signer",
            ) from error
        raise likely_command(model, found) if found else problems[0]
    emit(shared, "verification", [item], text)
    return 0


def _signed(shared: Shared, model: Path, bundle: Path | None, asked: Asked) -> tuple[JSON, str]:
    from weighbridge.cli.evidence import as_json, as_text
    from weighbridge.cli.expected import expectations
    from weighbridge.gate.signatures import signatures_of
    from weighbridge.gate.signed import check_signed

    wanted = expectations(shared, asked)
    found, problems = signatures_of(model, bundle)
    if not found:
        raise problems[0]
    with _progress(shared, model) as advance:
        checked = check_signed(model, found, wanted, now=_now(), progress=advance)
    return as_json(checked), as_text(checked)


def _now() -> datetime:
    return datetime.now(UTC)


def _progress(shared: Shared, model: Path) -> Any:
    from weighbridge.cli.options import progress, shows_progress

    total = 0
    if shows_progress(shared, 1 << 62):
        paths = model.rglob("*") if model.is_dir() else [model]
        total = sum(path.stat().st_size for path in paths if path.is_file())
    return progress(shared, "comparing", total)


def _is_admitted(model: Path) -> bool:
    folder = model if model.name == "model" else model / "model"
    return folder.is_dir() and (folder.parent / "evidence").is_dir()


def _admitted(model: Path) -> tuple[JSON, str]:
    from weighbridge.loader.load import load

    loaded = load(model, project=None)
    for entry in loaded.manifest.files:
        loaded.check(entry.path)
    summary = loaded.admission
    item: JSON = {
        "manifest": str(summary.manifest),
        "registry": summary.registry,
        "project": summary.project,
        "decision": str(summary.decision),
        "verified_at": rfc3339(summary.verified_at),
        "expires": rfc3339(summary.expires),
        "exceptions": [str(bundle) for bundle in summary.exceptions],
        "files": len(loaded.manifest.files),
        "signer": loaded.proven.to_json(),
    }
    logged = f"log entry {loaded.proven.log_index}" if loaded.proven.log_index is not None else "not logged"
    text = (
        f"verified: {summary.manifest}\n{len(loaded.manifest.files)} files read and compared\n"
        f"admitted by {loaded.proven.signer} of registry {summary.registry}, {logged}\n"
        f"from {rfc3339(summary.verified_at)} until {rfc3339(summary.expires)}, decision {summary.decision.short}"
    )
    if summary.exceptions:
        named = ", ".join(bundle.short for bundle in summary.exceptions)
        text += f"\nby exception: it rests on {len(summary.exceptions)} waiver(s) or break-glass ({named})"
    return item, text
