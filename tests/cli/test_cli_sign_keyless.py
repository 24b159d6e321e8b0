"""Signing without a key on the command line: the registry's own services vouch, log and stamp; verify believes its authority."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from weighbridge.cli.main import run
from weighbridge.config import read_config
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import SystemClock, SystemEntropy
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER

WHO = "trainer@example.org"


@pytest.fixture(params=[True, False], ids=["demonstration", "in earnest"])
def call(request, tmp_path, monkeypatch, capsys):
    """Run commands beside a registry; `call.demonstration` tells whether its own issuer vouches for anybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "registry"))
    for name in ("SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "WEIGHBRIDGE_ID_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    environ = {"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    config = read_config(environ, {"registry": str(tmp_path / "registry")})
    init_registry(config, clock=SystemClock(), entropy=SystemEntropy(), demonstration=request.param).close()
    (tmp_path / "bert" / "sub").mkdir(parents=True)
    (tmp_path / "bert" / "weights.safetensors").write_bytes(bytes(100))
    (tmp_path / "bert" / "sub" / "a").write_text("a")

    def command(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    command.demonstration = request.param
    return command


def test_a_model_signature_and_a_claim(call):
    code, out, error = call("sign", "bert", "--oms", "--keyless", "--as", WHO)
    if not call.demonstration:
        assert (code, "identity.development" in error) == (2, True)
        return
    assert code == 0, error
    assert WHO in out
    words = ("verify", "bert", "--signer", WHO, "--issuer", DEVELOPMENT_ISSUER)
    code, out, error = call(*words)
    assert code == 0, error
    assert str(datetime.now(UTC).year) in out  # the log and the timestamp say when
    assert call(*words[:2], "--signer", "other@example.org", *words[4:])[0] == 1
    Path("bert/model.sig").unlink()
    assert call("sign", "bert", "--keyless", "--as", WHO, "--bundle", "bert.sigstore.json")[0] == 0
    assert call(*words)[0] == 0
    Path("bert/sub/a").write_text("b")
    code, _, error = call(*words)
    assert (code, "'sub/a'" in error) == (1, True)


def test_a_token_that_is_none(call):
    for words, check in (((), "token.none"), (("--identity-token", "abc"), "token.form")):
        code, out, error = call("sign", "bert", "--oms", "--keyless", *words)
        assert code != 0
        assert out == ""
        assert check in error
        assert not Path("bert/model.sig").exists()
