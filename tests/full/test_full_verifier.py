"""Our verifier beside sigstore's own on the same bundles: what we accept, it accepts, but for a written list with reasons."""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from sigstore_issuing import ISSUER, NOW, SUBJECT, Leaf, Tsa
from sigstore_world import ARTIFACT, KINDS, Cosigner, make

from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.expect import ExpectedIdentity, check_expected
from weighbridge.trust.prove import Artifact, prove
from weighbridge.trust.trusted_root import read_trusted_root, write_trusted_root

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SUPERSETS = {
    "dsse-hashedrekord": "an envelope logged as hashedrekord 0.0.1, which the client specification allows",
    "intoto": "intoto 0.0.2 entries, which npm and cosign wrote for years",
    "intoto-first": "intoto 0.0.1 entries; the log verified a signature of that payload by that key",
    "dsse2-old": "dsse 0.0.2 entries, which Rekor v2 wrote until 2026",
}
"""Kinds of entries that sigstore does not read, and why we do."""

OTHER_KEYS = ("ecdsa-p384", "ecdsa-p521", "ed25519", "rsa")
"""Leaves that sigstore verifies as if all keys were P-256 with SHA-256; each of these signs in its one way with us."""


def theirs(bundle, root, content, *, is_file):
    from sigstore.models import Bundle as Theirs
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier, policy
    from sigstore_models.trustroot.v1 import TrustedRoot as Document

    try:
        verifier = Verifier(trusted_root=TrustedRoot(Document.from_json(root)))
        read, who = Theirs.from_json(bundle.decode()), policy.Identity(identity=SUBJECT, issuer=ISSUER)
        if is_file:
            verifier.verify_artifact(content, read, who)
        else:
            assert verifier.verify_dsse(read, who)[1] == content
    except Exception:  # noqa: BLE001 (whatever it raises, it did not accept)
        return False
    return True


def ours(bundle, root, demand):
    try:
        proof = prove(
            Bundle.from_json(bundle),
            roots=read_trusted_root(root),
            demand=demand,
            now=NOW,
            artifact=Artifact.of(ARTIFACT),
        )
        check_expected(ExpectedIdentity(SUBJECT, ISSUER), proof.signer)
    except VerificationFailed as error:
        return error.check
    return ""


def both(made):
    return (
        ours(made.bundle, made.trusted_root, made.demand) == "",
        theirs(made.bundle, made.trusted_root, made.content, is_file=made.is_file),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tsas": (Tsa(),)},
        {"tsas": (Tsa(embed=False),)},
        {"outer_index": 1_000_000},
        {"index": 0},
        {"index": 4},
        {"cosigners": (Cosigner(), Cosigner("other.test", "ml-dsa-44"))},
        {"extensions": ("Timestamp: 1",)},
    ],
)
def test_bundles_in_order_are_accepted_by_both(kind, changes):
    assert both(make(kind, **changes)) == (True, kind not in SUPERSETS)


@pytest.mark.parametrize("second", [("log2", "ed25519"), ("log2", "ecdsa-p256"), ("log2", "ecdsa-p384")])
def test_second_version_logs_of_every_key(second):
    assert both(make("dsse2", second=second)) == (True, True)


@pytest.mark.parametrize("leaf", OTHER_KEYS)
def test_other_keys_are_a_superset(leaf):
    assert both(make("dsse", leaf=Leaf(leaf))) == (True, False)


LATE = NOW + timedelta(minutes=20)

REFUSED = [
    {"leaf": Leaf(begin=NOW + timedelta(seconds=1))},
    {"leaf": Leaf(begin=NOW - timedelta(minutes=11))},
    {"leaf": Leaf(purposes=())},
    {"leaf": Leaf(usage=None)},
    {"leaf": Leaf(ct=())},
    {"leaf": Leaf(ct=(("other ct", "ecdsa-p256"),))},
    {"leaf": Leaf(ct_flip=True)},
    {"leaf": Leaf(issuer=("intermediate", ("decoy", "ecdsa-p384")))},
    {"leaf": Leaf(claims=((1, "https://other.test"), (8, "https://other.test")))},
    {"leaf": Leaf(names=())},
    {"leaf": Leaf(ca=True)},
    {"signature": b"\x30\x06\x02\x01\x01\x02\x01\x01"},
    {"log": ("other log", "ecdsa-p256")},
    {"promised": {"seconds": 1}},
    {"promise": False},
    {"body_changes": {"spec.payloadHash.value": "00" * 32}},
    {"claims": {"root": bytes(32)}},
    {"claims": {"hashes": ()}},
    {"claims": {"leaf_index": 2}},
    {"seconds": int(LATE.timestamp())},
]


