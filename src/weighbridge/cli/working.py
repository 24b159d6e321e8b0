"""What works on jobs beside something that serves, or by itself: a thread that looks again and again for a job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

from weighbridge.cli.fleet import told
from weighbridge.cli.options import Shared, opened
from weighbridge.core.errors import WeighbridgeError
from weighbridge.registry.jobs import LEASE

LOOK_SECONDS = 2.0
"""How long a worker that found nothing waits before it looks again."""
TOLD_SECONDS = 20.0
"""The same where the database tells of jobs as they come: what was left by a worker that is gone is found so."""
STOP_SECONDS = 15


@contextmanager
def working(shared: Shared, number: int = 1, *, everywhere: bool = True) -> Iterator[None]:
    """Do jobs in so many threads for as long as the block lasts; each opens the registry for itself. 0 does none."""
    over = Event()
    threads = [
        Thread(
            target=keep_on,
            args=(shared, over),
            kwargs={"everywhere": everywhere},
            daemon=True,
            name=f"jobs {n}",
        )
        for n in range(number)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=STOP_SECONDS)


def keep_on(shared: Shared, over: Event, *, lease: timedelta = LEASE, everywhere: bool = True) -> None:
    """Do jobs until told to stop; what keeps the registry from being opened is tried again. Never raises."""
    from weighbridge.gate.work import run_all

    log = logging.getLogger("weighbridge.work")
    while not over.is_set():
        try:
            with (
                opened(shared) as registry,
                told(shared, registry, lease=lease, everywhere=everywhere) as is_told,
            ):
                while not over.is_set():
                    run_all(registry, over=over.is_set, everywhere=everywhere, lease=lease)
                    over.wait(TOLD_SECONDS if is_told else LOOK_SECONDS)
        except Exception as error:  # noqa: BLE001 (who works on jobs goes on)
            cause = str(error) if isinstance(error, WeighbridgeError) else type(error).__name__
            log.warning("no work on jobs", extra={"fields": {"cause": cause}})
            over.wait(LOOK_SECONDS)
