"""By what else a model is known, and parents that its bill of materials only names."""

import base64
import hashlib

import pytest

from weighbridge.claims import predicates
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.lineage import Grade, Relation
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.statement import Statement, subjects_of
from weighbridge.keys.files import generate
from weighbridge.registry import fsck, intake, tally
from weighbridge.registry.aliases import MAX_FILES, aliases_of, dirhash1, oms_root
from weighbridge.registry.declared import MAX_PARENTS, declared_parents
from weighbridge.store import lineage_index as index
from weighbridge.trust.oms import Resource, Serialization, model_signature
from world import World

MODEL, WEIGHTS = Digest("wb1", "1" * 64), Digest("wbw1", "2" * 64)
COMMIT = "c" * 40


def entry(path, text="x"):
    return FileEntry(path, len(text), Digest.of(text.encode()))


def of_scheme(rows, scheme):
    return [(owner, alias.value, grade) for owner, alias, grade in rows if alias.scheme is scheme]


MANIFEST = Manifest.of([
    entry("a.safetensors", "weights"), entry("modeling.py", "code"), entry("a/b.json", "{}"), entry("__init__.py", ""),
    entry(".gitattributes", "git"),
])  # fmt: skip


def test_files_are_other_names_of_the_weights_or_of_the_model():
    rows = of_scheme(aliases_of(MANIFEST, {}), Scheme.FILE_SHA256)
    assert (MANIFEST.weights, hashlib.sha256(b"weights").hexdigest(), Grade.OBSERVED) in rows
    assert (MANIFEST.digest, hashlib.sha256(b"code").hexdigest(), Grade.OBSERVED) in rows
    assert hashlib.sha256(b"").hexdigest() not in {value for _, value, _ in rows}


def test_of_many_files_weights_and_code_come_first():
    many = Manifest.of(
        [entry(f"a{n}.json", str(n)) for n in range(MAX_FILES)] + [entry("z.bin", "w"), entry("z.py", "c")]
    )
    values = {value for _, value, _ in of_scheme(aliases_of(many, {}), Scheme.FILE_SHA256)}
    assert len(values) == MAX_FILES
    assert {hashlib.sha256(b"w").hexdigest(), hashlib.sha256(b"c").hexdigest()} <= values


def test_the_root_is_the_one_that_model_signatures_speak_of():
    rows = [Resource(e.path, e.sha256.hex) for e in MANIFEST.files if e.path != ".gitattributes"]
    statement = model_signature("m", Serialization(), rows)
    assert oms_root(MANIFEST) == Digest("sha256", dict(statement.subjects[0].digests)["sha256"])
    assert of_scheme(aliases_of(MANIFEST, {}), Scheme.OMS_ROOT) == [
        (MANIFEST.digest, oms_root(MANIFEST).hex, Grade.OBSERVED)
    ]


def test_dirhash1_is_as_the_go_checksum_database_makes_it():
    # The line `github.com/pkg/errors v0.9.1/go.mod` of everybody's go.sum, over that one file.
    text = "module github.com/pkg/errors\n"
    assert dirhash1(Manifest.of([entry("go.mod", text)])) == "h1:bwawxfHBFNV+L2hUp1rHADufV3IMtnDRdf1r5NINEl0="
    two = Manifest.of([entry("xyz", "1"), entry("abc", "2")])
    lines = f"{Digest.of(b'2').hex}  abc\n{Digest.of(b'1').hex}  xyz\n"
    assert dirhash1(two) == "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


@pytest.mark.parametrize(
    ("source", "grade"),
    [
        ({"scheme": "hf", "matches_announced": True}, Grade.OBSERVED),
        ({"scheme": "hf", "matches_announced": False}, Grade.DECLARED),
        ({"scheme": "hf", "matches_announced": "yes"}, Grade.DECLARED),
        ({"scheme": "path", "matches_announced": True}, Grade.DECLARED),
    ],
)
def test_a_repository_is_observed_only_where_the_hub_announced_every_byte(source, grade):
    rows = aliases_of(MANIFEST, {**source, "repository": "org/base", "commit": COMMIT})
    assert of_scheme(rows, Scheme.NAME) == [(MANIFEST.digest, "org/base", grade)]
    assert of_scheme(rows, Scheme.HF_COMMIT) == [(MANIFEST.digest, COMMIT, grade)]


