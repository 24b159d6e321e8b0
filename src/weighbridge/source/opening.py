"""Opens whatever a reference names as a tree, by the table of schemes; nothing of a source is imported before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from weighbridge.core.errors import UsageError
from weighbridge.core.reference import Reference
from weighbridge.source import SCHEMES
from weighbridge.source.partial import FOLDER
from weighbridge.source.tree import Tree

Opener = Callable[[Reference, "Asking"], Tree]


@dataclass(frozen=True, slots=True)
class Asking:
    """What sources need to ask: a folder of ours, addresses from the settings, and where tokens are looked up."""

    scratch: Path
    offline: bool = False
    hub_endpoint: str = ""
    mlflow_uri: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Tokens and keys, under the names that each source's own client gives them; shown nowhere."""

    @property
    def partial(self) -> Path:
        """Where large files wait that did not arrive whole; it may be cleared at any time."""
        return self.scratch / FOLDER


def open_source(reference: Reference, asking: Asking) -> Tree:
    """Resolve and list what `reference` names; no file is fetched yet, the caller closes the tree.

    Raises what the sources raise: NotFound, Unreachable, VerificationFailed, BadReference, BadSetting, OutOfBudget.
    """
    place = SCHEMES.get(reference.scheme)
    if place is None:
        raise UsageError(
            f"{str(reference)!r} is already a registry's word for a model",
            remedy="give a path, hf://org/name or another source (docs/sources.md)",
        )
    module, _, name = place.partition(":")
    opener: Opener = getattr(import_module(f"weighbridge.source.{module}"), name)
    return opener(reference, asking)
