"""New names that look like others are refused unless it is meant; snapshots of names end, and never go back."""

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.claims.records import read_event
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.keys.files import generate
from weighbridge.registry import bundles, names, snapshots
from weighbridge.registry.new_names import Differs, check_new
from weighbridge.trust.dsse import sign
from world_house import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def two(world):
    """Two models that pass; the first has the name `encoder`."""
    folders = [world.ready(name, seed=float(n)) for n, name in enumerate(("first", "second"), 1)]
    assert world.promote(folders[0], name="encoder").decision.allow
    return folders


def alike(world, folder, name, **options):
    with pytest.raises(Refused) as caught:
        world.promote(folder, name=name, **options)
    assert caught.value.check == "name.alike"
    return caught.value


@pytest.mark.parametrize("name", ["encodr", "enc-oder", "encoder-official", "enc0der", "ecnoder", "encooder"])
def test_a_new_name_that_looks_like_another_is_refused_before_anything_is_decided(world, two, name):
    before = world.registry.log.size
    error = alike(world, two[1], name)
    assert "'encoder'" in error.problem
    assert "--yes-it-differs-from encoder" in error.remedy
    assert names.resolve(world.registry, name) is None
    assert world.registry.log.size == before


def test_who_means_it_says_so_and_why_and_that_is_signed(world, two):
    differs = Differs(("encoder",), "the small one, as everybody calls it")
    assert world.promote(two[1], name="encodr", differs=differs).decision.allow
    assert names.resolve(world.registry, "encodr") == world.manifest(two[1]).digest
    said = [
        read_event(Statement.decode(bundle.envelope.payload))
        for bundle in bundles.about(world.registry, [world.manifest(two[1]).digest])
    ]
    body = next(record.body for record in said if record is not None and record.kind == "name")
    assert body["differs_from"] == ["encoder"]
    assert body["reason"] == differs.reason


def test_what_is_meant_of_one_name_is_not_meant_of_another(world, two):
    assert world.promote(two[1], name="decoder").decision.allow
    third = world.ready("third", seed=3.0)
    alike(world, third, "encodr", differs=Differs(("decoder",), "no"))
    with pytest.raises(UsageError):
        world.promote(third, name="encodr", differs=Differs(("encoder",), " "))


def test_a_name_that_is_there_goes_on_being_moved(world, two):
    differs = Differs(("encoder",), "meant")
    world.promote(two[1], name="encodr", differs=differs)
    for folder, name in ((two[1], "encoder"), (two[0], "encodr")):
        assert world.promote(folder, name=name).decision.allow
        assert names.resolve(world.registry, name) == world.manifest(folder).digest


def test_another_projects_names_are_its_own(world, two):
    world.reopen(project="other")
    check_new(world.registry, "encodr", world.manifest(two[1]).digest)


def test_a_name_like_that_of_a_trusted_publisher_is_refused_but_for_what_they_made(world, two):
    edit(world, "first", {"repository": "OpenBMB/MiniCPM"})
    mine, theirs = (world.manifest(two[n]).digest for n in (1, 0))
    for name in ("openbmb-official", "minicpn", "0penbmb"):
        with pytest.raises(Refused) as caught:
            check_new(world.registry, name, mine)
        assert "publisher" in caught.value.cause
    check_new(world.registry, "minicpm", mine)
    check_new(world.registry, "mini-cpm", theirs)
    with pytest.raises(Refused):
        check_new(world.registry, "mini-cpm", mine)


def edit(world, label, source):
    with world.registry.records.write() as connection:
        changed = connection.exec_driver_sql(
            "UPDATE model SET source = ? WHERE label = ?", (canonical(source).decode(), label)
        )
        assert changed.rowcount == 1


# Snapshots.


def taken(world, data, *, known=None, project=None, at=None):
    registry = world.registry
    return snapshots.verify(
        data,
        authority=registry.authority,
        project=project or registry.project,
        now=at or world.hand.now(),
        known=known,
    )


def refused(world, data, **options):
    with pytest.raises(VerificationFailed) as caught:
        taken(world, data, **options)
    return caught.value.check


def resolved(world, data, name):
    registry = world.registry
    return snapshots.resolve(
        data,
        name,
        authority=registry.authority,
        project=registry.project,
        now=world.hand.now(),
        home=world.home,
    )


def test_a_snapshot_says_what_all_names_point_at(world, two):
    world.promote(two[1], name="search")
    said = taken(world, snapshots.issue(world.registry))
    assert said.names == {
        "encoder": (1, world.manifest(two[0]).digest),
        "search": (1, world.manifest(two[1]).digest),
    }


