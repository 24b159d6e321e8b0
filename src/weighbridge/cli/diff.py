"""`diff`: hold two models against each other, tensor by tensor, and say how they relate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened, progress
from weighbridge.cli.render import count, emit, safe, say, table
from weighbridge.core.errors import CannotTell, Unreadable, UsageError

if TYPE_CHECKING:
    from weighbridge.tensors.compare import Model
    from weighbridge.tensors.difference import Difference, Row

MOST_SPECTRA = 100_000


@click.command()
@click.argument("first")
@click.argument("second")
@click.option(
    "--kinship", is_flag=True, help="Look at windows of each tensor only: enough to say how they relate."
)
@click.option(
    "--spectra",
    type=click.IntRange(0, MOST_SPECTRA),
    default=16,
    show_default=True,
    help="Matrices, the most changed, whose spectrum is taken.",
)
@click.option(
    "--top",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Tensors shown in text; data has all.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture (SVG) of layers and tensors.",
)
@click.option("--fail-on", type=click.Choice(["changed", "unrelated"]), help="Exit with 1 when that is so.")
@common
def diff(
    shared: Shared, first: str, second: str, *, kinship: bool, spectra: int, top: int, picture: Path | None, fail_on: str | None
) -> int:  # fmt: skip
    """Compare the tensors of two models: paths, or models that are kept; formats may differ.

    Exit code 3 when weights of either could not be read.
    """
    if picture is not None and picture.suffix.lower() != ".svg":
        raise UsageError(f"{picture} is no SVG file", remedy="name a file that ends in .svg")
    with _side(shared, first) as one, _side(shared, second) as other:
        from weighbridge.tensors.difference import differ

        total = sum(t.size for side in (one, other) for t in side.tensors.values())
        with progress(shared, "comparing", 0 if kinship else total) as advance:
            found = differ(
                one,
                other,
                names=(first, second),
                spectra=0 if kinship else spectra,
                complete=not kinship,
                advance=advance,
            )
    if picture is not None:
        _write_picture(picture, found)
        say(shared, f"picture: {picture}")
    emit(shared, "diff", [found.to_json()], _text(found, top))
    return _code(found, fail_on)


@contextmanager
def _side(shared: Shared, text: str) -> Iterator[Model]:
    """Open one side: a path, or a model kept in the registry; raises NotFound, and Unreadable without any tensor."""
    from weighbridge.tensors.compare import side
    from weighbridge.tensors.fingerprint import of_weights
    from weighbridge.tensors.reading import open_weights

    with ExitStack() as held:
        if Path(text).exists():
            from weighbridge.source.local import open_folder

            tree = held.enter_context(open_folder(Path(text)))
            weights = held.enter_context(open_weights(tree.files(), lambda file: file.open()))
        else:
            from weighbridge.registry import models

            registry = held.enter_context(opened(shared))
            manifest = models.get(registry, models.resolve(registry, text)).manifest
            weights = held.enter_context(
                open_weights(manifest.files, lambda entry: models.open_blob(registry, entry))
            )
        printed = of_weights(weights)
        if not printed.prints:
            raise _empty(text, printed.unread[0].reason if printed.unread else "no file in it holds any")
        yield side(printed, weights)


def _empty(text: str, cause: str) -> Unreadable:
    return Unreadable(
        f"no tensor could be read in {text}",
        cause=cause,
        remedy="give a model as safetensors, GGUF, a torch checkpoint, npy or npz",
        check="tensors.none",
    )


def _write_picture(path: Path, found: Difference) -> None:
    from weighbridge.tensors.picture import picture

    try:
        path.write_text(picture(found), encoding="utf-8")
    except OSError as error:
        raise CannotTell(f"{path} could not be written", cause=error.strerror or str(error)) from error


def _code(found: Difference, fail_on: str | None) -> int:
    from weighbridge.tensors.kinship import Kin

    same = (Kin.IDENTICAL, Kin.RESHARD)
    if fail_on == "changed" and found.kinship.kin not in same:
        return 1
    if fail_on == "unrelated" and found.kinship.kin is Kin.UNRELATED:
        return 1
    return 3 if found.unread or found.kinship.kin is Kin.CANNOT_TELL else 0


def _text(found: Difference, top: int) -> str:
    kinship = found.kinship
    drawn = f", drawn as {kinship.relation.value}" if kinship.relation else ""
    lines = [
        f"{click.style(kinship.kin.value, bold=True)}: {kinship.strength.value}, {kinship.direction.value}{drawn}"
    ]
    lines += [f"  {safe(line)}" for line in kinship.evidence]
    counts = ", ".join(f"{number} {state.value}" for state, number in sorted(found.counts.items()) if number)
    lines.append(
        f"{count(len(found.rows), 'tensor')}: {counts}" + ("" if found.complete else " (windows only)")
    )
    moved = [layer for layer in found.layers if layer.changed]
    if moved:
        rows = [
            (
                layer.name,
                f"{layer.changed} of {layer.tensors}",
                f"{layer.relative:.4g}",
                _cosine(layer.cosine),
            )
            for layer in moved
        ]
        lines += ["", table(rows, ("layer", "changed", "relative", "cosine"))]
    shown = [row for row in found.rows if row.relative or row.why or row.state.value == "cast"][:top]
    if shown:
        head = ("tensor", "state", "relative", "cosine", "norm", "largest", "rank", "paired by")
        lines += ["", table([_cells(row) for row in shown], head)]
    lines += [f"{side}: {safe(item.path)} was not read: {safe(item.reason)}" for side, item in found.unread]
    return "\n".join(lines)


def _cosine(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _cells(row: Row) -> tuple[str, ...]:
    measured, moved = row.measure, row.spectrum
    name = (
        row.name if row.second is None or row.second.name == row.name else f"{row.name} → {row.second.name}"
    )
    if measured is None:
        return name, row.state.value, "", "", "", "", "", row.why or row.by
    rank = "" if moved is None else ">72" if moved.rank is None else str(moved.rank)
    return (
        name,
        row.state.value,
        f"{measured.relative:.4g}" if measured.first_norm else "from zero",
        f"{measured.cosine:.6f}",
        f"{measured.first_norm:.4g} → {measured.second_norm:.4g}",
        "" if moved is None else f"{moved.largest:.4g}",
        rank,
        row.by + ("" if measured.finite else ", not all finite"),
    )
