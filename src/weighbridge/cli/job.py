"""`job`: work that takes long: what waits, how far it is, and doing it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, say, size, table
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.registry.jobs import Job
    from weighbridge.registry.wiring import Registry

STATES = ("queued", "running", "done", "failed")
KINDS = ("intake", "scan", "reevaluate")
SAID = ("cause", "remedy", "model", "answer", "verdict", "decision")
"""What of a result stands on lines of its own."""


@click.group()
def job() -> None:
    """See what work waits and how far it is, ask for more, and do it."""


@job.command("list")
@click.option("--state", type=click.Choice(STATES), default=None, help="Only jobs that stand so.")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@common
def list_(shared: Shared, *, state: str | None, most: int) -> int:
    """List the jobs of the project, newest first."""
    from weighbridge.registry import jobs

    with opened(shared) as registry:
        found = jobs.every(registry, state=state or "", most=most)
    rows = [(row.id[:12], row.kind, row.state, _far(row), safe(row.key), safe(row.message)) for row in found]
    text = table(rows, ("job", "kind", "state", "done", "about", "says")) if rows else "no jobs"
    emit(shared, "job", [row.to_json() for row in found], text)
    return 0


@job.command("show")
@click.argument("identity", metavar="JOB")
@common
def show(shared: Shared, identity: str) -> int:
    """Show one job: how far it is, what came of it, or why it failed and what helps."""
    from weighbridge.registry import jobs

    with opened(shared) as registry:
        found = jobs.find(registry, identity)
    emit(shared, "job", [found.to_json()], _text(found))
    return _code(found)


@job.command("add")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("about", required=False, default="")
@common
def add(shared: Shared, kind: str, about: str) -> int:
    """Ask for work: `intake hf://org/name@rev`, `scan MODEL`, `reevaluate`; somebody else does it."""
    from weighbridge.gate import work

    if (kind != "reevaluate") != bool(about):
        raise UsageError("say what the work is about", remedy="weighbridge job add intake hf://org/name@rev")
    subject = {"intake": {"reference": about}, "scan": {"model": about}, "reevaluate": {}}[kind]
    with opened(shared) as registry:
        found = work.submit(registry, kind, subject, key=(about or "due")[:128])
    emit(shared, "job", [found.to_json()], _text(found))
    return 0


@job.command("run")
@click.argument("identity", metavar="[JOB]", required=False, default="")
@click.option("--again", is_flag=True, help="Begin a job that failed again.")
@click.option("--keep-on", is_flag=True, help="Wait for further jobs until stopped.")
@click.option(
    "--lease", type=click.IntRange(2, 3600), default=60, show_default=True,
    help="Seconds after which a job of a worker that is gone is taken over.",
)  # fmt: skip
@common
def run(shared: Shared, identity: str, *, again: bool, keep_on: bool, lease: int) -> int:
    """Do the jobs that wait, one after another, or JOB only; of every project, or of --project only.

    Several workers, on several machines, may do this at once: each job is done by one of them.
    """
    from weighbridge.registry import jobs

    if again and not identity:
        raise UsageError("--again takes a job", remedy="weighbridge job list --state failed")
    everywhere = shared.config.values["project"].origin == "default"
    done: list[Job] = []
    with opened(shared) as registry:
        if identity:
            found = jobs.find(registry, identity, everywhere=everywhere)
            if again and found.state == "failed":
                jobs.retry(registry, found.id)
            done = _one(registry, found.id, lease, everywhere=everywhere)
        elif keep_on:
            return _keep_on(shared, lease, everywhere=everywhere)
        else:
            from weighbridge.gate.work import run_all

            run_all(registry, everywhere=everywhere, lease=timedelta(seconds=lease), told=done.append)
    emit(
        shared,
        "job",
        [row.to_json() for row in done],
        "\n".join(_text(row) for row in done) or "nothing waits",
    )
    return max((_code(row) for row in done), default=0)


def _one(registry: Registry, identity: str, lease: int, *, everywhere: bool) -> list[Job]:
    from weighbridge.gate.work import run_next
    from weighbridge.registry import jobs

    length = timedelta(seconds=lease)
    run_next(registry, identity=identity, lease=length, wait=False, everywhere=everywhere)
    return [jobs.find(registry, identity, everywhere=everywhere)]


def _keep_on(shared: Shared, lease: int, *, everywhere: bool) -> int:
    import signal
    import threading

    from weighbridge.cli.working import keep_on

    over = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: over.set())
    say(shared, "waiting for jobs; stop with Ctrl-C")
    keep_on(shared, over, lease=timedelta(seconds=lease), everywhere=everywhere)
    say(shared, "stopped")
    return 0


def _far(row: Job) -> str:
    if row.total:
        return f"{row.done * 100 // row.total} %"
    return size(row.done) if row.kind == "intake" and row.done else str(row.done or "")


def _text(row: Job) -> str:
    lines = [f"{row.id[:12]}  {row.kind} {safe(row.key)}: {row.state}", f"  {safe(row.message)}"]
    lines += [f"  {name}: {safe(str(row.result[name]))}" for name in SAID if row.result.get(name)]
    against = row.result.get("against")
    lines += [f"  {safe(str(one['check']))}: {safe(str(one['found']))}" for one in against or ()]
    return "\n".join(lines)


def _code(row: Job) -> int:
    """Return 1 for what failed or was blocked, 3 for what cannot be told yet, else 0."""
    if row.state == "failed":
        return 3 if row.result.get("kind") in ("cannot-tell", "unreachable", "unreadable", "locked") else 1
    if row.state == "done":
        return 1 if row.result.get("answer") == "block" else 0
    return 0
