"""`claims`: who says what about how a model came to be, what that proves, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe
from weighbridge.core.canonical import JSON

if TYPE_CHECKING:
    from weighbridge.claims.explain import Explanation
    from weighbridge.claims.slsa import ModelLevel
    from weighbridge.core.digest import Digest
    from weighbridge.registry.wiring import Registry


@click.command()
@click.argument("model")
@click.option("--explain", "every", is_flag=True, help="Show each link and each claim, believed or not.")
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the links into this file (SVG)."
)
@common
def claims(shared: Shared, model: str, *, every: bool, picture: Path | None) -> int:
    """Walk a model's claims back to data or an accepted origin; exit code 1 when a link is broken."""
    from weighbridge.claims.explain import explain, lines
    from weighbridge.gate.builds import level
    from weighbridge.gate.evidence import told
    from weighbridge.gate.waivers import kept as exceptions
    from weighbridge.registry import models

    with opened(shared) as registry:
        kept = models.get(registry, models.resolve(registry, model))
        facts = told(registry, kept.manifest)
        found = explain(kept.digest, kept.manifest.weights, facts)
        shown = level(registry, kept.manifest, facts)
        if picture is not None:
            _draw(registry, kept.digest, found, picture)
        called = _called(registry, found)
        excused = [row for row in exceptions(registry) if row.manifest == kept.digest]
    tree = lines(found, lambda digest: called.get(digest, digest.short))
    text = [
        *(tree if every else tree[-1:]),
        *_level_text(shown, every=every),
        *(f"exception: {row}" for row in excused),
    ]
    item: JSON = {
        "model": str(kept.digest),
        **found.to_json(),
        "build_level": shown.to_json(),
        "exceptions": [row.to_json() for row in excused],
    }
    emit(shared, "claim", [item], "\n".join(safe(line) for line in text))
    return 1 if found.ancestry.end == "broken" else 0


def _draw(registry: Registry, root: Digest, found: Explanation, path: Path) -> None:
    """Draw what verified claims say of a model's ancestors; refused ones draw nothing."""
    from dataclasses import replace

    from weighbridge.core.lineage import Grade, Parentage, Relation
    from weighbridge.gate.lineage import family
    from weighbridge.gate.pictures import picture

    whole = family(registry, root)
    known = {node.digest for node in whole.nodes}
    edges = tuple(
        Parentage(parent, child, Relation(relation), Grade.ATTESTED)
        for parent, child, relation in found.ancestry.links
        if {parent, child} <= known and relation in set(Relation)
    )
    shown = {root, *(edge.parent for edge in edges), *(edge.child for edge in edges)}
    nodes = tuple(node for node in whole.nodes if node.digest in shown)
    text = picture(replace(whole, nodes=nodes, edges=edges, paths=()), title=found.answer)
    path.write_text(text, encoding="utf-8")


def _called(registry: Registry, found: Explanation) -> dict[Digest, str]:
    """Return what people call each identity that the registry keeps."""
    from weighbridge.registry import models

    kept = models.standings(registry, sorted({link.digest for link in found.links}))
    return {digest: f"{model.label} {digest.short}" for digest, model in kept.items() if model.label}


def _level_text(shown: ModelLevel, *, every: bool) -> list[str]:
    """Say the build level and what is missing for the next; with `every`, what each build shows."""
    text = [f"SLSA build level shown: {shown.level}"]
    for build in shown.builds if every else ():
        text.append(f"  {build.build.kind} by {build.build.builder or 'nobody named'}: level {build.level}")
        text += [
            f"    {'shown' if row.shown else 'not shown'}: {row.title.lower()}: {row.found}"
            for row in build.requirements
        ]
    if shown.missing:
        text.append(f"for level {shown.level + 1}:")
        text += [f"  {line}" for line in shown.missing]
    return text
