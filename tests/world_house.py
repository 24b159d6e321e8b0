"""A whole house in a temporary folder: a registry with its keys, people who sign, models to sign for, a clock to move."""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp

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
from world_kept import KEPT, PARTS, PLAIN, PREPARED, copied, keep, mark
from world_postgresql import copied as copied_records
from world_postgresql import new as new_records
from world_postgresql import replaced as replaced_records

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RECORDS = "TEST_RECORDS_URL"
"""The URL of a PostgreSQL in which each world then has its records, in a schema of its own."""
LATER = {"lock_seconds", "policy_engine", "opa_url", "opa_seconds", "hub_endpoint", "mlflow_uri"}
"""Settings that nothing in a new registry depends on."""
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
    anew: bool = False
    """Keys that no other world has, for one that meets another."""

    def __post_init__(self):
        self.home = self.folder / "config"
        environ = {"WEIGHBRIDGE_CONFIG_HOME": str(self.home), "HOME": str(self.folder), "USER": "tester"}
        self.environ = environ
        kept = KEPT.get(PLAIN) if self._usual() else None
        if RECORDS in os.environ and "records" not in self.settings:
            records = copied_records(kept.records) if kept else new_records(os.environ[RECORDS])
            self.settings = {**self.settings, "records": records}
        overrides = {"registry": str(self.folder / "registry"), "lock_seconds": 1, **self.settings}
        self.config = read_config(environ, overrides)
        self._mark, self._like = None, ""
        if kept is None:
            self.registry = init_registry(self.config, clock=self.hand, entropy=self.hand)
        else:
            self.folder.mkdir(exist_ok=True)
            self._take(PLAIN)
            self.registry = open_registry(self.config, clock=self.hand, entropy=self.hand)
            self._mark = self._now()

    def _usual(self):
        """Tell whether it begins as the kept ones did: at that time, with settings that its registry is not made by."""
        return (
            not self.anew
            and (self.hand.at, self.hand.drawn) == (START, 0)
            and self.settings.keys() <= LATER
            and not any((self.folder / part).exists() for part in PARTS)
        )

    def _now(self):
        return (
            mark(self.folder, self.settings.get("records", "")),
            self.hand.at,
            self.hand.drawn,
            dict(self.people),
            self.config,
            dict(vars(self.registry)),
        )

    def _untouched(self):
        """Tell whether it is as it was copied, on disk and in memory (what was only read since may be there besides)."""
        if self._mark is None or self.settings.keys() - {"records"}:
            return False
        *before, had = self._mark
        *now, has = self._now()
        return before == now and all(has.get(name) is value for name, value in had.items())

    def _take(self, key):
        kept, self._like = KEPT[key], key
        copied(kept, self.folder)
        self.hand.at, self.hand.drawn, self.people = kept.at, kept.drawn, dict(kept.people)

    def furnish(self, name, make):
        """Have `make(self)` done, and return what it returns (no paths): by a copy of what it made before, where nothing was
        written to this world since it was itself copied."""
        if not self._untouched():
            return make(self)
        key = f"{self._like}, {name}"
        if key not in KEPT:
            made = World(Path(mkdtemp(dir=PREPARED[0])))
            made._become(self._like)
            keep(key, made, make(made))
        kept = KEPT[key]
        if any((self.folder / one).exists() for one in kept.beside):
            return make(self)
        self._become(key)
        return kept.said

    def _become(self, key):
        """Be a copy of a kept world, and still the same registry to whoever holds it."""
        if self._like == key:
            return
        self.registry.close()
        for part in PARTS:
            shutil.rmtree(self.folder / part)
        if "records" in self.settings:
            replaced_records(self.settings["records"], KEPT[key].records)
        self._take(key)
        opened = open_registry(self.config, clock=self.hand, entropy=self.hand)
        vars(self.registry).clear()
        vars(self.registry).update(vars(opened))
        self._mark = self._now()

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
        self.furnish("team", World._team)

    def _team(self):
        for stage in ("data", "train", "evaluate", "package"):
            self.person(f"{stage}-team", stage)

    def ready(self, name="encoder", *, seed=1.0, base=()):
        """Take in a model of our own with every claim rightly signed; returns its folder."""
        if (name, seed, tuple(base)) == ("encoder", 1.0, ()):
            self.furnish("ready", World._ready)
            return self.folder / name
        return self._ready(name, seed=seed, base=base)

    def _ready(self, name="encoder", *, seed=1.0, base=()):
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
