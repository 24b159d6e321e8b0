"""Where things lie inside a registry's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FORMAT = "weighbridge.registry/1"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one registry. The root key is not among them: it lives in the user's configuration home."""

    root: Path

    @property
    def card(self) -> Path:
        """`registry.json`: format and id of this registry."""
        return self.root / "registry.json"

    @property
    def database(self) -> Path:
        """Return the path of the SQLite database of records."""
        return self.root / "registry.db"

    @property
    def blobs(self) -> Path:
        """Return the folder of content-addressed files."""
        return self.root / "blobs"

    @property
    def log(self) -> Path:
        """Return the folder of the transparency log."""
        return self.root / "log"

    @property
    def services(self) -> Path:
        """Return the folder of the logs that the registry's services write: certificates, and foreign signatures."""
        return self.root / "services"

    @property
    def keys(self) -> Path:
        """Return the folder of the service keys (intake, gate, log), readable by the owner only."""
        return self.root / "keys"

    @property
    def policy(self) -> Path:
        """Return the folder of the policy files."""
        return self.root / "policy"

    @property
    def copies(self) -> Path:
        """Return the folder of verified copies of blobs that a store elsewhere keeps; it may be emptied at any time."""
        return self.root / "copies"

    @property
    def models(self) -> Path:
        """Return the folder under which admitted models are laid out."""
        return self.root / "models"

    @property
    def lock(self) -> Path:
        """Return the file whose lock makes a process the one writer."""
        return self.root / "lock"

    @property
    def scratch(self) -> Path:
        """Return the folder for files in the making (same file system as the blobs)."""
        return self.root / "scratch"
