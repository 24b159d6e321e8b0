"""What clients of Fulcio, Rekor, a timestamp authority and TUF get over a real socket, and that ours verifies it."""

import base64
import hashlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from server_bench import (
    DEVELOPER,
    KIND,
    V2,
    Now,
    asked_for,
    der64,
    proposed_dsse,
    proposed_file,
    running,
)
from trust_services import service_key

from weighbridge.keys.files import generate
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from weighbridge.ledger.witness import Request, Witness
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.demand import Demand
from weighbridge.trust.dsse import encode64, pae
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.prove import prove


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server")) as instance:
        yield instance


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server-2"), origin=V2, algorithm="ed25519") as instance:
        yield instance


def logged(instance, proposed):
    reply = instance.post("/api/v1/log/entries", proposed)
    assert reply.status_code == 201, reply.text
    ((uuid, entry),) = reply.json().items()
    assert reply.headers["location"].endswith(uuid)
    return uuid, entry


def stamped(instance, signature):
    reply = instance.post(
        "/api/v1/timestamp",
        {
            "artifactHash": encode64(hashlib.sha256(signature).digest()),
            "hashAlgorithm": "sha256",
            "certificates": True,
        },
    )
    assert (reply.status_code, reply.headers["content-type"]) == (201, "application/timestamp-reply")
    return reply.content


def as_bundle(pem, envelope, entry, kind, stamp):
    """Put the answers together as a JavaScript client does."""
    proof = entry["verification"]["inclusionProof"]
    row = {
        "logIndex": str(entry["logIndex"]),
        "logId": {"keyId": encode64(bytes.fromhex(entry["logID"]))},
        "kindVersion": {"kind": kind, "version": "0.0.1"},
        "integratedTime": str(entry["integratedTime"]),
        "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
        "inclusionProof": {
            "logIndex": str(proof["logIndex"]),
            "rootHash": encode64(bytes.fromhex(proof["rootHash"])),
            "treeSize": str(proof["treeSize"]),
            "hashes": [encode64(bytes.fromhex(step)) for step in proof["hashes"]],
            "checkpoint": {"envelope": proof["checkpoint"]},
        },
        "canonicalizedBody": entry["body"],
    }
    return Bundle.from_json(bundle_json(pem, envelope, row, stamp))


def bundle_json(pem, envelope, row, stamp):
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": der64(pem)},
                "tlogEntries": [row],
                "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": encode64(stamp)}]},
            },
            "dsseEnvelope": envelope,
        }
    ).encode()


def believed(instance, bundle):
    demand = Demand(logs=1, timestamps=1, scts=1, times=1)
    return prove(bundle, roots=instance.services.roots(), demand=demand, now=Now().now())


def test_what_was_signed_over_http_is_believed(first):
    key, chain = first.certificate()
    assert len(chain) == 3
    proposed = proposed_dsse(key, chain[0])
    _, entry = logged(first, proposed)
    envelope = json.loads(proposed["spec"]["proposedContent"]["envelope"])
    stamp = stamped(first, base64.b64decode(envelope["signatures"][0]["sig"]))
    proof = believed(first, as_bundle(chain[0], envelope, entry, "dsse", stamp))
    assert (proof.signer.subject, proof.signer.issuer) == (DEVELOPER, DEVELOPMENT_ISSUER)
    assert {row.source for row in proof.times} == {"log", "timestamp"}


