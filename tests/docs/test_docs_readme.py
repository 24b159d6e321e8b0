"""Every command of the README runs here, in order, in an empty home, and prints what the README shows."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMISED = re.compile(r"\s+# exit (\d)$")
REST = "…"  # a line of its own: any lines may follow here
TOOLS = ("weighbridge", "printf", "mkdir", "cp")


@dataclass(frozen=True)
class Step:
    """One command, the exit code that is promised, and the lines that are shown below it."""

    command: str
    code: int
    shown: tuple[str, ...]


def steps():
    found = []
    for block in BLOCK.findall(README):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            promised = PROMISED.search(command)
            code = int(promised[1]) if promised else 0
            found.append(Step(PROMISED.sub("", command), code, tuple(shown)))
    return found


def timeless(text):
    return re.sub(r"\b\d+(?:\.\d+)? s\b", "N s", text)


def matches(shown, printed):
    """Tell whether what was printed is what is shown; a line `…` stands for any number of lines."""
    # Each line break is taken in one way only, so that long output is compared in no time.
    rest = r"[^\n]*(?:\n[^\n]*)*?"
    pattern = r"\n".join(rest if line == REST else re.escape(timeless(line)) for line in shown)
    return re.fullmatch(pattern, timeless(printed.rstrip("\n"))) is not None


def environment(home):
    """Return a small environment: an empty home, our own programs first, nothing of the caller's."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    return {"HOME": str(home), "PATH": programs, "LANG": "C.UTF-8", "NO_COLOR": "1"}


@pytest.mark.timeout(300)  # a drill is among them
def test_every_command_does_what_the_readme_says(tmp_path):
    assert steps(), "the README shows no command"
    for step in steps():
        done = subprocess.run(
            ["/bin/sh", "-c", step.command],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == step.code, f"$ {step.command}\n{done.stdout}"
        assert matches(step.shown, done.stdout), (
            f"$ {step.command}\n{done.stdout}\n--- is shown as\n" + "\n".join(step.shown)
        )


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.command[:40])
def test_only_harmless_commands_are_shown(step):
    assert shlex.split(step.command)[0] in TOOLS


def test_make_targets_that_are_shown_exist():
    targets = re.findall(r"^make ([a-z]+)", README, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_verbs_that_are_mentioned_exist():
    from weighbridge.cli.main import COMMANDS

    mentioned = set(re.findall(r"`weighbridge ([a-z]+)", README))
    assert mentioned
    assert mentioned - COMMANDS.keys() == set()


def test_it_is_short():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("one", "two"), "one\ntwo\n", True),
        (("one", "two"), "one\nthree\n", False),
        (("took 1.6 s",), "took 0.1 s\n", True),
        (("one", REST), "one\ntwo\nthree\n", True),
        ((REST, "three"), "one\ntwo\nthree\n", True),
        ((REST, "three"), "one\ntwo\n", False),
        ((), "", True),
        ((), "surprise", False),
    ],
)
def test_output_is_compared_line_by_line(shown, printed, same):
    assert matches(shown, printed) is same
