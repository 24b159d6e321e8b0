"""What goes on beside something that serves: signs of life, and re-evaluation; threads that open the registry anew each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from weighbridge.cli.options import Shared, opened, untold

STOP_SECONDS = 15
"""How long the end of serving waits for the model under way."""


@contextmanager
def beating(shared: Shared, every: int) -> Iterator[None]:
    """Give a sign of life every so many seconds for as long as the block lasts; 0 gives none.

    The registry is opened for each, as any command would: what cannot be opened, or is not believed then, is an alarm
    and no sign of life.
    """
    if not every:
        yield
        return
    with _beside("heartbeat", every, lambda _over: once(shared, every), wait=5):
        yield


@contextmanager
def reevaluating(shared: Shared, every: int) -> Iterator[None]:
    """Judge again what is due every so many seconds for as long as the block lasts; 0 never does.

    The end of the block waits a little for the model under way; a round that is cut off is gone on with by the next one.
    """
    if not every:
        yield
        return
    with _beside("re-evaluation", every, lambda over: again(shared, over), wait=STOP_SECONDS):
        yield


@contextmanager
def _beside(
    name: str, every: int, act: Callable[[Callable[[], bool]], object], *, wait: float
) -> Iterator[None]:
    stop = Event()

    def go_on() -> None:
        act(stop.is_set)
        while not stop.wait(every):
            act(stop.is_set)

    thread = Thread(target=go_on, daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=wait)


def again(shared: Shared, over: Callable[[], bool] = lambda: False) -> bool:
    """Go one round of re-evaluation and tell what waits; returns whether it could be done. Never raises: a failure alarms."""
    from weighbridge.gate.reevaluate import Round, Wish, round_of

    log = logging.getLogger("weighbridge.cli")
    try:
        with opened(shared) as registry:
            done = round_of(registry, Wish(), over=over)
    except Exception as error:  # noqa: BLE001 (what goes on beside this must go on)
        log.warning("no re-evaluation", extra={"fields": {"cause": f"{type(error).__name__}: {error}"}})
        return False
    if not isinstance(done, Round):
        log.warning("no re-evaluation", extra={"fields": {"cause": f"{done.problem}: {done.cause}"}})
        return False
    counts = {outcome.value: done.count(outcome) for outcome in {row.outcome for row in done.seen}}
    facts = {"trusted": done.trusted, "due": done.due, **counts, "stopped": done.stopped or None}
    log.info("judged again", extra={"fields": facts})
    return not done.stopped


def once(shared: Shared, every: int) -> bool:
    """Give one sign of life and tell what waits; returns whether the gate could decide now. Never raises."""
    from weighbridge.gate.heartbeat import beat

    try:
        with opened(shared) as registry:
            untold(shared, beat(registry, every))
    except Exception as error:  # noqa: BLE001 (what goes on beside this must go on)
        logging.getLogger("weighbridge.cli").warning(
            "no sign of life", extra={"fields": {"cause": f"{type(error).__name__}: {error}"}}
        )
        return False
    return True
