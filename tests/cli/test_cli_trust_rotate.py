"""`trust rotate`: what it needs, what it says, and what it refuses."""

import json
from datetime import timedelta

import pytest

from weighbridge.cli.trust_rotate import NAMES
from weighbridge.registry import next_keys, rotation
from weighbridge.registry.service_keys import root_folder


@pytest.fixture
def offline(world):
    """Where the offline keys lie."""
    return root_folder(world.home, world.registry.id)


def test_each_key_is_exchanged_and_told(world, call):
    keys = {name: world.registry.service_key(name).key_id for name in NAMES}
    for name in NAMES:
        code, output, error = call("trust", "rotate", name, "--format", "json")
        assert code == 0, error
        (said,) = json.loads(output)["exchanges"]
        world.reopen()
        assert said["key"] == str(world.registry.service_key(name).key_id) != str(keys[name])
        assert said["authority_version"] == world.registry.authority.version
        assert (said["finished"], said["compromised_since"]) == (False, None)
    assert call("doctor", "--deep")[0] == 0


def test_what_was_cut_off_is_finished_and_said(call, monkeypatch, world):
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call("trust", "rotate", "ca")[0] != 0
    assert next_keys.waiting(world.registry.layout.keys) == ("ca",)
    code, output, _ = call("trust", "rotate", "ca")
    assert code == 0
    assert "cut off is finished" in output
    assert next_keys.waiting(world.registry.layout.keys) == ()


def test_the_offline_keys_are_needed_and_may_lie_elsewhere(world, call, offline):
    for name, key, option in (("gate", "root", "--root-key"), ("ca", "ca-root", "--issuer-key")):
        elsewhere = world.folder / f"{key}-elsewhere.pem"
        (offline / f"{key}.pem").rename(elsewhere)
        code, _, error = call("trust", "rotate", name)
        assert code != 0
        assert f"{key}.pem" in error
        assert call("trust", "rotate", name, option, elsewhere)[0] == 0
        elsewhere.rename(offline / f"{key}.pem")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gate", "--issuer-key", "k.pem"), "no key stands above gate"),
        (("ca", "--new-issuer"), "which key is new"),
        (("gate", "--compromised", "yesterday"), "is no time"),
        (("gate", "--compromised", "2026-11-22T10:00:00"), "is no time"),
        (("gate", "--compromised", "9999-01-01"), "later time"),
        (("root",), "'root'"),
        (("tuf", "--compromised", "2026-11-22"), "cannot be taken back"),
        (("tuf", "--issuer-key", "k.pem", "--new-issuer"), "for ca or tsa"),
    ],
)
def test_misuse_changes_nothing(world, call, words, said):
    before = sorted(path.name for path in world.registry.layout.keys.iterdir())
    code, _, error = call("trust", "rotate", *words)
    assert code == 2
    assert said in error
    assert sorted(path.name for path in world.registry.layout.keys.iterdir()) == before
    assert world.reopen().authority.version == 1


def test_a_key_above_is_new_when_that_is_said(world, call, offline):
    call("key", "new", "fresh.pem", "--algorithm", "ecdsa-p384")
    assert call("trust", "rotate", "ca", "--issuer-key", "fresh.pem")[0] == 2
    assert call("trust", "rotate", "ca", "--issuer-key", offline / "ca-root.pem", "--new-issuer")[0] == 2
    assert call("trust", "rotate", "ca", "--issuer-key", "fresh.pem", "--new-issuer")[0] == 0
    chains = [row.chain for row in world.reopen().authority.trusted.authorities]
    assert len(chains) == 2
    assert chains[0][-1] != chains[1][-1]
    assert call("trust", "rotate", "ca", "--issuer-key", "fresh.pem")[0] == 0


def test_a_stolen_key_ends_when_it_was_stolen(world, call):
    since = world.hand.now() + timedelta(
        minutes=5
    )  # the registry was made at the hand's time, long before now
    code, output, error = call("trust", "rotate", "gate", "--compromised", f"{since:%Y-%m-%dT%H:%M:%SZ}")
    assert code == 0, error
    assert "no longer counts" in output
    rows = {row.name: row.valid_until for row in world.reopen().authority.identities}
    assert rows.pop("gate") is None
    assert since in rows.values()


def test_a_checkpoint_of_the_log_before_is_proven(world, call):
    assert call("log", "show", "--output", "kept")[0] == 0
    assert call("trust", "rotate", "log")[0] == 0
    code, output, error = call("log", "prove", "--since", "kept", "--entry", "0", "--all")
    assert code == 0, error
    assert "is frozen, and goes on as" in output
    assert world.reopen().log.origin in output
    assert call("log", "show", "--output", "newer")[0] == 0
    code, output, _ = call("log", "prove", "--since", "newer")
    assert (code, "frozen" in output) == (0, False)
    forged = (world.folder / "kept").read_text().replace("\n2\n", "\n1\n")
    (world.folder / "kept").write_text(forged)
    assert call("log", "prove", "--since", "kept")[0] == 1
