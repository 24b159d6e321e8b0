"""`doctor`: look at this machine and at a registry, and say what is not in order."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import check_text, emit
from weighbridge.core.clock import rfc3339
from weighbridge.core.decision import Check, Outcome
from weighbridge.core.errors import RegistryUnusable, WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

SOON = timedelta(days=30)


@click.command()
@click.option("--deep", is_flag=True, help="Read every kept byte again and hold it against its digest.")
@common
def doctor(shared: Shared, *, deep: bool) -> int:
    """Check this machine and the registry: keys, authority, log, policy, unfinished work, kept bytes."""
    checks = list(_machine())
    try:
        with opened(shared) as registry:
            checks += _registry(registry, deep=deep)
    except RegistryUnusable as error:
        checks.append(
            Check(
                "registry.opens",
                Outcome.CANNOT_TELL,
                "a registry that can be opened",
                error.problem,
                remedy=error.remedy,
            )
        )
    except WeighbridgeError as error:
        checks.append(
            Check(
                "registry.opens",
                Outcome.FAIL,
                "a registry that can be believed",
                error.problem,
                remedy=error.remedy,
            )
        )
    emit(
        shared,
        "check",
        [check.to_json() for check in checks],
        "\n".join(check_text(check) for check in checks),
    )
    outcomes = {check.outcome for check in checks}
    return 1 if Outcome.FAIL in outcomes else 3 if Outcome.CANNOT_TELL in outcomes else 0


def _machine() -> Iterator[Check]:
    yield _check(
        "machine.python", sys.version_info >= (3, 11), "Python 3.11 or later", platform.python_version()
    )
    linux = sys.platform == "linux"
    yield _check("machine.platform", linux or sys.platform == "darwin", "Linux or macOS", sys.platform)
    import os

    found = "sealed memory" if hasattr(os, "memfd_create") else "ordinary private memory (no memfd here)"
    yield Check("machine.memory", Outcome.PASS, "private memory for verified loads", found)
    from weighbridge.formats.pickle_build import chosen

    yield Check("machine.pickles", Outcome.PASS, "the reader of pickles, compiled or not", chosen()[1])


def _registry(registry: Registry, *, deep: bool) -> Iterator[Check]:
    from weighbridge.gate.judging import read_policy, setting
    from weighbridge.registry import fsck, models, services

    yield Check(
        "registry.opens",
        Outcome.PASS,
        "a registry that can be believed",
        f"{registry.id}, {registry.layout.root}",
    )
    left = registry.authority.expires - registry.clock.now()
    yield _check(
        "authority.current", left > timedelta(0), "an authority that has not expired",
        f"version {registry.authority.version}, until {rfc3339(registry.authority.expires)}"
        + (" (soon)" if left < SOON else ""), "sign it again: weighbridge trust renew",
    )  # fmt: skip
    yield from _reread(
        "log.whole", "a log that is what its checkpoint says, all of it kept here", fsck.log, registry
    )
    yield from _reread(
        "services.whole",
        "certificate and signing logs whole, nothing that signs about to end",
        services.check,
        registry,
    )
    if deep:
        yield from _reread("blobs.unchanged", "every kept byte as it was taken in", fsck.blobs, registry)
        yield from _reread("lineage.drawn", "a lineage that the kept claims state", fsck.lineage, registry)
    pinned = setting(registry, "policy")
    try:
        found = str(read_policy(registry.layout.policy).digest)
    except (WeighbridgeError, OSError) as error:
        found = str(error)
    yield _check(
        "policy.pinned", found == pinned, f"the policy files that are pinned ({pinned})", found,
        "put the files back, or make them the active ones: weighbridge policy use FOLDER",
    )  # fmt: skip
    with registry.records.read() as connection:
        waiting = connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar()
    yield _check(
        "outbox.empty", waiting == 0, "nothing decided that is not logged yet", f"{waiting} waiting",
        "any writing command finishes it, for example weighbridge trust renew",
    )  # fmt: skip
    digests = {entry.sha256 for model in models.every(registry) for entry in model.manifest.files}
    missing = [digest for digest in sorted(digests) if not registry.blobs.has(digest)]
    yield _check(
        "blobs.kept", not missing, "every file of every model kept", f"{len(digests) - len(missing)} of {len(digests)}",
        "take the model in again: weighbridge intake PATH",
    )  # fmt: skip


def _reread(
    name: str, expected: str, read: Callable[[Registry], list[str]], registry: Registry
) -> Iterator[Check]:
    remedy = "find out who can write to the registry's folder, then restore it from a backup"
    try:
        problems = read(registry)
    except WeighbridgeError as error:
        yield Check(name, Outcome.FAIL, expected, error.problem, remedy=error.remedy or remedy)
        return
    shown = "; ".join(problems[:3]) + (f" and {len(problems) - 3} more" if len(problems) > 3 else "")
    yield _check(name, not problems, expected, shown or "read again", remedy)


def _check(name: str, fine: bool, expected: str, found: str, remedy: str = "") -> Check:  # noqa: FBT001 (a row of a table)
    return Check(name, Outcome.PASS if fine else Outcome.FAIL, expected, found, remedy="" if fine else remedy)