def test_it_ends(world, two):
    world.hand.pass_(hours=5)
    data = snapshots.issue(world.registry, life=timedelta(hours=1))
    world.hand.pass_(minutes=59)
    taken(world, data)
    world.hand.pass_(minutes=1)
    assert refused(world, data) == "names.expired"
    assert refused(world, data, at=world.hand.now() - timedelta(hours=2)) == "names.expired"
    for life in (timedelta(0), timedelta(days=31)):
        with pytest.raises(UsageError):
            snapshots.issue(world.registry, life=life)


def test_a_client_is_not_shown_an_older_one(world, two):
    old = snapshots.issue(world.registry)
    assert resolved(world, old, "encoder") == world.manifest(two[0]).digest
    world.promote(two[1], name="encoder")
    new = snapshots.issue(world.registry)
    assert resolved(world, new, "encoder") == world.manifest(two[1]).digest
    with pytest.raises(VerificationFailed) as caught:
        resolved(world, old, "encoder")
    assert caught.value.check == "names.rollback"
    assert resolved(world, new, "encoder") == world.manifest(two[1]).digest
    with pytest.raises(NotFound):
        resolved(world, new, "search")


def test_what_was_seen_and_cannot_be_read_is_not_forgotten(world, two):
    data = snapshots.issue(world.registry)
    resolved(world, data, "encoder")
    (path,) = (world.home / "names").iterdir()
    path.write_text("{}")
    with pytest.raises(UsageError):
        resolved(world, data, "encoder")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 10**6, "names": {}},
        {"expires": "2026-12-31T00:00:00Z"},
    ],
)
def test_only_the_gate_signs_one(world, two, change):
    body = taken(world, snapshots.issue(world.registry)).to_json() | change
    for key in (generate(), world.secret("owner"), world.registry.intake_key):
        data = canonical(sign(snapshots.TYPE, canonical(body), key).to_json())
        assert refused(world, data) == "names.signature"


def test_what_was_signed_as_something_else_is_no_snapshot(world, two):
    body = taken(world, snapshots.issue(world.registry)).to_json()
    data = canonical(sign("application/vnd.in-toto+json", canonical(body), world.registry.gate_key).to_json())
    assert refused(world, data) == "names.signature"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"project": "other"}, "names.form"),
        ({"registry": "another"}, "names.form"),
        ({"schema": "weighbridge.names/2"}, "names.form"),
        ({"version": 0}, "names.form"),
        ({"version": "9"}, "names.form"),
        ({"more": 1}, "names.form"),
        ({"names": {"Up": {"sequence": 1, "manifest": "wb1:" + "0" * 64}}}, "names.form"),
        ({"names": {"up": {"sequence": 1, "manifest": "sha256:" + "0" * 64}}}, "names.form"),
        ({"names": []}, "names.form"),
        ({"expires": "2027-11-22T12:00:00Z"}, "names.expired"),
        ({"issued": "2026-11-23T12:00:00Z", "expires": "2026-11-24T12:00:00Z"}, "names.expired"),
    ],
)
def test_a_snapshot_of_another_form_project_or_time_counts_nowhere(world, two, change, check):
    body = taken(world, snapshots.issue(world.registry)).to_json() | change
    data = canonical(sign(snapshots.TYPE, canonical(body), world.registry.gate_key).to_json())
    assert refused(world, data) == check


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_snapshot_in_which_one_bit_was_changed_is_refused_or_says_the_same(issued, place, bit):
    world, data = issued
    changed = bytearray(data)
    changed[place % len(data)] ^= 1 << bit
    try:
        said = taken(world, bytes(changed))
    except VerificationFailed:
        return
    assert said == taken(world, data)  # a bit of the key's name, or one that base64 does not look at


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("house"))
    made.promote(made.ready("first"), name="encoder")
    yield made, snapshots.issue(made.registry)
    made.registry.close()


DIGEST = Digest("wb1", "1" * 64)
MOVES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), max_size=4)


@given(st.lists(st.tuples(st.integers(1, 5), MOVES), min_size=1, max_size=6))
def test_a_client_that_follows_snapshots_sees_no_number_go_back(rows):
    """Whatever is shown to a client in whatever order: what it takes never goes back, and only that is refused."""
    known = snapshots.Known()
    for version, moves in rows:
        said = snapshots.Snapshot(
            "r", "p", version, World.__dataclass_fields__["hand"].default_factory().now(), None,
            {name: (number, DIGEST) for name, number in moves.items()},
        )  # fmt: skip
        seen = known.sequences or {}
        back = version < known.version or any(moves.get(name, 0) < number for name, number in seen.items())
        assert bool(snapshots._older(said, known)) is back
        if not back:
            known = snapshots.Known(version, moves)


def test_the_document_is_what_the_page_says(world, two):
    data = json.loads(snapshots.issue(world.registry))
    assert data["payloadType"] == snapshots.TYPE
    assert len(data["signatures"]) == 1
