"""Witnesses and freshness: distinct keys on the very checkpoint that was proven, and how old that checkpoint is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sigstore_issuing import BEGIN, END, NOW
from sigstore_world import Cosigner, Forged, roots
from trust_proving import proof, refused, two_logs

from weighbridge.core.tier import Assurance
from weighbridge.trust.demand import Demand
from weighbridge.trust.prove import SKEW
from weighbridge.trust.roots import Window

TWO = (Cosigner(), Cosigner("other.test", "ml-dsa-44"))


def watched(*witnesses, window=None):
    known = tuple(one.known if window is None else replace(one.known, window=window) for one in witnesses)
    return replace(roots(), witnesses=known)


def test_witnesses_are_counted_on_the_checkpoint_that_was_proven():
    bundle = Forged(cosigners=TWO).build()
    found = proof(bundle, roots=watched(*TWO), demand=Demand(witnesses=2))
    assert found.logs[0].witnesses == (("other.test", NOW), ("witness.test", NOW))
    assert found.assurance is Assurance.WITNESSED
    assert proof(bundle).assurance is Assurance.SINGLE_OPERATOR  # nobody here knows them
    refused(bundle, "evidence.witnesses", roots=watched(*TWO), demand=Demand(witnesses=3))
    refused(bundle, "evidence.witnesses", roots=watched(TWO[0]), demand=Demand(witnesses=2))


def test_public_is_said_only_where_it_is_true_of_all_logs():
    known = roots()
    public = replace(known.logs[0], origin="rekor.sigstore.dev - 7", base_url="https://rekor.sigstore.dev")
    world = {"roots": replace(known, logs=(public, known.logs[1]))}
    changes = {"origin": public.origin, "log_id": public.log_id}
    assert proof(Forged(**changes).build(), **world).assurance is Assurance.PUBLIC
    assert proof(two_logs(**changes), **world).assurance is Assurance.SINGLE_OPERATOR
    both = two_logs(**changes)
    seen = Forged("dsse2", signature=both.envelope.signatures[0].sig, cosigners=TWO[:1], tsas=()).build()
    mixed = replace(both, entries=(both.entries[0], seen.entry))
    watching = {"roots": replace(world["roots"], witnesses=(TWO[0].known,))}
    assert proof(mixed, **watching).assurance is Assurance.WITNESSED


def test_one_witness_under_two_names_or_twice_is_one():
    twin = replace(TWO[0].known, name="twin.test")
    known = replace(roots(), witnesses=(TWO[0].known, twin))
    twice = (TWO[0], replace(TWO[0], when=NOW - timedelta(hours=1)))
    bundle = Forged(cosigners=twice).build()
    found = proof(bundle, roots=known, demand=Demand(witnesses=1))
    assert found.logs[0].witnesses == (("witness.test", NOW),)
    refused(bundle, "evidence.witnesses", roots=known, demand=Demand(witnesses=2))


@pytest.mark.parametrize("cosigner", TWO)
def test_a_cosignature_that_does_not_verify_refuses(cosigner):
    bundle = Forged(cosigners=(replace(cosigner, flip=True),)).build()
    refused(bundle, "log.witness", roots=watched(cosigner))
    assert proof(bundle)  # a line of somebody unknown


@pytest.mark.parametrize("cosigner", TWO)
def test_a_cosignature_of_another_checkpoint_is_none(cosigner):
    good = Forged(cosigners=(cosigner,)).build()
    line = good.entry.checkpoint.split("\n\n")[1].split("\n")[1]
    other = Forged(others=(b"another", b"tree", b"of", b"the log")).build()
    moved = replace(other.entry, checkpoint=other.entry.checkpoint + line + "\n")
    refused(replace(other, entries=(moved,)), "log.witness", roots=watched(cosigner))


def test_a_witness_counts_while_its_key_is_in_force():
    bundle = Forged(cosigners=TWO).build()
    for window, count in [
        (Window(NOW, NOW), 2),
        (Window(NOW + timedelta(seconds=1), END), 0),
        (Window(BEGIN, NOW - timedelta(seconds=1)), 0),
    ]:
        assert len(proof(bundle, roots=watched(*TWO, window=window)).logs[0].witnesses) == count


@pytest.mark.parametrize("cosigner", TWO)
def test_a_witness_of_the_future_is_refused(cosigner):
    ahead = replace(cosigner, when=NOW + SKEW + timedelta(seconds=1))
    refused(Forged(cosigners=(ahead,)).build(), "time.future", roots=watched(cosigner))
    assert proof(Forged(cosigners=(replace(cosigner, when=NOW + SKEW),)).build(), roots=watched(cosigner))


def test_each_log_counted_needs_its_own_witnesses():
    mixed = two_logs(cosigners=TWO)
    assert (
        proof(mixed, roots=watched(*TWO), demand=Demand(witnesses=2)).assurance is Assurance.SINGLE_OPERATOR
    )
    refused(mixed, "evidence.witnesses", roots=watched(*TWO), demand=Demand(logs=2, witnesses=2))


def test_a_stale_checkpoint_is_refused():
    bundle, later = Forged().build(), NOW + timedelta(seconds=3600)
    assert proof(bundle, demand=Demand(checkpoint_age=3600), now=later)
    refused(bundle, "evidence.checkpoint-age", demand=Demand(checkpoint_age=3599), now=later)
    silent = Forged("dsse2").build()  # nobody says when the checkpoint was made
    refused(silent, "evidence.checkpoint-age", demand=Demand(checkpoint_age=3600))


def test_with_witnesses_it_is_they_who_say_how_old_it_is():
    hours = [NOW - timedelta(hours=2), NOW - timedelta(hours=1)]
    cosigners = tuple(replace(one, when=when) for one, when in zip(TWO, hours, strict=True))
    bundle = Forged("dsse2", cosigners=cosigners).build()
    world = {"roots": watched(*TWO)}
    for witnesses, age, stale in [(1, 3600, 0), (1, 3599, 1), (2, 7200, 0), (2, 7199, 1), (0, 3600, 0)]:
        demand = Demand(witnesses=witnesses, checkpoint_age=age)
        if stale:
            refused(bundle, "evidence.checkpoint-age", demand=demand, **world)
        else:
            assert proof(bundle, demand=demand, **world)
