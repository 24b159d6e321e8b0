"""Bundles: what other tools write is read, what says two things is refused, and no changed byte changes the meaning."""

import json
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trust_forge import NOW, PROJECT, authority, forged, key

from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.trust import bundle as bundle_module
from weighbridge.trust.bundle import MEDIA_TYPE, Bundle
from weighbridge.trust.verify import verify_bundle


@pytest.fixture(scope="module")
def good():
    return forged().build()


@pytest.fixture(scope="module")
def believed(good):
    return meaning(good.to_json())


def meaning(data):
    """What the verifier makes of the bytes: everything it believes, and the id of the claim."""
    bundle = Bundle.from_json(data)
    verified = verify_bundle(bundle, authority=authority(), project=PROJECT, role=Role.TRAIN, now=NOW)
    return verified.statement, verified.payload, verified.proven, bundle.digest


def same_or_refused(data, believed):
    try:
        found = meaning(data)
    except VerificationFailed as error:
        refused_by = error.check
    else:
        refused_by = "nobody"
        assert found == believed
    assert refused_by


def test_a_bundle_survives_the_road(good):
    again = Bundle.from_json(good.to_json())
    assert again == good
    assert again.to_json() == good.to_json()


def test_the_shape_is_that_of_a_sigstore_bundle(good):
    value = json.loads(good.to_json())
    assert value["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert value["verificationMaterial"]["publicKey"] == {"hint": key("trainer").key_id.hex}
    (entry,) = value["verificationMaterial"]["tlogEntries"]
    assert entry["kindVersion"] == {"kind": "dsse", "version": "0.0.1"}
    assert entry["logIndex"] == entry["inclusionProof"]["logIndex"] == "3"
    assert isinstance(entry["integratedTime"], str)


def test_the_id_of_a_claim_does_not_change_when_it_is_logged(good):
    assert replace(good, entries=()).digest == good.digest == good.envelope.digest


def test_a_bundle_without_entry_can_be_read(good):
    alone = replace(good, entries=())
    assert Bundle.from_json(alone.to_json()) == alone


@pytest.mark.parametrize("value", [None, "omitted"])
def test_zeros_and_empty_lists_may_be_left_out(value):
    first = forged(index=0, others=()).build()
    document = json.loads(first.to_json())
    entry = document["verificationMaterial"]["tlogEntries"][0]
    for where, name in [
        (entry, "logIndex"),
        (entry["inclusionProof"], "logIndex"),
        (entry["inclusionProof"], "hashes"),
    ]:
        assert where.pop(name) in ("0", [])
        if value is None:
            where[name] = None
    document["dsseEnvelope"]["signatures"][0].pop("keyid")
    data = json.dumps(document).encode()
    assert Bundle.from_json(data).entry == first.entry
    assert meaning(data)[2].log_index == 0


def test_integers_may_be_numbers_and_unknown_members_are_passed_over(good, believed):
    document = json.loads(good.to_json())
    entry = document["verificationMaterial"]["tlogEntries"][0]
    entry["logIndex"] = int(entry["logIndex"])
    entry["inclusionProof"]["treeSize"] = int(entry["inclusionProof"]["treeSize"])
    document["new"] = entry["new"] = {"deep": [1, 2]}
    data = json.dumps(document, indent=2).encode()
    assert meaning(data) == believed


def changed(path, value):
    """The good bundle's JSON with the member at `path` set, or removed when `value` is the ellipsis."""
    document = json.loads(forged().build().to_json())
    where = document
    *road, last = path
    for step in road:
        where = where[step]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return json.dumps(document).encode()


ENTRY = ("verificationMaterial", "tlogEntries", 0)
PROOF = (*ENTRY, "inclusionProof")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), ...),
        (("mediaType",), "application/vnd.dev.sigstore.bundle.v0.2+json"),
        (("verificationMaterial",), ...),
        (("verificationMaterial",), []),
        (("verificationMaterial", "publicKey"), ...),
        (("verificationMaterial", "publicKey", "hint"), 5),
        (("verificationMaterial", "publicKey", "hint"), "a" * 1025),
        (("verificationMaterial", "publicKey"), 7),
        (("verificationMaterial", "certificate"), {"rawBytes": ""}),
        (("verificationMaterial", "x509CertificateChain"), {}),
        (("verificationMaterial", "tlogEntries"), {}),
        (("verificationMaterial", "tlogEntries"), [{}]),
        (("verificationMaterial", "tlogEntries"), [{}] * 33),
        (("verificationMaterial", "timestampVerificationData"), {"rfc3161Timestamps": 1}),
        (("verificationMaterial", "timestampVerificationData"), {"rfc3161Timestamps": [{}]}),
        (
            ("verificationMaterial", "timestampVerificationData"),
            {"rfc3161Timestamps": [{"signedTimestamp": ""}]},
        ),
        (
            ("verificationMaterial", "timestampVerificationData"),
            {"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}] * 33},
        ),
        (("messageSignature",), {}),
        (("messageSignature",), {"signature": "AAAA"}),
        (("dsseEnvelope",), ...),
        ((*ENTRY, "kindVersion", "kind"), "a b"),
        ((*ENTRY, "kindVersion", "kind"), ""),
        ((*ENTRY, "kindVersion", "version"), 1),
        ((*ENTRY, "kindVersion"), ...),
        ((*ENTRY, "logId"), ...),
        ((*ENTRY, "logId", "keyId"), "AAAA"),
        ((*ENTRY, "logIndex"), -3),
        ((*ENTRY, "logIndex"), "03"),
        ((*ENTRY, "logIndex"), 3.0),
        ((*ENTRY, "logIndex"), True),
        ((*ENTRY, "logIndex"), "9007199254740992"),
        ((*ENTRY, "logIndex"), "3\n"),
        ((*ENTRY, "integratedTime"), "253402300800"),
        ((*ENTRY, "canonicalizedBody"), ...),
        ((*ENTRY, "canonicalizedBody"), "*"),
        ((*ENTRY, "inclusionPromise"), []),
        ((*ENTRY, "inclusionPromise"), {}),
        ((*ENTRY, "inclusionPromise", "signedEntryTimestamp"), ...),
        ((*ENTRY, "inclusionPromise", "signedEntryTimestamp"), ""),
        ((*ENTRY, "inclusionPromise", "signedEntryTimestamp"), 1),
        ((*ENTRY, "inclusionProof"), ...),
        ((*PROOF, "rootHash"), ...),
        ((*PROOF, "rootHash"), "AAAA"),
        ((*PROOF, "hashes"), ["AAAA"]),
        ((*PROOF, "hashes"), "AAAA"),
        ((*PROOF, "hashes"), ["A" * 43 + "="] * 65),
        ((*PROOF, "checkpoint"), ...),
        ((*PROOF, "checkpoint", "envelope"), 1),
        ((*PROOF, "checkpoint", "envelope"), "\ud800"),
    ],
)
def test_what_is_no_bundle_is_refused_with_a_reason(path, value):
    with pytest.raises(VerificationFailed) as caught:
        Bundle.from_json(changed(path, value))
    assert caught.value.check == "bundle.form"
    assert caught.value.cause


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"7", b'"a"', b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(VerificationFailed) as caught:
        Bundle.from_json(data)
    assert caught.value.check == "bundle.form"


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (("verificationMaterial", "publicKey", "hint"), ..., "identity.known"),
        (("verificationMaterial", "publicKey", "hint"), "ab", "identity.known"),
        (("verificationMaterial", "publicKey", "hint"), "AB" * 32, "identity.known"),
        ((*ENTRY, "kindVersion", "kind"), "hashedrekord", "log.body"),
        ((*ENTRY, "kindVersion", "version"), "0.0.2", "log.body"),
        ((*ENTRY, "logIndex"), "4", "log.timestamp"),
        ((*PROOF, "logIndex"), ..., "log.inclusion"),
        ((*PROOF, "logIndex"), "4", "log.inclusion"),
    ],
)
def test_what_can_be_read_and_is_not_ours_is_not_believed(path, value, check):
    data = changed(path, value)
    assert Bundle.from_json(Bundle.from_json(data).to_json()) == Bundle.from_json(data)
    with pytest.raises(VerificationFailed) as caught:
        meaning(data)
    assert caught.value.check == check


