"""`licence`: under which licence a model stands, what it owes to whom, what does not fit; a person concludes, signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, table
from weighbridge.cli.secrets import open_key
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weighbridge.bom.licence_knowledge import Row
    from weighbridge.bom.licence_words import LicenceFinding, Obligation
    from weighbridge.core.lineage import Parentage
    from weighbridge.gate.licences import Licences
    from weighbridge.registry.wiring import Registry

NOT_ADVICE = "This is not legal advice: sections are cited so that a lawyer can read them."
COLOURS = {"block": "red", "warn": "yellow", "note": "blue"}
MARKS = {"block": "✗", "warn": "!", "note": "·"}


class Licence(click.Group):
    """A group whose first word may be a model: then its licences are shown."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `licence MODEL` as `licence show MODEL`."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.command(cls=Licence, name="licence")
def licence() -> None:
    """Show under which licence a model stands, what it owes, and what does not fit; conclude a licence.

    `weighbridge licence MODEL` is short for `weighbridge licence show MODEL`.
    """


@licence.command("show")
@click.argument("model")
@common
def show(shared: Shared, model: str) -> int:
    """Show declared, concluded and inherited licences of MODEL, each duty with its section and path, and findings.

    Exit code 1 when a finding blocks, 3 when only a licence is unknown.
    """
    from weighbridge.gate.licences import licences_of
    from weighbridge.registry import models

    with opened(shared) as registry:
        found = licences_of(registry, models.get(registry, models.resolve(registry, model)))
        names = _names(registry, found)
    emit(shared, "licence", [found.to_json()], _text(found, names))
    blocking = {row.code for row in found.composition.findings if row.effect.value == "block"}
    if not blocking:
        return 0
    return 3 if blocking == {"UNKNOWN_LICENCE"} else 1


@licence.command("conclude")
@click.argument("about", metavar="MODEL")
@click.argument("which", metavar="LICENCE")
@click.option("--reason", required=True, help="What it rests on; goes into the log.")
@click.option("--key", metavar="KEY", help="A key with the role waive, a path or URI (default: the owner's).")
@common
def conclude(shared: Shared, about: str, which: str, *, reason: str, key: str | None) -> int:
    """Say, signed and logged, that MODEL is under LICENCE; the last word holds.

    MODEL may also be a dataset (wb1:…) or a base that is known by name only (name:org/model). LICENCE is an id, a hub's
    tag, an SPDX expression, or `agreement` for what was agreed with the licensor.
    """
    from weighbridge.gate.conclusions import conclude as say
    from weighbridge.registry.service_keys import root_folder

    with opened(shared) as registry:
        target = _target(registry, about)
        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        signer = open_key(shared, key or str(owner))
        said = say(registry, target, which, reason=reason, signer=signer)
    item: dict[str, JSON] = {"about": [str(digest) for digest in said.about], **said.to_json()}
    emit(shared, "conclusion", [item], f"{safe(about)} is under {safe(which)}, concluded by {said.signer}")
    return 0


@licence.command("list")
@click.argument("which", metavar="LICENCE", required=False)
@common
def list_(shared: Shared, which: str | None) -> int:
    """List the licences whose terms are known, or explain one: its duties, sections, and how it was checked."""
    from weighbridge.bom.licence_knowledge import knowledge

    rows = sorted(knowledge().rows.values(), key=lambda row: row.licence.id.casefold())
    if which is not None:
        found = knowledge().row(which)
        if found is None:
            raise NotFound(f"nothing is known of {which!r}", remedy="see what is: weighbridge licence list")
        rows = [found]
    cells = [
        (
            row.licence.id,
            row.name,
            row.checked,
            ", ".join(dict.fromkeys(t.duty.value for t in row.licence.terms)),
        )
        for row in rows
    ]
    text = _explained(rows[0]) if which is not None else table(cells, ("id", "name", "checked", "asks for"))
    emit(shared, "licence-term", [_row_json(row) for row in rows], f"{text}\n{NOT_ADVICE}")
    return 0


def _target(registry: Registry, text: str) -> Digest | Alias:
    from weighbridge.registry import models

    scheme = text.partition(":")[0]
    if scheme in {Scheme.NAME.value, Scheme.PURL.value, Scheme.HF_COMMIT.value}:
        return Alias.parse(text)
    if scheme == "wb1" and len(text) == len("wb1:") + 64:
        return Digest.parse(text)
    return models.resolve(registry, text)


