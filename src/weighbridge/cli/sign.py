"""`sign`: say that these files are one model, as our own claim or as an OpenSSF model signature."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from weighbridge.cli.options import Shared, common_with, opened
from weighbridge.cli.render import count, emit, safe
from weighbridge.cli.signing import BUNDLE, chosen, hand_in, how_to_sign, sign_with
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, UsageError
from weighbridge.registry.signing import How

OMS = "oms"


@click.command()
@click.argument("model")
@how_to_sign
@click.option("--builder", default="https://weighbridge.dev/builders/by-hand", help="URI of what ran.")
@click.option("--run", default="by-hand", help="Id of the run (a job number, a commit).")
@BUNDLE
@click.option(
    "--oms", "oms", is_flag=True, help="Write an OpenSSF model signature, MODEL/model.sig (as --format oms)."
)
@click.option(
    "--hash",
    "hash_type",
    type=click.Choice(["sha256", "blake2b", "blake3"]),
    default="sha256",
    help="With --oms: the digest.",
)
@click.option(
    "--shard-size",
    type=click.IntRange(min=0),
    default=0,
    metavar="BYTES",
    help="With --oms: a digest of each so many bytes.",
)
@click.option(
    "--ignore", multiple=True, metavar="PATH", help="With --oms: leave this file or folder out, and say so."
)
@click.option(
    "--sign-git-files",
    "git",
    is_flag=True,
    help="With --oms: sign .gitattributes, .gitignore and .github too.",
)
@click.option("--force", is_flag=True, help="With --oms: replace a signature that is there.")
@common_with(OMS)
def sign(shared: Shared, model: str, *, bundle: Path | None, **options: Any) -> int:
    """Say that these files are one model and that you put them together; signs every file's digest."""  # fmt: skip
    how = chosen(options)
    if options["oms"] or shared.format == OMS:
        return _model_signature(shared, Path(model).expanduser(), bundle, how, options)
    from weighbridge.claims.predicates import package

    path = Path(model).expanduser()
    if path.exists():
        from weighbridge.gate.listing import describe_model

        manifest, chunks = describe_model(path, bundle)
        statement = package(manifest, chunks, builder=options["builder"], invocation=options["run"])
        if bundle is not None and (not how.keyless or how.elsewhere):
            return hand_in(shared, None, statement, how, bundle)
    elif bundle is not None:
        raise UsageError(f"{model!r} does not exist", remedy="without a registry, give a path")
    with opened(shared) as registry:
        if not path.exists():
            from weighbridge.registry import models

            kept = models.get(registry, models.resolve(registry, model))
            statement = package(
                kept.manifest, kept.chunks, builder=options["builder"], invocation=options["run"]
            )
        return hand_in(shared, registry, statement, how, bundle)


def _model_signature(
    shared: Shared, model: Path, bundle: Path | None, how: How, options: dict[str, Any]
) -> int:
    from weighbridge.gate.listing import list_model

    if not model.exists():
        raise NotFound(f"there is no {model}", remedy="give the folder or file of a model")
    target = bundle or (model / "model.sig" if model.is_dir() else model.with_name(f"{model.name}.sig"))
    if target.exists() and not options["force"]:
        raise Refused(
            f"{target} exists already",
            remedy="write another file with --bundle, or replace it with --force",
            check="sign.exists",
        )
    listed = list_model(
        model,
        target,
        hash_type=options["hash_type"],
        shard_size=options["shard_size"],
        ignore=options["ignore"],
        git=options["git"],
    )
    local = not how.keyless or how.elsewhere
    with nullcontext() if local else opened(shared) as registry:
        made = sign_with(shared, registry, listed.statement, how)
    signed = made.bundle
    if made.pem:  # other readers of the format look a key up by the digest of its PEM
        signed = replace(signed, key=Digest.of(made.pem.encode()))
    _replace(target, signed.to_json())
    item: JSON = {
        "signature": str(target),
        "signer": made.who,
        "files": listed.files,
        "left_out": [row.to_json() for row in listed.left_out],
    }
    lines = [f"signed by {made.who}: {target} ({count(listed.files, 'file')})"]
    lines += [f"not covered: {safe(row.path)} ({count(row.files, 'file')})" for row in listed.left_out]
    emit(shared, "signature", [item], "\n".join(lines))
    return 0


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