def test_a_second_log_entry_is_not_believed_even_when_both_are_good(good):
    (entry,) = json.loads(good.to_json())["verificationMaterial"]["tlogEntries"]
    with pytest.raises(VerificationFailed, match=r"bundle\.duplicate"):
        meaning(changed(("verificationMaterial", "tlogEntries"), [entry, entry]))


@pytest.mark.parametrize("nothing", [..., None])
def test_an_entry_without_promise_can_be_read_and_is_not_believed(nothing):
    data = changed((*ENTRY, "inclusionPromise"), nothing)
    assert Bundle.from_json(data).entry.promise == b""
    with pytest.raises(VerificationFailed) as caught:
        meaning(data)
    assert caught.value.check == "evidence.times"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*ENTRY, "integratedTime"), 0),
        ((*ENTRY, "integratedTime"), "253402300799"),
        ((*PROOF, "treeSize"), "9007199254740991"),
        ((*PROOF, "treeSize"), 0),
        ((*PROOF, "hashes"), ["A" * 43 + "="] * 64),
    ],
)
def test_numbers_and_proofs_up_to_the_limit_can_be_read(path, value):
    assert Bundle.from_json(changed(path, value))


def test_a_member_given_twice_is_refused(good):
    data = good.to_json().replace(
        b'{"dsseEnvelope"', b'{"mediaType":"%b","dsseEnvelope"' % MEDIA_TYPE.encode()
    )
    with pytest.raises(VerificationFailed, match=r"bundle\.form"):
        Bundle.from_json(data)


def test_a_bundle_beyond_the_limit_is_not_parsed(good, monkeypatch):
    size = len(good.to_json())
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE", size)
    assert Bundle.from_json(good.to_json()) == good
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE", size - 1)
    with pytest.raises(OutOfBudget, match=r"bundle\.form"):
        Bundle.from_json(good.to_json())


def test_no_single_changed_byte_changes_the_meaning(good, believed):
    data = good.to_json()
    for at in range(len(data)):
        for other in {data[at] ^ 1, data[at] ^ 0x20}:
            same_or_refused(data[:at] + bytes([other]) + data[at + 1 :], believed)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_edit_changes_the_meaning(good, believed, data):
    bytes_ = good.to_json()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(bytes_)))
        end = min(len(bytes_), start + data.draw(st.integers(0, 40)))
        filling = data.draw(st.one_of(st.binary(max_size=3), st.just(bytes_[start:end] * 2)))
        bytes_ = bytes_[:start] + filling + bytes_[end:]
    same_or_refused(bytes_, believed)


JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 5),
    st.just("3"),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just(...),
)


def roads(value, road=()):
    yield road
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in rows:
        yield from roads(inner, (*road, step))


@settings(max_examples=400, deadline=None)
@given(st.data())
@example(None)
def test_no_exchanged_member_changes_the_meaning(good, believed, data):
    if data is None:
        same_or_refused(good.to_json(), believed)
        return
    every = [road for road in roads(json.loads(good.to_json())) if road]
    same_or_refused(changed(data.draw(st.sampled_from(every)), data.draw(JSON_VALUES)), believed)
