"""From witnesses to belief: bundles of a cosigned checkpoint meet a demanded quorum, and nothing less does."""

from dataclasses import replace
from datetime import timedelta

import pytest
from test_ledger_witnessing import NAMES, Village
from witness_bench import NOW, ORIGIN, key

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed
from weighbridge.core.statement import Statement, subject_of
from weighbridge.core.tier import Assurance
from weighbridge.ledger.checkpoint import sign_checkpoint
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.trust.assurance import assurance_of, freshness, is_public
from weighbridge.trust.bundle import Bundle, log_body, make_bundle
from weighbridge.trust.demand import Demand
from weighbridge.trust.prove import prove
from weighbridge.trust.roots import LogKey, Roots, Window, Witness
from weighbridge.trust.seal import sign_statement

STATEMENT = Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {"a": 1})


class Trusting(Village):
    """The same village, and a verifier that knows its log and witnesses."""

    def __init__(self, folder):
        super().__init__(folder)
        self.trainer = key("trainer")
        self.envelope = sign_statement(STATEMENT, self.trainer)
        body = log_body(self.envelope, self.trainer.public_pem)
        self.index = self.log.append([body], signer=self.signer, now=NOW)[0].index
        self.known = LogKey(bytes.fromhex(self.log.log_id.hex), self.log.public_pem, origin=ORIGIN)

    def roots(self, which=0, names=NAMES, window=None):
        rows = [self.witnesses[name].cosigners[which] for name in names]
        witnesses = [Witness(row.name, row.key, row.algorithm, window or Window()) for row in rows]
        return Roots(logs=(self.known,), witnesses=tuple(witnesses))

    def bundle(self, *, witnessed=True):
        proof = self.log.proof(self.index, witnessed=witnessed)
        made = make_bundle(
            self.envelope,
            self.trainer.public_pem,
            log_id=self.log.log_id,
            entry=self.log.entry(self.index),
            proof=proof,
        )
        return Bundle.from_json(made.to_json())

    def prove(self, bundle, demand, roots=None):
        return prove(
            bundle,
            roots=roots or self.roots(),
            demand=demand,
            now=self.clock.now(),
            key_pem=self.trainer.public_pem,
        )


@pytest.fixture
def village(tmp_path):
    return Trusting(tmp_path)


def refused(village, bundle, demand, roots=None):
    with pytest.raises(VerificationFailed) as error:
        village.prove(bundle, demand, roots)
    return error.value.check


@pytest.mark.parametrize("which", [0, 1])
def test_a_quorum_of_real_witnesses_is_believed(village, which):
    village.round(3, which=which).check()
    proof = village.prove(village.bundle(), Demand(witnesses=3), village.roots(which))
    assert proof.assurance is Assurance.WITNESSED
    assert [name for name, _ in proof.logs[0].witnesses] == [f"witness.test/{name}" for name in NAMES]


def test_one_short_of_the_quorum_is_refused(village):
    village.broken["w3"] = lambda status, data: (500, b"")
    village.round(2).check()
    assert refused(village, village.bundle(), Demand(witnesses=3)) == "evidence.witnesses"
    assert village.prove(village.bundle(), Demand(witnesses=2))


def test_without_witnesses_there_is_nothing_to_show(village):
    with pytest.raises(NotFound):
        village.bundle()
    bundle = village.bundle(witnessed=False)
    assert refused(village, bundle, Demand(witnesses=1)) == "evidence.witnesses"
    assert village.prove(bundle, Demand()).assurance is Assurance.SINGLE_OPERATOR


def test_a_bundle_that_is_logged_after_the_last_round_waits_for_the_next(village):
    village.round(3)
    body = log_body(village.envelope, village.trainer.public_pem) + b" "
    later = village.log.append([body], signer=village.signer, now=NOW)[0].index
    with pytest.raises(NotFound):
        village.log.proof(later, witnessed=True)
    assert village.prove(village.bundle(), Demand(witnesses=3))  # the earlier entry keeps its proof
    village.round(3)
    assert village.log.proof(later, witnessed=True).size == later + 1


