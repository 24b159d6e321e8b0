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
from weighbridge.core.errors import RegistryUnusable, UsageError, WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

SOON = timedelta(days=30)


@click.command()
@click.option("--deep", is_flag=True, help="Read every kept byte again and hold it against its digest.")
@click.option(
    "--repair-from",
    metavar="STORE",
    help="With --deep: fetch what is missing or damaged from another folder, registry, backup or address.",
)
@common
def doctor(shared: Shared, *, deep: bool, repair_from: str | None) -> int:
    """Check this machine and the registry: keys, authority, log, policy, unfinished work, kept bytes."""
    if repair_from and not deep:
        raise UsageError(
            "--repair-from mends what --deep finds", remedy="give both: --deep --repair-from STORE"
        )
    checks = list(_machine())
    try:
        with opened(shared) as registry:
            if repair_from:
                checks += _repaired(registry, repair_from)
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


def _repaired(registry: Registry, store: str) -> Iterator[Check]:
    """Mend the kept bytes, and say of each that was not right what came of it and whose it is."""
    from weighbridge.registry.repair import other_store, repair

    for row in repair(registry, other_store(store, registry)):
        whose = "; ".join(row.models[:3]) + (
            f" and {len(row.models) - 3} more" if len(row.models) > 3 else ""
        )
        done = "mended" + (f", the damaged bytes are at {row.moved}" if row.moved else "")
        yield _check(
            "blobs.repaired", not row.problem, f"{row.digest.short} of {whose}",
            f"was {row.was}: {row.problem or done}", "name another store, or take the model in again: weighbridge intake PATH",
        )  # fmt: skip


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
    from weighbridge.registry import dropping, fsck, models, services

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
        yield from _deep(registry)
    yield from _policy(registry)
    with registry.records.read() as connection:
        waiting = connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar()
    yield _check(
        "outbox.empty", waiting == 0, "nothing decided that is not logged yet", f"{waiting} waiting",
        "any writing command finishes it, for example weighbridge trust renew",
    )  # fmt: skip
    yield _alerts(registry)
    digests = {entry.sha256 for model in models.every(registry) for entry in model.manifest.files}
    digests -= dropping.gone(registry)
    missing = [digest for digest in sorted(digests) if not registry.blobs.has(digest)]
    yield _check(
        "blobs.kept", not missing, "every file of every model kept", f"{len(digests) - len(missing)} of {len(digests)}",
        "take the model in again: weighbridge intake PATH",
    )  # fmt: skip


def _deep(registry: Registry) -> Iterator[Check]:
    """Read all again that each command need not look at."""
    from weighbridge.registry import fsck, fsck_rows

    yield from _reread(
        "records.chained",
        "every row that is only ever added as it was written",
        fsck_rows.chained,
        registry,
    )
    yield from _reread(
        "models.described",
        "labels, bills of materials and chunks as they were signed",
        fsck_rows.described,
        registry,
    )
    yield from _reread(
        "models.printed", "fingerprints that are those of the kept bytes", fsck_rows.printed, registry
    )
    yield from _reread(
        "models.laid-out", "what can be loaded as it was laid out", fsck_rows.laid_out, registry
    )
    yield from _reread("alerts.kept", "every alert that was noted", fsck_rows.noted, registry)
    yield from _reread(
        "lineage.states", "every name in the lineage answered, or waiting", fsck_rows.states, registry
    )
    yield from _reread("blobs.unchanged", "every kept byte as it was taken in", fsck.blobs, registry)
    yield from _reread("lineage.drawn", "a lineage that the kept claims state", fsck.lineage, registry)
    yield from _reread(
        "decisions.chained",
        "every decision and its evidence, each after the one before",
        fsck.decisions,
        registry,
    )


def _policy(registry: Registry) -> Iterator[Check]:
    """Look at the active policy, and ask the engine that decides by it."""
    from weighbridge.gate.engines import health
    from weighbridge.gate.judging import read_active, setting
    from weighbridge.policy.settings import load_bundle, starter

    pinned = setting(registry, "policy")
    try:
        bundle = read_active(registry)
        found = str(bundle.digest)
    except (WeighbridgeError, OSError) as error:
        bundle, found = load_bundle(starter()), str(error)
    yield _check(
        "policy.pinned", found == pinned, f"the policy files that are pinned ({pinned})", found,
        "put the files back, or make them the active ones: weighbridge policy use FOLDER",
    )  # fmt: skip
    yield health(registry, bundle)


def _alerts(registry: Registry) -> Check:
    from weighbridge.cli.alert import doctor_found

    deaf = doctor_found(registry)
    return _check(
        "alerts.told", not deaf, "nobody who is to be told of alerts has been deaf for an hour",
        "; ".join(deaf) or f"{len(registry.config.alerts)} to be told", "look at the receiver, then: weighbridge alert send",
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
