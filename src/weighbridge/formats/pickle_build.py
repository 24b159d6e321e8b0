"""Which build of the symbolic machine runs: compiled, or plain Python."""

from __future__ import annotations

from types import ModuleType

from weighbridge.formats import pickle_machine


def machine() -> ModuleType:
    """Return the module whose `run_trace` is to be used."""
    return pickle_machine
