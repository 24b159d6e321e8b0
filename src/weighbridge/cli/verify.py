"""`verify`: check who signed what about a model, offline, and print what was proven by which key and when."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError, VerificationFailed


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A signed claim about the model.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --bundle: the signer's public key.",
)
@common
def verify(shared: Shared, *, model: Path, bundle: Path | None, key: Path | None) -> int:
    """Verify an admitted model (the path that promote printed), or a folder against a signed claim and a key.

    No database and no network are used. Every file is read and hashed.
    """
    if bundle is not None:
        if key is None:
            raise UsageError("say whose signature is expected", remedy="add --key SIGNER.pub.pem")
        item, text = _against_key(model, bundle, key)
    else:
        item, text = _admitted(shared, model)
    emit(shared, "verification", [item], text)
    return 0


def _against_key(model: Path, bundle: Path, key: Path) -> tuple[JSON, str]:
    from weighbridge.core.statement import PAYLOAD_TYPE, Statement
    from weighbridge.keys.public import key_id_of_pem
    from weighbridge.source.local import open_folder
    from weighbridge.source.read import read_tree
    from weighbridge.trust.bundle import Bundle
    from weighbridge.trust.verify import verify_envelope

    pem = key.read_text(encoding="ascii", errors="replace")
    envelope = Bundle.from_json(bundle.read_bytes()).envelope
    statement = Statement.decode(verify_envelope(envelope, pem, PAYLOAD_TYPE))
    with open_folder(model) as tree:
        manifest = read_tree(tree).manifest
    models = [digest for digest in statement.identities if digest.algorithm == "wb1"]
    covers = (
        manifest.digest if models else manifest.weights
    )  # a claim that names a model covers every file of it
    if covers is None or covers not in statement.identities:
        raise VerificationFailed(
            "the claim is about another model",
            cause=f"this folder is {manifest.digest.short}, the claim names {', '.join(d.short for d in statement.identities)}",
            remedy="get the claim that belongs to these files, or the files that belong to it",
            check="statement.subject",
        )
    item: JSON = {
        "manifest": str(manifest.digest),
        "covers": str(covers),
        "signer": str(key_id_of_pem(pem)),
        "claim": statement.predicate_type,
        "logged": None,
    }
    extent = "every file" if models else "the weight files only"
    text = f"verified: {covers} ({extent})\nsigned by {key_id_of_pem(pem)}\nclaim {statement.predicate_type}"
    return item, f"{text}\nno log proof was asked for"


def _admitted(shared: Shared, model: Path) -> tuple[JSON, str]:
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
        "files": len(loaded.manifest.files),
        "signer": loaded.proven.to_json(),
    }
    del shared
    logged = f"log entry {loaded.proven.log_index}" if loaded.proven.log_index is not None else "not logged"
    text = (
        f"verified: {summary.manifest}\n{len(loaded.manifest.files)} files read and compared\n"
        f"admitted by {loaded.proven.signer} of registry {summary.registry}, {logged}\n"
        f"from {rfc3339(summary.verified_at)} until {rfc3339(summary.expires)}, decision {summary.decision.short}"
    )
    return item, text
