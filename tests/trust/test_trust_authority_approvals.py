"""How many identities a change takes: closed kinds, sensible numbers, nobody breaks glass alone, and only a root says so."""

import json

import pytest
from trust_forge import NOW, authority, key

from weighbridge.core.canonical import canonical
from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.authority import Authority
from weighbridge.trust.authority_approvals import LEAST, MOST
from weighbridge.trust.authority_file import sign_authority, verify_authority, verify_next
from weighbridge.trust.authority_form import read_authority


def changed(approvals):
    document = json.loads(authority().encode())
    document["approvals"] = approvals
    return canonical(document)


@pytest.mark.parametrize(
    "approvals",
    [
        {},
        [],
        None,
        2,
        {"*": {}},
        {"*": []},
        {"*": {"policy": 0}},
        {"*": {"policy": -1}},
        {"*": {"policy": 33}},
        {"*": {"policy": "2"}},
        {"*": {"policy": 2.5}},
        {"*": {"policy": True}},
        {"*": {"policy": None}},
        {"*": {"break-glass": 1}},
        {"*": {"break-glas": 2}},
        {"*": {"approval": 2}},
        {"*": {"decision": 2}},
        {"": {"policy": 2}},
        {" x": {"policy": 2}},
        {"a\u202eb": {"policy": 2}},
    ],
)
def test_what_makes_no_sense_is_refused(approvals):
    with pytest.raises(VerificationFailed) as caught:
        read_authority(changed(approvals))
    assert caught.value.check == "authority.form"


def test_a_document_without_it_means_one_and_two_to_break_glass():
    plain = authority()
    assert "approvals" not in json.loads(plain.encode())
    assert {kind: plain.needed(kind, "default") for kind in LEAST} == {
        **dict.fromkeys(LEAST, 1),
        "break-glass": 2,
    }
    assert plain.needed("decision", "default") == 1


def test_a_project_says_its_own_and_else_what_all_say():
    edited = authority().with_approvals("policy", 3).with_approvals("policy", 2, project="a")
    edited = edited.with_approvals("waiver", 4, project="b")
    assert [edited.needed("policy", name) for name in ("a", "b", "c", "*")] == [2, 3, 3, 3]
    assert [edited.needed("waiver", name) for name in ("a", "b")] == [1, 4]
    assert edited.version == authority().version + 3
    assert edited.with_approvals("lift", MOST).needed("lift", "x") == MOST


def test_it_survives_the_road_and_is_part_of_the_digest():
    edited = authority().with_approvals("mode", 2)
    found = verify_authority(sign_authority(edited, key("root")), root_keys=[key("root").public_pem], now=NOW)
    assert found == edited
    assert found.digest == edited.digest != authority().digest
    assert isinstance(found, Authority)


def test_only_a_root_lowers_a_number():
    strict = authority().with_approvals("policy", 2)
    with pytest.raises(VerificationFailed):
        verify_next(
            sign_authority(strict.with_approvals("policy", 1), key("trainer")), current=strict, now=NOW
        )


def test_a_number_below_the_fewest_never_comes_out_even_if_it_came_in():
    from weighbridge.trust.authority_approvals import needed

    assert needed({"*": {"break-glass": 1}}, "x", "break-glass") == 2
