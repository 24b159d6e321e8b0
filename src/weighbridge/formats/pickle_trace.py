"""Name what loading a pickle would do, by the symbolic machine of `pickle_machine`.

The machine runs compiled where a binary of exactly this source is there, and as plain Python everywhere else
(`pickle_build` chooses); both give the same answer.
"""

from __future__ import annotations

from typing import Final

from weighbridge.formats.pickle_build import machine
from weighbridge.formats.pickle_events import Trace
from weighbridge.formats.pickle_ops import MAX_OPCODES

MAX_EVENTS: Final = 200_000
MAX_EXPANSION: Final = 1_000_000_000


def trace(
    data: bytes,
    start: int = 0,
    *,
    max_opcodes: int = MAX_OPCODES,
    max_events: int = MAX_EVENTS,
    max_expansion: int = MAX_EXPANSION,
    joblib: bool = False,
) -> Trace:
    """Run the stream at `start` symbolically; never raises on its content.

    With `joblib` the raw arrays behind joblib's array wrappers are read past, as `joblib.load` does; without
    it the stream is read as `pickle.load` reads it. What CPython would refuse ends in `broken`, with all
    events up to there.
    """
    traced: Trace = machine().run_trace(data, start, (max_opcodes, max_events, max_expansion), joblib)
    return traced
