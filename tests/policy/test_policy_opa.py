"""OPA over HTTP is believed only where it shows that it evaluated the pinned policy; every lie and fault is no answer.

Behind the front of tests/world_opa.py is regorus here: what is tested is the conversation. OPA itself is asked in
tests/full/test_full_opa.py.
"""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from good_evidence import NOW, own

from weighbridge.core.decision import Outcome
from weighbridge.core.errors import BadSetting, Unreachable
from weighbridge.net import Tls
from weighbridge.policy.contract import question
from weighbridge.policy.engines import opa
from weighbridge.policy.engines.opa import OpaEngine, Place
from weighbridge.policy.floor import floor
from weighbridge.policy.settings import load_bundle, starter
from world_opa import Front

QUERY = "data.weighbridge.own"
YES = "package weighbridge.own\n\nallow := true\n\ndeny := []\n"
NO = 'package weighbridge.own\n\nallow := false\n\ndeny := [{"rule": "r", "msg": "no"}]\n'


@pytest.fixture(scope="module")
def server():
    with Front() as made:
        yield made


@pytest.fixture
def front(server):
    server.modules, server.data, server.asked, server.lies, server.token = {}, {}, [], None, ""
    return server


@pytest.fixture
def engine(front):
    with OpaEngine(Place(front.url)) as made:
        yield made


def ask(engine, text=YES, question=None, query=QUERY, data=None):
    return engine.evaluate({"own.rego": text}, data or {"settings": {"a": 1}}, question or {}, query)


def cannot(answer, words):
    assert answer.outcome is Outcome.CANNOT_TELL
    assert words in answer.problem, answer.problem
    assert len(answer.problem) < 3000


def test_the_starter_policy_is_given_to_opa_and_answers(front, engine):
    bundle, evidence = load_bundle(starter()), own()
    asked = question(evidence, floor(evidence, NOW), NOW, "promote")
    answer = engine.answer(bundle, "own", asked)
    assert (answer.outcome, answer.problem) == (Outcome.PASS, "")
    assert answer.engine == "opa/1.99.0 decision 7f3c1e"
    assert answer.policy == str(bundle.digest)
    assert engine.digest == "opa/1.99.0"
    assert set(front.data) == {"settings", "weight_suffixes"}
    before = len(front.asked)
    engine.answer(bundle, "own", asked)
    assert [row[:2] for row in front.asked[before:]] == [
        ("POST", next(path for method, path, _ in front.asked if method == "POST")),
        ("GET", "/v1/policies"),
    ]
    assert {query for method, _, query in front.asked if method == "POST"} == {
        "strict-builtin-errors=true&provenance=true"
    }


def test_it_is_healthy(front, engine):
    assert engine.health() == ""
    front.lies = lambda handler, method, path: handler.send(500, b"{}") or True
    assert "not ready (status 500)" in engine.health()


def test_settings_and_question_reach_the_policy(front, engine):
    text = YES.replace("allow := true", "default allow := false\n\nallow if input.a == data.settings.a")
    assert ask(engine, text, {"a": 1}).outcome is Outcome.PASS
    assert ask(engine, text, {"a": 2}).outcome is Outcome.FAIL
    assert ask(engine, text, {"a": 2}, data={"settings": {"a": 2}}).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("package weighbridge.own\nallow if {", "OPA refused the policy: "),
        ("package weighbridge.own\n", "wrong shape"),
        ("package weighbridge.third_party\nallow := true\ndeny := []\n", "undefined in this policy"),
        ("package weighbridge.own\nallow := true\ndeny := []\nhelper := 1\n", "unknown member helper"),
        (
            'package weighbridge.own\nallow := true\ndeny contains {"rule": "r", "msg": "m"}\n',
            "allows and denies",
        ),
        ("package weighbridge.own\nallow := true\ndeny contains 1 if count(5) > 0\n", "OPA refused: "),
        (
            "package weighbridge.own\nallow if data.elsewhere.yes\ndeny := []\n",
            "refers to data beside its own",
        ),
        (
            'package weighbridge.own\nallow if data["elsewhere"]\ndeny := []\n',
            "refers to data beside its own",
        ),
        ("package weighbridge.own\nallow if data[_].yes\ndeny := []\n", "refers to data beside its own"),
        (
            "package weighbridge.own\nimport data\nallow if data.x\ndeny := []\n",
            "refers to data beside its own",
        ),
        (
            "package weighbridge.own\nallow if data.weighbridge_asked.x\ndeny := []\n",
            "refers to data beside its own",
        ),
    ],
)
def test_a_policy_that_gives_no_answer_blocks(front, engine, text, words):
    cannot(ask(engine, text), words)
    assert ask(engine).outcome is Outcome.PASS


