"""`drill`: three attackers against a fresh registry; says what each tried, and what stopped it."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common_with
from weighbridge.cli.render import emit, safe, say, table
from weighbridge.core.errors import UsageError
from weighbridge.drill import STORIES

if TYPE_CHECKING:
    from weighbridge.drill.stage import Stage
    from weighbridge.drill.steps import Played

MARKS = {"stopped": ("✓", "green"), "shown": ("!", "yellow"), "open": ("○", "bright_black")}
WRONG = ("✗", "red")
WIDTH = 96
HEAD = ("story", "tried", "stopped", "only shown", "open by design", "not as announced")


@click.command()
@click.argument("story", required=False, type=click.Choice(sorted(STORIES)))
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder to play in, with the registry that each step leaves behind.",
)
@common_with("markdown")
def drill(shared: Shared, *, story: str | None, keep: Path | None) -> int:
    """Play three attackers against a fresh registry with the real code: what each tried, and what stopped it.

    Nothing is loaded, no connection is opened, and your own registry and configuration are not touched. Exit code 1
    when an attack ends otherwise than announced.
    """
    from weighbridge.drill.play import play_steps, steps_of

    chosen = [story] if story else list(STORIES)
    as_it_goes = shared.format == "text" and shared.output is None
    told: dict[str, list[Played]] = {name: [] for name in chosen}
    with _folder(keep) as folder:
        stage = _stage(folder / "registry-in-use")
        for name in chosen:
            if as_it_goes:
                click.echo(_begins(name))
            for played in play_steps(steps_of(name), stage, folder / name, keep=keep is not None):
                told[name].append(played)
                if as_it_goes:
                    click.echo(_step_text(played))
    _conclude(shared, told, as_it_goes=as_it_goes)
    failed = [row for rows in told.values() for row in rows if row.problem]
    for row in failed:
        say(shared, f"not as announced: {row.step.id}: {safe(row.problem)}")
    return 1 if failed else 0


def _stage(folder: Path) -> Stage:
    from weighbridge.drill.stage import make
    from weighbridge.loader.load import load
    from weighbridge.registry.wiring import SystemClock, SystemEntropy

    return make(folder, clock=SystemClock(), entropy=SystemEntropy(), loader=load)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder to play in: one that is removed afterwards, or a new one that stays."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="weighbridge-drill-") as made:
            yield Path(made)
        return
    folder = keep.expanduser().absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{keep} is not empty", remedy="give a new folder with --keep")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _conclude(shared: Shared, told: Mapping[str, Sequence[Played]], *, as_it_goes: bool) -> None:
    from weighbridge.drill.play import story_json, total

    counts = {name: total(rows) for name, rows in told.items()}
    everything = total([row for rows in told.values() for row in rows])
    rows = [(name, c.tried, c.stopped, c.shown, c.open, c.failed) for name, c in counts.items()]
    text = f"{table([[str(cell) for cell in row] for row in rows], HEAD)}\n\n{everything}"
    if as_it_goes:
        click.echo(f"\n{text}")
        return
    story_texts = ["\n".join([_begins(name), *map(_step_text, played)]) for name, played in told.items()]
    items = [story_json(name, played) for name, played in told.items()]
    emit(
        shared,
        "drill",
        items,
        "\n".join([*story_texts, "", text]),
        more={"markdown": lambda: _markdown(told, rows, str(everything))},
    )


def _begins(name: str) -> str:
    return f"\n{click.style(name, bold=True)}: {STORIES[name]}"


def _step_text(played: Played) -> str:
    """Return one step: what was tried, with what, and how it ended."""
    step = played.step
    mark, colour = WRONG if played.problem else MARKS[step.ends]
    lines = [f"  {click.style(mark, fg=colour)} {step.id.partition('.')[2]}: {step.tried}"]
    lines += _wrapped("had", step.had)
    if played.problem:
        return "\n".join([*lines, *_wrapped("wrong", played.problem)])
    if step.control:
        said = played.seen.said(step.control)
        lines += _wrapped(step.ends.value, f"{step.control}: {said}" if said else step.control)
        lines += _wrapped("to" if step.ends == "shown" else "control", step.means)
    else:
        lines += _wrapped(step.ends.value, played.seen.otherwise)
        lines += _wrapped("then", step.means)
    return "\n".join(lines)


def _wrapped(word: str, text: str) -> list[str]:
    first, rest = f"      {word:<8} ", " " * 15
    return textwrap.wrap(
        safe(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _markdown(told: Mapping[str, Sequence[Played]], rows: Sequence[Sequence[object]], everything: str) -> str:
    """Return the drill as a page: a table for each story, and the totals."""
    lines = ["# Drill", ""]
    for name, played in told.items():
        lines += [f"## {name}", "", f"The attacker {STORIES[name]}.", ""]
        lines += ["| step | tried | had | ended | control, or who is told |", "|---|---|---|---|---|"]
        for row in played:
            step = row.step
            ended = f"**{row.problem}**" if row.problem else step.ends.value
            control = f"`{step.control}`: {step.means}" if step.control else step.means
            cells = (step.id, step.tried, step.had, ended, control)
            lines.append(f"| {' | '.join(_cell(text) for text in cells)} |")
        lines.append("")
    lines += [f"| {' | '.join(HEAD)} |", "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join([*lines, "", everything])


def _cell(text: str) -> str:
    return safe(text).replace("|", "\\|")
