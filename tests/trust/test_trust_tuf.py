"""The TUF repository: a client that is not ours follows it through every change, and believes no shortcut."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from trust_services import NOW, service_key

from weighbridge.core.errors import NotFound, Refused, RegistryUnusable, UsageError
from weighbridge.trust.tuf_repository import LIVES, SIGNING_CONFIG, TRUSTED_ROOT, OnlineKeys, TufRepository

tuf = pytest.importorskip("tuf.ngclient", reason="python-tuf comes with the extra `server`")

FILES = {TRUSTED_ROOT: b'{"a":1}', SIGNING_CONFIG: b'{"b":2}'}
ONLINE = OnlineKeys(*(service_key(f"tuf {role}") for role in ("targets", "snapshot", "timestamp")))
ROOT = service_key("tuf root", "ecdsa-p384")


@pytest.fixture
def served(tmp_path):
    return TufRepository.create(tmp_path / "tuf", ROOT, ONLINE, FILES, now=NOW)


class Folder(tuf.FetcherInterface):
    """Fetches from a folder as from a web server."""

    def __init__(self, directory):
        self.directory = directory

    def _fetch(self, url):
        from tuf.api.exceptions import DownloadHTTPError

        path = self.directory / url.removeprefix("https://tuf.invalid/")
        if not path.is_file():
            raise DownloadHTTPError("not here", 404)
        yield path.read_bytes()


class Client:
    """A client of python-tuf that trusted the first root it was given."""

    def __init__(self, repository, folder):
        self.repository, self.folder = repository, folder
        self.first = repository.root_bytes
        (folder / "targets").mkdir(parents=True)

    def fetch(self, name=TRUSTED_ROOT, now=NOW):
        updater = tuf.Updater(
            str(self.folder),
            "https://tuf.invalid/",
            str(self.folder / "targets"),
            "https://tuf.invalid/targets/",
            fetcher=Folder(self.repository.directory),
            bootstrap=self.first,
        )
        updater._trusted_set.reference_time = now
        updater.refresh()
        info = updater.get_targetinfo(name)
        return None if info is None else Path(updater.download_target(info)).read_bytes()


@pytest.fixture
def client(served, tmp_path):
    return Client(served, tmp_path / "client")


def test_a_client_gets_what_is_served(served, client):
    assert client.fetch() == FILES[TRUSTED_ROOT]
    assert client.fetch(SIGNING_CONFIG) == FILES[SIGNING_CONFIG]
    assert client.fetch("other.json") is None
    assert served.targets() == tuple(sorted(FILES))
    assert served.target(TRUSTED_ROOT) == FILES[TRUSTED_ROOT]
    assert served.expires() == {role: NOW + life for role, life in LIVES.items()}


def test_new_files_arrive(served, client):
    client.fetch()
    assert served.publish(FILES | {TRUSTED_ROOT: b"new"}, ONLINE, NOW)
    assert client.fetch() == b"new"
    assert client.fetch(SIGNING_CONFIG) == FILES[SIGNING_CONFIG]
    assert served.publish({TRUSTED_ROOT: b"new"}, ONLINE, NOW)
    assert client.fetch(SIGNING_CONFIG) is None


def test_what_did_not_change_is_not_signed_again(served):
    before = sorted(path.name for path in served.directory.iterdir())
    assert not served.publish(FILES, ONLINE, NOW)
    assert not served.refresh(ONLINE, NOW)
    assert sorted(path.name for path in served.directory.iterdir()) == before


@pytest.mark.parametrize(
    ("days", "again"),
    [
        (3, set()),
        (4, {"timestamp"}),
        (16, {"timestamp", "snapshot"}),
        (46, {"timestamp", "snapshot", "targets"}),
    ],
)
def test_what_has_spent_half_its_time_is_signed_again(days, again, served, client):
    before, now = served.expires(), NOW + timedelta(days=days)
    client.fetch()
    assert served.refresh(ONLINE, now) == bool(again)
    after = served.expires()
    assert {role for role in LIVES if after[role] != before[role]} == again
    assert all(after[role] == now + LIVES[role] for role in again)
    assert client.fetch(now=now) == FILES[TRUSTED_ROOT]


def test_a_client_refuses_what_has_ended(served, client):
    from tuf.api.exceptions import ExpiredMetadataError

    late = NOW + LIVES["timestamp"]
    client.fetch(now=late - timedelta(seconds=1))
    with pytest.raises(ExpiredMetadataError):
        client.fetch(now=late)
    served.refresh(ONLINE, late)
    assert client.fetch(now=late) == FILES[TRUSTED_ROOT]
    with pytest.raises(ExpiredMetadataError):
        client.fetch(now=NOW + LIVES["root"])


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_an_online_key_is_exchanged(role, served, client):
    client.fetch()
    online = replace(ONLINE, **{role: service_key(f"tuf {role} 2", "ed25519")})
    with pytest.raises(Refused) as caught:  # nobody said yet that it may
        served.publish({TRUSTED_ROOT: b"evil"}, online, NOW)
    assert caught.value.check == "tuf.keys"
    assert served.rotate([ROOT], NOW, online=online) == 2
    assert client.fetch() == FILES[TRUSTED_ROOT]
    with pytest.raises(Refused):  # the old one no longer may
        served.publish({TRUSTED_ROOT: b"evil"}, ONLINE, NOW)
    served.publish({TRUSTED_ROOT: b"new"}, online, NOW)
    assert client.fetch() == b"new"


def test_the_root_key_is_exchanged_and_old_clients_follow(served, client, tmp_path):
    from tuf.api.metadata import Metadata

    second, third = service_key("tuf root 2", "ecdsa-p384"), service_key("tuf root 3", "ed25519")
    client.fetch()
    assert served.rotate([ROOT], NOW, online=ONLINE, root_signer=second) == 2
    assert len(Metadata.from_bytes(served.root_bytes).signatures) == 2
    with pytest.raises(Refused) as caught:
        served.rotate([ROOT], NOW, online=ONLINE, root_signer=third)
    assert caught.value.check == "tuf.keys"
    assert served.rotate([second], NOW, online=ONLINE, root_signer=third) == 3
    assert client.fetch() == FILES[TRUSTED_ROOT]
    fresh = Client(served, tmp_path / "fresh")
    assert fresh.fetch() == FILES[TRUSTED_ROOT]


def test_a_root_version_without_its_predecessors_key_is_not_followed(served, client):
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    from weighbridge.trust.tuf_keys import metadata_key, signing

    client.fetch()
    root = Metadata.from_bytes(served.root_bytes).signed
    root.version = 2
    for keyid in list(root.roles["root"].keyids):
        root.revoke_key(keyid, "root")
    thief = service_key("thief")
    root.add_key(metadata_key(thief), "root")
    with pytest.raises(Refused) as caught:
        served._write_root(root, [thief], served._root())
    assert caught.value.check == "tuf.keys"
    (served.directory / "2.root.json").write_bytes(signing(root, [thief]))
    with pytest.raises(RepositoryError):
        client.fetch()


def test_the_root_is_renewed_with_its_own_key(served, client):
    now = NOW + timedelta(days=300)
    served.rotate([ROOT], now, online=ONLINE)
    assert served.expires()["root"] == now + LIVES["root"]
    assert client.fetch(now=now) == FILES[TRUSTED_ROOT]


def test_the_root_key_stays_offline(tmp_path):
    for role in ("targets", "snapshot", "timestamp"):
        with pytest.raises(Refused) as caught:
            TufRepository.create(tmp_path / role, ROOT, replace(ONLINE, **{role: ROOT}), FILES, now=NOW)
        assert caught.value.check == "tuf.keys"


def test_one_key_may_do_all_that_is_online(tmp_path):
    one = service_key("tuf")
    made = TufRepository.create(tmp_path / "tuf", ROOT, OnlineKeys(one, one, one), FILES, now=NOW)
    assert Client(made, tmp_path / "client").fetch() == FILES[TRUSTED_ROOT]
    parts = replace(ONLINE, snapshot=one, timestamp=one)
    assert made.rotate([ROOT], NOW, online=parts) == 2
    assert made.publish({TRUSTED_ROOT: b"new"}, parts, NOW)


def test_it_is_not_started_twice(served, tmp_path):
    with pytest.raises(Refused) as caught:
        TufRepository.create(tmp_path / "tuf", ROOT, ONLINE, FILES, now=NOW)
    assert caught.value.check == "tuf.exists"


def test_a_start_that_was_cut_short_is_started_again(served, tmp_path):
    (served.directory / "timestamp.json").unlink()
    made = TufRepository.create(tmp_path / "tuf", ROOT, ONLINE, FILES, now=NOW)
    assert Client(made, tmp_path / "client").fetch() == FILES[TRUSTED_ROOT]


@pytest.mark.parametrize("cut", range(1, 9))
def test_cut_short_at_any_write_it_serves_a_whole_repository(cut, served, client, monkeypatch):
    """The old files or the new ones, never a mixture; and the next publication goes on from there."""
    from weighbridge.trust import tuf_repository

    write, done = tuf_repository.write_durably, []

    def killed(path, data):
        if len(done) == cut - 1:
            raise KeyboardInterrupt
        done.append(path.name)
        write(path, data)

    online = replace(ONLINE, timestamp=service_key("tuf timestamp 3"), snapshot=service_key("tuf snapshot 3"))
    monkeypatch.setattr(tuf_repository, "write_durably", killed)
    new = FILES | {TRUSTED_ROOT: b"new"}
    try:
        served.rotate([ROOT], NOW, online=online)
        served.publish(new, online, NOW)
    except KeyboardInterrupt:
        assert len(done) == cut - 1
    monkeypatch.setattr(tuf_repository, "write_durably", write)
    if not (served.directory / "2.root.json").exists():
        assert client.fetch() == FILES[TRUSTED_ROOT]
        served.rotate([ROOT], NOW, online=online)
    served.refresh(online, NOW)  # what is signed by the keys that were exchanged is signed again
    assert client.fetch() == FILES[TRUSTED_ROOT]
    served.publish(new, online, NOW)
    assert client.fetch() == b"new"


def test_a_file_that_was_changed_is_not_handed_on(served, client):
    from tuf.api.exceptions import RepositoryError

    (path,) = (served.directory / "targets").glob(f"*.{TRUSTED_ROOT}")
    path.write_bytes(b'{"a":2}')
    with pytest.raises(RegistryUnusable) as caught:
        served.target(TRUSTED_ROOT)
    assert caught.value.check == "tuf.damaged"
    with pytest.raises(RepositoryError):
        client.fetch()
    assert served.publish(FILES, ONLINE, NOW)
    assert client.fetch() == FILES[TRUSTED_ROOT]


def test_old_metadata_is_not_believed_again(served, client):
    from tuf.api.exceptions import BadVersionNumberError

    old = (served.directory / "timestamp.json").read_bytes()
    served.publish({TRUSTED_ROOT: b"new"}, ONLINE, NOW)
    client.fetch()
    (served.directory / "timestamp.json").write_bytes(old)
    with pytest.raises(BadVersionNumberError):
        client.fetch()


def test_what_is_not_there(served, tmp_path):
    with pytest.raises(NotFound):
        served.target("x.json")
    with pytest.raises(NotFound):
        TufRepository(tmp_path / "nowhere").root_bytes  # noqa: B018 (reading it is the test)
    with pytest.raises(UsageError):
        served.publish({"../x": b""}, ONLINE, NOW)
    with pytest.raises(UsageError):
        served.rotate([ROOT], NOW, online=ONLINE, root_signer=service_key("tuf rsa", "rsa"))
    (served.directory / "timestamp.json").write_bytes(b"{}")
    with pytest.raises(RegistryUnusable):
        served.targets()