def test_words_in_strings_and_comments_and_other_members_named_data_are_no_references(front, engine):
    text = YES.replace("allow := true", 'allow if input.data == "data.elsewhere" # data.elsewhere\n')
    assert ask(engine, text, {"data": "data.elsewhere"}).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "query", ["data", "data.weighbridge", "data.weighbridge.own.deny", "true", "data.x.y", ""]
)
def test_only_packages_are_asked(front, engine, query):
    cannot(ask(engine, query=query), "is asked for a package")
    assert front.asked == []


def test_rules_that_somebody_changed_do_not_answer(front, engine):
    """What OPA holds is compared after each answer: a policy put there by hand is replaced, and asked again."""
    assert ask(engine, NO).outcome is Outcome.FAIL
    front.modules["weighbridge/own.rego"] = YES
    assert ask(engine, NO).outcome is Outcome.FAIL
    assert front.modules["weighbridge/own.rego"] == NO


def test_settings_that_somebody_changed_do_not_answer(front, engine):
    text = YES.replace("allow := true", "allow if data.settings.a == 1")
    ask(engine, text, data={"settings": {"a": 2}})
    front.data["settings"] = {"a": 1}
    cannot(ask(engine, text, data={"settings": {"a": 2}}), "by other settings than the policy's")


def test_true_is_not_one(front, engine):
    text = YES.replace("allow := true", "allow if data.settings.a == 1")
    ask(engine, text, data={"settings": {"a": True}})
    front.data["settings"] = {"a": 1}
    cannot(ask(engine, text, data={"settings": {"a": True}}), "by other settings")


def test_a_module_of_somebody_else_blocks(front, engine):
    front.modules["theirs.rego"] = "package weighbridge.lib\n\nx := 1\n"
    cannot(ask(engine), "modules that are not ours: theirs.rego")
    assert front.modules == {"theirs.rego": "package weighbridge.lib\n\nx := 1\n"}


def test_opas_own_policies_may_be_there(front, engine):
    front.modules["authz.rego"] = "# package weighbridge.own\npackage system.authz\n\ndefault allow := true\n"
    assert ask(engine).outcome is Outcome.PASS
    assert "authz.rego" in front.modules


def test_a_module_that_only_calls_itself_opas_own_is_not(front, engine):
    front.modules["x.rego"] = "package systems\n\nx := 1\n"
    cannot(ask(engine), "not ours: x.rego")


def test_old_modules_of_ours_go(front, engine):
    both = {
        "own.rego": YES,
        "more.rego": 'package weighbridge.own\n\nwarn := [{"rule": "r", "msg": "old"}]\n',
    }
    assert engine.evaluate(both, {}, {}, QUERY).warnings == (("r", "old"),)
    assert engine.evaluate({"own.rego": YES}, {}, {}, QUERY).warnings == ()
    assert min(front.modules) == "weighbridge/own.rego"
    assert len(front.modules) == 2


