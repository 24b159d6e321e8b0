"""Private keys in files: who may read them, what is refused, and that no secret ever shows."""

import base64
import copy
import functools
import os
import shutil
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, Unreadable, UsageError, WeighbridgeError
from weighbridge.keys.files import MAX_FILE, generate, load
from weighbridge.keys.ports import ALGORITHMS, Signer
from weighbridge.keys.public import key_id_of_pem, verify_signature

PASSWORD = "planted-passw0rd-Zq7"


made = functools.cache(generate)


@pytest.fixture(params=ALGORITHMS)
def key(request):
    return made(request.param)


def private_bytes(key):
    return key._private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_key_signs_through_the_port(key):
    signer: Signer = key
    signature = signer.sign(b"data")
    assert verify_signature(signer.public_pem, b"data", signature)
    assert not verify_signature(signer.public_pem, b"other", signature)
    assert signer.key_id == key_id_of_pem(signer.public_pem)


@pytest.mark.parametrize("password", [None, PASSWORD, "pässwörd"])
def test_a_key_survives_the_road(key, tmp_path, password):
    key.save(tmp_path / "key", password)
    again = load(tmp_path / "key", password)
    assert (again.algorithm, again.public_pem, again.key_id) == (key.algorithm, key.public_pem, key.key_id)
    assert verify_signature(key.public_pem, b"data", again.sign(b"data"))


def test_every_generated_key_is_another():
    assert len({generate(algorithm).key_id for algorithm in ("ecdsa-p256", "ed25519") * 3}) == 6


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_key_file_is_its_owners_alone_whatever_the_mask(key, tmp_path, mask):
    before = os.umask(mask)
    try:
        key.save(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_with_a_password_the_file_holds_no_plain_key(key, tmp_path):
    key.save(tmp_path / "key", PASSWORD)
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    assert private_bytes(key).splitlines()[1] not in (tmp_path / "key").read_bytes()


def test_nothing_is_ever_overwritten(key, tmp_path):
    path = tmp_path / "key"
    path.write_text("mine")
    with pytest.raises(Refused) as caught:
        key.save(path)
    assert caught.value.check == "key.exists"
    assert path.read_text() == "mine"


def test_no_link_is_followed_when_writing(key, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused):
        key.save(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_failed_write_leaves_nothing(key, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unreadable):
        key.save(tmp_path / "key")
    assert not (tmp_path / "key").exists()


def test_a_missing_folder_is_said(key, tmp_path):
    with pytest.raises(Unreadable):
        key.save(tmp_path / "none" / "key")


def test_an_empty_password_is_a_mistake(key, tmp_path):
    with pytest.raises(UsageError):
        key.save(tmp_path / "key", "")
    assert not (tmp_path / "key").exists()


def test_other_algorithms_are_not_made():
    with pytest.raises(UsageError):
        generate("dsa")


# Files we do not trust


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_file_that_others_can_touch_is_refused_with_the_remedy(key, tmp_path, mode):
    path = tmp_path / "key"
    key.save(path)
    path.chmod(mode)
    with pytest.raises(Refused) as caught:
        load(path)
    assert caught.value.check == "key.mode"
    assert f"chmod 600 {path}" in caught.value.remedy


def test_a_link_is_refused(key, tmp_path):
    key.save(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(Refused) as caught:
        load(tmp_path / "link")
    assert caught.value.check == "key.link"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(key, tmp_path):
    key.save(tmp_path / "key")
    os.chown(tmp_path / "key", 12345, -1)
    with pytest.raises(Refused) as caught:
        load(tmp_path / "key")
    assert caught.value.check == "key.owner"


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "folder"):
        with pytest.raises(Refused) as caught:
            load(tmp_path / name)
        assert caught.value.check == "key.file"


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "key"
    path.touch(0o600)
    os.truncate(path, MAX_FILE + 1)
    with pytest.raises(Refused) as caught:
        load(path)
    assert caught.value.check == "key.file"


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(NotFound):
        load(tmp_path / "key")
    with pytest.raises(WeighbridgeError):
        load(tmp_path / "none" / "key")


def private_file(path, data):
    path.touch(0o600)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "private",
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), id="rsa"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
    ],
)
def test_other_kinds_of_key_are_refused(tmp_path, private):
    data = private().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(Refused) as caught:
        load(private_file(tmp_path / "key", data))
    assert caught.value.check == "key.type"


