"""Joining: a further replica of a registry whose records lie in PostgreSQL and whose blobs lie where all can read them.

What cannot come out of the database is brought along: the card and the service keys from the folder of a replica that
is there (or from a mounted secret), the pin and the passphrase from the user's own configuration. Nothing in the
database is believed without them. The log's folder is then written from the journal, and held against the pin.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from weighbridge.config import Config
from weighbridge.core.clock import Clock, Entropy
from weighbridge.core.errors import RegistryUnusable, UsageError
from weighbridge.registry import policy_files
from weighbridge.registry.layout import Layout
from weighbridge.registry.pins import read_pin
from weighbridge.registry.service_keys import read_passphrase
from weighbridge.registry.services import ELSEWHERE
from weighbridge.registry.wiring import Registry, open_registry, read_card
from weighbridge.store.plain import read_plain


def join_registry(
    config: Config, source: Path, *, clock: Clock, entropy: Entropy, root: Path | None = None
) -> Registry:
    """Make a replica in a new folder from `source`, which holds another's `registry.json` and `keys`, and open it.

    Raises UsageError where records or blobs are not shared, or something is there already; RegistryUnusable for a
    registry that this user has no pin of; and as `open_registry`. What was begun is taken away again then.
    """
    layout = Layout(Path(root if root is not None else config["registry"]).expanduser().absolute())
    _check(config, layout)
    given = Layout(source.expanduser().absolute())
    registry_id = read_card(given)
    read_pin(config.home, registry_id)
    read_passphrase(config, registry_id)
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    making = Layout(layout.root.with_name(f"{layout.root.name}.{entropy.token(8).hex()}.making"))
    try:
        _copy(given, making)
        registry = open_registry(config, clock=clock, entropy=entropy, root=making.root)
        try:
            policy_files.finish_copy(registry)
        finally:
            registry.close()
        if layout.root.exists():
            layout.root.rmdir()
        making.root.rename(layout.root)
    except BaseException:
        shutil.rmtree(making.root, ignore_errors=True)
        raise
    return open_registry(config, clock=clock, entropy=entropy, root=layout.root)


def _check(config: Config, layout: Layout) -> None:
    if layout.root.exists() and (not layout.root.is_dir() or any(layout.root.iterdir())):
        raise UsageError(
            f"there is already something at {layout.root}",
            remedy="choose another folder with --registry, or use the registry that is there",
        )
    for key, what in (("records", "WEIGHBRIDGE_RECORDS"), ("blobs", "WEIGHBRIDGE_BLOBS")):
        if not config[key]:
            raise UsageError(
                f"a replica shares its {key} with the others",
                cause=f"the setting {key} is empty, so they would lie in this machine's own folder",
                remedy=f"set {what} to what the other replicas have; see docs/fleet.md",
            )


def _copy(given: Layout, making: Layout) -> None:
    """Copy card and keys, plain files only, for the owner's eyes only."""
    for folder in (making.root, making.keys, making.policy, making.models, making.services, making.scratch):
        folder.mkdir(mode=0o700)
    (making.root / ".gitignore").write_text("*\n", encoding="utf-8")
    _write(making.services / ELSEWHERE, b"the signing services run on another replica\n")
    try:
        names = sorted(path.name for path in given.keys.iterdir() if path.suffix == ".pem")
        for name in names:
            _write(making.keys / name, read_plain(given.keys / name))
        _write(making.card, read_plain(given.card))
    except OSError as error:
        raise RegistryUnusable(
            "the keys of the registry to join cannot be read",
            cause=f"{error.filename or given.keys}: {error.strerror or error}",
            remedy="name a folder that holds another replica's registry.json and keys, readable by this user",
        ) from error


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
