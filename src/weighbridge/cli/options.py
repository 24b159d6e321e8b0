"""What all verbs share: options, the opened registry, progress, and the machine's clock and entropy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.config import Config, read_config
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.core.clock import Clock
    from weighbridge.gate.alerting import Delivery
    from weighbridge.registry.wiring import Registry

REFUSALS = ("access.", "identity.role", "name.alike", "quota.")
"""Checks that refuse before anything is written, and are noted all the same."""
FORMATS = ("text", "json", "jsonl")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Shared:
    """The common options of one invocation."""

    format: str
    output: Path | None
    quiet: bool
    config: Config

    @property
    def json(self) -> bool:
        """Tell whether data is wanted rather than text."""
        return self.format != "text"


def common(function: F) -> F:
    """Give a verb the options that all verbs have; it receives them as its first argument."""
    return _with_options(function, FORMATS)


def common_with(*formats: str) -> Callable[[F], F]:
    """Do what `common` does for a verb that prints more formats than the others."""
    return lambda function: _with_options(function, (*FORMATS, *formats))


def _with_options(function: F, formats: tuple[str, ...]) -> F:
    def wrapper(**kwargs: Any) -> Any:
        shared = Shared(
            format=kwargs.pop("format_"),
            output=kwargs.pop("output"),
            quiet=kwargs.pop("quiet"),
            config=read_config(
                os.environ,
                {
                    "registry": kwargs.pop("registry"),
                    "project": kwargs.pop("project"),
                    "actor": kwargs.pop("actor"),
                    "offline": kwargs.pop("offline") or None,
                },
            ),
        )
        _start_logs(kwargs.pop("verbose"))
        if kwargs.pop("color") == "never" or "NO_COLOR" in os.environ:
            click.get_current_context().color = False
        return function(shared, **kwargs)

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    wrapper.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed((_format(formats), *_OPTIONS)):
        option(wrapper)
    return wrapper  # type: ignore[return-value]


def _start_logs(verbosity: int) -> None:
    """Set up the logs where they are asked for, or a library has them already: they take as long as a small scan."""
    if verbosity or "logging" in sys.modules:
        from weighbridge.cli.logs import start

        start(verbosity, os.environ)


def _format(formats: tuple[str, ...]) -> Callable[[F], F]:
    return click.option(
        "--format", "format_", type=click.Choice(formats), default="text", help="How to print."
    )


_OPTIONS = [
    click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write data to a file."),
    click.option("--registry", metavar="DIR", help="The registry's folder (or WEIGHBRIDGE_HOME)."),
    click.option("--project", metavar="NAME", help="The project to act in."),
    click.option("--actor", metavar="NAME", help="Who acts, for the records."),
    click.option("--offline", is_flag=True, help="Open no network connection."),
    click.option("-q", "--quiet", is_flag=True, help="Print data only."),
    click.option("-v", "--verbose", count=True, help="Log steps to standard error as JSON lines."),
    click.option("--color", type=click.Choice(["auto", "never"]), default="auto", help="Colour in text."),
]


@contextmanager
def opened(shared: Shared) -> Iterator[Registry]:
    """Open the configured registry and close it again."""
    from weighbridge.registry.wiring import SystemClock, SystemEntropy, open_registry

    clock = SystemClock()
    try:
        registry = open_registry(shared.config, clock=clock, entropy=SystemEntropy())
    except Exception as error:
        alarm(shared, error, clock)
        raise
    import logging

    logging.getLogger("weighbridge.cli").info(
        "opened",
        extra={"fields": {"registry": registry.id, "project": registry.project, "actor": registry.actor}},
    )
    try:
        yield registry
    except Exception as error:
        _note(registry, error)
        alarm(shared, error, clock, registry)
        raise
    else:
        _note(registry)
    finally:
        tell(shared, registry)
        registry.close()


def _note(registry: Registry, error: Exception | None = None) -> None:
    """Write down who asked for what, where something was written or was to be."""
    check = str(getattr(error, "check", ""))
    if not registry.wrote and not check.startswith(REFUSALS):
        return
    from weighbridge.registry import actions

    context = click.get_current_context(silent=True)
    kind, subject = "command", ""
    if context is not None:
        kind = context.command_path.removeprefix("weighbridge ")
        given = [
            context.params.get(row.name or "")
            for row in context.command.params
            if row.param_type_name == "argument"
        ]
        subject = " ".join(str(one) for one in given if one)
    if error is None:
        actions.note(registry, kind, subject, actions.DONE)
    else:
        actions.note(registry, kind, subject, actions.outcome_of(error), actions.describe(error))


def alarm(shared: Shared, error: Exception, clock: Clock, registry: Registry | None = None) -> None:
    """Have somebody told of an error that is more than its user's business; the error itself goes on as it was."""
    from weighbridge.gate.alarms import noted

    untold(shared, noted(error, shared.config, clock, registry))


def tell(shared: Shared, registry: Registry) -> None:
    """Have alerts told that wait, for two seconds at most; no exit code depends on it."""
    if shared.config.alerts:
        from weighbridge.gate.alerting import deliver

        untold(shared, deliver(registry))


def untold(shared: Shared, deliveries: Sequence[Delivery]) -> None:
    """Say on standard error who could not be told."""
    if shared.quiet:
        return
    for delivery in deliveries:
        if delivery.problem:
            left = f" ({delivery.waiting} waiting; weighbridge alert send)" if delivery.waiting else ""
            click.echo(f"alerts: {delivery.sink} was not told: {delivery.problem}{left}", err=True)


def end_of_day(text: str) -> datetime:
    """Return the end of a day written as YYYY-MM-DD (UTC); raises UsageError."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--until {text!r} is no day", remedy="write it as YYYY-MM-DD") from error


def key_password() -> str | None:
    """Return the password of a key from the environment; never from the command line."""
    return os.environ.get("WEIGHBRIDGE_KEY_PASSWORD") or None


@contextmanager
def progress(shared: Shared, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show bytes, rate and time left on a terminal, and nothing in a pipe; work below 64 MiB shows nothing."""
    if not shows_progress(shared, total):
        yield lambda _count: None
        return
    from weighbridge.cli.bar import Bar

    bar = Bar(label, total, sys.stderr)
    try:
        yield bar.advance
    finally:
        bar.close()


def shows_progress(shared: Shared, total: int) -> bool:
    """Tell whether `progress` would show anything for work on so many bytes."""
    return not shared.quiet and total >= 64 * 1024 * 1024 and sys.stderr.isatty()
