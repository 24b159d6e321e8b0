"""The entry point: a lazy table of verbs, and the one place where errors become exit codes."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any

import click

from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import WeighbridgeError

COMMANDS: dict[str, str] = {
    # verb: one line of help. The function is `cli.<module>:<verb>`, see MODULES.
    "scan": "Look through models for anything that could run or that cannot be told.",
    "pull": "Fetch a model, pin, scan, convert, describe and ask the gate; prints a path to load.",
    "convert": "Rebuild a pickled checkpoint as safetensors, without running it.",
    "sign": "Say: these files are one model, and I put them together.",
    "verify": "Check who signed what about a model, and print what was proven.",
    "lineage": "Show what a model came from and what came from it.",
    "promote": "Ask the gate to move a model from intake to trusted.",
    "serve": "Hand out admitted models to hub and OCI clients; let Sigstore clients sign, log and stamp.",
    "push": "Put an admitted model into an OCI registry, with its claims.",
    "demo": "Watch the whole line at work on real models.",
    "drill": "Watch three attackers fail, and see what only shows them.",
    "init": "Make a registry, its keys, its log and its starter policy.",
    "intake": "Take a model in without asking the gate.",
    "admit": "Ask whether a model may run here, now.",
    "revoke": "Withdraw a model, or distrust a signer or scans; what descends is quarantined.",
    "reevaluate": "Judge trusted models again with what is known today.",
    "advisory": "Say that something is wrong with weights, code or data; see whom it reaches.",
    "attest": "Add a claim: data, training in its kinds, conversion, evaluation, packaging.",
    "claims": "Show who says how a model came to be, and what that proves.",
    "bom": "Print the bill of materials of a model.",
    "licence": "Show under which licence a model stands and what it owes.",
    "deploy": "Record what runs where.",
    "decisions": "Show what the gate decided, and what was enforced for a model on a date.",
    "diff": "Compare two models tensor by tensor, and say how they relate.",
    "list": "List the models of a registry: tier, status, origin, names.",
    "trust": "Show or change who may do what.",
    "access": "Say who may come in over HTTP, what a project may take, and see who asked for what.",
    "job": "See what work waits and how far it is, and do it.",
    "policy": "Check or change the active policy and the mode.",
    "log": "Show the transparency log, prove an entry, check its growth.",
    "key": "Make a signing key, or show whose a key is.",
    "rule": "Explain a rule of the scanner.",
    "waive": "Excuse one finding, or one rule of the policy, for one model, signed, with an end.",
    "break-glass": "Have the policy passed over for one model for hours; two people, never the floor.",
    "alert": "Show what the gate has told, who is told, and whether it still lives.",
    "audit": "Show which risks are covered, and hand an auditor the evidence.",
    "doctor": "Check this machine and the registry.",
    "gc": "Remove kept bytes that nothing refers to.",
    "backup": "Copy the registry, signed, while others go on writing.",
    "restore": "Make a registry again from a backup, verified before it is one.",
    "transfer": "Carry models, claims and withdrawals to a registry that no network reaches.",
    "config": "Show every setting and where it came from.",
}
GARBAGE = 50_000
"""New objects between two looks for garbage: importing makes many and no garbage, and 700 cost a tenth of a small scan."""
EVERYDAY = ("scan", "pull", "convert", "sign", "verify", "lineage", "promote", "serve")
MODULES = {
    "admit": "promote",
    "intake": "pull",
    "deploy": "promote",
    "list": "lineage",
    "bom": "bom",
    "config": "inspect",
    "init": "setup",
    "key": "keys",
    "break-glass": "break_glass",
    "restore": "backup",
}


class Verbs(click.Group):
    """A group whose commands are imported when they are used; `--help` shows the everyday ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs that --help shows."""
        del ctx
        return list(EVERYDAY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"weighbridge.cli.{MODULES.get(cmd_name, cmd_name)}")
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_" if name == "list" else name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing a single verb."""
        shown = COMMANDS if ctx.params.get("every") else {verb: COMMANDS[verb] for verb in EVERYDAY}
        with formatter.section("Verbs"):
            formatter.write_dl(list(shown.items()))
        if not ctx.params.get("every"):
            formatter.write_paragraph()
            formatter.write_text("`weighbridge help --all` shows the rest.")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="weighbridge")