@pytest.mark.parametrize(
    "source", [{}, {"repository": 3, "commit": None}, {"repository": "\x00", "commit": "main"}]
)
def test_a_source_that_names_nothing_gives_no_name(source):
    assert {alias.scheme for _, alias, _ in aliases_of(MANIFEST, source)} == {
        Scheme.FILE_SHA256, Scheme.OMS_ROOT, Scheme.DIRHASH1,
    }  # fmt: skip


def parent(name="org/base", evidence="declared", **more):
    properties = {
        "weighbridge:evidence": evidence,
        **{f"weighbridge:{key}": value for key, value in more.items()},
    }
    return {"name": name, "properties": [{"name": key, "value": value} for key, value in properties.items()]}


def declared(*ancestors, components=()):
    document = {
        "metadata": {"component": {"pedigree": {"ancestors": list(ancestors)}}},
        "components": list(components),
    }
    edges, names = declared_parents(document, MODEL, WEIGHTS, "sha256:b")
    return [(edge.parent, edge.child, edge.relation) for edge in edges], names


def test_a_declared_base_is_the_node_of_its_name():
    alias = Alias(Scheme.NAME, "org/base")
    assert declared(parent(relation="adapter")) == ([(alias.node, WEIGHTS, Relation.ADAPTER)], [alias])
    assert declared(parent())[0] == [(alias.node, WEIGHTS, Relation.FINE_TUNE)]
    assert declared(parent(relation="nonsense"))[0] == [(alias.node, WEIGHTS, Relation.FINE_TUNE)]


def test_a_base_pinned_to_a_commit_is_known_by_it():
    row = {**parent(), "purl": f"pkg:huggingface/org/base@{COMMIT}?repository_url=https://hub.example"}
    assert declared(row)[1] == [Alias(Scheme.HF_COMMIT, COMMIT)]
    assert declared({**row, "purl": "pkg:huggingface/org/base@main"})[1] == [Alias(Scheme.NAME, "org/base")]


def test_a_base_with_an_identity_needs_no_name():
    assert declared(parent(identity=str(WEIGHTS)))[0] == []  # its own weights
    base = f"wb1:{'3' * 64}"
    assert declared(parent(identity=base)) == ([(Digest.parse(base), WEIGHTS, Relation.FINE_TUNE)], [])
    assert declared(parent(identity="sha256:" + "3" * 64))[1] == [Alias(Scheme.NAME, "org/base")]


def test_a_tokenizer_belongs_to_the_model_and_a_dataset_has_a_name_of_its_own():
    data = {**parent("org/pairs"), "data": [{"type": "dataset"}]}
    edges, names = declared(parent(relation="tokenizer"), components=[data, {"type": "file", "name": "x"}])
    assert names == [Alias(Scheme.NAME, "org/base"), Alias(Scheme.NAME, "datasets/org/pairs")]
    assert [edge[1:] for edge in edges] == [(MODEL, Relation.TOKENIZER), (WEIGHTS, Relation.DATASET)]


@pytest.mark.parametrize("evidence", ["attested", "observed", "", "certain"])
def test_what_is_not_declared_is_not_drawn_from_a_document(evidence):
    assert declared(parent(evidence=evidence)) == ([], [])


@pytest.mark.parametrize(
    "document",
    [
        {}, {"metadata": []}, {"metadata": {"component": 3}}, {"components": {}}, {"components": [3, {"data": 4}, {"data": [5]}]},
        {"metadata": {"component": {"pedigree": {"ancestors": [1, None, {}, {"properties": [2, {"name": 1}]}]}}}},
        {"metadata": {"component": {"pedigree": {"ancestors": [parent("\x1b[2J"), parent("x" * 300), parent(7), parent("")]}}}},
    ],
)  # fmt: skip
def test_a_hostile_document_declares_nothing(document):
    assert declared_parents(document, MODEL, WEIGHTS, "sha256:b") == ([], [])


def test_a_document_declares_no_more_than_a_thousand_parents():
    assert len(declared(*(parent(f"org/{n}") for n in range(MAX_PARENTS + 5)))[0]) == MAX_PARENTS


# In a registry.


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def adapter(world, base="org/base"):
    folder = world.model("adapter", seed=3.0)
    (folder / "README.md").write_text(f"---\nbase_model: {base}\nbase_model_relation: finetune\n---\n")
    return world.take(folder)


