"""`lineage` and `list`: what a model came from, what came from it, what of that is deployed; what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, table
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.core.digest import Digest
    from weighbridge.core.lineage import Parentage
    from weighbridge.gate.lineage import Hit, Lineage, Node


@click.command()
@click.argument("model", required=False)
@click.option(
    "--deployed",
    is_flag=True,
    help="Only deployments that descend from MODEL; without MODEL, from anything revoked.",
)
@common
def lineage(shared: Shared, model: str | None, *, deployed: bool) -> int:
    """Show what a model came from and what came from it; exit code 1 when --deployed finds something revoked."""
    from weighbridge.gate.lineage import deployed as ask
    from weighbridge.gate.lineage import family
    from weighbridge.registry.models import resolve

    with opened(shared) as registry:
        digest = resolve(registry, model) if model is not None else None
        if digest is None and not deployed:
            raise UsageError("say which model, or ask for --deployed", remedy="weighbridge lineage MODEL")
        found = ask(registry, digest) if deployed else (family(registry, digest),) if digest else ()
    texts = [_deployed_text(item) if deployed else _family_text(item) for item in found]
    text = "\n".join(texts) or "nothing that is deployed descends from anything revoked"
    emit(shared, "lineage", [item.to_json() for item in found], text)
    return 1 if deployed and any(_revoked(item) and item.paths for item in found) else 0


@click.command("list")
@common
def list_(shared: Shared) -> int:
    """List the models of the current project, newest first."""
    from weighbridge.cli.pull import model_json
    from weighbridge.registry import models, names

    with opened(shared) as registry:
        kept = models.every(registry)
        rows = [
            (
                m.digest.short,
                m.tier.value,
                m.status.value,
                m.origin.value,
                ",".join(names.names_of(registry, m.digest)),
                m.label,
                m.created_at,
            )
            for m in kept
        ]
    head = ("model", "tier", "status", "origin", "names", "label", "taken in")
    text = (
        table(rows, head)
        if rows
        else "nothing here yet: weighbridge pull hf://org/name, or weighbridge intake PATH"
    )
    emit(shared, "model", [model_json(m) for m in kept], text)
    return 0


def _revoked(item: Lineage) -> bool:
    return any(node.digest == item.root and node.revoked for node in item.nodes)


def _deployed_text(item: Lineage) -> str:
    nodes = {node.digest: node for node in item.nodes}
    reason = next((node.revoked for node in item.nodes if node.digest == item.root), "")
    head = (
        f"{_called(nodes, item.root)}{click.style(f' revoked: {safe(reason)}', fg='red') if reason else ''}"
    )
    if not item.paths:
        return f"{head}\n  nothing deployed descends from it"
    return "\n".join([head, *(_hit_text(nodes, hit) for hit in item.paths)])


def _hit_text(nodes: dict[Digest, Node], hit: Hit) -> str:
    steps = [
        _called(nodes, hit.origin),
        *(f"—{e.relation.value}→ {_called(nodes, e.child)}" for e in hit.path),
    ]
    return f"  {safe(hit.deployment.target)}  {_called(nodes, hit.deployment.manifest)}  ({hit.grade.value})\n    {' '.join(steps)}"


def _family_text(item: Lineage) -> str:
    nodes = {node.digest: node for node in item.nodes}
    lines = ["came from:"]
    lines += _tree(nodes, item.root, item.edges, up=True, depth=1, seen=set()) or ["  nothing that is known"]
    lines.append(f"this: {_called(nodes, item.root)}")
    lines.append("led to:")
    lines += _tree(nodes, item.root, item.edges, up=False, depth=1, seen=set()) or ["  nothing that is known"]
    lines += [
        f"runs at {safe(hit.deployment.target)}: {_called(nodes, hit.deployment.manifest)}"
        for hit in item.paths
    ]
    return "\n".join(lines)


def _tree(
    nodes: dict[Digest, Node],
    at: Digest,
    edges: tuple[Parentage, ...],
    *,
    up: bool,
    depth: int,
    seen: set[Digest],
) -> list[str]:
    lines: list[str] = []
    if depth > 32:
        return ["  …"]
    for edge in edges:
        here, there = (edge.child, edge.parent) if up else (edge.parent, edge.child)
        if here != at:
            continue
        lines.append(f"{'  ' * depth}{_called(nodes, there)}  {edge.relation.value}, {edge.grade.value}")
        if there not in seen:
            seen.add(there)
            lines += _tree(nodes, there, edges, up=up, depth=depth + 1, seen=seen)
    return lines


def _called(nodes: dict[Digest, Node], digest: Digest) -> str:
    node = nodes.get(digest)
    if node is None:
        return digest.short
    name = ",".join(node.names) or node.label
    text = f"{safe(name)} {digest.short}" if name else digest.short
    return f"{text} {click.style('[revoked]', fg='red')}" if node.revoked else text
