"""Everything that a gate depends on, failing in every way that we could think of.

A fault is a context manager over a house; inside of it commands are run, and afterwards it is mended where something can be
mended. `lasting` faults leave damage behind that no command may repair by itself: from then on the registry is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import resource
import shutil
import socket
import sqlite3
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from faulty_house import House, later

from weighbridge.policy.engines import process, regorus
from weighbridge.store import sql
from world_opa import Front
from world_receiver import SECRET, Receiver


@dataclass(frozen=True)
class Fault:
    """One way in which one part fails."""

    part: str
    failure: str
    break_: Callable[[House], contextlib.AbstractContextManager[None]]
    words: str
    """A regular expression: what names the part in what a stopped command says."""
    stops: frozenset[str] = frozenset({"promote", "admit", "revoke"})
    """Commands that cannot do their work on sound models while it lasts."""
    code: int | None = 3
    """With which exit code these end; None for 1 or 3, where the damage is also a definite refusal."""
    lasting: bool = False

    @property
    def name(self) -> str:
        return f"{self.part}-{self.failure}".replace(" ", "-")


FAULTS: list[Fault] = []


def fault(
    part: str, failure: str, words: str, **more: object
) -> Callable[[Callable[..., Iterator[None]]], None]:
    """Put a generator over a house into the table."""

    def put(function: Callable[..., Iterator[None]]) -> None:
        FAULTS.append(Fault(part, failure, contextmanager(function), words, **more))

    return put


# ---------------------------------------------------------------- the engine: a worker of ours that does something else


def worker(house: House, body: str) -> contextlib.AbstractContextManager[object]:
    """Put a program of our own in the place of the engine's worker; `read`, `write`, `send` and `says` are given."""
    place = house.folder / "worker.py"
    place.write_text(
        textwrap.dedent("""
        import json, os, signal, sys, time
        def read():
            size = int.from_bytes(sys.stdin.buffer.read(4), "big")
            frame = sys.stdin.buffer.read(size)
            return frame[:8]
        def write(data):
            sys.stdout.buffer.write(data); sys.stdout.buffer.flush()
        def send(number, payload):
            write((len(payload) + 8).to_bytes(4, "big") + number + payload)
        def says(number, value):
            send(number, b"R" + json.dumps({"result": [{"expressions": [{"value": value, "text": ""}]}]}).encode())
        send(bytes(8), json.dumps({"ready": "0.13.0"}).encode())
        """)
        + textwrap.dedent(body)
    )
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(process, "WORKER", place))
    stack.enter_context(mock.patch.object(process, "START_SECONDS", 2.0))
    stack.enter_context(
        mock.patch.object(regorus.RegorusEngine.__init__, "__defaults__", (1.0, 512 * 1024 * 1024))
    )
    return stack


ENGINE = r"policy engine|policy\.engine|would let anything pass|the policy"
JUDGING = frozenset({"promote", "admit"})


@fault("engine", "absent", ENGINE, stops=JUDGING)
def engine_absent(house: House) -> Iterator[None]:
    with mock.patch.object(process, "WORKER", house.folder / "nowhere.py"):
        yield


@fault("engine", "slow", ENGINE, stops=JUDGING)
def engine_slow(house: House) -> Iterator[None]:
    with worker(house, "read(); time.sleep(60)"):
        yield


@fault("engine", "wrong answer", ENGINE, stops=JUDGING)
def engine_wrong(house: House) -> Iterator[None]:
    with worker(house, "while True: says(read(), {'allow': True, 'deny': []})"):
        yield


@fault("engine", "contradicts itself", ENGINE, stops=JUDGING)
def engine_contradicts(house: House) -> Iterator[None]:
    value = "{'allow': True, 'deny': [{'rule': 'x', 'msg': 'y'}]}"
    with worker(house, f"while True: says(read(), {value})"):
        yield


@fault("engine", "garbage", ENGINE, stops=JUDGING)
def engine_garbage(house: House) -> Iterator[None]:
    with worker(house, "read(); write(os.urandom(4096))"):
        yield


@fault("engine", "partial write", ENGINE, stops=JUDGING)
def engine_partial(house: House) -> Iterator[None]:
    with worker(house, "number = read(); write((1000).to_bytes(4, 'big') + number + b'R{')"):
        yield


@fault("engine", "killed", ENGINE, stops=JUDGING)
def engine_killed(house: House) -> Iterator[None]:
    with worker(house, "read(); os.kill(os.getpid(), signal.SIGKILL)"):
        yield


# ---------------------------------------------------------------- OPA, over HTTP

OPA = r"OPA|opa"