@pytest.mark.parametrize("changes", REFUSED)
def test_what_is_not_in_order_is_refused_by_both(changes):
    assert both(make("dsse", **changes)) == (False, False)


@pytest.mark.parametrize(
    "tsas",
    [
        (),
        (Tsa(holder=("other", "ecdsa-p256")),),
        (Tsa(status="rejection"),),
        (Tsa(digest="sha1"),),
        (Tsa(critical=False),),
        (Tsa(purposes=()),),
        (Tsa(when=LATE),),
        (Tsa(), Tsa(when=LATE)),
        (Tsa(begin=NOW + timedelta(seconds=1)),),
    ],
)
def test_times_that_are_none_are_refused_by_both(tsas):
    assert both(make("dsse2", tsas=tsas)) == (False, False)


MEMBERS = {
    "rfc3161Timestamps": "null stands for the empty list, as proto3 JSON has it",
    "logIndex": "may be left out for zero, and without a promise nobody relies on it",
    "integratedTime": "may be a number, and without a promise nobody relies on it",
}
"""Members of bundles that we read more tolerantly than sigstore does, and why."""

ROOT_MEMBERS = {
    "subject": "may be left out: it is said for people, the certificates hold the names that count",
    "organization": "may be left out or null, as proto3 JSON has it",
    "commonName": "may be left out or null, as proto3 JSON has it",
    "baseUrl": "may be left out; a log of the second version is then known by its id alone",
    "timestampAuthorities": "null stands for the empty list, as proto3 JSON has it",
    "keyDetails": "a log with a kind of key that does not exist yet is passed over, and so are its entries",
}
"""The same of trusted roots."""


def widened(document, accepts):
    """The members that can be exchanged so that we accept what they refuse."""
    return {
        road[-1]
        for road in roads(document)
        for value in (..., None, "", [], {}, 0, "AAAA")
        if accepts(json.dumps(changed(document, road, value)).encode())
    }


@pytest.mark.parametrize("kind", ["dsse", "hashedrekord", "dsse2", "hashedrekord2"])
def test_no_member_of_a_bundle_makes_us_accept_what_they_refuse(kind):
    made = make(kind, tsas=(Tsa(),))

    def accepts(bundle):
        return both(replace(made, bundle=bundle)) == (True, False)

    assert widened(json.loads(made.bundle), accepts) <= set(MEMBERS)


@pytest.mark.parametrize("kind", ["dsse", "dsse2"])
def test_no_member_of_a_root_makes_us_accept_what_they_refuse(kind):
    made = make(kind)

    def accepts(root):
        return both(replace(made, trusted_root=root)) == (True, False)

    assert widened(json.loads(made.trusted_root), accepts) <= set(ROOT_MEMBERS)


def roads(value, road=()):
    if road:
        yield road
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in rows:
        yield from roads(inner, (*road, step))


def changed(document, road, value):
    copy = json.loads(json.dumps(document))
    where = copy
    *steps, last = road
    for step in steps:
        where = where[step]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return copy


def test_our_root_is_one_that_they_read():
    from sigstore_models.trustroot.v1 import TrustedRoot as Document

    made = make()
    assert len(Document.from_json(made.trusted_root).tlogs) == 2
    again = write_trusted_root(read_trusted_root(made.trusted_root))
    assert theirs(made.bundle, again, made.content, is_file=False)
    stale = replace(read_trusted_root(again), ctlogs=())
    assert not theirs(made.bundle, write_trusted_root(stale), made.content, is_file=False)
