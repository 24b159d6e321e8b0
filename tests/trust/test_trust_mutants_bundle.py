"""Members of a bundle at their edges; a refusal says what is wrong, not merely that something is."""

import json

import pytest
from sigstore_world import make

from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.bundle_form import MAX_HINT, MAX_NESTING, MAX_ROWS, bounded, object_of, rows_of


def read(change, kind="hashedrekord"):
    document = json.loads(make(kind).bundle)
    change(document)
    return Bundle.from_json(json.dumps(document).encode())


def cause(change, kind="hashedrekord"):
    with pytest.raises(VerificationFailed) as caught:
        read(change, kind)
    assert caught.value.check == "bundle.form"
    return caught.value.cause


@pytest.mark.parametrize("name", ["SHA2_1", "sha256", "", "SHA3_256"])
def test_a_digest_is_of_a_kind_that_is_known(name):
    said = cause(lambda document: document["messageSignature"]["messageDigest"].update(algorithm=name))
    assert "none of the kinds sha" in said.lower()


def test_nesting_has_an_end():
    def nested(levels):
        value = 1
        for level in range(levels):
            value = [value] if level % 2 else {"a": value}
        return value

    assert bounded(nested(MAX_NESTING - 1))
    for levels in (MAX_NESTING, MAX_NESTING + 1):
        with pytest.raises(ValueError, match="nested deeper"):
            bounded(nested(levels))


def test_rows_have_a_limit():
    assert rows_of({}, "a") == rows_of({"a": None}, "a") == []
    assert len(rows_of({"a": [0] * MAX_ROWS}, "a")) == MAX_ROWS
    with pytest.raises(ValueError, match="more than"):
        rows_of({"a": [0] * (MAX_ROWS + 1)}, "a")
    with pytest.raises(ValueError, match="not a list"):
        rows_of({"a": {}}, "a")
    assert object_of({}, "a") == object_of({"a": None}, "a") == {}
    assert object_of({"a": {"b": 1}}, "a") == {"b": 1}
    with pytest.raises(ValueError, match="not an object"):
        object_of({"a": []}, "a")


def test_the_longest_hint():
    def hinted(hint):
        def change(document):
            del document["verificationMaterial"]["certificate"]
            document["verificationMaterial"]["publicKey"] = {"hint": hint}

        return change

    assert read(hinted("h" * MAX_HINT)).hint == "h" * MAX_HINT
    assert "longer than" in cause(hinted("h" * (MAX_HINT + 1)))
    assert read(hinted(None)).hint == ""


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0), ("0", 0), (None, 0), (2**53 - 1, 2**53 - 1), (str(2**53 - 1), 2**53 - 1)]
)
def test_whole_numbers(value, number):
    found = read(lambda document: document["verificationMaterial"]["tlogEntries"][0].update(logIndex=value))
    assert found.entry.index == number


@pytest.mark.parametrize("value", [-1, 2**53, str(2**53), "01", "+1", "1.0", 1.0, True, "", [1]])
def test_what_is_no_whole_number(value):
    said = cause(lambda document: document["verificationMaterial"]["tlogEntries"][0].update(logIndex=value))
    assert "not a whole number" in said


@pytest.mark.parametrize("chain", [{"certificates": []}, {}])
def test_a_chain_has_a_leaf(chain):
    def change(document):
        del document["verificationMaterial"]["certificate"]
        document["verificationMaterial"]["x509CertificateChain"] = chain

    assert "empty" in cause(change)


@pytest.mark.parametrize(
    "change",
    [lambda message: message.pop("messageDigest"), lambda message: message.update(messageDigest=None)],
)
def test_the_digest_of_a_bare_signature_may_be_left_out(change):
    read_one = read(lambda document: change(document["messageSignature"]))
    assert read_one.message.digest is None
    assert read(lambda document: None).message.digest is not None
