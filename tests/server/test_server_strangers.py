"""What strangers send: too much, too slowly, too often, malformed, or under a wrong name. Each gets a code and a sentence."""

import base64
import json
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_bench import DEVELOPER, V2, asked_for, der64, proposed_dsse, proposed_file, raw, running

from weighbridge.core.errors import RegistryUnusable
from weighbridge.keys.files import generate
from weighbridge.server.limits import Limits
from weighbridge.trust.dsse import encode64

SMALL = Limits(
    request=4096,
    entry=65536,
    held=200_000,
    at_once=4,
    workers=2,
    connections=20,
    head_seconds=0.5,
    body_seconds=0.5,
    work_seconds=6,
    write_seconds=0.5,
    idle_seconds=1,
    renew_seconds=0.05,
)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    with running(tmp_path_factory.mktemp("strangers")) as instance:
        yield instance


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with running(tmp_path_factory.mktemp("small"), limits=SMALL) as instance:
        yield instance


def refused(reply, status, check=None):
    """Hold an answer against the form that all refusals have."""
    assert reply.status_code == status, reply.text
    value = reply.json()
    assert set(value) == {"code", "message", "check"}
    assert value["code"] == status
    assert value["message"]
    assert "Traceback" not in reply.text
    assert "/site-packages/" not in reply.text
    if check is not None:
        assert value["check"] == check
    return value


def test_paths_and_methods_that_there_are_not(first):
    refused(first.get("/nothing"), 404)
    refused(first.client.delete(f"{first.url}/api/v1/log"), 405)
    refused(first.client.put(f"{first.url}/api/v2/signingCert", json={}), 405)
    refused(first.get("/api/v2/signingCert"), 405)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"[" * 3000, b'{"a":NaN}', b"{}", b'"x"']
)
@pytest.mark.parametrize("path", ["/api/v2/signingCert", "/api/v1/log/entries"])
def test_what_is_no_request_is_no_request(path, body, first):
    headers = {"Authorization": f"Bearer {first.token()}"}
    refused(first.client.post(f"{first.url}{path}", content=body, headers=headers), 400)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value, path=()):
    yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("which", ["dsse", "file", "certificate"])
def test_any_part_may_be_anything_and_nothing_comes_of_it(which, data, first, signed):
    """A change anywhere gives a refusal in the right form, or (where it does not matter) what was there before."""
    path, value = signed[which]
    place = data.draw(st.sampled_from(sorted(places(value), key=str)))
    content = json.dumps(changed(value, place, data.draw(JSONS))).encode("utf-8", "surrogatepass")
    reply = first.client.post(f"{first.url}{path}", content=content)
    if reply.status_code in (200, 201):
        assert place[-1] in ("algorithm", "keyid") or which == "certificate"
        return
    refused(reply, reply.status_code)
    assert reply.status_code in (400, 401, 409)


@pytest.fixture(scope="module")
def signed(first):
    key, chain = first.certificate()
    dsse, file = proposed_dsse(key, chain[0]), proposed_file(key, chain[0])
    for proposed in (dsse, file):
        assert first.post("/api/v1/log/entries", proposed).status_code == 201
    asked = asked_for(key, first.token())
    asked["publicKeyRequest"]["proofOfPossession"] = encode64(key.sign(b"not the subject"))
    return {
        "dsse": ("/api/v1/log/entries", dsse),
        "file": ("/api/v1/log/entries", file),
        "certificate": ("/api/v2/signingCert", asked),
    }


def test_a_signature_by_another_key_is_not_logged(first):
    key, chain = first.certificate()
    other = generate("ecdsa-p256")
    size = first.get("/healthz").json()["size"]
    for proposed in (proposed_dsse(other, chain[0]), proposed_file(other, chain[0])):
        refused(first.post("/api/v1/log/entries", proposed), 400, "log.signature")
    assert first.get("/healthz").json()["size"] == size
    assert key.public_pem != other.public_pem


