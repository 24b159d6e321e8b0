"""The identity token of a job: where it is looked for, in which order, and what is refused before it is sent anywhere."""

import base64
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import (
    BadSetting,
    NotFound,
    Refused,
    Unreachable,
    UsageError,
    WeighbridgeError,
)
from weighbridge.trust.ambient import MAX_TOKEN, ambient_token, look

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOWHERE = Path("/no/such/token")


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**changed):
    claims = {
        "iss": "https://issuer.example",
        "sub": "repo:org/model",
        "aud": "sigstore",
        "exp": int(NOW.timestamp()) + 600,
    } | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    return ".".join((encoded({"alg": "RS256"}), encoded(claims), encoded(b"signature")))


def found(environ, **more):
    return ambient_token(environ, now=NOW, **{"projected": NOWHERE, **more})


def test_gitlabs_variable():
    got = found({"GITLAB_CI": "true", "SIGSTORE_ID_TOKEN": token()})
    assert (got.place, got.issuer, got.subject) == (
        "SIGSTORE_ID_TOKEN",
        "https://issuer.example",
        "repo:org/model",
    )
    assert got.expires == NOW + timedelta(minutes=10)
    assert got.token == token()


def test_a_variable_of_another_name():
    text = token(sub="other")
    assert found({"RELEASE_TOKEN": text}, names=("SIGSTORE_ID_TOKEN", "RELEASE_TOKEN")).subject == "other"
    with pytest.raises(NotFound):
        found({"RELEASE_TOKEN": text})


