"""A complete claim graph, signed by one identity for each stage and logged in one tree; each piece can be exchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from weighbridge.claims import predicates as p
from weighbridge.claims.chain import walk
from weighbridge.claims.explain import explain
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable, FileChunks, FileEntry, Manifest
from weighbridge.core.statement import PAYLOAD_TYPE
from weighbridge.core.tier import Role
from weighbridge.gate.claimed import fact_of
from weighbridge.keys.files import FileKey, generate
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import Checkpoint, sign_checkpoint
from weighbridge.ledger.entry import signed_entry_timestamp
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle, LogProof, log_body
from weighbridge.trust.dsse import sign

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=300)
LOG = "weighbridge.test - 7"
PROJECT = "speech"
TEAMS = {
    "data-team": Role.DATA,
    "train-team": Role.TRAIN,
    "evaluate-team": Role.EVALUATE,
    "package-team": Role.PACKAGE,
    "convert-team": Role.CONVERT,
    "review-team": Role.ORIGIN,
}
BUILDER = "https://ci.example.test/trainer"


@cache
def key(name: str) -> FileKey:
    """One key per name for the whole run."""
    return generate("ed25519" if name == "data-team" else "ecdsa-p256")


@cache
def authority() -> Authority:
    """Name one team for each stage in PROJECT, and `retired-STAGE` teams whose time has ended."""
    made = Authority(
        "test", 1, NOW - timedelta(days=10), NOW + timedelta(days=10), (key("root").public_pem,)
    ).with_log(LOG, key("log").public_pem)
    for name, role in TEAMS.items():
        made = made.with_identity(name, key(name).public_pem, [role], project=PROJECT, valid_from=LONG_AGO)
        made = made.with_identity(
            f"retired-{name}", key(f"retired-{name}").public_pem, [role], project=PROJECT,
            valid_from=LONG_AGO, valid_until=NOW - timedelta(days=100),
        )  # fmt: skip
        made = made.with_identity(
            f"other-{name}", key(f"other-{name}").public_pem, [role], project="vision", valid_from=LONG_AGO
        )
    return made


def manifest(word: str) -> Manifest:
    return Manifest.of(
        [
            FileEntry("config.json", 2, Digest.of(b"config " + word.encode())),
            FileEntry("model.safetensors", 9, Digest.of(b"weights " + word.encode())),
        ]
    )


def chunks(of: Manifest) -> ChunkTable:
    return ChunkTable(tuple(FileChunks(entry.path, "a" * 64, ("b" * 64,)) for entry in of.files))


def dataset(word: str) -> Digest:
    return Digest("wb1", Digest.of(b"dataset " + word.encode()).hex)


MODELS = {name: manifest(name) for name in ("received", "base", "left", "right", "merged", "model")}
MODEL = MODELS["model"]
ANOTHER = manifest("another")


def about(name: str) -> Digest:
    weights = MODELS[name].weights
    assert weights is not None
    return weights


def data(word: str, *parents: str):
    rows = [p.Parent(dataset(parent), Relation.DATASET) for parent in parents]
    return p.data(dataset(word), source="https://example.test", licence="MIT", invocation="run", parents=rows)


def train(weights: Digest, method: str, *parents: p.Parent):
    return p.train(weights, method, parents, builder=BUILDER, invocation="run")


def convert(output: Manifest, source: Manifest, equivalence: str = "proven"):
    root = "aa" if equivalence == "proven" else "bb"
    return p.convert(
        output, source.digest, equivalence=equivalence, source_root="aa", output_root=root, tool="t", invocation="run"
    )  # fmt: skip


def accept(received: Manifest):
    return p.origin(
        received, publisher="Lab", repository="lab/model", commit="c" * 40, matches_announced=True,
        licence="MIT", reviewer="r", reason="needed", expires=NOW + timedelta(days=30),
    )  # fmt: skip


def package(of: Manifest):
    return p.package(of, chunks(of), builder=BUILDER, invocation="run")


TUNE, MERGE, DATASET = Relation.FINE_TUNE, Relation.MERGE, Relation.DATASET


def graph() -> dict:
    """Return the claims by name, each with the team that signs it.

    received (accepted) -> base (converted) -> left and right (fine-tuned on their own data) -> merged (evaluated,
    packaged) -> model (converted, packaged). `pairs` is made of `raw`.
    """
    base = p.Parent(about("base"), TUNE)
    tuned = [p.Parent(about(name), MERGE) for name in ("left", "right")]
    return {
        "data raw": (data("raw"), "data-team"),
        "data pairs": (data("pairs", "raw"), "data-team"),
        "data tickets": (data("tickets"), "data-team"),
        "origin received": (accept(MODELS["received"]), "review-team"),
        "convert base": (convert(MODELS["base"], MODELS["received"]), "convert-team"),
        "train left": (train(about("left"), "fine-tune", base, p.Parent(dataset("pairs"), DATASET)), "train-team"),
        "train right": (train(about("right"), "fine-tune", base, p.Parent(dataset("tickets"), DATASET)), "train-team"),
        "train merged": (train(about("merged"), "merge", *tuned), "train-team"),
        "evaluate merged": (p.evaluate(about("merged"), "PASSED", {"accuracy": 0.9}, invocation="run"), "evaluate-team"),
        "package merged": (package(MODELS["merged"]), "package-team"),
        "convert model": (convert(MODEL, MODELS["merged"]), "convert-team"),
        "package model": (package(MODEL), "package-team"),
    }  # fmt: skip


@dataclass(frozen=True)
class Signed:
    """One claim as it is signed and logged; `payload` is what is signed where it is not the statement's own."""

    statement: object
    by: str
    at: datetime = NOW
    payload: bytes | None = None
    after: object = None
    """What is done to the bundle at the end."""


