"""Weighbridge: every model is pinned, scanned, converted, described, signed and proven before it may run.

    import weighbridge

    report = weighbridge.scan("./model")                # what could run in it
    model = weighbridge.load("…/models/<hex>/model")    # verified bytes, or a refusal with a reason

The functions are imported on first use, so that `import weighbridge` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weighbridge.api import Registry, convert, load, manifest, pull, record, scan, sign, verify
    from weighbridge.core.decision import Decision
    from weighbridge.core.digest import Digest
    from weighbridge.core.errors import WeighbridgeError
    from weighbridge.core.finding import Finding, Report, Verdict
    from weighbridge.core.manifest import Manifest

__all__ = [
    "Decision",
    "Digest",
    "Finding",
    "Manifest",
    "Registry",
    "Report",
    "Verdict",
    "WeighbridgeError",
    "convert",
    "load",
    "manifest",
    "pull",
    "record",
    "scan",
    "sign",
    "verify",
]

_HOMES = {
    "Decision": "weighbridge.core.decision",
    "Digest": "weighbridge.core.digest",
    "Finding": "weighbridge.core.finding",
    "Manifest": "weighbridge.core.manifest",
    "Report": "weighbridge.core.finding",
    "Verdict": "weighbridge.core.finding",
    "WeighbridgeError": "weighbridge.core.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'weighbridge' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "weighbridge.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