def test_only_our_certificates_fill_the_log(first, tmp_path):
    key = generate("ecdsa-p256")
    refused(first.post("/api/v1/log/entries", proposed_dsse(key, key.public_pem)), 400, "log.admission")
    with running(tmp_path / "other", origin="weighbridge.other - 9") as other:
        strange, chain = other.certificate()
        # The bench has one key per name, so the other's authority is the same; its chain is another one.
        with running(tmp_path / "any", any_key=True) as anything:
            assert anything.post("/api/v1/log/entries", proposed_dsse(key, key.public_pem)).status_code == 201
            assert anything.post("/api/v1/log/entries", proposed_dsse(strange, chain[0])).status_code == 201


def test_a_certificate_of_a_stranger_is_not_logged(first):
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    begins = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, secret.public_key(), 5, begins, begins + timedelta(minutes=10))
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(DEVELOPER)]), critical=True)
        .add_extension(x509.KeyUsage(*[True] + [False] * 8), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(secret, hashes.SHA256())
    )

    class Key:
        def sign(self, data):
            return secret.sign(data, ec.ECDSA(hashes.SHA256()))

    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    refused(first.post("/api/v1/log/entries", proposed_dsse(Key(), pem)), 400)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"credentials": {}}, "server.token"),
        ({"credentials": None}, "server.token"),
        ({"credentials": {"oidcIdentityToken": 5}}, "server.token"),
        ({"credentials": {"oidcIdentityToken": "a.b.c"}}, "token.form"),
        ({"publicKeyRequest": None}, "ca.request"),
        ({"certificateSigningRequest": "AAAA"}, "ca.request"),
    ],
)
def test_a_certificate_needs_one_token_and_one_key(change, check, first):
    asked = asked_for(generate("ecdsa-p256"), first.token()) | change
    status = 401 if check == "server.token" else 400
    refused(first.post("/api/v2/signingCert", asked), status, check)


def test_two_tokens_are_one_too_many(first):
    asked = asked_for(generate("ecdsa-p256"), first.token())
    headers = {"Authorization": f"Bearer {first.token('other@example.org')}"}
    refused(first.post("/api/v2/signingCert", asked, headers=headers), 401, "server.token")


def test_a_token_is_not_said_back(first):
    token = first.token()
    asked = asked_for(generate("ecdsa-p256"), token[:-8] + "AAAAAAAA")
    reply = first.post("/api/v2/signingCert", asked)
    refused(reply, 400, "token.signature")
    assert token[:40] not in reply.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?logIndex=",
        "?logIndex=-1",
        "?logIndex=1&logIndex=2",
        "?logIndex=01",
        "?logIndex=1e3",
        "?&&",
        "?a",
    ],
)
def test_an_index_is_one_number(query, first):
    refused(first.get(f"/api/v1/log/entries{query}"), 400)


def test_entries_that_there_are_not(first):
    refused(first.get("/api/v1/log/entries?logIndex=9999999"), 404)
    refused(first.get(f"/api/v1/log/entries/{'0' * 64}"), 404)
    refused(first.get(f"/api/v1/log/entries/{'f' * 80}"), 404)
    refused(first.get("/api/v1/log/entries/xyz"), 400)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost:80:80"])
def test_it_answers_to_its_own_names_only(host, first):
    """A page in a browser can be made to reach this address under its own name (DNS rebinding)."""
    refused(first.get("/healthz", headers={"Host": host}), 421, "server.host")
    assert first.get("/healthz", headers={"Host": "localhost:1234"}).status_code == 200


def test_too_large_is_said_before_it_is_read(small):
    head = b"POST /api/v2/signingCert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
    got = raw(small.url, head, 3)
    assert got.startswith(b"HTTP/1.1 413")
    chunked = b"POST /api/v2/signingCert HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = raw(small.url, chunked + b"1388\r\n" + b"a" * 5000 + b"\r\n0\r\n\r\n", 3)
    assert got.startswith(b"HTTP/1.1 413")
    refused(small.client.request("GET", f"{small.url}/healthz", content=b"a body"), 413, "server.size")
    got = raw(small.url, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 3)
    assert got.startswith(b"HTTP/1.1 4")


