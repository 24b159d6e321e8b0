"""What may be pushed, and how a registry comes to list what refers to it: by itself, or by an index that others write too."""

import json

import pytest

from weighbridge.core.errors import Refused, Unreachable, UsageError
from weighbridge.core.reference import parse_reference
from weighbridge.core.tier import Status
from weighbridge.gate import pushing
from weighbridge.gate.handout import Withheld
from weighbridge.gate.revoke import revoke
from weighbridge.registry import actions, models
from world_house import World
from world_oci_small import INDEX, SmallRegistry


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def folder(world):
    made = world.ready()
    assert world.promote(made).decision.allow
    return made


@pytest.fixture
def small():
    with SmallRegistry() as made:
        yield made


def push(world, folder, small, tag="v1", **more):
    target = parse_reference(f"{small.place}:{tag}")
    return pushing.push(world.registry, world.manifest(folder).digest, target, environ={}, **more)


def fallback(done):
    return done.manifest.replace(":", "-")


def test_a_registry_that_knows_referrers_lists_them_itself(world, folder, small):
    done = push(world, folder, small)
    assert done.listed == "referrers"
    assert set(small.tags) == {"v1"}
    assert small.tags["v1"] == done.manifest
    listed = {row["digest"] for row in small.referring(done.manifest)}
    assert listed == {part.digest for part in done.parts if part.kind == "referrer"}
    assert len(listed) > small.page, "the list came in pages"
    assert small.uploads == {}


def test_one_that_says_it_does_and_does_not_gets_the_fallback_tag(world, folder, small):
    small.lists = False
    done = push(world, folder, small)
    assert done.listed == "fallback tag"
    assert len(small.index(fallback(done))["manifests"]) == sum(p.kind == "referrer" for p in done.parts)


@pytest.mark.parametrize("heeds", [True, False])
def test_two_pushers_at_once_lose_nothing_that_reading_back_shows(world, folder, small, heeds):
    small.knows_referrers, small.heeds = False, heeds
    other = {"mediaType": INDEX, "digest": "sha256:" + "0" * 64, "size": 1}
    met = []

    def between(tag):
        if tag.startswith("sha256-") and not met:
            met.append(tag)
            value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other]}
            small.put(tag, INDEX, json.dumps(value).encode())

    small.before_put = between
    done = push(world, folder, small)
    rows = small.index(fallback(done))["manifests"]
    ours = {part.digest for part in done.parts if part.kind == "referrer"}
    assert ours <= {row["digest"] for row in rows}
    assert (other in rows) is heeds, (
        "without conditions the row that came in between is lost: the module says so"
    )


def test_a_list_that_keeps_nothing_is_given_up_before_the_tag(world, folder, small):
    small.knows_referrers = False
    original = small.put

    def emptied(name, kind, data):
        if name.startswith("sha256-"):
            data = json.dumps({"mediaType": INDEX, "manifests": []}).encode()
        return original(name, kind, data)

    small.put = emptied
    with pytest.raises(Unreachable) as caught:
        push(world, folder, small)
    assert caught.value.check == "push.referrers"
    assert "v1" not in small.tags


@pytest.mark.parametrize(("times", "works"), [(4, True), (5, False)])
def test_a_blob_that_the_registry_does_not_know_for_a_moment(world, folder, small, monkeypatch, times, works):
    small.forgetful = times
    real = pushing.OciPlace
    monkeypatch.setattr(pushing, "OciPlace", lambda *given, **more: real(*given, **more, wait=lambda _: None))
    if works:
        assert push(world, folder, small).manifest == small.tags["v1"]
    else:
        with pytest.raises(Unreachable, match="no usable answer"):
            push(world, folder, small)
        assert small.tags == {}


def test_a_tag_that_somebody_moves_at_the_same_time_is_said(world, folder, small):
    first = push(world, folder, small, "other").manifest
    original = small.put

    def moved(name, kind, data):
        digest = original(name, kind, data)
        if name == "v1":
            small.tags["v1"] = next(one for one in small.manifests if one != first)
        return digest

    small.put = moved
    with pytest.raises(Unreachable) as caught:
        push(world, folder, small)
    assert caught.value.check == "push.tag"


def test_a_model_that_is_not_trusted_is_not_pushed(world, small):
    folder = world.ready()
    with pytest.raises(Withheld) as caught:
        push(world, folder, small)
    assert caught.value.check == "tier.trusted"
    assert caught.value.remedy
    assert not small.asked


def test_a_revoked_model_is_not_pushed(world, folder, small):
    key = world.person("security", "revoke")
    revoke(world.registry, world.manifest(folder).digest, reason="it phones home", signer=key)
    with pytest.raises(Withheld, match="revoked") as caught:
        push(world, folder, small)
    assert "it phones home" in caught.value.cause
    assert not small.asked


def test_a_quarantined_model_is_not_pushed(world, folder, small):
    tuned = world.ready("tuned", seed=9.0, base=[folder])
    assert world.promote(tuned).decision.allow
    key = world.person("security", "revoke")
    revoke(world.registry, world.manifest(folder).digest, reason="poisoned", signer=key)
    assert world.kept(tuned).status is Status.QUARANTINED
    with pytest.raises(Withheld, match="quarantined"):
        push(world, tuned, small)
    assert not small.asked


def test_a_word_that_ended_is_asked_for_again(world, folder, small):
    world.hand.pass_(days=2)
    word = pushing.word_of(world.registry, world.kept(folder))
    assert word is None
    done = push(world, folder, small)
    assert done.manifest == small.tags["v1"]
    assert pushing.word_of(world.registry, models.get(world.registry, done.model)) is not None


def test_who_pushed_what_where_is_written_down(world, folder, small):
    done = push(world, folder, small)
    [row] = [one for one in actions.since(world.registry, world.hand.now()) if one.kind == "push"]
    assert row.subject == f"{done.model} {small.place}:v1"
    assert row.outcome == actions.DONE


def test_places_that_are_none_are_refused(world, folder):
    digest = world.manifest(folder).digest
    for text in (
        "hf://org/name",
        f"oci://127.0.0.1:9/org/x@sha256:{'0' * 64}",
        f"oci://127.0.0.1:9/x:sha256-{'0' * 64}",
    ):
        with pytest.raises(UsageError) as caught:
            pushing.push(world.registry, digest, parse_reference(text), environ={})
        assert caught.value.remedy


def test_offline_nothing_is_asked(world, folder, small):
    world.reopen(offline=True)
    with pytest.raises((Unreachable, Refused)) as caught:
        push(world, folder, small)
    assert caught.value.check == "net.offline"
    assert not small.asked
