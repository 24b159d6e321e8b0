"""`trust issuer|witness|roots|fresh`: whose word counts beside keys, and what other clients are told of it."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.cli.root_key import ROOT, offline_key, publish_next
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import NotFound, UsageError
from weighbridge.source.small import content_of

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry
    from weighbridge.trust.authority import Authority
    from weighbridge.trust.issuers import TrustedIssuer

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("issuer")
@click.argument("url", required=False, default="")
@click.option("--from", "document", type=FILE, help="A list of issuers (weighbridge.issuers/1) to take over.")
@click.option("--jwks", type=FILE, help="The issuer's public keys (JWKS); those no longer in it end now.")
@click.option("--mapping", default="", help="How its tokens name somebody: email, uri, github, gitlab, …")
@click.option(
    "--within", multiple=True, metavar="RULE", help="For whom it may vouch: domains, or URIs above them."
)
@click.option("--end", is_flag=True, help="Believe it no longer.")
@ROOT
@common
def issuer(
    shared: Shared,
    url: str,
    *,
    document: Path | None,
    jwks: Path | None,
    mapping: str,
    within: tuple[str, ...],
    end: bool,
    root_key: str,
) -> int:
    """Show, add, change or end an issuer whose tokens this registry turns into certificates."""
    with opened(shared) as registry:
        if url or document:
            with registry.writing():
                made = _changed(
                    registry,
                    url,
                    document=document,
                    jwks=jwks,
                    mapping=mapping,
                    within=within,
                    end=end,
                )
                publish_next(shared, registry, made, root_key)
        from weighbridge.trust.issuers_form import issuer_json

        rows = registry.authority.issuers
        text = "\n".join(
            f"{row.url}  {row.mapping}  for {', '.join(row.within)}  {len(row.keys)} keys" for row in rows
        )
        emit(
            shared,
            "issuer",
            [issuer_json(row) for row in rows],
            text or "nobody is believed about who somebody is",
        )
    return 0


def _changed(
    registry: Registry,
    url: str,
    *,
    document: Path | None,
    jwks: Path | None,
    mapping: str,
    within: tuple[str, ...],
    end: bool,
) -> Authority:
    from weighbridge.trust.issuers_form import read_issuers

    authority = registry.authority
    if document is not None:
        first = authority.version + 1
        for row in read_issuers(content_of(document)):
            authority = authority.with_issuer(row)
        return replace(authority, version=first)
    known = next((row for row in authority.issuers if row.url == url), None)
    if end:
        if known is None:
            raise NotFound(f"{url} is not an issuer here", remedy="look with: weighbridge trust issuer")
        return authority.without_issuer(url)
    return authority.with_issuer(_issuer(registry, url, known, jwks=jwks, mapping=mapping, within=within))


def _issuer(
    registry: Registry,
    url: str,
    known: TrustedIssuer | None,
    *,
    jwks: Path | None,
    mapping: str,
    within: tuple[str, ...],
) -> TrustedIssuer:
    """Return a new issuer, or a known one with what was given changed."""
    from weighbridge.trust.issuers import MAPPINGS, TrustedIssuer, pinned_keys
    from weighbridge.trust.issuers_form import repinned

    kind = next((one for one in MAPPINGS if one == mapping), None)
    if mapping and kind is None:
        raise UsageError(f"there is no mapping {mapping!r}", remedy=f"use one of: {', '.join(MAPPINGS)}")
    if known is None:
        if jwks is None or kind is None or not within:
            raise UsageError(
                "a new issuer is described by its keys, its mapping and for whom it may vouch",
                remedy="give --jwks FILE, --mapping and --within",
            )
        return TrustedIssuer(url, kind, pinned_keys(content_of(jwks)), within)
    changed = replace(known, mapping=kind or known.mapping, within=within or known.within)
    return repinned(changed, content_of(jwks), registry.clock.now()) if jwks else changed


@click.command("witness")
@click.argument("key", required=False, default="")
@click.option("--end", is_flag=True, help="Count what it cosigns from now on no longer.")
@ROOT
@common
def witness(shared: Shared, key: str, *, end: bool, root_key: str) -> int:
    """Show, add or end a witness of the log; KEY is its verifier key (name+hint+base64), or with --end its name."""
    with opened(shared) as registry:
        if key:
            with registry.writing():
                publish_next(shared, registry, _witnessed(registry, key, end=end), root_key)
        rows = registry.authority.trusted.witnesses
        items: list[JSON] = [
            {"name": row.name, "algorithm": row.algorithm, "key": base64.b64encode(row.key).decode("ascii")}
            for row in rows
        ]
        text = "\n".join(
            f"{row.name}  {row.algorithm}{'' if row.window.end is None else '  ended'}" for row in rows
        )
        emit(shared, "witness", items, text or "no witness: the log is kept by this host alone")
    return 0


def _witnessed(registry: Registry, key: str, *, end: bool) -> Authority:
    from weighbridge.ledger.cosignature import read_witness_key
    from weighbridge.trust.roots import Window, Witness

    authority, now = registry.authority, registry.clock.now()
    known = authority.trusted.witnesses
    if end:
        if all(row.name != key for row in known):
            raise NotFound(f"{key!r} is no witness here", remedy="look with: weighbridge trust witness")
        rows = tuple(
            replace(row, window=Window(row.window.start, now)) if row.name == key else row for row in known
        )
    else:
        read = read_witness_key(key)
        rows = (*known, Witness(read.name, read.key, read.algorithm, Window(now)))
    return authority.with_trusted(replace(authority.trusted, witnesses=rows))


@click.command("roots")
@click.option(
    "--client-config", is_flag=True, help="With the addresses: the one file that Sigstore clients take."
)
@click.option("--tuf", is_flag=True, help="Publish them in the TUF repository that `serve` hands out.")
@click.option(
    "--url", default="http://127.0.0.1:8091", show_default=True, help="Where this instance is served."
)
@click.option("--tuf-root-key", default="", metavar="KEY", help="With --tuf, the first time: its root key.")
@common
def roots(shared: Shared, *, client_config: bool, tuf: bool, url: str, tuf_root_key: str) -> int:
    """Print this registry's trusted root: what Sigstore clients hold its signatures against."""
    from weighbridge.registry import distribution

    with opened(shared) as registry:
        if tuf:
            with registry.writing():
                begun = distribution.begun(registry)
                key = None if begun else offline_key(shared, registry, "tuf-root", tuf_root_key)
                made = distribution.publish(registry, url, key)
            first = made.directory / "1.root.json"
            emit(
                shared,
                "repository",
                [{"path": str(made.directory), "root": str(first)}],
                f"{made.directory}\nclients begin with: {first}",
            )
            return 0
        data = (
            distribution.client_config(registry, url)
            if client_config
            else distribution.trusted_root(registry)
        )
        _print(shared, data)
    return 0


@click.command("fresh")
@click.argument("seconds", required=False, type=click.IntRange(60), default=None)
@click.option("--any", "anything", is_flag=True, help="Ask for no age any more.")
@ROOT
@common
def fresh(shared: Shared, seconds: int | None, *, anything: bool, root_key: str) -> int:
    """Say how old the newest checkpoint that witnesses cosigned may be when the gate decides, in seconds."""
    with opened(shared) as registry:
        if seconds is not None or anything:
            if seconds is not None and not registry.authority.trusted.witnesses:
                raise UsageError(
                    "nobody could say how old a checkpoint is",
                    cause="this registry has no witness",
                    remedy="add one first: weighbridge trust witness KEY",
                )
            with registry.writing():
                publish_next(shared, registry, registry.authority.with_checkpoint_age(seconds), root_key)
        age = registry.authority.checkpoint_age
        text = f"at most {age} seconds" if age is not None else "of any age"
        emit(shared, "freshness", [{"checkpoint_age": age}], text)
    return 0


def _print(shared: Shared, data: bytes) -> None:
    """Write a document of somebody else's format as it is, whatever --format says."""
    if shared.output is not None:
        shared.output.write_bytes(data + b"\n")
        return
    click.echo(data.decode())
