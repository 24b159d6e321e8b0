"""Trusted roots at their edges: size, ids that are neither of a key nor of a name, kinds that are passed over."""

import json
from dataclasses import replace

import pytest
from sigstore_issuing import NOW, private, spki
from sigstore_world import ORIGIN2, make, roots

from weighbridge.core.errors import OutOfBudget, VerificationFailed
from weighbridge.ledger.checkpoint import log_id_of
from weighbridge.trust.dsse import encode64
from weighbridge.trust.trusted_root import MAX_ROOT, read_trusted_root, write_trusted_root


def changed(change, part="tlogs", at=1):
    document = json.loads(make().trusted_root)
    change(document[part][at])
    return read_trusted_root(json.dumps(document).encode())


def test_the_largest_root():
    document = make().trusted_root
    full = document + b" " * (MAX_ROOT - len(document))
    assert read_trusted_root(full) == read_trusted_root(document)
    with pytest.raises(OutOfBudget, match="larger"):
        read_trusted_root(full + b" ")


def test_an_id_binds_the_name_only_where_it_was_made_of_it():
    assert [log.origin for log in read_trusted_root(make().trusted_root).logs] == ["", ORIGIN2]

    def free(row):
        row["logId"]["keyId"] = encode64(bytes(32))

    def other_name(row):
        row["logId"]["keyId"] = encode64(bytes.fromhex(log_id_of("other.test", roots().logs[1].pem).hex))

    def nameless(row):
        del row["baseUrl"]

    for change in (free, other_name, nameless):
        assert changed(change).logs[1].origin == ""


def test_the_kind_that_is_said_is_the_keys():
    """`PKIX_RSA_PKCS1V5` says no size (sigstore_common.proto), every other kind says all of it."""
    raw = {kind: encode64(spki(private("a log", kind))) for kind in ("rsa", "ecdsa-p256")}

    def said(kind, details):
        def change(row):
            row["publicKey"] |= {"rawBytes": raw[kind], "keyDetails": details}

        return change

    for details in ("PKIX_RSA_PKCS1V5", "PKIX_RSA_PKCS1V15_2048_SHA256"):
        assert len(changed(said("rsa", details)).logs) == 2
    wrong = [("ecdsa-p256", "PKIX_RSA_PKCS1V5"), ("rsa", "PKIX_RSA_PKCS1V15_4096_SHA256")]
    for kind, details in [*wrong, ("rsa", "PKIX_ECDSA_P256_SHA_256")]:
        with pytest.raises(VerificationFailed) as caught:
            changed(said(kind, details))
        assert caught.value.check == "root.form"
        assert "said to be" in caught.value.cause


@pytest.mark.parametrize("name", ["organization", "commonName"])
def test_names_for_people_are_text(name):
    with pytest.raises(VerificationFailed) as caught:
        changed(lambda row: row["subject"].update({name: 5}), "certificateAuthorities", 0)
    assert caught.value.check == "root.form"


def test_operators_are_kept():
    known = roots()
    operated = {
        name: tuple(replace(row, operator="op.test") for row in getattr(known, name))
        for name in ("logs", "authorities", "ctlogs", "timestamps")
    }
    again = read_trusted_root(write_trusted_root(replace(known, **operated)))
    for name in operated:
        assert {row.operator for row in getattr(again, name)} == {"op.test"}
        assert {row.operator for row in getattr(read_trusted_root(write_trusted_root(known)), name)} == {""}
    assert b"operator" not in write_trusted_root(known)


def test_the_address_written_is_the_name_under_which_a_log_signs():
    """Clients compare the two; only a log whose name is not known keeps the address it had."""
    known = roots()
    logs = tuple(replace(log, base_url="https://elsewhere.test") for log in known.logs)
    document = json.loads(write_trusted_root(replace(known, logs=logs)))
    assert [row["baseUrl"] for row in document["tlogs"]] == ["https://rekor.test", f"https://{ORIGIN2}"]
    nameless = tuple(replace(log, origin="") for log in logs)
    document = json.loads(write_trusted_root(replace(known, logs=nameless)))
    assert [row["baseUrl"] for row in document["tlogs"]] == ["https://elsewhere.test"] * 2


def test_an_interval_may_be_one_moment():
    def one(row):
        row["publicKey"]["validFor"] = {"start": "2026-11-22T20:10:00Z", "end": "2026-11-22T20:10:00Z"}

    window = changed(one).logs[1].window
    assert window.start == window.end == NOW


def test_what_is_wrong_with_a_certificate_is_said():
    with pytest.raises(VerificationFailed) as caught:
        changed(
            lambda row: row["certChain"]["certificates"][0].update(rawBytes="AAAA"),
            "certificateAuthorities",
            0,
        )
    assert caught.value.cause.startswith("this is not a certificate we can read: ")
    assert caught.value.check == "root.form"
