"""A worker of a fleet: told of jobs by the database (procrastinate) as they come, beside looking for them now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from weighbridge.cli.options import Shared, opened
from weighbridge.core.errors import WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

STOP_SECONDS = 15


@contextmanager
def told(shared: Shared, registry: Registry, *, lease: timedelta, everywhere: bool) -> Iterator[bool]:
    """Do jobs as the database tells of them, in a thread, for as long as the block lasts; yields whether it does."""
    if not registry.records.shared:
        yield False
        return
    from weighbridge.registry.job_queue import listening

    log = logging.getLogger("weighbridge.work")
    try:
        app = listening(registry, partial(_do, shared, lease, everywhere))
    except (ImportError, WeighbridgeError) as error:
        log.warning("jobs are looked for, and not told of", extra={"fields": {"cause": str(error)}})
        yield False
        return
    loop = asyncio.new_event_loop()
    task = loop.create_task(_listen(app))
    thread = Thread(target=_run, args=(loop, task), daemon=True, name="told of jobs")
    thread.start()
    try:
        yield True
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(timeout=STOP_SECONDS)


async def _listen(app: Any) -> None:
    async with app.open_async():
        await app.run_worker_async(
            queues=["weighbridge"], install_signal_handlers=False, delete_jobs="always"
        )


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        try:
            loop.run_until_complete(task)
        except Exception:  # whatever it is, jobs are still looked for
            logging.getLogger("weighbridge.work").exception("not told of jobs any more")
    loop.close()


def _do(shared: Shared, lease: timedelta, everywhere: bool, identity: str) -> None:  # noqa: FBT001 (called by position)
    from weighbridge.gate.work import run_next

    with opened(shared) as registry:
        run_next(registry, identity=identity, lease=lease, everywhere=everywhere)
