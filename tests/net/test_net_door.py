"""The one door: closed means closed, and what comes in is bounded."""

import gzip
import socket
import threading

import pytest

from weighbridge import net
from weighbridge.core.errors import OutOfBudget, Unreachable, VerificationFailed
from weighbridge.net import Door
from world_hub import Hub


@pytest.fixture
def hub():
    with Hub() as running:
        yield running


@pytest.fixture
def client(hub):
    with Door(hub.endpoint, offline=False).client() as made:
        yield made


def test_a_closed_door_makes_no_client():
    with pytest.raises(Unreachable) as caught:
        Door("https://hub.example", offline=True)
    assert caught.value.check == "net.offline"


def test_a_library_that_asks_for_no_limit_in_time_gets_one(monkeypatch):
    monkeypatch.setattr(net, "READ_SECONDS", 0.1)
    import httpx2

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Door(address, offline=False).client() as client, pytest.raises(httpx2.ReadTimeout):
            client.get(address, timeout=None)


def test_a_body_is_bounded_and_a_door_opened_wider_closes_again(hub, monkeypatch):
    monkeypatch.setattr(net, "MAX_DOCUMENT", 100)
    hub.raw["/x"] = (200, {}, b"x" * 150)
    door = Door(hub.endpoint, offline=False)
    with door.client() as client:
        with pytest.raises(OutOfBudget):
            client.get(f"{hub.endpoint}/x")
        with door.letting_in(150):
            assert len(client.get(f"{hub.endpoint}/x").content) == 150
        with door.letting_in(149), pytest.raises(OutOfBudget):
            client.get(f"{hub.endpoint}/x")
        with pytest.raises(OutOfBudget):
            client.get(f"{hub.endpoint}/x")


def test_the_body_of_an_error_is_bounded_as_well(hub, client, monkeypatch):
    monkeypatch.setattr(net, "MAX_DOCUMENT", 100)
    hub.raw["/x"] = (500, {}, b"x" * 150)
    with Door(hub.endpoint, offline=False).client() as bounded, pytest.raises(OutOfBudget):
        bounded.get(f"{hub.endpoint}/x")


def test_nothing_compressed_is_asked_for_or_taken(hub, client):
    hub.raw["/bomb"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10_000_000)))
    with pytest.raises(VerificationFailed) as caught:
        client.get(f"{hub.endpoint}/bomb", headers={"Accept-Encoding": "gzip"})
    assert caught.value.check == "net.answer"
    assert hub.requests[0][2]["accept-encoding"] == "identity"


@pytest.mark.parametrize("location", ["https://127.0.0.1:1/", "ftp://127.0.0.1/", "//127.0.0.1:1/x"])
def test_a_redirect_keeps_its_scheme(hub, client, location):
    import httpx2

    hub.raw["/x"] = (302, {"Location": location}, b"")
    kinds = httpx2.ConnectError if location.startswith("//") else VerificationFailed
    with pytest.raises(kinds):
        client.get(f"{hub.endpoint}/x")


def test_a_redirect_within_the_scheme_is_followed_a_few_times_only(hub, client):
    import httpx2

    hub.raw["/a"] = (302, {"Location": "/b"}, b"")
    hub.raw["/b"] = (200, {}, b"here")
    assert client.get(f"{hub.endpoint}/a").content == b"here"
    hub.raw["/loop"] = (302, {"Location": "/loop"}, b"")
    with pytest.raises(httpx2.TooManyRedirects):
        client.get(f"{hub.endpoint}/loop")
    assert len(hub.requests) < 12


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc-1_2.3"', "abc", '"' + "a" * 128 + '"'])
def test_a_plain_entity_tag_passes(hub, client, etag):
    hub.raw["/x"] = (200, {"ETag": etag}, b"")
    assert client.head(f"{hub.endpoint}/x").status_code == 200


@pytest.mark.parametrize(
    "etag", ['"a/b"', '"../a"', '"a..b"', '"', '".a"', '"a b"', '"' + "a" * 129 + '"', "W/W/a/"]
)
def test_an_entity_tag_that_could_be_a_path_does_not(hub, client, etag):
    hub.raw["/x"] = (200, {"ETag": etag}, b"")
    with pytest.raises(VerificationFailed):
        client.head(f"{hub.endpoint}/x")
    assert client.get(f"{hub.endpoint}/x").status_code == 200  # only the answer to HEAD becomes a name


def test_the_client_behind_a_proxy_uses_it(hub, monkeypatch):
    """Some can leave only through a proxy; the door takes it from the usual variables."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def serve():
            connection, _ = proxy.accept()
            with connection:
                asked.append(connection.recv(4096).split(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with Door("http://hub.example", offline=False).client() as client:
            client.get("http://hub.example/x")
        thread.join()
    assert asked == [b"GET http://hub.example/x HTTP/1.1"]


def send_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("192.0.2.1", 53))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.1),
        lambda: socket.getaddrinfo("hub.example", 443),
        send_datagram,
    ],
)
def test_the_guard_of_these_tests_sees_what_would_leave(network_attempts, attempt):
    with pytest.raises(ConnectionRefusedError):
        attempt()
    assert len(network_attempts) == 1
    network_attempts.clear()