def fetched(world):
    """Take in a base as if from a hub that announced every byte."""
    source = {"scheme": "hf", "repository": "org/base", "commit": COMMIT, "matches_announced": True}
    snapshot = world.snapshot(world.model("base", seed=1.0))
    for file in snapshot.manifest.files:
        world.registry.blobs.put([(world.folder / "base" / file.path).read_bytes()])
    return intake.record(
        world.registry, snapshot, label="org/base", origin=intake.Origin.THIRD_PARTY, source=source
    )


@pytest.mark.parametrize("base_first", [True, False])
def test_a_declared_base_is_bound_whichever_comes_first(world, base_first):
    base = fetched(world) if base_first else None
    adapter(world)
    base = base or fetched(world)
    child = world.manifest(world.folder / "adapter").digest
    with world.registry.records.read() as connection:
        assert index.affected(connection, child, base.digest)
        assert not index.affected(connection, child, base.digest, grades=index.SURE)
        assert index.find(connection, Alias(Scheme.NAME, "org/base")) == [(base.digest, Grade.OBSERVED)]
    assert fsck.lineage(world.registry) == []


def test_a_model_that_names_itself_as_its_base_is_no_trouble(world):
    folder = world.model("base", seed=1.0)
    (folder / "README.md").write_text("---\nbase_model: org/base\n---\n")
    base = fetched(world)
    with world.registry.records.read() as connection:
        assert not index.affected(connection, base.digest, Digest("wb1", "9" * 64))
        assert index.descendants(connection, [base.digest], grades=index.SURE)
    assert fsck.lineage(world.registry) == []


def test_a_strangers_bill_gives_a_model_no_name(world):
    adapter(world)
    manifest = world.manifest(world.folder / "adapter")
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "metadata": {"component": {"pedigree": {"ancestors": [parent("org/other")]}}},
    }  # fmt: skip
    with world.registry.records.read() as connection:
        before = index.known_as(connection, manifest.digest)
    world.say(Statement(subjects_of(manifest), predicates.BOM, document), generate())
    with world.registry.records.read() as connection:
        assert index.known_as(connection, manifest.digest) == before
        other = Alias(Scheme.NAME, "org/other").node
        assert index.affected(connection, manifest.digest, other)
        assert not index.affected(connection, manifest.digest, other, grades=index.SURE)
    assert fsck.lineage(world.registry) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DELETE FROM alias WHERE scheme = 'oms-root'", "lost:"),
        ("UPDATE alias SET value = 'org/mine' WHERE scheme = 'name'", "made up:"),
        ("DELETE FROM edge WHERE relation = 'same-as'", "lost:"),
        ("DELETE FROM edge WHERE relation = 'fine-tune'", "lost:"),
    ],
)
def test_changed_names_show(world, change, found):
    fetched(world)
    adapter(world)
    with world.registry.records.write() as connection:
        connection.exec_driver_sql(change)
    assert any(problem.startswith(found) for problem in fsck.lineage(world.registry))


@pytest.mark.parametrize("table", ["alias", "edge", "artifact"])
def test_a_name_that_something_else_deleted_is_seen_before_anything_is_decided(world, table):
    fetched(world)
    adapter(world)
    tally.check(world.registry)
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")
        connection.exec_driver_sql("DELETE FROM edge WHERE child NOT IN (SELECT id FROM artifact)")
        connection.exec_driver_sql("DELETE FROM alias WHERE artifact NOT IN (SELECT id FROM artifact)")
        connection.exec_driver_sql("DELETE FROM edge WHERE parent NOT IN (SELECT id FROM artifact)")
    with pytest.raises(VerificationFailed) as caught:
        tally.check(world.registry)
    assert caught.value.check == "records.tally"


def test_a_table_that_came_later_changes_no_tally_while_it_is_empty(world, monkeypatch):
    with world.registry.records.read() as connection:
        now = tally.count(connection)
        empty = tally.LATER - {"policy"}  # which the making of a registry fills
        monkeypatch.setattr(tally, "STATE", [row for row in tally.STATE if row[0] not in empty])
        monkeypatch.setattr(tally, "NUMBERED", [row for row in tally.NUMBERED if row not in empty])
        assert tally.count(connection) == now