@contextmanager
def opa(house: House, lies: Callable[..., bool] | None) -> Iterator[Front]:
    """Have the house ask an OPA server that does not tell the truth."""
    with Front() as front:
        front.lies = lies
        house.settings |= {
            "WEIGHBRIDGE_POLICY_ENGINE": "opa", "WEIGHBRIDGE_OPA_URL": front.url, "WEIGHBRIDGE_OPA_SECONDS": "1",
        }  # fmt: skip
        try:
            yield front
        finally:
            house.settings.clear()


@fault("opa", "absent", OPA, stops=JUDGING)
def opa_absent(house: House) -> Iterator[None]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        house.settings |= {
            "WEIGHBRIDGE_POLICY_ENGINE": "opa", "WEIGHBRIDGE_OPA_SECONDS": "1",
            "WEIGHBRIDGE_OPA_URL": f"http://127.0.0.1:{taken.getsockname()[1]}",
        }  # fmt: skip
        yield
        house.settings.clear()


def lie(part: str, failure: str, lies: Callable[..., bool]) -> None:
    @fault(part, failure, OPA, stops=JUDGING)
    def told(house: House) -> Iterator[None]:
        with opa(house, lies):
            yield


def _slow(handler: object, _method: str, _path: str) -> bool:
    time.sleep(1.5)
    del handler
    return False


def _allows(handler: object, method: str, path: str) -> bool:
    if method == "POST" and path.startswith("/v1/data/"):
        handler.send(200, json.dumps({"result": {"allow": True, "deny": []}, "decision_id": "1"}).encode())
        return True
    return False


def _undefined(handler: object, method: str, path: str) -> bool:
    if method == "POST" and path.startswith("/v1/data/"):
        handler.send(200, b"{}")
        return True
    return False


def _garbage(handler: object, _method: str, _path: str) -> bool:
    handler.send(200, os.urandom(300))
    return True


def _cut(handler: object, _method: str, _path: str) -> bool:
    handler.send(200, b'{"result": {"allow": tr', length=4000)
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def _gone(handler: object, _method: str, _path: str) -> bool:
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def _broken(handler: object, _method: str, _path: str) -> bool:
    handler.send(500, b'{"code": "internal_error"}')
    return True


for _name, _lies in (
    ("slow", _slow), ("wrong answer", _allows), ("undefined", _undefined), ("garbage", _garbage), ("partial write", _cut),
    ("killed", _gone), ("internal error", _broken),
):  # fmt: skip
    lie("opa", _name, _lies)


# ---------------------------------------------------------------- things on disk: gone, exchanged, garbage, cut off


@contextmanager
def put_back(path: Path) -> Iterator[None]:
    """Put a file or folder back as it was, whatever was done to it meanwhile."""
    kept = path.with_name(f"{path.name}.kept")
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, kept)
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        kept.rename(path)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def overwrite(path: Path) -> None:
    """Fill a file, or each file of a folder, with as many bytes of chance."""
    chance = random.Random(7)
    for one in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        size, mode = one.stat().st_size, one.stat().st_mode
        one.chmod(0o600)
        one.write_bytes(chance.randbytes(size))
        one.chmod(mode)


