"""How a claim gets its signature on the command line: with a key, or with a token and no key; and where it goes then."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.cli.options import Shared
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON
from weighbridge.registry.signing import How, Signed, check_free, check_who, write_claims

if TYPE_CHECKING:
    from weighbridge.core.statement import Statement
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.wiring import Registry

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_OPTIONS = (
    click.option(
        "--key",
        "--signer",
        "key",
        default="",
        metavar="KEY",
        help="Your private key: a file, or a key in a token or service (pkcs11:…, awskms://…).",
    ),
    click.option(
        "--certificate",
        type=_FILE,
        help="With --key: the certificate of that key and its chain (PEM, your own first), to be named by it.",
    ),
    click.option("--keyless", is_flag=True, help="Sign with an identity token instead of a key."),
    click.option(
        "--identity-token",
        default="",
        metavar="TOKEN",
        help="With --keyless: the token, or @FILE; else that of the job that runs this.",
    ),
    click.option(
        "--as",
        "subject",
        default="",
        metavar="WHO",
        help="With --keyless, in a demonstration: the address that the registry's own issuer vouches for.",
    ),
    click.option(
        "--instance",
        type=_FILE,
        help="With --keyless: another Sigstore's trust configuration, instead of this registry's services.",
    ),
    click.option(
        "--public", is_flag=True, help="With --keyless: the public Sigstore; what you sign is logged for all."
    ),
)
BUNDLE = click.option("--bundle", type=_FILE, help="Write the signed claim here instead of handing it in.")


def how_to_sign(function: F) -> F:
    """Give a verb the options that say who signs; `chosen` takes them out again."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def chosen(options: dict[str, Any]) -> How:
    """Take the options out of a verb's; raises UsageError unless exactly one way to sign was chosen."""
    how = How(**{name: options.pop(name) for name in How.__slots__})
    check_who(how)
    return how


def sign_with(shared: Shared, registry: Registry | None, statement: Statement, how: How) -> Signed:
    """Sign a statement with what this command line offers; with a key the bundle carries no log entry yet."""
    from weighbridge.registry import signing

    def open_named(reference: str) -> Signer:
        from weighbridge.cli.secrets import open_key

        return open_key(shared, reference)

    means = signing.Means(open_named, datetime.now(UTC), os.environ, bool(shared.config["offline"]))
    return signing.sign_with(registry, statement, how, means)


def hand_in(
    shared: Shared,
    registry: Registry | None,
    statement: Statement,
    how: How,
    bundle: Path | None,
    *,
    facts: Mapping[str, JSON] | None = None,
    lines: Sequence[str] = (),
) -> int:
    """Sign a claim and write it to a file, or hand it to the registry, which logs and keeps it.

    `facts` and `lines` are what was seen of the thing on the way: printed with the claim, as data and as text.
    """
    if bundle is not None:
        check_free(bundle)
    made = sign_with(shared, registry, statement, how)
    more = dict(facts or {})
    if bundle is not None:
        write_claims(bundle, [made])
        item: JSON = {"bundle": str(bundle), "signer": made.who, **more}
        emit(shared, "claim", [item], "\n".join([f"signed by {made.who}: {bundle}", *lines]))
        return 0
    from weighbridge.registry.edges import stage_name
    from weighbridge.registry.signing import keep

    assert registry is not None
    kept, index = keep(registry, made)[0]
    stage = stage_name(statement)
    about = ", ".join(d.short for d in statement.identities)
    row: dict[str, JSON] = {
        "stage": stage,
        "bundle": str(kept.digest),
        "signer": made.who,
        "log_index": index,
        **more,
    }
    said = f"claim kept: {stage} of {about}, signed by {made.who}, log entry {index}"
    emit(shared, "claim", [row], "\n".join([said, *lines]))
    return 0
