"""The keys a registry signs with by itself: one purpose each, encrypted, their passphrase outside of the registry.

A copy of the registry's folder, a backup or a stolen disk image of it signs nothing: the passphrase comes
from WEIGHBRIDGE_REGISTRY_PASSWORD, else from a file in the user's configuration home that `init` writes
(`secrets/<registry>`, mode 0600). Keys that decide who may sign (`OFFLINE`) are not among them: they lie in
`roots/<registry>` of the configuration home and are meant to leave the machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from weighbridge.config import Config
from weighbridge.core.clock import Entropy
from weighbridge.core.errors import RegistryUnusable, UsageError
from weighbridge.keys.files import FileKey, load
from weighbridge.keys.ports import Signer

VARIABLE = "WEIGHBRIDGE_REGISTRY_PASSWORD"
"""Takes the place of the file, for machines where secrets are handed out by something better."""
OFFLINE = ("root", "owner", "ca-root", "tsa-root", "tuf-root")
"""Keys that are needed to change who may sign, and never to run the registry."""


def root_folder(home: Path, registry: str) -> Path:
    """Return the folder of the offline keys of a registry, in the user's configuration home."""
    return home / "roots" / registry


def passphrase_path(home: Path, registry: str) -> Path:
    """Return where the passphrase of a registry's service keys lies when the environment gives none."""
    return home / "secrets" / registry


def save_service_key(folder: Path, name: str, key: FileKey, config: Config, registry: str) -> None:
    """Write one of the keys a registry signs with under its passphrase; raises as `FileKey.save`."""
    passphrase = read_passphrase(config, registry)
    key.save(folder / f"{name}.pem", passphrase, random=passphrase is not None and not config.passphrase)


def make_passphrase(config: Config, registry: str, entropy: Entropy) -> str:
    """Return the passphrase for a new registry's keys: the environment's, else a new one, written for its owner alone."""
    if config.passphrase:
        return config.passphrase
    passphrase = entropy.token(32).hex()
    path = passphrase_path(config.home, registry)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        file.write(passphrase + "\n")
        file.flush()
        os.fsync(file.fileno())
    return passphrase


def read_passphrase(config: Config, registry: str) -> str | None:
    """Return the passphrase of a registry's keys; None for a registry whose keys were never encrypted.

    Raises RegistryUnusable when the file is there and cannot be read, or others than its owner can.
    """
    if config.passphrase:
        return config.passphrase
    path = passphrase_path(config.home, registry)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(
            path, os.strerror(error.errno or 0), f"restore the file, or set {VARIABLE}"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise _unreadable(path, "others than its owner can read or change it", f"run: chmod 600 {path}")
        text = file.read(4096).decode("ascii", errors="replace").strip()
    if not text:
        raise _unreadable(path, "it is empty", f"restore the file, or set {VARIABLE}")
    return text


def load_service_key(folder: Path, name: str, config: Config, registry: str) -> Signer:
    """Load one of the keys a registry signs with; raises RegistryUnusable when its passphrase is not here."""
    passphrase = read_passphrase(config, registry)
    try:
        key: FileKey = load(folder / f"{name}.pem", passphrase)
    except UsageError as error:
        if passphrase is not None:  # a registry made before its keys were encrypted
            return load(folder / f"{name}.pem")
        raise RegistryUnusable(
            f"the {name} key of this registry cannot be used here",
            cause="it is under a passphrase that is neither in the environment nor in your configuration",
            remedy=f"set {VARIABLE}, or copy {passphrase_path(config.home, registry)} from whoever runs the registry",
            check="keys.passphrase",
        ) from error
    return key


def _unreadable(path: Path, cause: str, remedy: str) -> RegistryUnusable:
    return RegistryUnusable(
        f"the passphrase of the registry's keys in {path} is not used",
        cause=cause,
        remedy=remedy,
        check="keys.passphrase",
    )
