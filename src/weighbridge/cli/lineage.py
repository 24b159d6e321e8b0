"""`lineage` and `list`: what a model came from, what came from it, what of that is deployed; what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, table
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.core.digest import Digest
    from weighbridge.core.lineage import Parentage
    from weighbridge.gate.between import Explanation, Step
    from weighbridge.gate.lineage import Hit, Judged, Lineage, Node
    from weighbridge.registry.wiring import Registry

KINDS = ("weights", "code", "dataset", "tokenizer", "licence")
MOST = 200
"""Lines of one direction of a family in text."""


@click.command()
@click.argument("model", required=False)
@click.option("--up", is_flag=True, help="Only what it came from.")
@click.option("--down", is_flag=True, help="Only what came from it.")
@click.option(
    "--deployed",
    is_flag=True,
    help="Judge every deployment: does it descend from MODEL; without MODEL, from anything revoked.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="With --deployed: follow only what trouble of this kind travels along.",
)
@click.option(
    "--explain",
    metavar="OTHER",
    help="The way between MODEL and OTHER: each step, who signed it, the weakest.",
)
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the answer (SVG).")
@common
def lineage(
    shared: Shared,
    model: str | None,
    *,
    up: bool,
    down: bool,
    deployed: bool,
    kind: str | None,
    explain: str | None,
    picture: Path | None,
) -> int:
    """Show what a model came from and what came from it.

    With --deployed the exit code is 1 when something deployed descends from what is revoked, and 3 when
    nobody can tell of something that is deployed.
    """
    _check_asked(model, explain, kind, family=up or down, deployed=deployed, picture=picture is not None)
    if model is not None and explain is not None:
        return _explain(shared, model, explain)
    found = _ask(shared, model, kind, deployed=deployed, up=up or not down, down=down or not up)
    if picture is not None:
        from weighbridge.cli.picture import draw

        if not found:
            raise UsageError("there is nothing to draw", cause="nothing that is revoked is deployed")
        draw(
            shared,
            picture,
            found[0],
            f"{'Deployed, from ' if deployed else 'Lineage of '}{model or 'what is revoked'}",
        )
    texts = [_deployed_text(item) if deployed else _family_text(item, up=up, down=down) for item in found]
    text = "\n".join(texts) or "nothing that is deployed descends from anything revoked"
    emit(shared, "lineage", [item.to_json() for item in found], text)
    return _code(found) if deployed else 0


def _check_asked(
    model: str | None, explain: str | None, kind: str | None, *, family: bool, deployed: bool, picture: bool
) -> None:
    """Refuse questions that contradict themselves."""
    if model is None and (not deployed or explain is not None or family):
        raise UsageError("say which model, or ask for --deployed", remedy="weighbridge lineage MODEL")
    if explain is not None and (deployed or family or picture):
        raise UsageError("--explain is a question of its own", remedy="ask the two after each other")
    if deployed and family:
        raise UsageError("--deployed looks down only", remedy="leave out --up and --down")
    if kind is not None and not deployed:
        raise UsageError("--kind goes with --deployed", remedy="add --deployed")


def _ask(
    shared: Shared, model: str | None, kind: str | None, *, deployed: bool, up: bool, down: bool
) -> tuple[Lineage, ...]:
    from weighbridge.core.lineage import AdvisoryKind
    from weighbridge.gate.lineage import deployed as ask
    from weighbridge.gate.lineage import family

    with opened(shared) as registry:
        digest = find(registry, model) if model is not None else None
        if deployed or digest is None:
            return ask(registry, digest, kind=AdvisoryKind(kind) if kind else None)
        return (family(registry, digest, up=up, down=down),)


def find(registry: Registry, text: str) -> Digest:
    """Return the node of the lineage that is meant: a model as everywhere, or weights, or another name (`name:org/model`)."""
    from weighbridge.core.advisory import node_of, parse_target
    from weighbridge.core.alias import Alias, Scheme
    from weighbridge.core.errors import BadReference
    from weighbridge.registry.models import resolve
    from weighbridge.store import lineage_index

    if text.partition(":")[0] not in ("wbw1", "sha256", *(scheme.value for scheme in Scheme)):
        return resolve(registry, text)
    target = parse_target(text)
    if not isinstance(target, Alias):
        return target
    with registry.records.read() as connection:
        known = lineage_index.find(connection, target)
    if len(known) > 1:
        listed = ", ".join(digest.short for digest, _ in known[:5])
        raise BadReference(
            f"{target} means more than one thing", cause=listed, remedy="ask about one of them"
        )
    return known[0][0] if known else node_of(target)


def _code(found: tuple[Lineage, ...]) -> int:
    """Return 1 when something withdrawn is deployed, 3 when that cannot be told, else 0."""
    from weighbridge.core.walks import Answer

    answers = {judged.answer for item in found if _withdrawn(item) for judged in item.answers}
    if Answer.AFFECTED in answers:
        return 1
    return 3 if answers & {Answer.POSSIBLY, Answer.CANNOT_TELL} else 0


def _withdrawn(item: Lineage) -> bool:
    return any(node.digest == item.root and (node.revoked or node.advisories) for node in item.nodes)


def _explain(shared: Shared, model: str, other: str) -> int:
    from weighbridge.gate.between import explain

    with opened(shared) as registry:
        found = explain(registry, find(registry, model), find(registry, other))
    emit(shared, "explanation", [found.to_json()], _explanation_text(found))
    return 0


@click.command("list")
@click.option("--drift", is_flag=True, help="List names that led to other models than they do now.")
@common
def list_(shared: Shared, *, drift: bool) -> int:
    """List the models of the current project, newest first."""
    if drift:
        return _drift(shared)
    from weighbridge.cli.pull import model_json
    from weighbridge.gate.waivers import standing
    from weighbridge.registry import models, names

    with opened(shared) as registry:
        kept = models.every(registry)
        excused = standing(registry)
        rows = [
            (
                m.digest.short,
                m.tier.value,
                m.status.value,
                m.origin.value,
                ",".join(names.names_of(registry, m.digest)),
                m.label,
                m.created_at,
                ", ".join(excused.get(m.digest, ())),
            )
            for m in kept
        ]
    head = ("model", "tier", "status", "origin", "names", "label", "taken in", "exceptions")
    text = (
        table(rows, head)
        if rows
        else "nothing here yet: weighbridge pull hf://org/name, or weighbridge intake PATH"
    )
    emit(
        shared, "model", [model_json(m) | {"exceptions": list(excused.get(m.digest, ()))} for m in kept], text
    )
    return 0


def _drift(shared: Shared) -> int:
    """List what led elsewhere before; the exit code is 1 where a name did that never should."""
    from weighbridge.registry.sightings import drifted

    with opened(shared) as registry:
        found = drifted(registry)
    rows = [
        (
            one.source,
            one.revision,
            one.before.short,
            one.last_seen,
            one.now.short,
            "never" if one.fixed else "yes",
        )
        for one in found
    ]
    head = ("source", "revision", "led to", "until", "leads to", "may move")
    emit(shared, "drift", [one.to_json() for one in found], table(rows, head) if rows else "nothing drifted")
    return 1 if any(one.fixed for one in found) else 0


WORDS = {
    "descends": "{0} descends from {1}",
    "ancestor": "{1} descends from {0}",
    "siblings": "{0} and {1} both come from {2}",
    "same": "{0} and {1} are one model, or carry the same weights",
    "none": "nothing that is known relates {0} and {1}",
}
SIGNS = {
    "affected": ("✗", "red", "affected"),
    "possibly": ("?", "yellow", "possibly affected"),
    "cannot-tell": ("?", "yellow", "cannot tell"),
    "not-affected": ("✓", "green", "not affected"),
}
GAPS = {
    "name-only": "is known by name only; its bytes never came here",
    "unclaimed": "has no claim by anybody whom the authority names for it",
    "unattested": "is only declared or observed to come from something",
    "cycle": "descends from itself, so one of the claims about it is false",
    "unread": "was not read further",
}
SHOWN = 40
"""Deployments of one answer that are listed in text."""


def _explanation_text(found: Explanation) -> str:
    nodes = {node.digest: node for node in found.nodes}
    meet = found.shortest[0].edge.parent if found.shortest else found.first
    lines = [
        WORDS[found.relation].format(
            *(_called(nodes, digest) for digest in (found.first, found.second, meet))
        )
    ]
    if found.grade is not None:
        worst = found.weakest_step
        why = f": {worst.edge.relation.value} from {worst.edge.parent.short}" if worst else ""
        lines[0] += f" ({found.grade.value})"
        lines.append(f"weakest evidence: {found.grade.value}{why}")
    lines += _steps_text(
        nodes, "the way" if found.relation != "siblings" else "the way to the first", found.shortest
    )
    lines += _steps_text(nodes, "a longer and surer way", found.surest)
    lines += _steps_text(nodes, "the way to the second", found.other)
    return "\n".join(lines)


def _steps_text(nodes: dict[Digest, Node], title: str, steps: tuple[Step, ...]) -> list[str]:
    lines = (
        [f"{title}, from what was there first:", f"  {_called(nodes, steps[0].edge.parent)}"] if steps else []
    )
    for step in steps:
        place = f", log entry {step.log_index}" if step.log_index is not None else ""
        problem = click.style(f"; not believed: {safe(step.problem)}", fg="yellow") if step.problem else ""
        lines.append(f"  → {step.edge.relation.value} → {_called(nodes, step.edge.child)}")
        lines.append(f"      {step.edge.grade.value}: {safe(step.signer) or 'nobody'}{place}{problem}")
    return lines


def _deployed_text(item: Lineage) -> str:
    nodes = {node.digest: node for node in item.nodes}
    reason = next((node.revoked for node in item.nodes if node.digest == item.root), "")
    head = (
        f"{_called(nodes, item.root)}{click.style(f' revoked: {safe(reason)}', fg='red') if reason else ''}"
    )
    return f"{head}\n{deployed_text(item)}"


def deployed_text(item: Lineage) -> str:
    """Return what is said of each deployment, worst first, and the share of which anything can be said."""
    nodes = {node.digest: node for node in item.nodes}
    paths = {hit.deployment: hit for hit in item.paths}
    lines: list[str] = []
    for word, (sign, colour, told) in SIGNS.items():
        rows = [judged for judged in item.answers if judged.answer.value == word]
        if not rows:
            continue
        lines.append(click.style(f"{sign} {told}: {len(rows):,} deployed", fg=colour))
        for judged in rows[:SHOWN] if word != "not-affected" else ():
            hit = paths.get(judged.deployment)
            lines += _hit_text(nodes, hit) if hit else _gap_text(nodes, judged)
        if len(rows) > SHOWN and word != "not-affected":
            lines.append(f"  and {len(rows) - SHOWN:,} more (--format json has all)")
    if not item.answers:
        lines.append("nothing is deployed")
    if item.coverage is not None and item.coverage.deployed:
        covered = item.coverage
        percent = int(1000 * covered.share) / 10
        lines.append(
            f"coverage: the ancestry of {covered.complete:,} of {covered.deployed:,} deployed models is known to its "
            f"beginnings ({percent:g} %)"
        )
    return "\n".join(lines)


def _hit_text(nodes: dict[Digest, Node], hit: Hit) -> list[str]:
    steps = [
        _called(nodes, hit.origin),
        *(f"—{e.relation.value}→ {_called(nodes, e.child)}" for e in hit.path),
    ]
    where = f"  {safe(hit.deployment.target)}  {_called(nodes, hit.deployment.manifest)}  ({hit.grade.value})"
    return [where, f"    {' '.join(steps)}"]


def _gap_text(nodes: dict[Digest, Node], judged: Judged) -> list[str]:
    lines = [f"  {safe(judged.deployment.target)}  {_called(nodes, judged.deployment.manifest)}"]
    if judged.gap is not None:
        lines.append(f"    {_called(nodes, judged.gap.at)} {GAPS[judged.gap.reason.value]}")
    return lines


def _family_text(item: Lineage, *, up: bool, down: bool) -> str:
    nodes = {node.digest: node for node in item.nodes}
    lines: list[str] = []
    if up or not down:
        lines += ["came from:", *_direction(nodes, item, up=True)]
    lines.append(f"this: {_called(nodes, item.root)}")
    if down or not up:
        lines += ["led to:", *_direction(nodes, item, up=False)]
        lines += [
            f"runs at {safe(hit.deployment.target)}: {_called(nodes, hit.deployment.manifest)}"
            for hit in item.paths[:SHOWN]
        ]
    return "\n".join(lines)


def _direction(nodes: dict[Digest, Node], item: Lineage, *, up: bool) -> list[str]:
    """Return one direction of a family as an indented tree, weights and the model that carries them beside each other."""
    follow: dict[Digest, list[Parentage]] = {}
    for edge in item.edges:
        follow.setdefault(edge.child if up else edge.parent, []).append(edge)
    weights = [
        edge.parent for edge in item.edges if edge.child == item.root and edge.relation.value == "packaging"
    ]
    starts = [item.root] if up else [item.root, *weights]
    lines = [line for start in starts for line in _tree(nodes, start, follow, up=up, seen={*starts})]
    if len(lines) > MOST:
        return [
            *lines[:MOST],
            f"  and {len(lines) - MOST:,} more (--format json has all, --picture draws them)",
        ]
    return lines or ["  nothing that is known"]


def _tree(
    nodes: dict[Digest, Node],
    root: Digest,
    follow: dict[Digest, list[Parentage]],
    *,
    up: bool,
    seen: set[Digest],
) -> list[str]:
    lines: list[str] = []
    stack = [(edge, 1) for edge in reversed(follow.get(root, ()))]
    while stack:
        edge, depth = stack.pop()
        there = edge.parent if up else edge.child
        again = there in seen
        mark = " (see above)" if again and follow.get(there) else ""
        lines.append(
            f"{'  ' * min(depth, 32)}{_called(nodes, there)}  {edge.relation.value}, {edge.grade.value}{mark}"
        )
        if not again:
            seen.add(there)
            stack += [(below, depth + 1) for below in reversed(follow.get(there, ()))]
    return lines


def _called(nodes: dict[Digest, Node], digest: Digest) -> str:
    node = nodes.get(digest)
    if node is None:
        return digest.short
    name = ",".join(node.names) or node.label
    text = digest.short
    if name:
        text = safe(name) if node.kind == "alias" else f"{safe(name)} {digest.short}"
    if node.revoked:
        return f"{text} {click.style('[revoked]', fg='red')}"
    return f"{text} {click.style(f'[{node.advisories[0]}]', fg='red')}" if node.advisories else text
