"""What a name led to is noted; where it leads to another model later that is told, at most as gravely as it deserves."""

import pytest

from weighbridge.core.reference import parse_reference
from weighbridge.registry import models, sightings
from weighbridge.registry.alerts import kept
from weighbridge.registry.intake import plan, take
from world_house import World
from world_hub import Hub
from world_web import Web

COMMIT, OTHER = "1" * 40, "2" * 40


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def digests(world, count=3):
    return [world.take(world.model(f"m{number}", seed=float(number))).digest for number in range(count)]


def note(world, text, digest, pinned=""):
    world.hand.pass_(minutes=1)
    return sightings.note(world.registry, parse_reference(text), digest, pinned=pinned)


def test_a_name_that_stays_is_no_drift(world):
    one, *_ = digests(world)
    assert note(world, "hf://org/name", one, COMMIT) == []
    assert note(world, "hf://org/name", one, COMMIT) == []
    assert note(world, "hf://org/name@main", one, COMMIT) == []
    assert sightings.drifted(world.registry) == []
    assert kept(world.registry, kinds=["drift"]) == []


def test_a_branch_that_goes_on_is_told_once_each_time(world):
    one, two, _ = digests(world)
    note(world, "hf://org/name", one, COMMIT)
    [drift] = note(world, "hf://org/name", two, OTHER)
    assert (drift.revision, drift.before, drift.now, drift.fixed) == ("main", one, two, False)
    assert note(world, "hf://org/name", two, OTHER) == []
    [back] = note(world, "hf://org/name", one, COMMIT)
    assert (back.before, back.now) == (two, one)
    assert {row.severity for row in kept(world.registry, kinds=["drift"])} == {"warning"}


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("hf://org/name@main", COMMIT),
        (f"hf://org/name@{COMMIT}", COMMIT),
        ("oci://host/name:v1", "sha256:" + "a" * 64),
        ("models:/name@champion", "3"),
        ("models:/name/3", "3"),
        ("s3://bucket/key?versionId=abc", "abc"),
        ("https://host.example/f#sha256=" + "a" * 64, "sha256:" + "a" * 64),
    ],
)
def test_what_nobody_should_be_able_to_move_is_critical(world, text, pinned):
    one, two, _ = digests(world)
    note(world, text, one, pinned)
    drifts = note(world, text, two, pinned)
    assert [drift.fixed for drift in drifts if drift.revision == pinned] == [True]
    assert "critical" in {row.severity for row in kept(world.registry, kinds=["drift"])}


def test_a_key_without_version_may_move(world):
    one, two, _ = digests(world)
    note(world, "s3://bucket/key", one)
    assert [drift.fixed for drift in note(world, "s3://bucket/key", two)] == [False]


def test_paths_and_names_of_ours_are_not_noted(world):
    one, two, _ = digests(world)
    for text in ("./folder", "name"):
        note(world, text, one)
        assert note(world, text, two) == []


def test_a_signature_in_an_address_is_not_written_down(world):
    one, *_ = digests(world)
    note(world, "https://host.example/f?signature=secret#sha256=" + "a" * 64, one)
    with world.registry.records.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM sighting").all()
    assert rows
    assert "secret" not in str(rows)


def test_a_name_means_what_it_led_to_last_and_only_what_is_kept_here(world):
    one, two, _ = digests(world)
    note(world, "oci://host/name:v1", one)
    note(world, "oci://host/name:v1", two)
    assert models.resolve(world.registry, "oci://host/name:v1") == two
    note(world, "oci://host/name:v1", one)
    assert models.resolve(world.registry, "oci://host/name:v1") == one
    world.reopen(project="other")
    assert sightings.last(world.registry, parse_reference("oci://host/name:v1")) is None
    assert sightings.drifted(world.registry) == []


def test_a_hub_whose_branch_moved_is_told_at_the_next_intake(world):
    with Hub() as hub:
        world.reopen(hub_endpoint=hub.endpoint)
        first = hub.add_repo("org/name", {"config.json": b"{}"})
        told = []
        one = take(world.registry, "hf://org/name", on_drift=told.append)
        assert (one.source["commit"], told) == (first, [])
        world.hand.pass_(hours=1)
        hub.add_repo("org/name", {"config.json": b"[]"})
        two = take(world.registry, "hf://org/name", on_drift=told.append)
        assert [(drift.before, drift.now) for drift in told] == [(one.digest, two.digest)]


def test_a_plan_fetches_nothing_and_knows_what_is_kept(world):
    with Web() as web:
        web.files["/model.safetensors"] = b"x" * 1000
        text = web.reference("/model.safetensors")
        [file] = plan(world.registry, text)
        assert (file.path, file.size, file.kept) == ("model.safetensors", 1000, False)
        assert web.sent == {}
        assert models.every(world.registry) == []
        take(world.registry, text)
        assert [file.kept for file in plan(world.registry, text)] == [True]
        assert web.sent == {"/model.safetensors": 1000}