def cut(path: Path) -> None:
    """Leave the first two thirds of a file, or of each file of a folder."""
    for one in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        mode = one.stat().st_mode
        one.chmod(0o600)
        os.truncate(one, one.stat().st_size * 2 // 3)
        one.chmod(mode)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data, mode = bytearray(path.read_bytes()), path.stat().st_mode
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


def database(house: House) -> Path:
    """Return the database, with everything written into the one file."""
    path = house.root / "registry.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    return path


def log_files(house: House) -> Path:
    return house.root / "log"


PARTS: dict[str, tuple[Callable[[House], Path], str, dict[str, object]]] = {
    "log": (log_files, r"\blog\b|checkpoint|tile|entr", {"code": None}),
    "database": (database, r"database|records|registry|tally", {"code": None}),
    "blob store": (
        lambda house: house.root / "blobs",
        r"blob|bytes|kept|file|byte",
        {"code": None, "stops": JUDGING},
    ),
    "policy": (lambda house: house.root / "policy", r"policy", {"code": 3, "stops": JUDGING}),
    "trusted root": (lambda house: next((house.home / "pins").glob("*.json")), r"pin", {"code": None}),
}
WAYS: dict[str, Callable[[Path], None]] = {"absent": remove, "garbage": overwrite, "partial write": cut}


def damaged(part: str, failure: str) -> None:
    """Damage a part for as long as the fault lasts."""
    place, words, more = PARTS[part]

    @fault(part, failure, words, **more)
    def damage(house: House) -> Iterator[None]:
        path = place(house)
        with put_back(path):
            WAYS[failure](path)
            yield


for _part in PARTS:
    for _failure in WAYS:
        damaged(_part, _failure)


# ---------------------------------------------------------------- wrong answers, at rest


@fault("log", "wrong answer", r"log|checkpoint|entr|tile", code=None)
def log_older(house: House) -> Iterator[None]:
    """The log as it was before the last entries: sound in itself, and older than what was seen."""
    log, older = house.root / "log", house.folder / "older-log"
    shutil.copytree(log, older)
    assert house.call("promote", "unproven").code == 1
    with put_back(log):
        shutil.rmtree(log)
        older.rename(log)
        yield


@fault("log", "slow", r"lock|busy|log|write|another", code=3)
def log_held(house: House) -> Iterator[None]:
    """Somebody else holds the lock of the one writer, and does not let go."""
    with (house.root / "lock").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@fault("database", "slow", r"database|busy|locked|lock", code=3)
def database_held(house: House) -> Iterator[None]:
    """Somebody else writes to it for longer than anybody waits."""
    with (
        mock.patch.object(sql, "BUSY_MS", 300),
        contextlib.closing(sqlite3.connect(house.root / "registry.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def edited(failure: str, *statements: str) -> None:
    @fault("database", failure, r"records|tally|database", code=None)
    def edit(house: House) -> Iterator[None]:
        with put_back(database(house)):
            with contextlib.closing(sqlite3.connect(house.root / "registry.db")) as connection, connection:
                for statement in statements:
                    connection.execute(
                        statement,
                        {key: value for key, value in house.digests.items() if f":{key}" in statement},
                    )
            yield


edited("wrong tier", "UPDATE model SET tier = 'trusted' WHERE digest = :unproven")
edited(
    "wrong status", "UPDATE model SET status = 'active', tier = 'trusted' WHERE digest IN (:denied, :evil)"
)
edited("lost decision", "DELETE FROM decision WHERE id = (SELECT id FROM decision ORDER BY sequence LIMIT 1)")
edited(
    "wrong policy pinned",
    "UPDATE setting SET value = 'sha256:' || substr(value, 8, 63) || '0' WHERE key = 'policy'",
)
edited("wrong mode", "INSERT INTO setting (schema_version, project, actor, created_at, key, value) "
       "VALUES (1, 'default', 'x', '2026-11-22T12:00:00Z', 'mode', 'off')")  # fmt: skip


@fault("blob store", "wrong answer", r"blob|bytes|kept|file", code=None, stops=JUDGING)
def blobs_changed(house: House) -> Iterator[None]:
    """One bit of each kept file is another."""
    with put_back(house.root / "blobs"):
        for path in (house.root / "blobs").glob("sha256/??/*"):
            if path.is_file():
                flip(path)
        yield


@fault("blob store", "slow", r"blob|bytes|kept|file", code=None, stops=JUDGING)
def blobs_are_pipes(house: House) -> Iterator[None]:
    """Each kept file has become a pipe from which nothing ever comes."""
    with put_back(house.root / "blobs"):
        for path in [path for path in (house.root / "blobs").glob("sha256/??/*") if path.is_file()]:
            path.unlink()
            os.mkfifo(path)
        yield


@fault("policy", "wrong answer", r"policy", stops=JUDGING)
def policy_allows_all(house: House) -> Iterator[None]:
    with put_back(house.root / "policy"):
        for name in ("own", "third_party"):
            text = f"package weighbridge.{name}\n\nallow := true\n\ndeny := []\n"
            (house.root / "policy" / f"{name}.rego").write_text(text)
        yield


@fault("policy", "slow", r"policy", stops=JUDGING)
def policy_is_a_pipe(house: House) -> Iterator[None]:
    with put_back(house.root / "policy"):
        (house.root / "policy" / "own.rego").unlink()
        os.mkfifo(house.root / "policy" / "own.rego")
        yield


# ---------------------------------------------------------------- the authority, which lies in the database


def authority(failure: str, *statements: str) -> None:
    @fault("authority", failure, r"authority|records|tally", code=None)
    def change(house: House) -> Iterator[None]:
        with put_back(database(house)):
            with contextlib.closing(sqlite3.connect(house.root / "registry.db")) as connection, connection:
                for statement in statements:
                    connection.execute(statement)
            yield


_NEWEST = "version = (SELECT max(version) FROM authority)"
authority("absent", "DELETE FROM authority")
authority("wrong answer", f"DELETE FROM authority WHERE {_NEWEST}")
authority("garbage", f"UPDATE authority SET content = 'x' || hex(randomblob(500)) WHERE {_NEWEST}")
authority(
    "partial write",
    f"UPDATE authority SET content = substr(content, 1, length(content) * 2 / 3) WHERE {_NEWEST}",
)
authority("one bit", f"UPDATE authority SET content = replace(content, 'A', 'B') WHERE {_NEWEST}")


@fault("authority", "expired", r"authority")
def authority_expired(house: House) -> Iterator[None]:
    now = house.hand.at
    later(house, days=3650)
    yield
    house.hand.at = now


@fault("trusted root", "wrong answer", r"authority|root|sign|pin|log", code=None)
def another_root(house: House) -> Iterator[None]:
    """The pin names another root key: somebody else's registry, or a pin that was exchanged."""
    from weighbridge.keys.files import generate

    path = next((house.home / "pins").glob("*.json"))
    with put_back(path):
        pin = json.loads(path.read_text())
        pin["roots"] = [generate().public_pem]
        path.write_text(json.dumps(pin))
        yield


@fault("trusted root", "slow", r"pin", code=None)
def pin_is_a_pipe(house: House) -> Iterator[None]:
    path = next((house.home / "pins").glob("*.json"))
    with put_back(path):
        path.unlink()
        os.mkfifo(path)
        yield


# ---------------------------------------------------------------- the clock


def clock(failure: str, now: Callable[[House], datetime], **more: object) -> None:
    @fault("clock", failure, r"clock|time|future|expired|before|ended|authority", **more)
    def tell(house: House) -> Iterator[None]:
        told = house.hand.now
        house.hand.now = lambda: now(house)
        yield
        house.hand.now = told


def _broken_clock(_house: House) -> datetime:
    raise OSError(errno.EIO, "the clock does not answer")


clock("absent", _broken_clock)
clock("a year back", lambda house: house.hand.at - timedelta(days=365))
clock("twenty years ahead", lambda house: house.hand.at + timedelta(days=7300))
clock("in 1970", lambda _house: datetime(1970, 1, 1, tzinfo=UTC))
clock("an hour back", lambda house: house.hand.at - timedelta(hours=1))


# ---------------------------------------------------------------- the disk


def disk(failure: str, error: int, words: str) -> None:
    @fault("disk", failure, words)
    def refuse(house: House) -> Iterator[None]:
        """Whatever is written below the registry fails, in the log and the blobs; the database's own writes do not."""
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if within(descriptor, house.root):
                raise OSError(error, os.strerror(error))
            return real(descriptor, data)

        def fsync(_descriptor: int) -> None:
            raise OSError(error, os.strerror(error))

        with mock.patch.object(os, "write", write), mock.patch.object(os, "fsync", fsync):
            yield


def within(descriptor: int, folder: Path) -> bool:
    """Tell whether an open file lies below a folder."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder)
    except OSError:
        return False


_DISK = r"disk|space|full|read-only|written|write|Read-only|No space|log|cannot"
disk("absent", errno.EIO, _DISK)
disk("full", errno.ENOSPC, _DISK)
disk("read only", errno.EROFS, _DISK)


@fault("disk", "no byte more", _DISK)
def disk_no_byte(_house: House) -> Iterator[None]:
    """No file of this process grows any more: neither the log's nor the database's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@fault("disk", "slow", "", stops=frozenset(), code=None)
def disk_slow(_house: House) -> Iterator[None]:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(0.01)
        real(descriptor)

    with mock.patch.object(os, "fsync", fsync):
        yield


# ---------------------------------------------------------------- receivers of alerts: they may fail as they like


def sink(failure: str, behaviour: object) -> None:
    @fault("alert sink", failure, "", stops=frozenset(), code=None)
    def tell(house: House) -> Iterator[None]:
        receiver = Receiver()
        receiver.behaviour = behaviour
        settings = house.home / "weighbridge.toml"
        settings.write_text(
            f'[[alert]]\nname = "team"\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_env = "HOOK_SECRET"\n'
        )
        house.settings["HOOK_SECRET"] = SECRET
        if behaviour == "absent":
            receiver.close()
        try:
            yield
        finally:
            house.settings.clear()
            settings.unlink()
            if behaviour != "absent":
                receiver.close()


for _name, _how in (
    ("absent", "absent"), ("slow", "silent"), ("wrong answer", 500), ("garbage", "huge"), ("partial write", "drip"),
    ("killed", "cut"), ("elsewhere", (302, {"Location": "http://127.0.0.1:1/"})),
):  # fmt: skip
    sink(_name, _how)