def main() -> None:
    """Nothing unproven reaches your GPUs: every model is pinned, scanned, converted, described, signed and proven."""


@click.command("help")
@click.option("--all", "every", is_flag=True, help="Show every verb.")
@click.argument("verb", required=False)
@click.pass_context
def help_(ctx: click.Context, every: bool, verb: str | None) -> None:  # noqa: FBT001 (click passes flags so)
    """Show help."""
    parent = ctx.parent
    assert parent is not None
    if verb is None:
        parent.params["every"] = every
        click.echo(main.get_help(parent))
        return
    command = main.get_command(ctx, verb)
    if command is None:
        raise click.UsageError(f"there is no verb {verb!r}; see `weighbridge help --all`")
    with click.Context(command, info_name=verb, parent=parent) as inner:
        click.echo(command.get_help(inner))


main.add_command(help_)


def entry() -> None:
    """Run the command line and exit with its code."""
    if sys.platform == "win32":
        click.echo(
            "weighbridge: Windows is not supported; use Linux, macOS or WSL 2 (docs/platforms.md)", err=True
        )
        sys.exit(2)
    gc.set_threshold(GARBAGE)
    code = run(sys.argv[1:])
    gc.freeze()  # the process ends: looking through all that was imported for garbage costs a tenth of a small scan
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code: 0 fine, 1 blocked, 2 usage, 3 could not tell, 4 our mistake."""
    code = _run(arguments)
    if "logging" in sys.modules:
        import logging

        logging.getLogger("weighbridge").info(
            "finished", extra={"fields": {"verb": arguments[:1], "code": code}}
        )
    return code


def _run(arguments: list[str]) -> int:
    try:
        result: Any = main.main(args=arguments, prog_name="weighbridge", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo(
            "weighbridge: stopped; what was not finished is finished or undone at the next command", err=True
        )
        return 3
    except WeighbridgeError as error:
        show_error(error, arguments)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 3
    except Exception as error:  # noqa: BLE001 (the last place before a traceback)
        wrapped = _unexpected(error)
        show_error(wrapped, arguments)
        return wrapped.exit_code
    return result if isinstance(result, int) else 0


def show_error(error: WeighbridgeError, arguments: list[str]) -> None:
    """Show an error to people on standard error; with --format json also as data on standard output.

    Secrets are struck out and control characters escaped: a cause may quote a server or a file.
    """
    import os

    from weighbridge.core.redact import Redactor

    redact = Redactor(os.environ)
    if {"json", "--format=json"} & set(arguments):
        from weighbridge.cli.render import print_json
        from weighbridge.core.envelope import envelope

        print_json(envelope("error", [{key: redact(value) for key, value in error.to_json().items()}]))
    text = "\n".join(_printable(line) for line in redact(str(error)).split("\n"))
    click.echo(f"{click.style('error', fg='red', bold=True)}: {text}", err=True)


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def _unexpected(error: Exception) -> WeighbridgeError:
    """Make our own mistake readable; the traceback goes to the structured log only."""
    import logging

    from weighbridge.core.errors import InternalError, Unreadable

    logger = logging.getLogger("weighbridge")
    if logger.handlers:  # else nobody asked for logs, and logging itself would print it
        logger.error("unexpected", exc_info=error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        cause = f"{error.strerror or error}{where}"
        return Unreadable(
            "the operating system refused",
            cause=cause,
            remedy="check disk, permissions and paths, then try again",
        )
    return InternalError(
        "Weighbridge made a mistake",
        cause=f"{type(error).__name__}: {error}",
        remedy="run the command again with -v and report what it prints",
    )
