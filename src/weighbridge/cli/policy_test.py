"""`policy check`, `policy test` and `policy starter`: what an author of a policy asks before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import count, emit, say
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.policy.settings import PolicyBundle
    from weighbridge.policy.trials import Trials
    from weighbridge.policy.vetting import Vetted

MAX_LISTED = 40
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command("check")
@click.argument("folder", required=False, type=FOLDER)
@common
def check(shared: Shared, *, folder: Path | None) -> int:
    """Read policy files strictly, review their rules and try them on canned questions; without a folder, the active ones.

    Each remark says where, what is wrong and what to write instead. An error refuses the policy here, at
    `policy use` and, where it could let something in, in the gate; a warning does not. The engine that the settings name
    (policy_engine) is asked as well.
    """
    from weighbridge.gate.engines import deciding
    from weighbridge.policy.engines.regorus import RegorusEngine
    from weighbridge.policy.vetting import vet

    bundle, pinned = _read(shared, folder)
    with RegorusEngine() as engine, deciding(shared.config) as also:
        vetted = vet(bundle, engine, also)
    active = folder is None and str(bundle.digest) == pinned
    item = {"digest": str(bundle.digest), "active": active, **vetted.to_json()}
    emit(
        shared,
        "policy-check",
        [item],
        _checked(bundle, vetted, active=active, pinned="" if folder else pinned),
    )
    return 0 if vetted.sound and (folder is not None or active) else 1


@click.command("test")
@click.argument("folder", required=False, type=FOLDER)
@click.option(
    "--least",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Fail when tests reach less of the rules than this.",
)
@click.option(
    "--from", "decision", metavar="DECISION", help="Write a test with the question of this past decision."
)
@click.option(
    "--as", "name", metavar="NAME", help="Name of that test (default: decision_ and the beginning of its id)."
)
@common
def test(
    shared: Shared, *, folder: Path | None, least: float | None, decision: str | None, name: str | None
) -> int:
    """Run the tests of a policy, each on its own, and list the rules that none of them reaches.

    A test is a rule `test_…` of a file `…_test.rego`; it must be true. Without a folder the active policy is tested.
    With --from a file is written into FOLDER instead: what the policy said of that decision, it has to say again.
    """
    if decision is not None:
        return _write(shared, folder, decision, name)
    if name is not None:
        raise UsageError("--as names what --from writes", remedy="give --from DECISION, or leave --as away")
    from weighbridge.policy.engines.regorus import RegorusEngine
    from weighbridge.policy.trials import try_covered

    bundle, _ = _read(shared, folder)
    with RegorusEngine() as engine:
        done = try_covered(bundle, engine)
    short = least is not None and done.percent < least
    text = _tested(done) + (f"\nless than {least:g} % of the rules" if short else "")
    emit(shared, "policy-test", [{"digest": str(bundle.digest), **done.to_json()}], text)
    return 1 if done.failed or short or not done.trials else 0


@click.command("starter")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@common
def starter(shared: Shared, *, folder: Path) -> int:
    """Write the files of the starter policy into a folder; a file that is there already is left as it is."""
    from weighbridge.policy.settings import starter as files

    folder.mkdir(parents=True, exist_ok=True)
    written, left = [], []
    for file, data in files().items():
        try:
            with (folder / file).open("xb") as stream:
                stream.write(data)
            written.append(file)
        except FileExistsError:
            left.append(file)
    more = f"; left as they are: {', '.join(left)}" if left else ""
    emit(
        shared,
        "policy",
        [{"folder": str(folder), "written": [*written], "left": [*left]}],
        f"written: {', '.join(written) or 'nothing'}{more}",
    )
    return 0


def _read(shared: Shared, folder: Path | None) -> tuple[PolicyBundle, str]:
    """Return the policy of a folder, or the active one and the digest that the registry pins."""
    from weighbridge.gate.judging import read_active, read_policy, setting

    if folder is not None:
        return read_policy(folder), ""
    with opened(shared) as registry:
        return read_active(registry), setting(registry, "policy") or ""


def _checked(bundle: PolicyBundle, vetted: Vetted, *, active: bool, pinned: str) -> str:
    lines = [f"{'✗' if remark.severity == 'error' else '!'} {remark}" for remark in vetted.remarks]
    if vetted.tried:
        lines.append(
            f"tried on {vetted.tried} canned questions: it allows {count(len(vetted.good), 'good one')} and "
            f"{count(len(vetted.bad), 'bad one')}; what of these the floor would not refuse stands above"
        )
    word = "sound" if vetted.sound else "refused"
    if pinned and not active:
        lines.append(f"{word}, and changed since it was pinned: found {bundle.digest}, pinned {pinned}")
    else:
        lines.append(f"{word}{' and active' if active and vetted.sound else ''}: {bundle.digest}")
    return "\n".join(lines)


def _tested(done: Trials) -> str:
    lines = [f"✗ {trial.file}: {trial.name}: {trial.problem}" for trial in done.failed]
    rows = done.untested
    lines += [f"! {row.file}:{row.line}: no test reaches {row.rule}" for row in rows[:MAX_LISTED]]
    if len(rows) > MAX_LISTED:
        lines.append(f"! and {len(rows) - MAX_LISTED} more")
    if not done.trials:
        return "there are no tests: write rules named test_… in a file named like own_test.rego"
    held = len(done.trials) - len(done.failed)
    lines.append(
        f"{held} of {count(len(done.trials), 'test')} held; they reach {done.percent:g} % of the rules' lines"
    )
    return "\n".join(lines)


def _write(shared: Shared, folder: Path | None, decision: str, name: str | None) -> int:
    if folder is None:
        raise UsageError(
            "--from writes a file, and no folder is given",
            remedy="name the folder of your policy: the active one is changed by weighbridge policy use alone",
        )
    from weighbridge.gate.fixtures import asked
    from weighbridge.policy.trials import fixture

    with opened(shared) as registry:
        found = asked(registry, decision)
    file, text = fixture(
        name or f"decision_{found.id.partition(':')[2][:12]}",
        found.package,
        found.question,
        allow=found.allow,
    )
    try:
        with (folder / file).open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{folder / file} is there already", remedy="give another name with --as") from error
    say(shared, f"written: {folder / file}")
    return 0
