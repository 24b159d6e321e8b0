"""Claims that lie beside a model in an OCI registry come along with it, as what they are, and nothing else does."""

import hashlib
import json

import pytest

from weighbridge.core.reference import parse_reference
from weighbridge.core.tier import Origin, Role
from weighbridge.gate import pushing
from weighbridge.gate.promote import promote
from weighbridge.keys.files import generate
from weighbridge.registry import attached, bundles
from weighbridge.registry.intake import take
from weighbridge.source.oci import BUNDLE, MAX_CLAIMS
from world_house import World
from world_oci_small import SmallRegistry

STAGES = ("data", "train", "evaluate", "package")


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def other(tmp_path):
    made = World(tmp_path / "other", anew=True)
    yield made
    made.registry.close()


@pytest.fixture
def small():
    with SmallRegistry() as made:
        yield made


@pytest.fixture
def pushed(world, small):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    digest = world.manifest(folder).digest
    return pushing.push(world.registry, digest, parse_reference(f"{small.place}:v1"), environ={})


def name_the_same(other, world, stages=STAGES):
    """Have the people of one registry named in another."""
    authority = other.registry.authority
    for stage in stages:
        pem = world.people[f"{stage}-team"].public_pem
        authority = authority.with_identity(
            f"{stage}-team", pem, [Role(stage)], project="*", valid_from=other.hand.now()
        )
    other.publish(authority)


def taken(other, pushed, **more):
    told = []
    model = take(other.registry, pushed.pinned, on_claims=told.append, **more)
    return model, told


def refer(small, pushed, body, **changed):
    """Put something beside the model, as anybody can who may push there."""
    layer = f"sha256:{hashlib.sha256(body).hexdigest()}"
    small.blobs[layer] = body
    manifest = {
        "schemaVersion": 2, "artifactType": BUNDLE,
        "layers": [{"mediaType": BUNDLE, "digest": layer, "size": len(body)}],
        "subject": {"digest": pushed.manifest, "size": 1, "mediaType": "application/vnd.oci.image.manifest.v1+json"},
    }  # fmt: skip
    text = json.dumps({**manifest, **changed}).encode()
    return small.put(
        f"sha256:{hashlib.sha256(text).hexdigest()}", "application/vnd.oci.image.manifest.v1+json", text
    )


@pytest.mark.parametrize("lists", [True, False])
def test_with_its_claims_a_model_is_admitted_elsewhere(world, other, small, tmp_path, lists):
    small.lists = lists  # else by the index under the fallback tag
    folder = world.ready()
    assert world.promote(folder).decision.allow
    digest = world.manifest(folder).digest
    pushed = pushing.push(world.registry, digest, parse_reference(f"{small.place}:v1"), environ={})
    name_the_same(other, world)
    model, (told,) = taken(other, pushed, origin=Origin.OWN)
    assert (told.taken, told.known, told.left) == (4, 0, ())
    assert str(told) == "4 came along, 0 were here already"
    signers = {one.key for one in bundles.about(other.registry, [model.digest, model.manifest.weights])}
    assert {key.key_id for key in world.people.values()} - signers == {world.people["data-team"].key_id}
    assert promote(other.registry, model.digest).decision.allow, "each stage is proven"
    again = taken(other, pushed)[1][0]
    assert (again.taken, again.known) == (0, 4)


def test_who_is_not_named_here_says_nothing_here(world, other, pushed):
    name_the_same(other, world, ["train", "package"])
    _, (told,) = taken(other, pushed)
    assert told.taken == 2
    assert len(told.left) == 2
    assert all("unknown to this registry's authority" in reason for reason in told.left)


def test_what_is_no_claim_about_this_model_is_left_and_said(world, other, small, pushed):
    name_the_same(other, world)
    elsewhere = world.model("elsewhere", seed=7.0)
    foreign = world.say_evaluate(elsewhere, world.people["evaluate-team"])
    refer(small, pushed, foreign.to_json())
    refer(small, pushed, b"no bundle at all")
    refer(small, pushed, b"{}" + b" " * attached.MAX_BYTES * 2)
    refer(small, pushed, b"[]", subject={"digest": "sha256:" + "0" * 64})
    refer(small, pushed, b"[1]", layers=[])
    wrong = refer(small, pushed, b"others")
    small.manifests[wrong] = (small.manifests[wrong][0], small.manifests[wrong][1] + b" ")
    model, (told,) = taken(other, pushed)
    assert told.taken == 4
    said = sorted(told.left)
    assert len([reason for reason in said if "about something else" in reason]) == 1
    assert len(said) >= 4
    assert not bundles.about(other.registry, [world.manifest(elsewhere).weights])
    assert model.digest == world.manifest(world.folder / "encoder").digest


def test_a_signature_that_does_not_fit_is_left(world, other, small, pushed):
    name_the_same(other, world)
    real = next(
        one
        for one in bundles.about(world.registry, [world.manifest(world.folder / "encoder").weights])
        if one.key == world.people["evaluate-team"].key_id
    )
    text = json.loads(real.to_json())
    text["dsseEnvelope"]["payload"] = text["dsseEnvelope"]["payload"].replace("A", "B", 1)
    refer(small, pushed, json.dumps(text).encode())
    _, (told,) = taken(other, pushed)
    assert told.taken == 4
    assert told.left


def test_a_flood_of_claims_is_bounded(world, other, small, pushed):
    name_the_same(other, world)
    for number in range(2 * MAX_CLAIMS):
        refer(small, pushed, b"flood %d" % number)
    _, (told,) = taken(other, pushed)
    assert told.taken + len(told.left) <= MAX_CLAIMS


def test_a_registry_without_any_list_gives_the_model_all_the_same(other, world, small, pushed):
    small.knows_referrers = False
    small.tags = {name: value for name, value in small.tags.items() if not name.startswith("sha256-")}
    model, told = taken(other, pushed)
    assert told == []
    assert model.digest == world.manifest(world.folder / "encoder").digest


def test_a_stranger_with_a_key_of_his_own_adds_nothing(world, other, small, pushed):
    name_the_same(other, world)
    stranger = generate()
    folder = world.folder / "encoder"
    lie = world.say_evaluate(folder, stranger)
    refer(small, pushed, lie.to_json())
    _, (told,) = taken(other, pushed)
    assert told.taken == 4
    assert [reason for reason in told.left if "unknown" in reason]
