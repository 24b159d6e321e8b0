"""For tests of the command line: a house, and a way to run commands in it without leaving this process."""

import pytest

from weighbridge.cli.main import run
from weighbridge.registry.wiring import SystemClock
from world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def call(world, monkeypatch, capsys):
    """Run a command line in the world's folder; returns (exit code, standard output, standard error)."""
    for name in ("HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME"):
        monkeypatch.setenv(name, world.environ.get(name, ""))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.registry.layout.root))
    monkeypatch.setenv("WEIGHBRIDGE_LOCK_SECONDS", "5")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(world.folder)
    real = (
        SystemClock.now
    )  # a command that follows what the world said in a time to come is given at that time
    monkeypatch.setattr(SystemClock, "now", lambda clock: max(real(clock), world.hand.at))

    def command(*arguments):
        capsys.readouterr()
        code = run([str(word) for word in arguments])
        output = capsys.readouterr()
        assert "Traceback" not in output.err or '"exception"' in output.err
        return code, output.out, output.err

    return command
