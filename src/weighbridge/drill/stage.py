"""The stage: a registry in use, made in a folder of its own, with people who sign and a clock that the drill moves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from weighbridge.claims import predicates
from weighbridge.claims.predicates import Parent
from weighbridge.config import Config, read_config
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import Clock, Entropy
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.drill.material import encoder, put
from weighbridge.gate.promote import Result, admit, promote
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import FileKey, generate, load
from weighbridge.keys.ports import Signer
from weighbridge.registry import authorities, bundles, intake, models
from weighbridge.registry.intake import Acceptance
from weighbridge.registry.outbox import submit
from weighbridge.registry.service_keys import root_folder
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import Registry, open_registry
from weighbridge.source.local import open_folder
from weighbridge.source.read import Snapshot, read_tree
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.dsse import Envelope
from weighbridge.trust.seal import sign_statement

TEAM = ("data", "train", "evaluate", "package")
BUILDER = "https://ci.example/acme/models/.github/workflows/train.yml@refs/heads/main"
Load = Callable[..., Any]
"""`weighbridge.load`: handed in, because the loader and this room are neighbours."""


@dataclass
class Hand:
    """A clock that stands still until it is moved."""

    at: datetime

    def now(self) -> datetime:
        """Return the time."""
        return self.at

    def pass_(self, **spans: float) -> None:
        """Move on, or back."""
        self.at += timedelta(**spans)


@dataclass
class Stage:
    """A registry, its configuration home and what people brought, all below `folder`."""

    folder: Path
    clock: Hand
    entropy: Entropy
    loader: Load
    people: dict[str, FileKey] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """What is worth remembering of how it was made: digests, checkpoints."""
    opened: Registry | None = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        """Return the registry's folder."""
        return self.folder / "registry"

    @property
    def home(self) -> Path:
        """Return the configuration home: pin, root key, owner's key."""
        return self.folder / "home"

    @property
    def environ(self) -> Mapping[str, str]:
        """Return an environment that knows nothing of whoever runs the drill."""
        return {"WEIGHBRIDGE_CONFIG_HOME": str(self.home), "HOME": str(self.folder), "USER": "drill"}

    def config(self, **settings: object) -> Config:
        """Return the settings under which the registry is opened: no network, and nothing of the user's."""
        overrides = {"registry": str(self.root), "actor": "drill", "offline": True, "lock_seconds": 5}
        return read_config(self.environ, {**overrides, **settings})

    @property
    def registry(self) -> Registry:
        """Return the open registry; opened anew after `close`, with everything that is verified then."""
        if self.opened is None:
            self.opened = open_registry(self.config(), clock=self.clock, entropy=self.entropy)
        return self.opened

    def close(self) -> None:
        """Close the registry, so that the next use reads everything again."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None

    def copy(self, folder: Path) -> Stage:
        """Return the same stage in another folder, with a clock of its own."""
        shutil.copytree(self.folder, folder)
        hand = Hand(self.clock.at)
        return Stage(folder, hand, self.entropy, self.loader, dict(self.people), dict(self.said))

    # Keys and people.

    def secret(self, name: str) -> FileKey:
        """Return a key that lies outside of the registry: `root` or `owner`."""
        return load(root_folder(self.home, self.registry.id) / f"{name}.pem")

    def publish(self, authority: Authority) -> None:
        """Sign the next version of the authority with the root key, and take it over."""
        authorities.publish(self.registry, authority, self.secret("root"))

    def name(self, who: str, *roles: Role) -> FileKey:
        """Name somebody with a new key and these roles."""
        self.people[who] = key = generate()
        now = self.clock.now()
        self.publish(self.registry.authority.with_identity(who, key.public_pem, roles, valid_from=now))
        return key

    # Models and claims.

    def model(self, name: str, files: Mapping[str, bytes | str]) -> Path:
        """Write a model into the folder of what people brought."""
        return put(self.folder / "brought" / name, files)

    def snapshot(self, folder: Path) -> Snapshot:
        """Read a folder as a model: manifest and chunk digests."""
        with open_folder(folder) as tree:
            return read_tree(tree)

    def manifest(self, folder: Path) -> Manifest:
        """Return the manifest of a folder."""
        return self.snapshot(folder).manifest

    def say(self, statement: Statement, key: Signer) -> Bundle:
        """Sign a statement and hand it in, as anybody may."""
        return self.hand_in(sign_statement(statement, key), key.public_pem)

    def hand_in(self, envelope: Envelope, pem: str) -> Bundle:
        """Hand in what was signed elsewhere."""
        with self.registry.writing():
            return submit(self.registry, bundles.take(envelope, pem))[-1]

    def hand_in_proven(self, bundle: Bundle) -> Bundle:
        """Hand in a claim with the proof that its signer brought."""
        with self.registry.writing():
            return submit(self.registry, bundles.take_proven(bundle))[-1]

    def trained(
        self, folder: Path, *, data: Sequence[Path] = (), base: Sequence[Path] = (), builder: str = BUILDER
    ) -> Statement:
        """Return the claim that these weights were trained on this data, from these bases."""
        parents = [Parent(self.manifest(item).digest, Relation.DATASET) for item in data]
        parents += [Parent(weights_of(self.manifest(item)), Relation.FINE_TUNE) for item in base]
        weights = weights_of(self.manifest(folder))
        method = "fine-tune" if base else "train"
        return predicates.train(weights, method, parents, builder=builder, invocation="run-1")

    def evaluated(self, folder: Path) -> Statement:
        """Return the claim that these weights were evaluated and passed."""
        weights = weights_of(self.manifest(folder))
        return predicates.evaluate(weights, "PASSED", {"accuracy": 0.9}, invocation="run-1")

    def packaged(self, folder: Path) -> Statement:
        """Return the claim that these files are one model."""
        snapshot = self.snapshot(folder)
        return predicates.package(snapshot.manifest, snapshot.chunks, builder=BUILDER, invocation="run-1")

    def data(self, name: str) -> Path:
        """Write a dataset and have the data team claim it."""
        folder = put(self.folder / "brought" / f"{name}-data", {"rows.csv": f"a,b\n{name},1\n"})
        digest = self.manifest(folder).digest
        said = predicates.data(digest, source="collected in house", licence="CC0-1.0", invocation="run-1")
        self.say(said, self.people["data"])
        return folder

    def ready(self, name: str, seed: float, *, leave: Sequence[str] = (), base: Sequence[Path] = ()) -> Path:
        """Bring a model of our own with every claim rightly signed, but those left out, and take it in."""
        folder, dataset = self.model(name, encoder(seed)), self.data(name)
        claims = {
            "train": self.trained(folder, data=[dataset], base=base),
            "evaluate": self.evaluated(folder),
            "package": self.packaged(folder),
        }
        for stage, statement in claims.items():
            if stage not in leave:
                self.say(statement, self.people[stage])
        self.take(folder)
        return folder

    def take(self, folder: Path, **options: Any) -> models.Model:
        """Take a folder into the intake tier."""
        return intake.take_folder(self.registry, folder, **options)

    def accept(self, folder: Path, publisher: str = "somebody") -> models.Model:
        """Take in a stranger's model with its announced digests, and accept its origin in haste."""
        announced = {entry.path: entry.sha256 for entry in self.manifest(folder).files}
        until = self.clock.now() + timedelta(days=30)
        acceptance = Acceptance(publisher, "Apache-2.0", "in a hurry", "it looked fine", until)
        return intake.accept(self.registry, self.take(folder, announced=announced), acceptance)

    # The gate, and the loader.

    def brought(self, name: str) -> Path:
        """Return the folder of something that was brought."""
        return self.folder / "brought" / name

    def promote(self, folder: Path, *, name: str | None = None) -> Result:
        """Ask the gate to trust a model."""
        return promote(self.registry, self.manifest(folder).digest, name=name)

    def admit(self, folder: Path, *, target: str | None = None) -> Result:
        """Ask the gate whether a model may run here, now."""
        return admit(self.registry, self.manifest(folder).digest, target=target)

    def kept(self, folder: Path) -> models.Model:
        """Return a model as the registry has it."""
        return models.get(self.registry, self.manifest(folder).digest)

    def laid_out(self, folder: Path) -> Path:
        """Return where an admitted model lies, with the evidence beside it."""
        return self.root / "models" / self.manifest(folder).digest.hex / "model"

    def load(self, path: Path) -> Any:
        """Load an admitted model as a serving program would: every file is read, and hashed as it is."""
        loaded = self.loader(path, clock=self.clock, environ=self.environ)
        for entry in loaded.manifest.files:
            loaded.check(entry.path)
        return loaded

    # What an insider does.

    def sql(self, *statements: str | tuple[str, tuple[object, ...]]) -> None:
        """Write to the database as whoever may write its file can: past every check of ours."""
        self.close()
        with closing(sqlite3.connect(self.root / "registry.db")) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for statement in statements:
                text, values = statement if isinstance(statement, tuple) else (statement, ())
                connection.execute(text, values)
            connection.commit()

    def rows(self, query: str, *values: object) -> list[Any]:
        """Read the database."""
        with closing(sqlite3.connect(self.root / "registry.db")) as connection:
            return connection.execute(query, values).fetchall()

    def push(self, envelope: Envelope, pem: str) -> None:
        """Put a row into the outbox by SQL, and let the next writer find it."""
        record = (
            "INSERT INTO outbox (schema_version, project, actor, created_at, envelope, public_pem, log_size)"
        )
        size = self.registry.log.size
        values = ("2026-01-01T00:00:00Z", canonical(envelope.to_json()).decode(), pem, size)
        self.sql((f"{record} VALUES (1, 'default', 'insider', ?, ?, ?, ?)", values))
        with self.registry.writing():
            pass


