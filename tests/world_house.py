"""A whole house in a temporary folder: a registry with its keys, people who sign, models to sign for, a clock to move."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from weighbridge.claims import predicates
from weighbridge.claims.predicates import Parent
from weighbridge.config import read_config
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import Manifest
from weighbridge.core.tier import Role
from weighbridge.gate.promote import admit, promote
from weighbridge.keys.files import generate, load
from weighbridge.registry import authorities, bundles, intake, models
from weighbridge.registry.intake import Acceptance
from weighbridge.registry.outbox import submit
from weighbridge.registry.service_keys import root_folder
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import open_registry
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.trust.seal import sign_statement

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BUILDER = "https://weighbridge.dev/builders/test"


@dataclass
class Hand:
    """A clock that stands still until it is moved, and entropy that counts."""

    at: datetime = START
    drawn: int = 0

    def now(self):
        return self.at

    def token(self, size):
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")

    def pass_(self, **spans):
        self.at += timedelta(**spans)


def safetensors(tensors):
    """Return the bytes of a safetensors file of F32 vectors given as name → floats."""
    header, offset, data = {}, 0, b""
    for name, values in tensors.items():
        part = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [offset, offset + len(part)]}
        offset += len(part)
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


@dataclass
class World:
    """Everything one test needs; `folder` is a fresh temporary folder."""

    folder: Path
    hand: Hand = field(default_factory=Hand)
    settings: dict = field(default_factory=dict)
    people: dict = field(default_factory=dict)

    def __post_init__(self):
        self.home = self.folder / "config"
        environ = {"WEIGHBRIDGE_CONFIG_HOME": str(self.home), "HOME": str(self.folder), "USER": "tester"}
        overrides = {"registry": str(self.folder / "registry"), "lock_seconds": 1, **self.settings}
        self.config = read_config(environ, overrides)
        self.environ = environ
        self.registry = init_registry(self.config, clock=self.hand, entropy=self.hand)

    def reopen(self, **overrides):
        self.registry.close()
        if overrides:
            base = {
                "registry": str(self.folder / "registry"),
                "lock_seconds": 1,
                **self.settings,
                **overrides,
            }
            self.config = read_config(self.environ, base)
        self.registry = open_registry(self.config, clock=self.hand, entropy=self.hand)
        return self.registry

    # People.

    def person(self, name, *roles, project="*"):
        """Name somebody with roles; `stranger`s are made by `generate` and never named."""
        key = generate()
        self.people[name] = key
        authority = self.registry.authority.with_identity(
            name, key.public_pem, [Role(role) for role in roles], project=project, valid_from=self.hand.now()
        )
        self.publish(authority)
        return key

    def publish(self, authority):
        authorities.publish(self.registry, authority, self.secret("root"))

    def secret(self, name):
        return load(root_folder(self.home, self.registry.id) / f"{name}.pem")

    # Models and claims.

    def files(self, name, **contents):
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in contents.items():
            target = folder / path.replace("__", ".")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        return folder

    def model(self, name="encoder", seed=1.0):
        return self.files(
            name,
            model__safetensors=safetensors({"weight": [seed, 2.0, 3.0, 4.0]}),
            config__json='{"model_type": "bert"}',
            README__md="---\nlicense: apache-2.0\n---\nA model.\n",
        )

    def snapshot(self, folder):
        with open_folder(folder) as tree:
            return read_tree(tree)

    def manifest(self, folder) -> Manifest:
        return self.snapshot(folder).manifest

    def dataset(self, name="pairs", rows="a,b\n1,2\n"):
        return self.files(name, rows__csv=rows)

    def say(self, statement, key):
        """Sign a statement and hand it in."""
        envelope = sign_statement(statement, key)
        with self.registry.writing():
            return submit(self.registry, bundles.take(envelope, key.public_pem))[-1]

    def say_data(self, folder, key):
        dataset = self.manifest(folder).digest
        return self.say(predicates.data(dataset, source="here", licence="CC0-1.0", invocation="run-1"), key)

    def say_train(self, folder, key, *, data=(), base=()):
        parents = [Parent(self.manifest(item).digest, Relation.DATASET) for item in data]
        parents += [Parent(self.manifest(item).weights, Relation.FINE_TUNE) for item in base]
        method = "fine-tune" if base else "train"
        weights = self.manifest(folder).weights
        return self.say(predicates.train(weights, method, parents, builder=BUILDER, invocation="run-1"), key)

    def say_evaluate(self, folder, key, **metrics):
        weights = self.manifest(folder).weights
        return self.say(
            predicates.evaluate(weights, "PASSED", metrics or {"accuracy": 0.9}, invocation="run-1"), key
        )

    def say_package(self, folder, key):
        snapshot = self.snapshot(folder)
        return self.say(
            predicates.package(snapshot.manifest, snapshot.chunks, builder=BUILDER, invocation="run-1"), key
        )

    def team(self):
        """Name one person for each stage."""
        for stage in ("data", "train", "evaluate", "package"):
            self.person(f"{stage}-team", stage)

    def ready(self, name="encoder", *, seed=1.0, base=()):
        """Take in a model of our own with every claim rightly signed; returns its folder."""
        if not self.people:
            self.team()
        folder, dataset = self.model(name, seed), self.dataset(f"{name}-data", f"{name},{seed}\n")
        self.say_data(dataset, self.people["data-team"])
        self.say_train(folder, self.people["train-team"], data=[dataset], base=base)
        self.say_evaluate(folder, self.people["evaluate-team"])
        self.say_package(folder, self.people["package-team"])
        self.take(folder)
        return folder

    def take(self, folder, **options):
        return intake.take_folder(self.registry, folder, **options)

    def kept(self, folder):
        return models.get(self.registry, self.manifest(folder).digest)

    def acceptance(self, **changes):
        answers = {
            "publisher": "them",
            "licence": "MIT",
            "reviewer": "tester",
            "reason": "looked at it",
            "expires": self.hand.now() + timedelta(days=30),
        }
        return Acceptance(**(answers | changes))

    def promote(self, folder, **options):
        return promote(self.registry, self.manifest(folder).digest, **options)

    def admit(self, folder, **options):
        return admit(self.registry, self.manifest(folder).digest, **options)


def outcomes(decision):
    """Return {check id: outcome} of what stands against a decision."""
    return {check.id: check.outcome.value for check in decision.refusals}