@pytest.mark.parametrize("subject", ["spiffe://house.example/trainer", "system:serviceaccount:ml:trainer"])
def test_a_file_with_a_token(tmp_path, subject):
    """A projected volume is a link to a file in a folder that is swapped as a whole."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "token").write_text(token(sub=subject, aud=["other", "sigstore"]) + "\n")
    (tmp_path / "token").symlink_to("..2026/token")
    path = str(tmp_path / "token")
    assert found({"WEIGHBRIDGE_ID_TOKEN_FILE": path}).subject == subject
    got = found({}, projected=tmp_path / "token")
    assert (got.subject, got.place) == (subject, path)


def test_the_first_place_decides(tmp_path):
    (tmp_path / "file").write_text(token(sub="file"))
    (tmp_path / "projected").write_text(token(sub="projected"))
    environ = {
        "SIGSTORE_ID_TOKEN": token(sub="variable"),
        "WEIGHBRIDGE_ID_TOKEN_FILE": str(tmp_path / "file"),
    }
    assert found(environ, projected=tmp_path / "projected").subject == "variable"
    del environ["SIGSTORE_ID_TOKEN"]
    assert found(environ, projected=tmp_path / "projected").subject == "file"


@pytest.mark.parametrize("name", ["SIGSTORE_ID_TOKEN", "WEIGHBRIDGE_ID_TOKEN_FILE"])
def test_a_place_without_a_token_is_not_passed_over(tmp_path, name):
    """Else a job whose own token is broken would sign as somebody else."""
    (tmp_path / "empty").write_text("")
    (tmp_path / "good").write_text(token())
    environ = {name: str(tmp_path / "empty") if name.endswith("FILE") else ""}
    with pytest.raises(Refused) as caught:
        found(environ, projected=tmp_path / "good")
    assert caught.value.check == "token.form"


def test_files_that_are_not_there_or_no_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_text("a." * MAX_TOKEN)
    for name, check in [
        ("none", "token.missing"),
        (".", "token.form"),
        ("fifo", "token.form"),
        ("large", "token.form"),
    ]:
        with pytest.raises(WeighbridgeError) as caught:
            found({"WEIGHBRIDGE_ID_TOKEN_FILE": str(tmp_path / name)})
        assert caught.value.check == check


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GITHUB_ACTIONS": "true"}, "id-token: write"),
        ({"GITLAB_CI": "true"}, "id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "serviceAccountToken"),
        ({}, "WEIGHBRIDGE_ID_TOKEN_FILE"),
    ],
)
def test_without_a_token_the_remedy_fits_the_place(environ, words):
    with pytest.raises(UsageError) as caught:
        found(environ)
    assert words in caught.value.remedy
    assert caught.value.check == ("token.missing" if environ else "token.none")


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("", "token.form"),
        ("a.b", "token.form"),
        ("a.b.c.d", "token.form"),
        ("a.!!.c", "token.form"),
        (f"a.{encoded([])}.c", "token.form"),
        (f"a.{encoded(b'[' * 5000)}.c", "token.form"),
        (f"a.{encoded({})}.", "token.form"),
        (token(aud=None), "token.audience"),
        (token(aud="sigstor"), "token.audience"),
        (token(aud=["https://kubernetes.default.svc"]), "token.audience"),
        (token(aud={"sigstore": 1}), "token.audience"),
        (token(exp=None), "token.expired"),
        (token(exp=True), "token.expired"),
        (token(exp="9999999999"), "token.expired"),
        (token(exp=10**30), "token.expired"),
        (token(exp=int(NOW.timestamp())), "token.expired"),
        (token(exp=int(NOW.timestamp()) - 1), "token.expired"),
    ],
)
def test_tokens_that_nobody_would_take(text, check):
    with pytest.raises(Refused) as caught:
        look(text, "here", audience="sigstore", now=NOW)
    assert caught.value.check == check


@given(text=st.text(max_size=60))
def test_no_text_breaks_the_reader(text):
    with pytest.raises(Refused):
        look(f"a.{text}.c", "here", audience="sigstore", now=NOW)


def test_a_token_is_in_no_repr_and_no_error():
    text = token()
    assert text not in repr(look(text, "here", audience="sigstore", now=NOW))
    with pytest.raises(Refused) as caught:
        look(text, "here", audience="other", now=NOW)
    assert text not in str(caught.value)
    assert text[:40] not in str(caught.value)


# GitHub Actions, over real HTTP


class Runner(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status, body, headers = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given):
        pass


@pytest.fixture
def runner():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Runner)
    server.asked = []
    server.answer = (200, json.dumps({"value": token(sub="repo:org/model:ref:refs/heads/main")}).encode(), {})
    server.environ = {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/token?api-version=2.0&audience=x",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "planted-bearer",
    }
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_githubs_runner_is_asked_for_our_audience(runner):
    got = found(runner.environ)
    assert (got.place, got.subject) == ("GitHub Actions", "repo:org/model:ref:refs/heads/main")
    ((path, bearer),) = runner.asked
    assert parse_qs(urlsplit(path).query) == {"api-version": ["2.0"], "audience": ["sigstore"]}
    assert bearer == "Bearer planted-bearer"


@pytest.mark.parametrize(
    "answer",
    [
        (403, b'{"message": "no"}', {}),
        (200, b"", {}),
        (200, b"{}", {}),
        (200, b'{"value": 1}', {}),
        (200, b"[" * 100_000, {}),
        (500, json.dumps({"value": token()}).encode(), {}),
        (302, b"", {"Location": "/elsewhere"}),
    ],
)
def test_what_is_no_answer_of_the_runner(runner, answer):
    runner.answer = answer
    with pytest.raises(Unreachable) as caught:
        found(runner.environ)
    assert caught.value.check == "token.service"
    assert len(runner.asked) == 1, "a redirect is not followed with a secret in hand"
    assert "planted-bearer" not in str(caught.value)


def test_the_runner_is_not_asked_offline_or_in_the_clear(runner):
    with pytest.raises(Unreachable):
        found(runner.environ, offline=True)
    for url in ("http://[::1", "http://runner.example/token", "ftp://127.0.0.1/token", "token"):
        with pytest.raises(BadSetting) as caught:
            found(runner.environ | {"ACTIONS_ID_TOKEN_REQUEST_URL": url})
        assert "ACTIONS_ID_TOKEN_REQUEST_URL" in caught.value.problem
    assert runner.asked == []


def test_a_runner_that_is_gone_is_said(runner):
    environ = runner.environ | {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:1/token"}
    with pytest.raises(Unreachable) as caught:
        found(environ)
    assert caught.value.check == "net.unreachable"
