"""What is taken in is tied to what is here by its tensors alone, in either order, and what is said is held against it."""

import pytest

import world_tensors as tensors
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.tier import Origin
from weighbridge.registry import models, tally
from weighbridge.registry.contradictions import Contradiction, contradictions
from weighbridge.registry.fingerprints import Order, keep, kept, observe
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.store import lineage_index, schema
from world import World


class Line:
    """Takes folders in and observes them."""

    def __init__(self, registry, folder):
        self.registry = registry
        self.folder = folder

    def take(self, name, make, *, names=()):
        """Do what intake does for weights: copy, observe, keep."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        make(path)
        with open_folder(path) as tree:
            snapshot = read_tree(tree, self.registry.blobs)
        manifest = snapshot.manifest
        with self.registry.writing():
            seen = observe(self.registry, manifest, names=names)
            with tally.keeping(self.registry) as connection:
                models.keep(
                    self.registry, connection, manifest, snapshot.chunks,
                    origin=Origin.OWN, label=name, source={}, bom=None,
                )  # fmt: skip
                keep(self.registry, connection, seen)
        return manifest.weights, seen

    def declare(self, child, parent, relation=Relation.FINE_TUNE, names=()):
        with self.registry.writing(), tally.keeping(self.registry) as connection:
            edge = Parentage(parent, child, relation, Grade.DECLARED, "sha256:" + "5" * 64)
            lineage_index.add_edges(connection, [edge], self.registry.record(), names=names)

    def contradictions(self, weights):
        with self.registry.records.read() as connection:
            return [(c.kind, c.seen) for c in contradictions(connection, weights)]


@pytest.fixture
def line(tmp_path):
    world = World(tmp_path / "world")
    yield Line(world.registry, tmp_path)
    world.registry.close()


def plain(arrays):
    return lambda path: tensors.safetensors(path / "model.safetensors", arrays)


def packed(arrays):
    return lambda path: tensors.as_gguf(path / "model.gguf", arrays, tensors.q4_0, "Q4_0")


def test_a_packed_copy_is_tied_to_its_source_and_a_stranger_to_nobody(line):
    base, first = line.take("base", plain(tensors.model()))
    assert first.relatives == ()
    stranger, second = line.take("stranger", plain(tensors.model("b")))
    assert second.relatives == ()
    small, third = line.take("small", packed(tensors.model()))
    assert third.edges == (Parentage(base, small, Relation.QUANTIZATION, Grade.OBSERVED),)
    assert third.relatives[0].order is Order.LOST
    assert stranger not in {edge.parent for edge in third.edges}
    with line.registry.records.read() as connection:
        assert lineage_index.affected(connection, small, base, grades=lineage_index.SURE)
    row = kept(line.registry, small)
    assert row["relatives"][0]["kinship"]["kin"] == "quantization"
    assert row["schema"] == "weighbridge.fingerprint/1"


def test_a_base_that_arrives_late_is_put_above_where_information_was_lost(line):
    small, _ = line.take("small", packed(tensors.model()))
    base, seen = line.take("base", plain(tensors.model()))
    assert seen.edges == (Parentage(base, small, Relation.QUANTIZATION, Grade.OBSERVED),)


def test_without_lost_information_the_order_of_intake_is_drawn_and_said(line):
    base, _ = line.take("base", plain(tensors.model()))
    tuned, seen = line.take("tuned", plain(tensors.noise(tensors.model())))
    assert seen.edges == (Parentage(base, tuned, Relation.SHARED_TENSORS, Grade.OBSERVED),)
    assert seen.relatives[0].order is Order.INTAKE
    assert seen.relatives[0].kinship.kin == "fine-tune"


def test_what_the_earlier_one_declares_decides_the_direction(line):
    name = Alias(Scheme.NAME, "org/base")
    tuned, _ = line.take("tuned", plain(tensors.noise(tensors.model())))
    line.declare(tuned, name.node, names=[name])
    base, seen = line.take("base", plain(tensors.model()), names=[name])
    assert seen.edges == (Parentage(base, tuned, Relation.FINE_TUNE, Grade.OBSERVED),)
    assert seen.relatives[0].order is Order.DECLARED


def test_equal_tensors_in_other_files_have_one_alias(line):
    base, one = line.take("base", plain(tensors.model()))
    other, two = line.take("cut", lambda path: tensors.sharded(path, tensors.model()))
    assert base != other
    assert one.aliases == two.aliases
    assert [alias.scheme for alias in one.aliases] == [Scheme.TENSOR_SET]
    assert two.edges == (Parentage(base, other, Relation.CONVERSION, Grade.OBSERVED),)
    with line.registry.records.read() as connection:
        assert {digest for digest, _ in lineage_index.find(connection, one.aliases[0])} == {base, other}


def test_the_closest_relative_is_drawn_and_what_lies_behind_it_is_reached(line):
    base, _ = line.take("base", plain(tensors.model()))
    tuned = tensors.noise(tensors.model(), 0.1)
    middle, _ = line.take("tuned", plain(tuned))
    small, seen = line.take("small", packed(tuned))
    assert seen.edges == (Parentage(middle, small, Relation.QUANTIZATION, Grade.OBSERVED),)
    with line.registry.records.read() as connection:
        assert lineage_index.affected(connection, small, base, grades=lineage_index.SURE)


def test_both_halves_of_a_merge_are_drawn(line):
    one, other = tensors.model("a"), tensors.model("b")
    first, _ = line.take("one", plain(one))
    second, _ = line.take("other", plain(other))
    both = {name: (other if ".1." in name or ".2." in name else one)[name] for name in one}
    merged, seen = line.take("merged", plain(both))
    assert {edge.parent for edge in seen.edges} == {first, second}
    assert {edge.relation for edge in seen.edges} == {Relation.SHARED_TENSORS}
    assert {edge.child for edge in seen.edges} == {merged}


def test_nothing_declared_another_declared_and_nothing_to_say(line):
    base, _ = line.take("base", plain(tensors.model()))
    stranger, _ = line.take("stranger", plain(tensors.model("b")))
    small, _ = line.take("small", packed(tensors.model()))
    assert line.contradictions(small) == [(Contradiction.UNDECLARED, base)]
    line.declare(small, stranger)
    assert line.contradictions(small) == [(Contradiction.OTHER, base)]
    line.declare(small, base, Relation.QUANTIZATION)
    assert line.contradictions(small) == []
    assert line.contradictions(base) == []


def test_a_declared_base_that_nobody_has_seen_is_unconfirmed_until_it_is_here(line):
    name = Alias(Scheme.NAME, "org/other")
    base, _ = line.take("base", plain(tensors.model()))
    small, _ = line.take("small", packed(tensors.model()))
    line.declare(small, name.node, names=[name])
    assert line.contradictions(small) == [(Contradiction.UNCONFIRMED, base)]
    with line.registry.writing(), tally.keeping(line.registry) as connection:
        lineage_index.add_aliases(connection, base, [(name, Grade.DECLARED)], line.registry.record())
    assert line.contradictions(small) == []


def test_a_late_base_shows_on_what_was_here_first(line):
    tuned, _ = line.take("tuned", plain(tensors.noise(tensors.model())))
    line.declare(tuned, Alias(Scheme.NAME, "data").node, Relation.DATASET, names=[Alias(Scheme.NAME, "data")])
    assert line.contradictions(tuned) == []
    base, _ = line.take("base", plain(tensors.model()))
    assert line.contradictions(tuned) == [(Contradiction.SCRATCH, base)]
    assert line.contradictions(base) == [(Contradiction.UNDECLARED, tuned)]
    line.declare(tuned, base)
    assert line.contradictions(tuned) == []
    assert line.contradictions(base) == []


def test_observing_again_changes_nothing_and_compares_nothing(line):
    weights, _ = line.take("base", plain(tensors.model()))
    with line.registry.records.read() as connection:
        before = connection.execute(schema.mark.select()).fetchall()
    again, seen = line.take("base", lambda _: None)
    assert (again, seen.weights, seen.printed, seen.edges) == (weights, weights, None, ())
    with line.registry.records.read() as connection:
        assert connection.execute(schema.mark.select()).fetchall() == before
    assert {row.kind for row in before} == {"tensor", "cast", "norm", "peak"}
    assert max(sum(row.kind == kind for row in before) for kind in ("tensor", "cast", "norm", "peak")) <= 256


def test_unreadable_weights_are_noted_and_models_without_weights_are_nothing(line):
    def broken(path):
        (path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")

    weights, seen = line.take("broken", broken)
    assert seen.aliases == ()
    assert kept(line.registry, weights)["unread"][0]["check"].startswith("safetensors.")
    nothing, seen = line.take("text", lambda path: (path / "README.md").write_text("hello"))
    assert (nothing, seen.printed) == (None, None)