def test_functions_that_changed_their_names_everywhere_are_put_in_an_order_that_compiles(front, engine):
    def policy(name):
        lib = f"package weighbridge.lib\n\n{name}(x) := x\n"
        rules = f"package weighbridge.own\n\nimport data.weighbridge.lib\n\nallow := lib.{name}(true)\n\ndeny := []\n"
        return {"a.rego": rules, "z.rego": lib}

    for name in ("f", "g", "f"):
        assert engine.evaluate(policy(name), {}, {}, QUERY).outcome is Outcome.PASS


def reply(status, document, *, only=("POST", "/v1/data/"), **how):
    """A lie: answer requests of one kind with this."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()

    def lies(handler, method, path):
        if (method, path[: len(only[1])]) != only:
            return False
        handler.send(status, data, **how)
        return True

    return lies


GOOD = {"answer": {"allow": True, "deny": []}, "settings": {"a": 1}}
LIST = ("GET", "/v1/policies")
PUT = ("PUT", "/v1/policies/")
LIES = {
    "500": (reply(500, {"code": "oops", "message": "a stack trace"}), "status 500: a stack trace"),
    "500 and no JSON": (reply(500, b"<html>"), "status 500, and no JSON"),
    "404": (reply(404, {"code": "resource_not_found"}), "status 404"),
    "401": (reply(401, {"code": "unauthorized", "message": "who"}), "status 401: who"),
    "302": (reply(302, b"{}", headers=[("Location", "/v1/data/x")]), "status 302"),
    "307 to another place": (reply(307, b"{}", headers=[("Location", "http://localhost:1/")]), "status 307"),
    "a redirect to another scheme": (
        reply(302, b"{}", headers=[("Location", "https://localhost/")]),
        "redirects to another scheme",
    ),
    "201": (reply(201, {"result": GOOD}), "status 201"),
    "garbage": (reply(200, b"\xff\x00garbage"), "no JSON"),
    "an array": (reply(200, [GOOD]), "no JSON object"),
    "nothing": (reply(200, b""), "no JSON"),
    "no result": (reply(200, {}), "undefined in this policy"),
    "no result, but one elsewhere": (reply(200, {"results": GOOD}), "undefined in this policy"),
    "a result that is null": (reply(200, {"result": None}), "another shape"),
    "the bare decision": (reply(200, {"result": GOOD["answer"]}), "another shape"),
    "a member too many": (reply(200, {"result": GOOD | {"x": 1}}), "another shape"),
    "a member too few": (reply(200, {"result": {"answer": GOOD["answer"]}}), "another shape"),
    "other settings": (reply(200, {"result": GOOD | {"settings": {"a": True}}}), "other settings"),
    "a decision with more": (reply(200, {"result": GOOD | {"answer": {"allow": True, "deny": [], "x": 1}}}), "unknown member x"),
    "a decision with less": (reply(200, {"result": GOOD | {"answer": {"allow": True}}}), "deny is undefined"),
    "two results": (reply(200, b'{"result": %s, "result": {}}' % json.dumps(GOOD).encode()), "duplicate key"),
    "NaN": (reply(200, b'{"result": NaN}'), "no JSON"),
    "deep": (reply(200, b'{"result":' * 50_000), "no JSON"),
    "compressed": (reply(200, {"result": GOOD}, headers=[("Content-Encoding", "gzip")]), "compressed"),
    "cut off": (reply(200, {"result": GOOD}, length=10_000), "no usable answer"),
    "the wrong list": (reply(200, {"result": []}, only=LIST), "does not keep the policy"),
    "no list": (reply(200, {}, only=LIST), "does not list its policies"),
    "a list of something": (reply(200, {"result": [1]}, only=LIST), "does not list its policies"),
    "a list without texts": (reply(200, {"result": [{"id": "a"}]}, only=LIST), "does not list its policies"),
    "a list with null": (reply(200, {"result": [{"id": "a", "raw": None}]}, only=LIST), "does not list its policies"),
    "a list of numbers": (reply(200, {"result": [{"id": 1, "raw": "x"}]}, only=LIST), "does not list its policies"),
    "no list for us": (reply(403, {"message": "no"}, only=LIST), "does not list its policies: status 403"),
    "it takes nothing": (reply(403, {"message": "read-only"}, only=PUT), "status 403: read-only"),
    "it only says that it takes it": (reply(200, {}, only=PUT), "does not keep the policy"),
    "it refuses everything": (reply(400, {"code": "invalid_parameter", "message": "bad"}, only=PUT), "refused the policy: bad"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_no_answer(front, engine, lie):
    front.lies, words = LIES[lie]
    cannot(ask(engine), words)
    front.lies = None
    assert ask(engine).outcome is Outcome.PASS


def test_the_lies_above_would_be_believed_if_they_were_none(front, engine):
    assert ask(engine).outcome is Outcome.PASS
    front.lies = reply(200, {"result": GOOD, "decision_id": "x", "metrics": {}, "something": "newer"})
    assert ask(engine).outcome is Outcome.PASS
    assert (
        ask(engine, NO).outcome is Outcome.PASS
    )  # whoever runs OPA can make it lie: the floor does not ask it


@pytest.mark.parametrize("version", ["", 3, None, "1.0\n\x1b[2J", "x" * 100])
def test_names_that_are_none_are_not_shown(front, engine, version):
    document = {"result": GOOD, "decision_id": version, "provenance": {"version": version}}
    ask(engine)
    front.lies = reply(200, document)
    assert ask(engine).engine == "opa/unknown"


def drip(handler, method, path):
    """Send a byte each moment, for ever: first of the head, so that no limit on one wait ever strikes."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        handler.wfile.write(b"X-%d: x\r\n" % number)
        handler.wfile.flush()
        time.sleep(0.05)
    return True