@pytest.mark.parametrize(
    "data", [b"", b"text", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_said(tmp_path, data):
    with pytest.raises(Unreadable) as caught:
        load(private_file(tmp_path / "key", data))
    assert caught.value.check == "key.form"


def test_a_truncated_key_is_said(key, tmp_path):
    data = private_bytes(key)
    for cut in (10, len(data) // 2, len(data) - 30):
        with pytest.raises(WeighbridgeError):
            load(private_file(tmp_path / f"{cut}", data[:cut]))


def test_a_public_key_is_no_private_key(key, tmp_path):
    with pytest.raises(Unreadable):
        load(private_file(tmp_path / "key", key.public_pem.encode()))


def test_passwords_missing_unwanted_and_wrong(key, tmp_path):
    key.save(tmp_path / "locked", PASSWORD)
    key.save(tmp_path / "open")
    for name, password, kind, check in [
        ("locked", None, UsageError, "key.password"),
        ("open", PASSWORD, UsageError, "key.password"),
        ("locked", PASSWORD + "x", Unreadable, "key.form"),
    ]:
        with pytest.raises(kind) as caught:
            load(tmp_path / name, password)
        assert caught.value.check == check
        assert caught.value.remedy


# Nothing secret shows


def shown(error):
    """All that a traceback, a log line or JSON could show of an error, its causes included."""
    parts = []
    while error is not None:
        parts += [str(error), repr(error), repr(error.args), repr(getattr(error, "__dict__", ""))]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)


def test_no_error_shows_a_password_or_a_key(key, tmp_path):
    secret = private_bytes(key).decode()
    body = secret.splitlines()[1]
    key.save(tmp_path / "locked", PASSWORD)
    key.save(tmp_path / "open")
    private_file(tmp_path / "torn", secret.replace("-----END", "-----EN").encode())
    private_file(tmp_path / "short", secret[:-60].encode())
    attempts = [
        lambda: load(tmp_path / "locked", PASSWORD + "x"),
        lambda: load(tmp_path / "open", PASSWORD),
        lambda: load(tmp_path / "locked"),
        lambda: load(tmp_path / "torn"),
        lambda: load(tmp_path / "short", PASSWORD),
        lambda: key.save(tmp_path / "open", PASSWORD),
        lambda: key.save(tmp_path / "none" / "key", PASSWORD),
    ]
    for attempt in attempts:
        with pytest.raises(WeighbridgeError) as caught:
            attempt()
        text = shown(caught.value)
        assert PASSWORD not in text
        assert body not in text
        assert body[10:40] not in text


def test_no_repr_shows_a_key_and_no_copy_is_made(key):
    body = private_bytes(key).decode().splitlines()[1]
    assert body not in repr(key) + str(key) + f"{key}"
    assert repr(key) == f"FileKey({key.algorithm}, {key.key_id.short})"
    for copying in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(key)


def test_files_of_other_tools_are_read(tmp_path):
    """PKCS #8 as openssl writes it."""
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    data = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found = load(private_file(tmp_path / "key", data))
    assert found.algorithm == "ed25519"
    assert isinstance(found.key_id, Digest)


# Passwords, and what other tools write


def test_openssl_reads_what_is_written_under_a_password(key, tmp_path):
    if shutil.which("openssl") is None or key.algorithm == "ml-dsa-44":
        pytest.skip("no openssl here that knows this kind of key")
    key.save(tmp_path / "key", PASSWORD)
    done = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "key", "-passin", f"pass:{PASSWORD}", "-pubout"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == key.public_pem


def test_a_guess_of_a_password_costs_memory(tmp_path):
    """RFC 7914 section 7: the file says scrypt, N 16384, r 8, p 1; salt and vector are never the same twice."""
    files = []
    for name in ("one", "two"):
        made("ecdsa-p256").save(tmp_path / name, PASSWORD)
        files.append(base64.b64decode("".join((tmp_path / name).read_text().splitlines()[1:-1])))
    for der in files:
        assert bytes.fromhex("06092b06010401da47040b") in der
        assert bytes.fromhex("02024000" + "020108" + "020101") in der
    assert files[0][-100:] != files[1][-100:]


@pytest.mark.parametrize("form", ["ec", "rsa"])
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_openssls_older_forms_are_read(tmp_path, form, password):
    """SEC 1 (RFC 5915) and PKCS #1 (RFC 8017), plain or under a password."""
    key = made({"ec": "ecdsa-p384", "rsa": "rsa"}[form])
    protection = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    data = key._private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, protection
    )
    assert f"-----BEGIN {form.upper()} PRIVATE KEY-----".encode() in data
    assert load(private_file(tmp_path / "key", data), password).key_id == key.key_id
    if password:
        with pytest.raises(UsageError):
            load(tmp_path / "key")


def test_a_password_is_asked_for_only_where_there_is_one(key, tmp_path):
    asked = []

    def ask():
        asked.append(1)
        return PASSWORD

    key.save(tmp_path / "open")
    assert load(tmp_path / "open", ask).key_id == key.key_id
    assert asked == []
    key.save(tmp_path / "locked", PASSWORD)
    assert load(tmp_path / "locked", ask).key_id == key.key_id
    assert asked == [1]


def test_forms_we_do_not_read_say_what_to_do(tmp_path):
    ssh = made("ed25519")._private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    cosign = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
    for data, word, remedy in [
        (ssh, "OpenSSH", "weighbridge key new"),
        (cosign, "cosign", "cosign import-key-pair --key"),
        (cosign.replace(b"SIGSTORE", b"COSIGN"), "cosign", "cosign import-key-pair --key"),
    ]:
        path = tmp_path / f"{hash(data)}"
        with pytest.raises(Unreadable) as caught:
            load(private_file(path, data), None)
        assert caught.value.check == "key.form"
        assert word in caught.value.cause
        assert remedy in caught.value.remedy


def test_a_key_gets_changes_and_loses_its_password(key, tmp_path):
    path = tmp_path / "key"
    key.save(path)
    for before, after in [(None, PASSWORD), (PASSWORD, "another"), ("another", None)]:
        load(path, before).rewrite(path, after)
        assert load(path, after).key_id == key.key_id
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (b"ENCRYPTED" in path.read_bytes()) == (after is not None)
        assert [one.name for one in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_failed_change_leaves_the_old_key(tmp_path, monkeypatch, call):
    path = tmp_path / "key"
    key = made("ecdsa-p256")
    key.save(path, PASSWORD)

    def full(*_given, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(Unreadable):
        key.rewrite(path, "another")
    monkeypatch.undo()
    assert load(path, PASSWORD).key_id == key.key_id
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_a_change_that_was_killed_is_made_again(tmp_path):
    path = tmp_path / "key"
    key = made("ecdsa-p256")
    key.save(path)
    (tmp_path / ".key.new").write_text("half a ke")
    key.rewrite(path, PASSWORD)
    assert load(path, PASSWORD).key_id == key.key_id
    with pytest.raises(UsageError):
        key.rewrite(path, "")


def test_an_elliptic_key_of_openssl_with_its_parameters_before_it(tmp_path):
    """`openssl ecparam -genkey` writes the curve's name in a block of its own."""
    key = made("ecdsa-p256")
    data = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    data += key._private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert load(private_file(tmp_path / "key", data)).key_id == key.key_id
