"""Which build of the symbolic machine runs: compiled from exactly this source, or plain Python.

Both give the same answer. A binary that was made of other source is never used, however it got there; setting
WEIGHBRIDGE_PURE=1 forces plain Python.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from weighbridge.formats import pickle_machine

SOURCES: Final = (
    "pickle_ops", "pickle_stack", "pickle_calls", "pickle_outside", "pickle_dtypes", "pickle_arrays", "pickle_machine",
)  # fmt: skip
"""The modules that are compiled; setup.py reads this row."""
_COMPILED: Final = "weighbridge.formats.compiled"


def source_digest(folder: Path) -> str:
    """Return the digest that binds a binary to the files it was made of."""
    total = hashlib.sha256()
    for name in SOURCES:
        source = (folder / f"{name}.py").read_bytes()
        total.update(f"{name} {len(source)}\n".encode() + source)
    return total.hexdigest()


@cache
def chosen() -> tuple[ModuleType, str]:
    """Return the machine to use, and which build it is and why, in words."""
    if os.environ.get("WEIGHBRIDGE_PURE") == "1":
        return pickle_machine, "plain Python, as WEIGHBRIDGE_PURE=1 says"
    try:
        built = importlib.import_module(f"{_COMPILED}.built")
        if source_digest(Path(__file__).parent) != built.SOURCES:
            return pickle_machine, "plain Python: the binary is older than its source"
        return importlib.import_module(f"{_COMPILED}.pickle_machine"), "compiled"
    except (ImportError, AttributeError, OSError):
        return pickle_machine, "plain Python: no binary was built for this interpreter"


def machine() -> ModuleType:
    """Return the module whose `run_trace` is to be used."""
    return chosen()[0]


def compiled() -> bool:
    """Whether the compiled machine runs."""
    return chosen()[0] is not pickle_machine