def silent(handler, method, path):
    time.sleep(3)
    return True


@pytest.mark.parametrize("slow", [drip, silent])
def test_the_deadline_is_for_the_whole_answer(front, slow):
    with OpaEngine(Place(front.url, seconds=0.3)) as engine:
        front.lies = slow
        cannot(ask(engine), "no whole answer within 0.3 seconds")


def test_the_deadline_is_for_all_requests_of_one_question(front):
    def slow(handler, method, path):
        time.sleep(0.15)
        return False

    with OpaEngine(Place(front.url, seconds=0.5)) as engine:
        front.lies = slow
        cannot(ask(engine), "within")


def test_an_answer_that_is_too_long_is_not_read(front, engine, monkeypatch):
    ask(engine)
    monkeypatch.setattr(opa, "MAX_DECISION", 1000)
    front.lies = reply(200, {"result": GOOD, "x": "y" * 1000})
    cannot(ask(engine), "longer than 1000 bytes")
    monkeypatch.setattr(opa, "MAX_ANSWER", 1000)
    front.lies = reply(200, {"result": GOOD, "x": "y" * 100_000})
    with OpaEngine(Place(front.url)) as other:
        cannot(ask(other), "sent more than was expected")


def test_a_question_that_is_no_json_or_too_long_blocks(front, engine, monkeypatch):
    cannot(ask(engine, question={"x": object()}), "cannot be written as JSON")
    monkeypatch.setattr(opa, "MAX_QUESTION", 100)
    cannot(ask(engine, question={"x": "y" * 100}), "larger than 100 bytes")


def test_nobody_there_blocks(front):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with OpaEngine(Place(url)) as engine:
        cannot(ask(engine), "gave no usable answer")
        assert "no usable answer" in engine.health()


def test_an_open_policy_gets_no_say_and_an_outage_is_not_remembered_as_closed(front, engine):
    bundle = load_bundle({"own.rego": YES.encode()})
    front.lies = reply(503, {"message": "starting"})
    cannot(engine.answer(bundle, "own", {}), "status 503")
    front.lies = None
    cannot(engine.answer(bundle, "own", {}), "would let anything pass")


