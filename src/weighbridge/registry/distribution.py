"""What Sigstore clients fetch to learn whom to trust: trusted root and signing configuration in a TUF repository.

It lies in `services/tuf` and is served as it lies there. Its root key is offline (`tuf-root.pem` beside the other
root keys); one key of the registry signs targets, snapshot and timestamp. The content follows from the
authority alone: publishing it again after a change, or when a signature nears its end, is one command.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weighbridge.core.errors import RegistryUnusable, UsageError
from weighbridge.keys.ports import Signer
from weighbridge.registry.services import DISTRIBUTION_KEY, open_services
from weighbridge.registry.wiring import Registry
from weighbridge.trust.signing_config import Endpoints, client_trust_config, write_signing_config
from weighbridge.trust.trusted_root import write_trusted_root

if TYPE_CHECKING:
    from weighbridge.trust.keyless import Services
    from weighbridge.trust.tuf_repository import OnlineKeys, TufRepository


def endpoints(services: Services, url: str, *, oidc: str = "") -> Endpoints:
    """Return the addresses of an instance that serves these services at `url`; raises BadSetting.

    `oidc` is where clients get tokens when that is elsewhere.
    """
    since = services.roots().authorities[-1].window.start
    assert since is not None  # every authority of ours has a beginning
    version: Literal[1, 2] = 1 if services.log.form == "v1" else 2
    return Endpoints.at(url, since, log_version=version, operator=services.operator, oidc=oidc)


def token_address(registry: Registry) -> str:
    """Return the issuer that clients are told of: the first one believed, or empty where tokens are made here."""
    return (
        ""
        if registry.authority.demonstration or not registry.authority.issuers
        else registry.authority.issuers[0].url
    )


def trusted_root(registry: Registry) -> bytes:
    """Return the registry's parties as a Sigstore TrustedRoot: what clients hold signatures against."""
    return write_trusted_root(open_services(registry).roots())


def client_config(registry: Registry, url: str) -> bytes:
    """Return trusted root and addresses in one file (ClientTrustConfig), for clients that take one."""
    services = open_services(registry)
    return client_trust_config(services.roots(), endpoints(services, url, oidc=token_address(registry)))


def publish(registry: Registry, url: str, root: Signer | None = None) -> TufRepository:
    """Begin or renew the repository for an instance at `url`. Must be called while `registry.writing()`.

    The first time it takes the offline key. Raises UsageError without it, or without the extra `server`.
    """
    services = open_services(registry)
    addresses = endpoints(services, url, oidc=token_address(registry))
    targets = {
        "trusted_root.json": write_trusted_root(services.roots()),
        "signing_config.v0.2.json": write_signing_config(addresses),
    }
    keys, now = _online(registry), registry.clock.now()
    from weighbridge.trust.tuf_repository import TufRepository

    repository = TufRepository(folder(registry))
    if begun(registry):
        repository.publish(targets, keys, now)
        repository.refresh(keys, now)
        return repository
    if root is None:
        raise UsageError(
            "the repository that clients learn from begins with its root key",
            remedy="run it where tuf-root.pem is, or name it with --root-key",
            check="tuf.root",
        )
    return TufRepository.create(repository.directory, root, keys, targets, now=now)


def begun(registry: Registry) -> bool:
    """Tell whether there is a repository: its timestamp is what `create` writes last."""
    return (folder(registry) / "timestamp.json").exists()


def folder(registry: Registry) -> Path:
    """Return where the repository lies."""
    return registry.layout.services / "tuf"


def change_keys(registry: Registry, key: Signer, root: Signer) -> None:
    """Let another key sign the repository from now on, by its next root; nothing where none was begun.

    Must be called while `registry.writing()`. Raises Refused(tuf.keys) when `root` is no root key in force.
    """
    if not begun(registry):
        return
    online, now = _all_by(key), registry.clock.now()
    from weighbridge.trust.tuf_repository import TufRepository

    TufRepository(folder(registry)).rotate([root], now, online=online)


def _all_by(key: Signer) -> OnlineKeys:
    """Let one key sign all that is signed online; raises UsageError without the extra `server`."""
    try:
        from weighbridge.trust.tuf_repository import OnlineKeys

        import_module("tuf.api.metadata")
    except ModuleNotFoundError as error:
        raise UsageError(
            "this installation cannot make a TUF repository",
            cause=f"{error.name} is not installed",
            remedy="pip install 'weighbridge[server]'",
            check="server.missing",
        ) from None
    return OnlineKeys(key, key, key)


def _online(registry: Registry) -> OnlineKeys:
    if not (registry.layout.keys / f"{DISTRIBUTION_KEY}.pem").exists():
        raise RegistryUnusable(
            "this registry has no key for what clients fetch",
            cause="it was made before it had services",
            remedy="hand out one file instead: weighbridge trust roots --client-config",
            check="services.missing",
        )
    key = registry.service_key(DISTRIBUTION_KEY)
    return _all_by(key)