def test_a_head_that_does_not_come_is_not_waited_for(small):
    for sent in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: "):
        began = time.monotonic()
        assert raw(small.url, sent, 20) == b""
        assert time.monotonic() - began < 15
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    got = raw(small.url, whole + b"GET /heal", 20)
    assert got.count(b"HTTP/1.1") == 1


def test_a_body_that_does_not_come_is_not_waited_for(small):
    head = b"POST /api/v2/signingCert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    assert raw(small.url, head, 20).startswith(b"HTTP/1.1 408")


def test_more_than_it_takes_on_is_told_to_come_again(small):
    """Slow bodies fill the places; the next is refused at once, and when they are gone it is served."""
    host, port = small.url.removeprefix("http://").split(":")
    head = b"POST /api/v1/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    held = [socket.create_connection((host, int(port))) for _ in range(SMALL.at_once)]
    try:
        for connection in held:
            connection.sendall(head)
        deadline = time.monotonic() + 10
        seen = set()
        while time.monotonic() < deadline and 503 not in seen:
            seen.add(small.get("/healthz").status_code)
            for connection in held:
                connection.sendall(b" ")
        assert 503 in seen
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 20
    while (reply := small.get("/healthz")).status_code != 200:
        assert time.monotonic() < deadline
        refused(reply, 503, "server.busy")
        assert reply.headers["retry-after"] == "1"


def test_bodies_that_are_held_at_one_time_are_bounded(tmp_path):
    limits = Limits(entry=65536, held=100_000, body_seconds=20)
    with running(tmp_path / "held", limits=limits) as instance:
        host, port = instance.url.removeprefix("http://").split(":")
        head = b"POST /api/v1/log/entries HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head)
            deadline = time.monotonic() + 10
            status = 0
            while status != 503 and time.monotonic() < deadline:
                status = instance.client.post(
                    f"{instance.url}/api/v1/log/entries", content=b" " * 60000
                ).status_code
            assert status == 503
        deadline = time.monotonic() + 10
        while (
            instance.client.post(f"{instance.url}/api/v1/log/entries", content=b" " * 60000).status_code
            != 400
        ):
            assert time.monotonic() < deadline, "what a client that left held is not given back"


def test_an_answer_that_nobody_takes_is_dropped(tmp_path):
    """A client that asks for much and reads nothing loses its connection, and the place it held is free again."""
    with running(tmp_path / "slow", limits=SMALL) as instance:
        tile = instance.repository / f"targets/{'ab' * 32}.large"
        tile.write_bytes(bytes(3_500_000))
        host, port = instance.url.removeprefix("http://").split(":")
        held = []
        for _ in range(SMALL.at_once):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, int(port)))
            connection.sendall(f"GET /tuf/targets/{tile.name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            held.append(connection)
        try:
            deadline = time.monotonic() + 20
            while instance.get("/healthz").status_code != 200:
                assert time.monotonic() < deadline
            with pytest.raises(ConnectionError):
                while time.monotonic() < deadline:
                    held[0].sendall(b" ")
                    time.sleep(0.05)
        finally:
            for connection in held:
                connection.close()


def test_what_nears_its_end_is_renewed_again_and_again(tmp_path):
    calls = []

    def renew():
        calls.append(threading.current_thread().name)
        if len(calls) == 1:
            raise OSError("the disk is full")

    with running(tmp_path / "renew", limits=SMALL, renew=renew) as instance:
        deadline = time.monotonic() + 20
        while len(calls) < 3:
            assert time.monotonic() < deadline
            assert instance.get("/healthz").status_code == 200


def test_a_certificate_of_an_unknown_kind_of_key_is_refused(first):
    """A certificate can be read whose key cannot: here one that names an algorithm nobody has."""
    _, chain = first.certificate()
    der = base64.b64decode(der64(chain[0]))
    ec_key, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d02ff")[:-1] + b"\x7f"
    assert ec_key in der
    strange = encode64(der.replace(ec_key, unknown))
    pem = f"-----BEGIN CERTIFICATE-----\n{strange}\n-----END CERTIFICATE-----\n"
    refused(first.post("/api/v1/log/entries", proposed_dsse(generate("ecdsa-p256"), pem)), 400, "log.request")


def test_trouble_of_ours_is_not_explained_to_strangers(tmp_path, monkeypatch):
    with running(tmp_path / "trouble") as instance:

        def broken():
            raise RegistryUnusable(
                "the log is damaged", cause="/secret/place is missing", check="log.damaged"
            )

        monkeypatch.setattr(instance.services.log, "refresh", broken)
        reply = instance.get("/healthz")
        refused(reply, 503, "log.damaged")
        assert "secret" not in reply.text

        def mistaken():
            raise RuntimeError("a secret in a mistake")

        monkeypatch.setattr(instance.services.log, "refresh", mistaken)
        reply = instance.get("/healthz")
        refused(reply, 500)
        assert "secret" not in reply.text


def test_many_at_once_are_all_logged_once(first):
    """The same and different entries from many threads: each is in the log exactly once, all at places of their own."""
    key, chain = first.certificate()
    before = first.get("/healthz").json()["size"]
    wanted = [proposed_dsse(key, chain[0], f'{{"n":{number // 2}}}'.encode()) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda proposed: first.post("/api/v1/log/entries", proposed), wanted))
    assert {reply.status_code for reply in replies} <= {201, 409}
    made = {
        uuid: row["logIndex"]
        for reply in replies
        if reply.status_code == 201
        for uuid, row in reply.json().items()
    }
    assert len(made) == len(set(made.values()))
    # ECDSA signatures differ each time, so each of the forty is an entry of its own.
    assert first.get("/healthz").json()["size"] == before + 40
    again = [first.post("/api/v1/log/entries", proposed).status_code for proposed in wanted[:4]]
    assert again == [409] * 4
    first.services.log.refresh()
    assert first.services.log.verify_all() == before + 40


