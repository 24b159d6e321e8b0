"""`doctor`: look at this machine and at a registry, and say what is not in order."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
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


def _registry(registry: Registry, *, deep: bool) -> Iterator[Check]:
    from weighbridge.gate.judging import read_policy, setting
    from weighbridge.registry import models

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
    try:
        size = registry.log.verify_all()
        yield Check(
            "log.whole", Outcome.PASS, "a log that is what its checkpoint says", f"{size} entries read again"
        )
    except WeighbridgeError as error:
        yield Check(
            "log.whole",
            Outcome.FAIL,
            "a log that is what its checkpoint says",
            error.problem,
            remedy=error.remedy,
        )
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
    missing = [
        d
        for d in sorted(digests)
        if not (registry.blobs.verify(d) if registry.blobs.has(d) and deep else registry.blobs.has(d))
    ]
    yield _check(
        "blobs.kept", not missing, "every file of every model kept" + (" and unchanged" if deep else ""),
        f"{len(digests) - len(missing)} of {len(digests)}" + (f"; not {missing[0].short}" if missing else ""),
        "take the model in again: weighbridge intake PATH",
    )  # fmt: skip


def _check(name: str, fine: bool, expected: str, found: str, remedy: str = "") -> Check:  # noqa: FBT001 (a row of a table)
    return Check(name, Outcome.PASS if fine else Outcome.FAIL, expected, found, remedy="" if fine else remedy)
