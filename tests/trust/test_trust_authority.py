"""The authority: who may do what; believed only when signed, of this registry, in force, and not rolled back."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trust_forge import NOW, ORIGIN, authority, key

from weighbridge.core.canonical import canonical
from weighbridge.core.errors import NotFound, VerificationFailed
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.trust.authority import REQUIRED, Authority, Demand, Project
from weighbridge.trust.authority_file import PAYLOAD_TYPE, sign_authority, verify_authority, verify_next
from weighbridge.trust.authority_form import read_authority
from weighbridge.trust.dsse import Envelope, sign

ROOT = key("root").public_pem
WORLD = {"root_keys": [ROOT], "now": NOW}


def signed(document=None, by="root", kind=PAYLOAD_TYPE):
    payload = (document or authority()).encode() if not isinstance(document, bytes) else document
    return canonical(sign(kind, payload, key(by)).to_json())


GOOD = signed()  # once: ECDSA signatures differ in length


def refused(data, check, **world):
    with pytest.raises(VerificationFailed) as caught:
        verify_authority(data, **(WORLD | world))
    assert caught.value.check == check, str(caught.value)
    return caught.value


def test_an_authority_survives_the_road():
    data = sign_authority(authority(), key("root"))
    found = verify_authority(data, **WORLD)
    assert found.encode() == authority().encode()
    assert found.digest == authority().digest
    assert found == authority()


# Believing it


def test_only_a_pinned_root_is_believed():
    refused(signed(by="other root"), "authority.signature")
    refused(signed(), "authority.signature", root_keys=[])
    refused(signed(), "authority.signature", root_keys=[key("other root").public_pem])
    assert verify_authority(signed(), root_keys=[key("other root").public_pem, ROOT], now=NOW)


def test_the_roots_that_a_document_names_do_not_vouch_for_it():
    own = replace(authority(), roots=(key("other root").public_pem,))
    refused(signed(own, by="other root"), "authority.signature")


def test_a_changed_document_is_refused():
    envelope = json.loads(signed())
    other = json.loads(
        signed(authority().with_log("weighbridge.evil - 1", key("evil").public_pem), by="evil")
    )
    refused(canonical(envelope | {"payload": other["payload"]}), "authority.signature")


def test_a_root_signature_over_another_type_or_several_signatures_do_not_count():
    refused(signed(kind="application/vnd.in-toto+json"), "authority.signature")
    envelope = Envelope.decode(signed())
    for signatures in ((), envelope.signatures * 2):
        data = canonical(replace(envelope, signatures=signatures).to_json())
        refused(data, "authority.signature")


def test_another_registrys_authority_is_refused():
    assert verify_authority(signed(), **WORLD, registry="test")
    refused(signed(), "authority.registry", registry="prod")


def test_an_older_version_is_refused():
    version = authority().version
    assert verify_authority(signed(), **WORLD, minimum_version=version)
    refused(signed(), "authority.rollback", minimum_version=version + 1)


def test_another_document_of_the_version_already_seen_is_refused():
    version, digest = authority().version, authority().digest
    assert verify_authority(signed(), **WORLD, minimum_version=version, pinned=digest)
    fork = replace(authority(), expires=NOW + timedelta(days=99))
    refused(signed(fork), "authority.rollback", minimum_version=version, pinned=digest)
    later = replace(fork, version=version + 1)
    assert verify_authority(signed(later), **WORLD, minimum_version=version, pinned=digest)


@pytest.mark.parametrize(("past", "fine"), [(-1, True), (0, True), (1, False)])
def test_it_holds_to_its_last_second(past, fine):
    now = authority().expires + timedelta(seconds=past)
    if fine:
        assert verify_authority(signed(), root_keys=[ROOT], now=now)
    else:
        refused(signed(), "authority.expired", now=now)


@pytest.mark.parametrize(("before", "fine"), [(300, True), (301, False)])
def test_it_holds_from_its_issue_on_but_for_a_clocks_skew(before, fine):
    now = authority().issued - timedelta(seconds=before)
    if fine:
        assert verify_authority(signed(), root_keys=[ROOT], now=now)
    else:
        refused(signed(), "authority.expired", now=now)


def test_without_a_time_the_dates_are_the_callers_business():
    old = replace(authority(), issued=NOW - timedelta(days=99), expires=NOW - timedelta(days=98))
    assert verify_authority(signed(old), root_keys=[ROOT], now=None).expires < NOW


def test_roots_rotate_one_version_at_a_time():
    new_root = (key("new root").public_pem,)
    first = authority()
    second = first.renewed(NOW, NOW + timedelta(days=30), roots=new_root)
    third = second.renewed(NOW, NOW + timedelta(days=40))
    assert verify_next(signed(second, by="root"), current=first, now=NOW) == second
    assert verify_next(signed(third, by="new root"), current=second, now=NOW) == third
    for document, by, current, check in [
        (second, "new root", first, "authority.signature"),
        (third, "root", second, "authority.signature"),
        (second, "new root", second, "authority.rollback"),
        (replace(third, registry="prod"), "new root", second, "authority.registry"),
        (third, "new root", second, "authority.expired"),
    ]:
        now = NOW + timedelta(days=50) if check == "authority.expired" else NOW
        with pytest.raises(VerificationFailed) as caught:
            verify_next(signed(document, by=by), current=current, now=now)
        assert caught.value.check == check


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_changed_byte_is_believed_to_say_something_else(data):
    good = GOOD
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + data.draw(st.binary(max_size=2)) + good[at + data.draw(st.integers(0, 3)) :]
    try:
        found = verify_authority(changed, **WORLD)
    except VerificationFailed as error:
        outcome = error.check
    else:
        outcome = found.digest
        assert found == authority()
    assert outcome


# Reading it


def changed(path, value):
    document = json.loads(authority().encode())
    where = document
    *road, last = path
    for step in road:
        where = where[step]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return json.dumps(document).encode()


TRAINER = ("identities", "trainer")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("schema",), "weighbridge.authority/2", "schema"),
        (("schema",), ..., "schema"),
        (("regstry",), "x", "did you mean 'registry'?"),
        (("expires",), ..., "lacks the member 'expires'"),
        (("registry",), "", "registry"),
        (("registry",), "a\nb", "registry"),
        (("registry",), 5, "registry"),
        (("version",), 0, "versions start at 1"),
        (("version",), "1", "version"),
        (("version",), True, "version"),
        (("version",), -1, "version"),
        (("version",), 2**60, "version"),
        (("issued",), "2026-13-01T00:00:00Z", "issued"),
        (("issued",), "2026-11-12T20:10:00+00:00", "issued"),
        (("issued",), "2026-11-12T20:10:00.5Z", "issued"),
        (("issued",), "2026-11-12", "issued"),
        (("issued",), "0001-01-01T00:00:00+23:00", "issued"),
        (("issued",), 5, "issued"),
        (("expires",), "2026-11-12T20:10:00Z", "expires"),
        (("roots",), [], "root"),
        (("roots",), {}, "roots"),
        (("roots",), ["x"], "public key"),
        (("roots",), [5], "root"),
        (("roots",), [ROOT, ROOT], "the same key"),
        (("identities",), [], "identities"),
        ((*TRAINER, "pem"), "x", "public key"),
        ((*TRAINER, "pem"), key("reviewer").public_pem, "ecdsa-p256"),
        ((*TRAINER, "algorithm"), "rsa", "rsa"),
        ((*TRAINER, "algorithm"), ..., "algorithm"),
        ((*TRAINER, "valid_untill"), None, "did you mean 'valid_until'?"),
        ((*TRAINER, "valid_until"), ..., "lacks the member 'valid_until'"),
        ((*TRAINER, "valid_until"), "never", "valid_until"),
        ((*TRAINER, "valid_until"), "2020-01-01T00:00:00Z", "ends before it begins"),
        ((*TRAINER, "valid_from"), None, "valid_from"),
        ((*TRAINER, "evidence"), {}, "lacks the member 'logs'"),
        ((*TRAINER, "evidence", "logs"), True, "logs"),
        ((*TRAINER, "evidence", "log"), True, "unknown member"),
        ((*TRAINER, "evidence", "witnesses"), -1, "witnesses"),
        ((*TRAINER, "evidence", "timestamps"), False, "timestamps"),
        (("identities", "second"), json.loads(authority().encode())["identities"]["trainer"], "the same key"),
        (("identities", ""), ..., ""),
        (("logs",), {}, "logs"),
        (("logs", 0, "origin"), "x y", "origin"),
        (("logs", 0, "origin"), 5, "origin"),
        (("logs", 0, "pem"), "x", "public key"),
        (("logs", 0, "pem"), key("trainer").public_pem, "the same key"),
        (("logs", 0, "pem"), ROOT, "the same key"),
        (("logs", 0, "url"), "x", "unknown member 'url'"),
        (("projects",), {}, "'*'"),
        (("projects",), [], "projects"),
        (("projects", "*"), [], "is not an object"),
        (("projects", "*", "rules"), {}, "did you mean 'roles'?"),
        (("projects", "*", "roles"), [], "roles"),
        (("projects", "*", "roles", "trian"), [], "did you mean 'train'?"),
        (("projects", "*", "roles", "train"), ["nobody"], "nobody"),
        (("projects", "*", "roles", "train"), "trainer", "train"),
        (("projects", "*", "roles", "train"), [5], "train"),
        (("projects", "*", "require", "ours"), [], "unknown origin"),
        (("projects", "*", "require", "third_party"), [], "did you mean 'third-party'?"),
        (("projects", "*", "require", "own"), ["evalute"], "did you mean 'evaluate'?"),
        (("projects", "*", "require", "own"), "data", "own"),
        (("projects", "*", "require"), [], "require"),
    ],
)
def test_a_mistake_in_the_document_is_refused_and_named(path, value, says):
    if path == ("identities", ""):
        document = json.loads(authority().encode())
        document["identities"][""] = document["identities"].pop("trainer")
        document["projects"]["*"]["roles"] = {}
        data, says = json.dumps(document).encode(), "no name"
    else:
        data = changed(path, value)
    error = refused(signed(data), "authority.form")
    assert says in error.cause


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"5", b"\xff", b"{}", b'{"schema":1,"schema":1}', b"[" * 99_999]
)
def test_what_is_no_document_is_refused(data):
    refused(signed(data), "authority.form")
    refused(data, "authority.form")


def test_a_document_of_absurd_size_is_refused():
    refused(signed(b" " * (4 * 1024 * 1024) + authority().encode()), "authority.form")


def test_a_handwritten_document_reads_the_same():
    pretty = json.dumps(json.loads(authority().encode()), indent=2).encode()
    assert read_authority(pretty) == authority()


# What it answers


def test_a_stranger_has_no_name_and_no_role():
    assert authority().identity_for(key("stranger").key_id) is None
    assert authority().identity_for(key("trainer").key_id).name == "trainer"
    assert authority().log_for(key("log").key_id).origin == ORIGIN
    assert authority().log_for(key("trainer").key_id) is None
    assert not authority().may("stranger", Role.TRAIN, "speech")


def test_roles_are_held_one_by_one():
    held = [role for role in Role if authority().may("trainer", role, "speech")]
    assert held == [Role.TRAIN]


def test_a_project_met_for_the_first_time_starts_as_a_copy_of_all():
    pem = key("evaluator").public_pem
    grown = authority().with_identity("evaluator", pem, [Role.EVALUATE], project="speech")
    assert grown.may("evaluator", Role.EVALUATE, "speech")
    assert not grown.may("evaluator", Role.EVALUATE, "vision")
    assert grown.may("trainer", Role.TRAIN, "speech")
    assert grown.may("trainer", Role.TRAIN, "vision")


def test_a_projects_own_entry_replaces_all_wholly():
    own = replace(authority(), projects={**authority().projects, "speech": Project()})
    assert not own.may("trainer", Role.TRAIN, "speech")
    assert own.may("trainer", Role.TRAIN, "vision")


def test_required_stages():
    assert authority().required("speech", Origin.OWN) == REQUIRED[Origin.OWN]
    assert set(REQUIRED) == set(Origin)
    assert all(REQUIRED.values())
    more = authority().with_required(Origin.OWN, [Stage.TRAIN], project="speech")
    assert more.required("speech", Origin.OWN) == (Stage.TRAIN,)
    assert more.required("speech", Origin.THIRD_PARTY) == (Stage.ORIGIN,)
    assert more.required("vision", Origin.OWN) == REQUIRED[Origin.OWN]
    assert read_authority(more.encode()) == more


# Edits


def test_every_edit_is_the_next_version_and_leaves_the_last_as_it_was():
    first = authority()
    before = first.encode()
    edits = [
        first.with_identity("gate", key("gate").public_pem, [Role.ADMIT, Role.SCAN], evidence=Demand(logs=0)),
        first.with_roles("reviewer", [Role.WAIVE]),
        first.without_roles("trainer", [Role.TRAIN]),
        first.with_log("weighbridge.other - 1", key("other log").public_pem),
        first.with_required(Origin.OWN, [Stage.DATA]),
        first.revoked("trainer", NOW),
        first.renewed(NOW, NOW + timedelta(days=1)),
    ]
    for edited in edits:
        assert edited.version == first.version + 1
        assert edited.digest != first.digest
        assert read_authority(edited.encode()) == edited
    assert first.encode() == before
    assert edits[0].may("gate", Role.SCAN, "speech")
    assert edits[0].identity_for(key("gate").key_id).evidence.logs == 0
    assert edits[1].may("reviewer", Role.ORIGIN, "any")
    assert edits[1].may("reviewer", Role.WAIVE, "any")
    assert not edits[2].may("trainer", Role.TRAIN, "any")
    assert edits[2].may("reviewer", Role.ORIGIN, "any")
    assert edits[5].identity_for(key("trainer").key_id).valid_until == NOW


def test_roles_are_given_and_taken_one_identity_and_one_project_at_a_time():
    pem = key("second").public_pem
    first = (
        authority().with_identity("second", pem, [Role.TRAIN, Role.SCAN]).with_roles("trainer", [Role.SCAN])
    )
    assert {name for name in ("trainer", "second") if first.may(name, Role.TRAIN, "any")} == {
        "trainer",
        "second",
    }
    less = first.without_roles("second", [Role.TRAIN])
    held = {(name, role) for name in ("trainer", "second") for role in Role if less.may(name, role, "any")}
    assert held == {("trainer", Role.TRAIN), ("trainer", Role.SCAN), ("second", Role.SCAN)}

    own = first.with_roles("trainer", [Role.BOM], project="speech")
    own = own.with_roles("second", [Role.WAIVE], project="speech")
    own = own.with_required(Origin.OWN, [Stage.DATA], project="speech").without_roles(
        "second", [Role.SCAN], project="speech"
    )
    held = {(name, role) for name in ("trainer", "second") for role in Role if own.may(name, role, "speech")}
    assert held == {
        ("trainer", Role.TRAIN),
        ("trainer", Role.SCAN),
        ("trainer", Role.BOM),
        ("second", Role.TRAIN),
        ("second", Role.WAIVE),
    }
    assert own.required("speech", Origin.OWN) == (Stage.DATA,)
    assert own.may("second", Role.SCAN, "vision")
    assert not own.may("second", Role.WAIVE, "vision")


def test_revoking_one_leaves_the_others():
    edited = authority().revoked("trainer", NOW)
    assert edited.identity_for(key("trainer").key_id).valid_until == NOW
    assert edited.identity_for(key("reviewer").key_id).valid_until is None


def test_limits_are_what_the_page_says():
    pem = key("fresh").public_pem
    assert authority().with_identity("a" * 128, pem)
    instant = authority().with_identity("second", pem, valid_from=NOW, valid_until=NOW)
    assert instant.identity_for(key("fresh").key_id).valid_until == NOW


def test_edits_that_make_no_sense_are_refused():
    pem = key("fresh").public_pem
    for edit in [
        lambda: authority().with_identity("trainer", pem),
        lambda: authority().with_identity("second", key("trainer").public_pem),
        lambda: authority().with_identity("second", ROOT),
        lambda: authority().with_identity("second", key("log").public_pem),
        lambda: authority().with_identity("a\x1b[31m", pem),
        lambda: authority().with_identity(" a", pem),
        lambda: authority().with_identity("a" * 129, pem),
        lambda: authority().with_identity("second", "not a key"),
        lambda: authority().with_identity("second", pem, valid_until=NOW - timedelta(days=99)),
        lambda: authority().with_identity("second", pem, project=""),
        lambda: authority().with_roles("nobody", [Role.TRAIN]),
        lambda: authority().with_log(ORIGIN, pem),
        lambda: authority().with_log("bad origin", pem),
        lambda: authority().renewed(NOW, NOW),
        lambda: authority().renewed(NOW, NOW + timedelta(days=1), roots=[]),
        lambda: Authority("", 1, NOW, NOW + timedelta(days=1), (ROOT,)),
        lambda: replace(authority(), projects={"speech": Project()}),
        lambda: replace(authority(), identities=authority().identities * 2),
    ]:
        with pytest.raises(VerificationFailed) as caught:
            edit()
        assert caught.value.check in ("authority.form", "key.form")
    with pytest.raises(NotFound, match="trainer"):
        authority().revoked("nobody", NOW)