def test_the_token_is_shown(front):
    front.token = "secret-token"
    with OpaEngine(Place(front.url, token="secret-token")) as engine:
        assert ask(engine).outcome is Outcome.PASS
    with OpaEngine(Place(front.url)) as engine:
        answer = ask(engine)
        cannot(answer, "401")
        assert "secret" not in answer.problem


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", BadSetting),
        ("http://opa.example.test:8181", BadSetting),
        ("ftp://localhost", BadSetting),
        ("https://user:pass@localhost", BadSetting),
        ("localhost:8181", BadSetting),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url, error):
    with pytest.raises(error):
        OpaEngine(Place(url))


def test_offline_nobody_is_asked(front):
    with pytest.raises(Unreachable):
        OpaEngine(Place(front.url, offline=True))


def test_the_environment_names_no_proxy(front, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with OpaEngine(Place(front.url)) as engine:
        assert ask(engine).outcome is Outcome.PASS


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """A certificate authority, and certificates by it for a server and a client."""
    folder = tmp_path_factory.mktemp("tls")
    names = ("ca", "localhost", "gate", "stranger")
    program = f"""
import datetime as d, pathlib
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
now = d.datetime.now(d.UTC)
made = {{}}
for name in {names!r}:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    root = name in ("ca", "stranger")
    issuer, signer = (subject, key) if root else made["ca"]
    built = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - d.timedelta(hours=1))
        .not_valid_after(now + d.timedelta(days=1)).add_extension(x509.BasicConstraints(root, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(signer, hashes.SHA256()))
    made[name] = (subject, key)
    out = pathlib.Path({str(folder)!r})
    (out / f"{{name}}.pem").write_bytes(built.public_bytes(s.Encoding.PEM))
    (out / f"{{name}}.key").write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    (out / f"{{name}}.locked").write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x")))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    return SimpleNamespace(**{name: str(folder / name) for name in names})


def test_mutual_tls(papers):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{papers.ca}.pem")
    server.load_cert_chain(f"{papers.localhost}.pem", f"{papers.localhost}.key")
    server.verify_mode = ssl.CERT_REQUIRED
    with Front(tls=server) as front:
        good = Tls(f"{papers.ca}.pem", f"{papers.gate}.pem", f"{papers.gate}.key")
        with OpaEngine(Place(front.url, tls=good)) as engine:
            assert ask(engine).outcome is Outcome.PASS
        for bad in (
            Tls(f"{papers.ca}.pem"),
            Tls(f"{papers.ca}.pem", f"{papers.stranger}.pem", f"{papers.stranger}.key"),
            Tls(f"{papers.stranger}.pem", f"{papers.gate}.pem", f"{papers.gate}.key"),
            Tls("", f"{papers.gate}.pem", f"{papers.gate}.key"),
        ):
            with OpaEngine(Place(front.url, tls=bad)) as engine:
                cannot(ask(engine), "gave no usable answer")


@pytest.mark.parametrize("part", ["ca", "certificate", "key"])
def test_papers_that_cannot_be_read_are_refused(papers, part, tmp_path):
    (tmp_path / "no").write_text("no")
    good = {"ca": f"{papers.ca}.pem", "certificate": f"{papers.gate}.pem", "key": f"{papers.gate}.key"}
    for bad in (str(tmp_path / "no"), str(tmp_path / "none")):
        with pytest.raises(BadSetting, match="certificates for OPA"):
            OpaEngine(Place("https://localhost", tls=Tls(**(good | {part: bad}))))
    with pytest.raises(BadSetting, match="certificates for OPA"):
        OpaEngine(
            Place("https://localhost", tls=Tls(good["ca"], good["certificate"], f"{papers.gate}.locked"))
        )


def test_threads_share_one_engine(front, engine):
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append((n, ask(engine, YES if n % 2 else NO).outcome)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(n % 2, outcome) for n, outcome in found} == {(1, Outcome.PASS), (0, Outcome.FAIL)}


def test_a_server_that_went_and_came_back_is_asked_again(front, engine):
    assert ask(engine).outcome is Outcome.PASS
    front.modules, front.data = {}, {}
    assert ask(engine).outcome is Outcome.PASS
