"""The document of issuers: written and read back, and refused where it is not wholly understood."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from test_trust_oidc import P256, RSA, SECOND, claims, issuer, jwk, signed, verify
from trust_services import NOW

from weighbridge.core.errors import BadSetting, VerificationFailed
from weighbridge.trust.issuers import AUDIENCE, MAPPINGS, pinned_key
from weighbridge.trust.issuers_form import SCHEMA, read_issuers, repinned, write_issuers
from weighbridge.trust.roots import Window


def jwks(*keys):
    return json.dumps({"keys": list(keys)}).encode()


def row(**changes):
    said = {
        "url": "https://issuer.example",
        "mapping": "email",
        "within": ["example.org"],
        "keys": [{"jwk": jwk(P256)}],
    } | changes
    return {name: value for name, value in said.items() if value is not ...}


def document(*rows, **changes):
    return json.dumps({"schema": SCHEMA, "issuers": list(rows)} | changes).encode()


def test_what_is_written_reads_back():
    window = Window(NOW, NOW + timedelta(days=1))
    made = (
        issuer(keys=(pinned_key(jwk(P256), window), pinned_key(jwk(RSA, kid="two")))),
        issuer("uri", ("https://ci.example",), url="https://ci.example", template="https://ci.example/{job}"),
        issuer(
            "gitlab", ("*",), url="https://gl.example", server="https://gl.example", max_age=timedelta(days=2)
        ),
    )
    data = write_issuers(made)
    assert read_issuers(data) == made
    assert write_issuers(read_issuers(data)) == data


def test_what_is_left_out_has_its_default():
    (found,) = read_issuers(document(row()))
    assert found == issuer()
    assert (found.audience, found.max_age) == (AUDIENCE, timedelta(hours=1))
    assert verify(signed(), found)
    assert read_issuers(document()) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"x" * 2_000_000,
        document(schema="weighbridge.issuers/2"),
        document(issuers={}),
        document(extra=1),
        document("x"),
        document(row(whithin=["x"])),
        document(row(url=...)),
        document(row(within=...)),
        document(row(within="example.org")),
        document(row(within=[])),
        document(row(within=[7])),
        document(row(mapping="other")),
        document(row(mapping=["email"])),
        document(row(keys=[])),
        document(row(keys={})),
        document(row(keys=[jwk(P256)])),
        document(row(keys=[{"jwk": {"kty": "oct", "k": "AA"}}])),
        document(row(keys=[{"jwk": jwk(P256), "valid_from": "soon"}])),
        document(row(keys=[{"jwk": jwk(P256), "valid_form": "2026-11-22T20:10:00Z"}])),
        document(
            row(
                keys=[
                    {
                        "jwk": jwk(P256),
                        "valid_from": "2026-11-22T20:10:00Z",
                        "valid_until": "2026-11-21T20:10:00Z",
                    }
                ]
            )
        ),
        document(row(max_age="3600")),
        document(row(max_age=0)),
        document(row(max_age=10**18)),
        document(row(audience="")),
        document(row(audience=7)),
    ],
)
def test_what_is_not_wholly_understood_is_refused(data):
    with pytest.raises(BadSetting):
        read_issuers(data)


def test_an_issuer_rotates_its_keys():
    before = issuer()
    later = NOW + timedelta(hours=2)
    after = repinned(before, jwks(jwk(SECOND, kid="two")), later)
    assert [key.window for key in after.keys] == [
        Window(None, later),
        Window(later - timedelta(minutes=5), None),
    ]
    late = int((later + timedelta(seconds=1)).timestamp())
    times = {"iat": late, "nbf": late, "exp": late + 300}
    new = signed(claims(**times), SECOND, headers={"kid": "two"})
    assert verify(new, after, later + timedelta(seconds=1))
    with pytest.raises(VerificationFailed) as caught:
        verify(signed(claims(**times)), after, later + timedelta(seconds=1))
    assert caught.value.check == "token.key"
    # What comes back after it had ended stays ended; what stays, stays as it was.
    again = repinned(after, jwks(jwk(P256), jwk(SECOND, kid="two")), later + timedelta(days=1))
    assert again == after
    third = ec.generate_private_key(ec.SECP256R1())
    more = repinned(again, jwks(jwk(SECOND, kid="two"), jwk(third, kid="three")), later + timedelta(days=2))
    assert [key.kid for key in more.keys] == ["one", "two", "three"]
    assert more.keys[:2] == again.keys


def test_a_rotation_to_nothing_is_refused():
    for data in (jwks(), b"{}", jwks({"kty": "oct", "k": "AA"})):
        with pytest.raises(BadSetting):
            repinned(issuer(), data, NOW)


def test_the_page_names_each_mapping():
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "services.md").read_text(
        encoding="utf-8"
    )
    table = page.split("| mapping |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)) == MAPPINGS