def test_a_request_for_signing_brings_its_proof_in_itself(first):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "somebody@else.example")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    headers = {"Authorization": f"Bearer {first.token()}", "Accept": "application/pem-certificate-chain"}
    reply = first.post("/api/v2/signingCert", {"certificateSigningRequest": encode64(pem)}, headers=headers)
    assert reply.status_code == 200
    leaf = reply.json()["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]
    found = x509.load_pem_x509_certificate(leaf.encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == [DEVELOPER]
    assert found.public_key() == key.public_key()


def test_the_same_entry_is_logged_once(first):
    key, chain = first.certificate()
    proposed = proposed_file(key, chain[0])
    uuid, entry = logged(first, proposed)
    size = first.services.log.size
    again = first.post("/api/v1/log/entries", proposed)
    assert again.status_code == 409
    assert again.headers["location"] == f"/api/v1/log/entries/{uuid}"
    assert again.json()["code"] == 409
    assert uuid in again.json()["message"]
    assert first.get("/api/v1/log").json()["treeSize"] == size
    for path in (
        f"/api/v1/log/entries/{uuid}",
        f"/api/v1/log/entries/{uuid[16:]}",
        f"/api/v1/log/entries?logIndex={entry['logIndex']}",
    ):
        found = first.get(path)
        assert found.status_code == 200, path
        assert found.json()[uuid]["body"] == entry["body"]


def test_an_entry_proves_itself(first):
    key, chain = first.certificate()
    _, entry = logged(first, proposed_dsse(key, chain[0], b'{"b":2}'))
    proof = entry["verification"]["inclusionProof"]
    leaf = leaf_hash(base64.b64decode(entry["body"]))
    steps = [bytes.fromhex(step) for step in proof["hashes"]]
    assert verify_inclusion(
        leaf, proof["logIndex"], proof["treeSize"], steps, bytes.fromhex(proof["rootHash"])
    )


def test_growth_is_proven(first):
    key, chain = first.certificate()
    before = first.get("/api/v1/log").json()
    logged(first, proposed_dsse(key, chain[0], b'{"c":3}'))
    after = first.get("/api/v1/log").json()
    asked = f"firstSize={before['treeSize']}&lastSize={after['treeSize']}&treeID={after['treeID']}"
    reply = first.get(f"/api/v1/log/proof?{asked}").json()
    steps = [bytes.fromhex(step) for step in reply["hashes"]]
    roots = {"old_root": bytes.fromhex(before["rootHash"]), "new_root": bytes.fromhex(after["rootHash"])}
    assert verify_consistency(before["treeSize"], after["treeSize"], steps, **roots)
    assert reply["rootHash"] == after["rootHash"]
    assert first.get("/api/v1/log/proof?firstSize=0&lastSize=1").status_code == 400
    assert first.get("/api/v1/log/proof?firstSize=1&lastSize=99999").status_code == 404
    assert first.get("/api/v1/log/proof?firstSize=1&lastSize=2&treeID=8").status_code == 404


def test_certificates_and_keys_are_handed_out(first):
    services = first.services
    bundle = first.get("/api/v2/trustBundle").json()["chains"][0]["certificates"]
    ders = tuple(
        x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
        for pem in bundle
    )
    assert ders == services.ca.chain
    assert first.get("/api/v1/rootCert").text == "".join(bundle)
    assert first.get("/api/v1/log/publicKey").text == services.log.public_pem
    stamps = x509.load_pem_x509_certificates(first.get("/api/v1/timestamp/certchain").content)
    assert [row.public_bytes(serialization.Encoding.DER) for row in stamps] == list(services.tsa.chain)


@pytest.mark.parametrize("prefix", ["", "/api/v2", "/ct"])
def test_tiles_are_those_of_the_log(prefix, first):
    log = first.services.ct.log if prefix == "/ct" else first.services.log
    first.certificate()
    note = first.get(f"{prefix}/checkpoint").text
    size = int(note.split("\n")[1])
    assert note.split("\n")[0] == log.origin
    hashes_ = first.get(f"{prefix}/tile/0/000.p/{size}")
    assert hashes_.content[:32] == leaf_hash(log.entry(0).body)
    assert len(hashes_.content) == 32 * size
    assert hashes_.headers["cache-control"] == "no-store"
    assert first.get(f"{prefix}/tile/0/000").status_code == 404
    assert first.get(f"{prefix}/tile/entries/000.p/{size}").status_code == 200
    for path in (
        "tile/0/000.p/9999",
        "tile/9/000",
        "tile/promises/000",
        "tile/..%2f..%2fcheckpoint",
        "tile/0/../../x",
    ):
        assert first.get(f"{prefix}/{path}").status_code == 404, path


def test_the_repository_is_served_and_nothing_beside_it(first):
    (first.repository / "secret.json").write_text("{}")
    (first.repository / "3.root.json").symlink_to("secret.json")
    served = first.get("/tuf/1.root.json")
    assert served.content == (first.repository / "1.root.json").read_bytes()
    assert "immutable" in served.headers["cache-control"]
    assert first.get("/tuf/timestamp.json").headers["cache-control"] == "no-store"
    target = next((first.repository / "targets").iterdir())
    assert first.get(f"/tuf/targets/{target.name}").content == target.read_bytes()
    for path in (
        "secret.json",
        "2.root.json",
        "",
        "..%2fservices%2flog%2fcheckpoint",
        "targets",
        "%2e%2e/services/log/checkpoint",
    ):
        assert first.get(f"/tuf/{path}").status_code == 404, path
    assert first.get("/tuf/3.root.json").status_code == 503  # a link is not followed


def test_a_demonstration_gives_tokens(first):
    told = first.get("/.well-known/openid-configuration").json()
    assert told["issuer"] == DEVELOPMENT_ISSUER
    assert told["token_endpoint"] == f"{first.url}/token"
    form = {"grant_type": "client_credentials", "subject": "trainer@acme.example"}
    token = first.client.post(told["token_endpoint"], data=form).json()["id_token"]
    who = first.services.verifier.verify(token, Now().now())
    assert (who.subject, who.kind) == ("trainer@acme.example", "email")
    assert first.get("/.well-known/jwks.json").json()["keys"][0]["crv"] == "P-256"
    for wrong in (
        {"subject": "a@b.example"},
        {"grant_type": "client_credentials"},
        {**form, "subject": "a\nb"},
    ):
        assert first.client.post(told["token_endpoint"], data=wrong).status_code == 400
    assert first.client.post(told["token_endpoint"], json=form).status_code == 415
    assert first.get("/authorize").status_code == 400


def test_nobody_gets_a_token_outside_of_a_demonstration(tmp_path):
    with running(tmp_path / "real", demo=False) as instance:
        for path in ("/.well-known/openid-configuration", "/.well-known/jwks.json"):
            assert instance.get(path).status_code == 404
        assert (
            instance.client.post(f"{instance.url}/token", data={"subject": "a@b.example"}).status_code == 404
        )


def test_a_second_form_of_log_answers_the_second_version(second):
    key, chain = second.certificate()
    payload = b'{"a":1}'
    signature = key.sign(pae(KIND, payload))
    digest = hashlib.sha256(pae(KIND, payload)).digest()
    verifier = {"x509Certificate": {"rawBytes": der64(chain[0])}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    asked = {
        "hashedRekordRequestV002": {
            "digest": encode64(digest),
            "signature": {"content": encode64(signature), "verifier": verifier},
        }
    }
    reply = second.post("/api/v2/log/entries", asked)
    assert reply.status_code == 201, reply.text
    envelope = {
        "payload": encode64(payload),
        "payloadType": KIND,
        "signatures": [{"sig": encode64(signature), "keyid": ""}],
    }
    proof = believed(
        second, Bundle.from_json(bundle_json(chain[0], envelope, reply.json(), stamped(second, signature)))
    )
    assert proof.signer.subject == DEVELOPER
    assert second.post("/api/v2/log/entries", asked).status_code == 409
    older = {"dsseRequestV002": {"envelope": envelope, "verifiers": [verifier]}}
    assert second.post("/api/v2/log/entries", older).status_code == 409  # another spelling of the same
    assert second.post("/api/v1/log/entries", proposed_dsse(key, chain[0])).status_code == 404


def test_the_first_form_does_not_answer_the_second_version(first):
    reply = first.post("/api/v2/log/entries", {})
    assert reply.status_code == 404
    assert reply.json()["check"] == "log.form"


@pytest.mark.parametrize("algorithm", ["ecdsa-p384", "ecdsa-p521", "ed25519", "rsa"])
def test_other_kinds_of_keys_sign_envelopes(algorithm, first):
    key, chain = first.certificate(generate(algorithm))
    logged(first, proposed_dsse(key, chain[0]))


def test_health_says_how_long_the_log_is(first):
    assert first.get("/healthz").json() == {"status": "ok", "size": first.services.log.size}


def test_a_stamp_in_der_is_a_stamp(first):
    from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response

    query = TimestampRequestBuilder().data(b"signature").build()
    headers = {"Content-Type": "application/timestamp-query"}
    reply = first.client.post(f"{first.url}/api/v1/timestamp", content=query.as_bytes(), headers=headers)
    assert decode_timestamp_response(reply.content).status == 0
    bad = first.client.post(f"{first.url}/api/v1/timestamp", content=b"nonsense", headers=headers)
    assert bad.status_code == 201
    assert decode_timestamp_response(bad.content).status == 2  # rejection
    assert first.client.post(f"{first.url}/api/v1/timestamp", content=b"x").status_code == 415


def test_asking_with_a_stolen_proof_gets_nothing(first):
    mine, theirs = generate("ecdsa-p256"), generate("ecdsa-p256")
    asked = asked_for(mine, first.token())
    asked["publicKeyRequest"]["proofOfPossession"] = encode64(theirs.sign(DEVELOPER.encode()))
    reply = first.post("/api/v2/signingCert", asked)
    assert (reply.status_code, reply.json()["check"]) == (400, "ca.possession")


def test_it_witnesses_other_logs(tmp_path):
    """The log of one instance asks the other to cosign, as any log does (C2SP tlog-witness)."""
    key = service_key("cosigner", "ed25519")
    witness = Witness.create(tmp_path / "w", [Cosigner("witness.test/w1", key)], clock=Now(), anchor=None)
    with running(tmp_path / "asking") as asking, running(tmp_path / "asked", witness=witness) as asked:
        log = asking.services.log
        witness.add_log(log.origin, log.public_pem)
        request = Request(0, (), log.checkpoint_text).encode()
        reply = asked.client.post(f"{asked.url}/witness/add-checkpoint", content=request)
        assert reply.status_code == 200, reply.text
        assert reply.text.startswith("— witness.test/w1 ")
        assert witness.last(log.origin)[1].size == log.size
        again = asked.client.post(f"{asked.url}/witness/add-checkpoint", content=request)
        assert (again.status_code, again.headers["content-type"]) == (409, "text/x.tlog.size")
        assert asked.client.post(f"{asked.url}/witness/add-checkpoint", content=b"x").status_code == 400
        assert asking.client.post(f"{asking.url}/witness/add-checkpoint", content=request).status_code == 404
