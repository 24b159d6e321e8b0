"""`verify` with a registry at hand: signers by the name the authority gives them, their roles, its roots."""

from datetime import timedelta
from pathlib import Path

import pytest

from weighbridge.cli import verify
from weighbridge.core.tier import Role


@pytest.fixture
def said(world, monkeypatch):
    """Return a folder and the packer's logged claim about it, verified at the world's time."""
    monkeypatch.setattr(verify, "_now", world.hand.now)
    folder = world.model()
    world.take(folder)
    bundle = world.say_package(folder, world.person("packer", "package"))
    world.person("tester", "evaluate")
    path = Path(world.folder) / "model.sigstore.json"
    path.write_bytes(bundle.to_json())
    return folder, path


def test_a_signer_by_name(said, call):
    folder, path = said
    code, out, error = call("verify", folder, "--bundle", path, "--signer", "packer")
    assert code == 0, error
    assert "entry " in out
    (folder / "config.json").write_text("{ }")
    code, _, error = call("verify", folder, "--bundle", path, "--signer", "packer")
    assert (code, "bytes.match" in error) == (1, True)


def test_another_name_is_another_signer(said, call):
    folder, path = said
    code, _, error = call("verify", folder, "--bundle", path, "--signer", "tester")
    assert code == 1
    assert "bundle.signature" in error
    code, _, error = call("verify", folder, "--bundle", path, "--signer", "nobody")
    assert (code, "names no 'nobody'" in error) == (2, True)


def test_a_signer_without_the_role(world, said, call):
    folder, path = said
    world.publish(world.registry.authority.without_roles("packer", [Role.PACKAGE]))
    code, _, error = call("verify", folder, "--bundle", path, "--signer", "packer")
    assert (code, "identity.role" in error) == (1, True)


def test_an_authority_that_has_expired(world, said, call, monkeypatch):
    folder, path = said
    later = world.registry.authority.expires + timedelta(seconds=1)
    monkeypatch.setattr(verify, "_now", lambda: later)
    code, _, error = call("verify", folder, "--bundle", path, "--signer", "packer")
    assert (code, "authority.expired" in error) == (1, True)