@dataclass
class Ledger:
    """Signs claims and logs them all in one tree, so that each bundle carries a real proof."""

    rows: list = field(default_factory=list)

    def bundles(self, claims) -> list[Bundle]:
        claims = list(claims)
        envelopes = [sign(PAYLOAD_TYPE, row.payload or row.statement.encode(), key(row.by)) for row in claims]
        bodies = [
            log_body(envelope, key(row.by).public_pem)
            for envelope, row in zip(envelopes, claims, strict=True)
        ]
        leaves = [merkle.leaf_hash(body) for body in (b"genesis one", b"genesis two", *bodies)]
        node, size = merkle.nodes_of(leaves), len(leaves)
        root = merkle.root(size, node)
        checkpoint = sign_checkpoint(Checkpoint(LOG, size, root), key("log"))
        made = []
        for index, (row, envelope, body) in enumerate(zip(claims, envelopes, bodies, strict=True), 2):
            seconds = int(row.at.timestamp())
            log_id = key("log").key_id
            entry = LogProof(
                log_id=log_id, index=index, integrated_time=seconds, body=body,
                promise=signed_entry_timestamp(key("log"), body, seconds, log_id, index),
                size=size, root=root, hashes=merkle.inclusion_proof(index, size, node), checkpoint=checkpoint,
            )  # fmt: skip
            bundle = Bundle(envelope, key(row.by).key_id, entries=(entry,))
            made.append(row.after(bundle) if row.after else bundle)
        return made


def signed(**changes) -> dict[str, Signed]:
    """Sign the whole graph; `changes` are given by name with spaces as underscores: None leaves one out."""
    made = {name: Signed(statement, by) for name, (statement, by) in graph().items()}
    for name, change in changes.items():
        made[name.replace("_", " ")] = change
    return {name: row for name, row in made.items() if row is not None}


@cache
def whole() -> tuple[Bundle, ...]:
    """Return the unbroken graph."""
    return tuple(Ledger().bundles(signed().values()))


def facts(bundles, *, project=PROJECT, now=NOW, known=None) -> list:
    found = (fact_of(bundle, authority=known or authority(), project=project, now=now) for bundle in bundles)
    return [fact for fact in found if fact is not None]


def ancestry(bundles, *, model=MODEL, **options):
    return walk(model.digest, model.weights, facts(bundles, **options))


def explained(bundles, *, model=MODEL, **options):
    return explain(model.digest, model.weights, facts(bundles, **options))