def test_certificates_asked_for_at_once_are_all_logged(first):
    before = first.services.ct.log.size
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: first.certificate()[1][0], range(16)))
    assert len(set(rows)) == 16
    assert first.services.ct.log.verify_all() >= before + 16


def test_stopping_answers_what_is_under_way(tmp_path):
    with running(tmp_path / "stop") as instance:
        key, chain = instance.certificate()
        replies: Future = Future()

        def ask():
            wanted = [proposed_dsse(key, chain[0], str(number).encode()) for number in range(30)]
            got = []
            for proposed in wanted:
                try:
                    got.append(instance.post("/api/v1/log/entries", proposed).status_code)
                except httpx2.TransportError:
                    break
            replies.set_result(got)

        thread = threading.Thread(target=ask)
        thread.start()
        while instance.get("/healthz").json()["size"] < 5:
            pass
        instance.server.stop()
        got = replies.result(60)
        thread.join()
    assert set(got) <= {201, 503}
    instance.services.log.refresh()
    assert instance.services.log.verify_all() >= 2 + got.count(201)


@pytest.mark.parametrize("key_details", ["PKIX_ED25519", "", 5])
def test_a_second_form_names_its_kind_of_key(key_details, tmp_path):
    with running(tmp_path / "second", origin=V2, algorithm="ed25519") as instance:
        key, chain = instance.certificate()
        verifier = {"x509Certificate": {"rawBytes": der64(chain[0])}, "keyDetails": key_details}
        signature = {"content": encode64(key.sign(b"x")), "verifier": verifier}
        asked = {"hashedRekordRequestV002": {"digest": encode64(bytes(32)), "signature": signature}}
        refused(instance.post("/api/v2/log/entries", asked), 400, "log.request")
        refused(instance.post("/api/v2/log/entries", {}), 400, "log.request")
        verifier["keyDetails"] = "PKIX_ECDSA_P256_SHA_256"
        refused(instance.post("/api/v2/log/entries", asked), 400, "log.signature")


def test_a_deep_document_is_refused(first):
    deep = json.loads("[" * 90 + "]" * 90)
    refused(first.post("/api/v1/log/entries", {"kind": deep}), 400, "log.request")
