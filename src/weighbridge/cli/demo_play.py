"""The demo's play: runs real commands in their own processes, shows them, and keeps the score of refusals."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from weighbridge.cli.demo_models import Models, write_dangerous
from weighbridge.cli.render import table
from weighbridge.core.errors import InternalError

MAX_REASON = 96
LOAD = (
    "import sys, weighbridge\n"
    "model = weighbridge.load(sys.argv[1])\n"
    "count = sum(1 for _ in model.tensors())\n"
    "print(f'{count} tensors, every byte hashed as it was read, {model.manifest.digest}')\n"
)


class Play:
    """Runs the scenes in one folder, with a configuration home of its own."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.refused: list[tuple[str, str, str]] = []
        self._begun = time.monotonic()
        self._environ = {
            **{
                key: value
                for key, value in environ.items()
                if not key.startswith("WEIGHBRIDGE_") and key != "PYTHONDONTWRITEBYTECODE"
            },
            "WEIGHBRIDGE_CONFIG_HOME": str(folder / "config"),
            "WEIGHBRIDGE_HOME": ".weighbridge",
            "WEIGHBRIDGE_ACTOR": "demo",
        }

    def reset(self) -> None:
        """Forget an earlier demo, but keep its downloads."""
        for name in ("config", "work"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.work.mkdir(parents=True)

    @property
    def work(self) -> Path:
        """Return the folder in which the commands run."""
        return self.folder / "work"

    def run(self, models: Models) -> int:
        """Play all scenes; returns 0 when everything came out as announced."""
        self._dangerous()
        self._third_party(models)
        self._own(models)
        self._changed_byte(models)
        self._descendant(models)
        self._log()
        self._score()
        return 0

    def tell(self, text: str) -> None:
        """Say what comes next."""
        click.echo(f"\n{click.style('# ' + text, fg='cyan', bold=True)}")

    # The scenes.

    def _dangerous(self) -> None:
        self.tell("A checkpoint that would run a command when loaded. It is read, never loaded.")
        write_dangerous(self.work / "sentiment")
        self.weighbridge(
            "scan", "./sentiment", expect=1, refusal=("a checkpoint that runs a command", "scan")
        )

    def _third_party(self, models: Models) -> None:
        self.tell(
            "A stranger's pickled checkpoint: pinned, scanned, rebuilt without running it, accepted, promoted."
        )
        self.weighbridge("init")
        self.weighbridge("log", "show", "--output", "checkpoint-at-the-start")
        self.weighbridge(
            "pull", str(models.checkpoint), "--expect", f"{models.checkpoint.name}=sha256:{models.announced}",
            "--publisher", models.publisher, "--licence", models.licence,
            "--accept", "pitch tracking for the audio team", "--name", "crepe",
        )  # fmt: skip
        self.load(self.path_of("crepe"))

    def _own(self, models: Models) -> None:
        self.tell(
            "A model of our own: data, training, evaluation and packaging are claimed by four different keys."
        )
        shutil.copytree(models.encoder, self.work / "encoder")
        self._people()
        self._data("pairs", "anchor,positive\nhello,hi\n", source="collected in house")
        self.weighbridge("intake", "./encoder")
        self._train("./encoder", "stranger.pem", "--data", "./pairs", run="job-1")
        self._evaluate_and_sign("./encoder", "spearman=0.82")
        self.tell("The training claim was signed by a stranger: the gate refuses, and names the claim.")
        refusal = ("training signed by a stranger", "promote")
        self.weighbridge("promote", "./encoder", "--name", "encoder", expect=1, refusal=refusal)
        self.tell("Signed by the training team, it passes.")
        self._train("./encoder", "train.pem", "--data", "./pairs", run="job-1")
        self.weighbridge("promote", "./encoder", "--name", "encoder")
        self.weighbridge("deploy", "encoder", "--target", "prod/search")
        self.weighbridge("verify", self.path_of("encoder"))

    def _people(self) -> None:
        for who in ("data", "train", "evaluate", "package"):
            self.weighbridge("key", "new", f"{who}.pem", quiet=True)
            key = f"{who}.pub.pem"
            self.weighbridge("trust", "add", f"{who}-team", "--key", key, "--role", who, quiet=True)
        self.weighbridge("key", "new", "stranger.pem", quiet=True)
        self.weighbridge("trust", "show")

    def _data(self, name: str, rows: str, *, source: str) -> None:
        folder = self.work / name
        folder.mkdir()
        (folder / "rows.csv").write_text(rows, encoding="utf-8")
        about = ("--source", source, "--licence", "CC0-1.0")
        self.weighbridge("attest", f"./{name}", "--stage", "data", *about, "--key", "data.pem")

    def _train(self, model: str, key: str, *parents: str, run: str) -> None:
        self.weighbridge("attest", model, "--stage", "train", *parents, "--key", key, "--run", run)

    def _evaluate_and_sign(self, model: str, metric: str) -> None:
        self.weighbridge("attest", model, "--stage", "evaluate", "--metric", metric, "--key", "evaluate.pem")
        self.weighbridge("sign", model, "--key", "package.pem")

    def _changed_byte(self, models: Models) -> None:
        self.tell("An insider flips one byte of the approved weights in the store.")
        path = self.work / self.path_of("encoder") / models.weights
        flip(path)
        self.load(self.path_of("encoder"), expect=1, refusal=("one byte flipped in the store", "load"))
        self.weighbridge("admit", "encoder", expect=1, refusal=("the same model, asked to run", "admit"))
        flip(path)
        self.tell("With the byte restored, the same model loads again.")
        self.load(self.path_of("encoder"))

    def _descendant(self, models: Models) -> None:
        self.tell("A fine-tune of that base is registered, promoted and deployed.")
        shutil.copytree(models.encoder, self.work / "support-bot")
        nudge(self.work / "support-bot" / models.weights)
        self._data("tickets", "question,answer\nwhere is it,there\n", source="support tickets")
        self.weighbridge("intake", "./support-bot", quiet=True)
        self._train("./support-bot", "train.pem", "--base", "encoder", "--data", "./tickets", run="job-2")
        self._evaluate_and_sign("./support-bot", "accuracy=0.91")
        self.weighbridge("promote", "./support-bot", "--name", "support-bot")
        self.weighbridge("deploy", "support-bot", "--target", "prod/support")
        self.tell("The base is disclosed as poisoned and revoked. Which deployed models descend from it?")
        self.weighbridge("revoke", "encoder", "--reason", "poisoned training data disclosed")
        self.weighbridge("lineage", "--deployed", "encoder", expect=1)
        self.weighbridge(
            "admit", "support-bot", expect=1, refusal=("a descendant of a revoked base", "admit")
        )

    def _log(self) -> None:
        self.tell("Nothing was taken back: the log extends the checkpoint that was kept at the start.")
        self.weighbridge("log", "prove", "--since", "checkpoint-at-the-start", "--all")

    def _score(self) -> None:
        self.tell(
            f"What was refused, and why ({time.monotonic() - self._begun:.0f} s in all, without downloads)"
        )
        click.echo(table(self.refused, ("attack", "refused by", "because")))

    # The means.

    def weighbridge(
        self, *arguments: str, expect: int = 0, quiet: bool = False, refusal: tuple[str, str] | None = None
    ) -> str:
        """Run one command line in its own process and hold its exit code against what was announced."""
        return self._command(
            "weighbridge", ["-m", "weighbridge"], arguments, expect=expect, quiet=quiet, refusal=refusal
        )

    def load(self, path: str, *, expect: int = 0, refusal: tuple[str, str] | None = None) -> str:
        """Load a model in a fresh process, as a serving program would."""
        (self.work / "serve.py").write_text(LOAD, encoding="utf-8")
        return self._command(
            "python serve.py", ["serve.py"], (path,), expect=expect, quiet=False, refusal=refusal
        )

    def path_of(self, name: str) -> str:
        """Return the folder of an admitted model, relative to where the commands run."""
        import json

        listed = json.loads(self._captured("lineage", name, "--format", "json"))
        root = listed["lineages"][0]["root"].partition(":")[2]
        return f".weighbridge/models/{root}/model"

    def _captured(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "weighbridge", *arguments]
        done = subprocess.run(
            command, cwd=self.work, env=self._environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    def _command(
        self, shown: str, program: Sequence[str], arguments: Sequence[str], *, expect: int, quiet: bool,
        refusal: tuple[str, str] | None,
    ) -> str:  # fmt: skip
        words = [
            os.path.relpath(word, self.work) if word.startswith(str(self.folder)) else word
            for word in arguments
        ]
        click.echo(f"{click.style('$', fg='green')} {shown} {shlex.join(words)}")
        done = subprocess.run(
            [sys.executable, *program, *words],
            cwd=self.work,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        if not quiet or done.returncode != expect:
            click.echo("\n".join(f"  {line}" for line in output.rstrip().splitlines()))
        if done.returncode != expect:
            raise InternalError(
                "the demo did not go as announced",
                cause=f"`{shown} {shlex.join(words)}` ended with {done.returncode}, expected {expect}",
                remedy="run `make test`; if it passes, report this with the lines above",
            )
        if refusal is not None:
            self.refused.append((*refusal, because(output)))
        return output


def because(output: str) -> str:
    """Return the one line of an output that says why it was refused, cut to fit a table."""
    lines = [click.unstyle(line).strip() for line in output.splitlines()]
    for index, line in enumerate(lines):
        if line.startswith("✗") and index + 2 < len(lines):
            return _short(lines[index + 2].removeprefix("found:").strip())
        if line.startswith(("error", "weighbridge.core.errors.")):
            return _short(line.partition(": ")[2])
    return "refused"


def _short(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"


def flip(path: Path) -> None:
    """Flip one bit in the middle of a kept file, as somebody with the disk in their hands could."""
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    try:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
    finally:
        path.chmod(mode)


def nudge(path: Path) -> None:
    """Change the last four bytes of a safetensors file's data: the smallest of fine-tunes."""
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        tail = file.read(4)
        file.seek(-4, os.SEEK_END)
        file.write(bytes([tail[0] ^ 1, *tail[1:]]))