def weights_of(manifest: Manifest) -> Digest:
    """Return the identity of the weights of a model that has some."""
    assert manifest.weights is not None
    return manifest.weights


def make(folder: Path, *, clock: Clock, entropy: Entropy, loader: Load) -> Stage:
    """Make the registry that is attacked: four teams, three models promoted, a name that moved, one model revoked."""
    stage = Stage(folder, Hand(clock.now()), entropy, loader)
    folder.mkdir(parents=True)
    stage.opened = init_registry(stage.config(), clock=stage.clock, entropy=entropy)
    for who in TEAM:
        stage.name(who, Role(who))
    for name, seed, known_as in (("first", 1.0, "encoder"), ("second", 2.0, "encoder"), ("bad", 3.0, "bad")):
        ready = stage.ready(name, seed)
        result = stage.promote(ready, name=known_as)
        assert result.decision.allow, [check.id for check in result.decision.refusals]
        stage.clock.pass_(minutes=5)
    stage.admit(stage.brought("second"), target="prod/search")
    digest = stage.manifest(stage.brought("bad")).digest
    revoke(stage.registry, digest, reason="its training data was poisoned", signer=stage.secret("owner"))
    stage.ready("unproven", 4.0, leave=("evaluate",))
    stage.promote(stage.brought("unproven"))
    stage.clock.pass_(minutes=5)
    stage.close()
    return stage
