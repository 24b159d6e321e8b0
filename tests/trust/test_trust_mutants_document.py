"""What only one condition of the authority keeps out, or keeps apart."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from test_trust_authority_services import full, trusted
from trust_forge import NOW, authority, key

from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.keys.files import generate
from weighbridge.trust.authority import AuthorityIdentity, Project
from weighbridge.trust.authority_file import sign_authority, verify_authority, verify_next
from weighbridge.trust.authority_form import MAX_DOCUMENT, read_authority
from weighbridge.trust.issuers import TrustedIssuer, pinned_key
from weighbridge.trust.roots import LogKey

ROOT_PEM = authority().roots[0]
JWK = {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def issuer(url, *within):
    return TrustedIssuer(url, "email", (pinned_key(JWK),), within or ("example.com",))


def urls(document):
    return [row.url for row in document.issuers]


def refused(make):
    with pytest.raises(VerificationFailed) as caught:
        make()
    return caught.value


def test_issuers_are_added_changed_and_ended_one_at_a_time():
    made = authority().with_issuer(issuer("https://a.example")).with_issuer(issuer("https://b.example"))
    assert urls(read_authority(made.encode())) == ["https://a.example", "https://b.example"]
    changed = made.with_issuer(issuer("https://a.example", "other.example"))
    assert sorted(urls(changed)) == ["https://a.example", "https://b.example"]
    assert next(row for row in changed.issuers if row.url == "https://a.example").within == ("other.example",)
    assert urls(made.without_issuer("https://a.example")) == ["https://b.example"]
    assert read_authority(changed.encode()) == changed


def test_only_those_whom_certificates_name_are_looked_for_by_name():
    made = full()
    assert [one.name for one in made.keyless] == ["ci"]
    assert made.identity_for(made.keyless[0].key) is None
    assert made.identity_for(key("trainer").key_id).name == "trainer"


def test_what_says_nothing_is_not_written():
    document = json.loads(authority().encode())
    assert set(document["logs"][0]) == {"origin", "pem"}
    assert "demonstration" not in document
    shown = replace(authority(), demonstration=True)
    assert json.loads(shown.encode())["demonstration"] is True
    assert read_authority(shown.encode()).demonstration


def test_holders_of_a_role_are_named_once_and_in_order():
    assert Project({Role.TRAIN: ("b", "a", "b")}).roles[Role.TRAIN] == ("a", "b")


def test_names_are_taken_once():
    pem = generate().public_pem
    assert "is taken" in refused(lambda: authority().with_identity("trainer", pem)).cause
    twice = (*authority().identities, AuthorityIdentity("trainer", pem, NOW))
    assert "same name" in refused(lambda: replace(authority(), identities=twice)).cause


def test_a_signer_begins_when_it_is_said_to_and_an_end_is_not_moved_later():
    pem, later = generate().public_pem, NOW + timedelta(days=1)
    made = authority().with_identity("fresh", pem, valid_from=later)
    assert next(one for one in made.identities if one.name == "fresh").valid_from == later
    ended = authority().revoked("trainer", NOW).revoked("trainer", later)
    assert ended.identity_for(key("trainer").key_id).valid_until == NOW


def test_logs_stand_in_one_place():
    log = LogKey(bytes(32), key("log").public_pem)
    assert (
        "member of their own"
        in refused(lambda: replace(authority(), trusted=replace(trusted(), logs=(log,)))).cause
    )


def test_a_document_has_a_size():
    data = authority().encode()
    assert read_authority(data + b" " * (MAX_DOCUMENT - len(data))) == authority()
    assert (
        "larger than" in refused(lambda: read_authority(data + b" " * (MAX_DOCUMENT + 1 - len(data)))).cause
    )


@pytest.mark.parametrize(
    "path", [("identities", "trainer"), ("identities", "trainer", "evidence"), ("logs", 0)]
)
def test_a_row_that_is_no_object_is_called_that(path):
    document = json.loads(authority().encode())
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = 5
    cause = refused(lambda: read_authority(json.dumps(document).encode())).cause
    assert "is not an object" in cause
    assert "not an authority" not in cause  # said once


def test_a_key_for_witnesses_signs_no_claims():
    document = json.loads(authority().encode())
    document["identities"]["trainer"] |= {
        "pem": generate("ml-dsa-44").public_pem,
        "algorithm": "ml-dsa-44",
    }
    assert "signs no claims" in refused(lambda: read_authority(json.dumps(document).encode())).cause


def test_nothing_becomes_a_demonstration_later():
    now = replace(authority(), version=authority().version + 1)
    for current, following in (
        (authority(), replace(now, demonstration=True)),
        (replace(authority(), demonstration=True), now),
    ):
        signed = sign_authority(following, key("root"))
        assert refused(lambda c=current, s=signed: verify_next(s, current=c, now=None)).check == (
            "authority.demonstration"
        )
    assert verify_next(sign_authority(now, key("root")), current=authority(), now=None) == now


def test_a_contradiction_of_one_version_is_said_to_be_one():
    signed = sign_authority(authority(), key("root"))
    seen = {"root_keys": [ROOT_PEM], "now": None, "minimum_version": authority().version}
    other = replace(authority(), expires=authority().expires + timedelta(days=1)).digest
    assert "another version" in refused(lambda: verify_authority(signed, pinned=other, **seen)).cause
    older = seen | {"minimum_version": authority().version + 1}
    assert "another" not in refused(lambda: verify_authority(signed, **older)).cause


def test_who_was_pinned_is_said():
    signed = sign_authority(authority(), key("stranger"))
    assert (
        key("root").key_id.short
        in refused(lambda: verify_authority(signed, root_keys=[ROOT_PEM], now=None)).cause
    )
    assert "none" in refused(lambda: verify_authority(signed, root_keys=[], now=None)).cause