def test_witnesses_that_the_roots_do_not_name_do_not_count(village):
    village.round(3)
    assert (
        refused(village, village.bundle(), Demand(witnesses=2), village.roots(names=("w1",)))
        == "evidence.witnesses"
    )
    ended = village.roots(window=Window(None, NOW - timedelta(days=1)))
    assert refused(village, village.bundle(), Demand(witnesses=1), ended) == "evidence.witnesses"


def test_cosignatures_of_one_checkpoint_prove_nothing_of_another(village):
    """A bundle from a fork, with the cosignatures that the honest log got at the same size."""
    twin = village.twin()
    village.grow("truth")
    village.grow("lie", log=twin)
    lines = village.round(3).note.removeprefix(village.log.checkpoint_text)
    proof = twin.proof(village.index)
    row = village.bundle().entry
    forged = replace(row, size=proof.size, root=proof.root, hashes=proof.hashes)
    bundle = replace(village.bundle(), entries=(replace(forged, checkpoint=proof.checkpoint + lines),))
    assert refused(village, bundle, Demand(witnesses=1)) == "log.witness"
    bundle = replace(bundle, entries=(replace(forged, checkpoint=proof.checkpoint),))
    assert refused(village, bundle, Demand(witnesses=1)) == "evidence.witnesses"
    assert village.prove(bundle, Demand()).assurance is Assurance.SINGLE_OPERATOR  # what one operator can do


def test_an_old_cosigned_checkpoint_is_refused_when_its_age_is_demanded(village):
    village.round(3)
    village.clock.pass_by(hours=2)
    bundle = village.bundle()
    assert village.prove(bundle, Demand(witnesses=3, checkpoint_age=7200))
    village.clock.pass_by(seconds=1)
    assert refused(village, bundle, Demand(witnesses=3, checkpoint_age=7200)) == "evidence.checkpoint-age"
    village.round(3)
    assert village.prove(village.bundle(), Demand(witnesses=3, checkpoint_age=60))


# Assurance and freshness on their own


def test_assurance_says_what_is_true_of_a_checkpoint(village):
    witnesses = village.roots().witnesses
    assert assurance_of(village.known, village.log.checkpoint_text, witnesses) is Assurance.SINGLE_OPERATOR
    note = village.round(3).note
    assert assurance_of(village.known, note, witnesses) is Assurance.WITNESSED
    assert assurance_of(village.known, note, ()) is Assurance.SINGLE_OPERATOR
    with pytest.raises(VerificationFailed):
        assurance_of(village.known, sign_checkpoint(village.log.head, key("thief")), witnesses)


def test_only_logs_of_public_names_are_public(village):
    for origin, base_url, public in (
        ("rekor.sigstore.dev - 1193050959916656506", "", True),
        ("log2025-1.rekor.sigstore.dev", "", True),
        ("", "https://rekor.sigstore.dev", True),
        ("rekor.sigstore.dev.evil.example - 1", "", False),
        ("evilsigstore.dev", "", False),
        (ORIGIN, "https://rekor.sigstore.dev", False),
        ("", "", False),
    ):
        assert is_public(replace(village.known, origin=origin, base_url=base_url)) is public


def test_freshness_is_that_of_the_last_of_the_quorum(village):
    witnesses = village.roots().witnesses
    assert freshness(village.known, "", witnesses, 1) is None
    village.round(3)
    village.clock.pass_by(hours=1)
    village.broken["w3"] = village.broken["w2"] = lambda status, data: (500, b"")
    note = village.round(1).note
    village.log.cosigned(note)
    kept = village.log.cosigned_text
    found = [freshness(village.known, kept, witnesses, quorum) for quorum in range(5)]
    assert [row and row.age(village.clock.now()) for row in found] == [
        None, timedelta(0), timedelta(hours=1), timedelta(hours=1), None,
    ]  # fmt: skip
    assert found[1].size == village.log.size


def test_a_forged_line_takes_nothing_from_the_others(village):
    note = village.round(3).note
    line = Cosigner("witness.test/w1", key("witness.test/w1e", "ed25519")).line(
        replace(village.log.head, size=9), 5
    )
    known = freshness(village.known, note + line, village.roots().witnesses, 2)
    assert known is not None
    assert freshness(village.known, note + line, village.roots().witnesses, 3) is None
