"""A registry with models of which some are admitted, and a server that hands them out on a loopback socket."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from weighbridge.config import read_config
from weighbridge.core.tier import Origin
from weighbridge.gate.promote import promote
from weighbridge.registry import intake, models, project_settings, tokens
from weighbridge.registry.rights import Right
from weighbridge.registry.wiring import open_registry
from weighbridge.server.handing import handing_out, make_handing_app, widened
from weighbridge.server.limits import Limits
from weighbridge.server.serving import Server, listen, url_of
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from world_house import World

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Counter:
    """Serving of a world's registry, and a client."""

    url: str
    world: World
    server: Server
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=30))

    def get(self, path, **headers):
        return self.client.get(f"{self.url}{path}", headers=headers)

    def head(self, path, **headers):
        return self.client.head(f"{self.url}{path}", headers=headers)


@contextmanager
def counter(world, *, pieces=16, limits=None):
    """Serve a world's registry; anybody may read."""

    def again():
        return open_registry(world.config, clock=world.hand, entropy=world.hand)

    with listen("127.0.0.1", 0) as listening, handing_out(again, url_of(listening), pieces=pieces) as handing:
        limits = limits or widened(Limits())
        app = make_handing_app(handing, hosts=frozenset({"127.0.0.1"}), limits=limits)
        started = threading.Event()
        server = Server(app, listening, limits, ready=started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert started.wait(20)
        made = Counter(url_of(listening), world, server)
        try:
            yield made
        finally:
            made.client.close()
            server.stop()
            thread.join(20)


def take_as_hub(world, folder, repository="org/model", commit=COMMIT, **facts):
    """Take in a folder as if it had come from a hub; what the hub said is given."""
    registry = world.registry
    with open_folder(folder) as tree:
        snapshot = read_tree(tree, registry.blobs)
    source = {"scheme": "hf", "repository": repository, "commit": commit, "requested": "main", **facts}
    source |= {"endpoint": "https://hub.example", "matches_announced": True}
    return intake.record(registry, snapshot, label=repository, origin=Origin.THIRD_PARTY, source=source)


def anybody_may_read(world):
    """Let who brings no token read."""
    key = world.people.get("policy-lead") or world.person("policy-lead", "policy")
    project_settings.change(world.registry, "anonymous-read", "on", reason="a test", signer=key)


def accepted(world, folder, repository="org/model", commit=COMMIT, *, name=None):
    """Take in a folder as from a hub, accept its origin, promote it; returns the model as it stands then."""
    model = take_as_hub(world, folder, repository, commit)
    intake.accept(world.registry, model, world.acceptance())
    result = promote(world.registry, model.digest, name=name)
    assert result.decision.allow, [check.to_json() for check in result.decision.refusals]
    return models.get(world.registry, model.digest)


def flip(world, digest, at):
    """Change one byte of a kept blob on disk, and nothing else of it."""
    path = world.registry.blobs.local(digest)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(0o444)


def granted(world, holder, *rights, project="default"):
    """Return the secret of a new token."""
    key = world.people.get("policy-lead") or world.person("policy-lead", "policy")
    wanted = [Right(right) for right in rights or ("read",)]
    expires = world.hand.now() + timedelta(days=300)
    overrides = {**world.settings, "registry": str(world.folder / "registry"), "project": project}
    config = read_config(world.environ, overrides)
    registry = open_registry(config, clock=world.hand, entropy=world.hand)
    try:
        return tokens.grant(registry, holder, wanted, expires=expires, reason="a test", signer=key)[1]
    finally:
        registry.close()