def _names(registry: Registry, found: Licences) -> dict[Digest, str]:
    """Return what people call the nodes on the paths."""
    from weighbridge.registry import models

    composed = found.composition
    paths = [row.path for row in composed.obligations] + [row.path for row in composed.findings]
    met = {digest for path in paths for edge in path for digest in (edge.parent, edge.child)}
    names = {node: one.label for node, one in models.standings(registry, sorted(met)).items() if one.label}
    names |= {row.node: row.label for row in composed.obligations if row.label}
    return names | {row.node: row.label for row in composed.findings if row.label}


def _text(found: Licences, names: dict[Digest, str]) -> str:
    said, concluded = found.declared, found.concluded
    place = f"  ({safe(said.place)})" if said.place else ""
    lines = [click.style(f"{safe(found.label)} {found.model.short}", bold=True)]
    lines.append(f"  declared   {safe(said.text) or 'nothing'}{place}")
    lines.append(
        f"  concluded  {safe(concluded.licence)}, by {safe(concluded.signer)}: {safe(concluded.reason)}"
        if concluded
        else "  concluded  nobody has"
    )
    lines.append(f"  inherited  {', '.join(safe(one) for one in found.composition.inherited) or 'nothing'}")
    lines += [
        f"  chosen     {safe(text)} for {names.get(node, node.short)}"
        for node, text in found.composition.chosen
    ]
    lines += ["", "owes" if found.composition.obligations else "owes nothing that is known"]
    lines += _duties(found.composition.obligations, names)
    for finding in found.composition.findings:
        lines += ["", *_finding(finding, names)]
    return "\n".join([*lines, "", NOT_ADVICE])


def _duties(duties: Sequence[Obligation], names: dict[Digest, str]) -> list[str]:
    lines = []
    for duty in duties:
        value = f" {safe(duty.term.value)}" if duty.term.value else ""
        says = f": {duty.term.says}" if duty.term.says else ""
        lines.append(f"  {duty.term.duty.value}{value}{says}")
        lines.append(f"    {safe(duty.licence)} {duty.term.section}".rstrip())
        lines.append(f"    {_path(duty.path, names) or 'its own licence'}")
    return lines


def _finding(finding: LicenceFinding, names: dict[Digest, str]) -> list[str]:
    mark = f"{MARKS[finding.effect.value]} {finding.code}"
    lines = [f"{click.style(mark, fg=COLOURS[finding.effect.value], bold=True)}  {safe(finding.message)}"]
    if finding.sections:
        lines.append(f"    rests on  {'; '.join(safe(one) for one in finding.sections)}")
    if finding.path:
        lines.append(f"    path      {_path(finding.path, names)}")
    if finding.effect.value == "block":
        lines.append(f"    waiver    --finding {finding.fingerprint}")
    lines.append(f"    do        {finding.remedy}")
    return lines


def _path(path: tuple[Parentage, ...], names: dict[Digest, str]) -> str:
    if not path:
        return ""
    steps = [_called(path[0].parent, names)]
    steps += [f"—{edge.relation.value}→ {_called(edge.child, names)}" for edge in path]
    grade = max((edge.grade for edge in path), key=lambda grade: grade.rank)
    return f"{' '.join(steps)}  ({grade.value})"


def _called(digest: Digest, names: dict[Digest, str]) -> str:
    name = names.get(digest, "")
    if digest.algorithm == "wbw1":
        return f"weights {digest.short}"
    return safe(name) or digest.short


def _explained(row: Row) -> str:
    lines = [click.style(f"{row.licence.id}  {row.name}", bold=True)]
    lines.append(f"  checked    {row.checked}{', a lawyer must see it' if row.licence.review else ''}")
    lines += [f"  also       {', '.join(row.tags)}"] if row.tags else []
    for term in row.licence.terms:
        value = f" {term.value}" if term.value else ""
        lines.append(
            f"  {term.duty.value}{value}: {term.says}" if term.says else f"  {term.duty.value}{value}"
        )
        quote = row.quotes.get(term.duty, "")
        lines.append(f"    {term.section}{f': “{quote}”' if quote else ''}")
    return "\n".join([*lines, *([f"  note: {row.note}"] if row.note else [])])


def _row_json(row: Row) -> JSON:
    terms: list[JSON] = [
        {"duty": term.duty.value, "value": term.value, "section": term.section, "says": term.says}
        for term in row.licence.terms
    ]
    tags: list[JSON] = list(row.tags)
    return {
        "id": row.licence.id,
        "name": row.name,
        "tags": tags,
        "checked": row.checked,
        "review": "lawyer" if row.licence.review else "",
        "terms": terms,
        "note": row.note,
    }
