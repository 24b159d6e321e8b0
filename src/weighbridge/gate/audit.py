"""The audit: eight risks, each on, partly or off, as the settings and decisions of this registry show, with the numbers.

A risk is a row of measures. Each measure counts: so many of so many. What decides is written once, in `Risk.state`:
`on` when every measure that applies holds in full and one that is essential does; `off` when no essential measure counts
anything; `partly` between. Nothing here is believed that the records do not show, and nothing is said of what is not
measured. docs/reference/audit.md lists the measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.tier import Mode, Origin, Role, Stage
from weighbridge.gate.audit_facts import Running, counts, is_active, last_advisory, running
from weighbridge.gate.judging import read_active, setting
from weighbridge.gate.modes import mode_of, modes
from weighbridge.policy.settings import PolicyBundle
from weighbridge.registry.alert_queue import standing
from weighbridge.registry.wiring import Registry
from weighbridge.registry.witnesses import demanded, fresh

CODELESS = frozenset({"safetensors", "gguf", "npy", "npz"})
"""What policies may call formats of weights that hold no code."""
ADVISORY_AGE = timedelta(days=365)
"""A registry in which nobody recorded an advisory or revocation for longer shows nobody who looks."""
STATES = ("on", "partly", "off")


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that was counted: `have` of `total`. A total of 0 means that there is nothing yet to count."""

    id: str
    question: str
    have: int
    total: int
    found: str
    where: str
    """The command or document in which anybody can look it up."""
    remedy: str = ""
    essential: bool = False

    @property
    def holds(self) -> bool:
        """Whether all of it is there."""
        return self.total > 0 and self.have == self.total

    def to_json(self) -> dict[str, JSON]:
        """Return the measure as it stands in `weighbridge.audit/1`."""
        return {
            "id": self.id,
            "question": self.question,
            "have": self.have,
            "total": self.total,
            "holds": self.holds if self.total else None,
            "essential": self.essential,
            "found": self.found,
            "where": self.where,
            "remedy": "" if self.holds else self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Risk:
    """One risk of the checklist and its measures; `limits` says what is not measured here."""

    id: str
    title: str
    measures: tuple[Measure, ...]
    limits: str = ""

    @property
    def state(self) -> str:
        """`on`, `partly` or `off`."""
        essential = [measure for measure in self.measures if measure.essential]
        if not any(measure.have for measure in essential):
            return "off"
        if all(measure.holds for measure in self.measures if measure.total) and any(
            measure.holds for measure in essential
        ):
            return "on"
        return "partly"

    def to_json(self) -> dict[str, JSON]:
        """Return the risk as it stands in `weighbridge.audit/1`."""
        return {
            "id": self.id,
            "title": self.title,
            "state": self.state,
            "measures": [measure.to_json() for measure in self.measures],
            "limits": self.limits,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """What was measured in one project of one registry at one moment."""

    registry: str
    project: str
    at: datetime
    running: int
    risks: tuple[Risk, ...]
    records: dict[str, int]
    """How many records of each kind the registry keeps, whatever the project."""

    @property
    def measures(self) -> dict[str, Measure]:
        """Every measure by its id."""
        return {measure.id: measure for risk in self.risks for measure in risk.measures}

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.audit/1`."""
        return {
            "registry": self.registry,
            "project": self.project,
            "at": rfc3339(self.at),
            "running": self.running,
            "risks": [risk.to_json() for risk in self.risks],
            "records": dict(self.records),
        }


def audit(registry: Registry) -> Audit:
    """Measure the current project; raises VerificationFailed(records.tally) when the records were changed behind our back."""
    runs = tuple(running(registry))
    scale = _Scale(registry, runs)
    risks = tuple(make(scale) for make in RISKS)
    return Audit(registry.id, registry.project, registry.clock.now(), len(runs), risks, counts(registry))


class _Scale:
    """Makes measures of one registry."""

    def __init__(self, registry: Registry, runs: Sequence[Running]) -> None:
        self.registry = registry
        self.runs = runs
        self.authority = registry.authority
        self.policy, self.problem = _policy(registry)

    def share(
        self,
        name: str,
        question: str,
        holds: Callable[[Running], bool],
        *,
        remedy: str,
        essential: bool = False,
    ) -> Measure:
        """Count the running models for which something holds; the first few for which it does not are named."""
        lacking = [facts for facts in self.runs if not holds(facts)]
        shown = ", ".join(f"{facts.target} ({facts.manifest.short})" for facts in lacking[:3])
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        have = len(self.runs) - len(lacking)
        found = f"{have} of {len(self.runs)} running models" if self.runs else "nothing runs yet"
        return Measure(
            name,
            question,
            have,
            len(self.runs),
            found + (f"; not {shown}{more}" if lacking else ""),
            "weighbridge deploy; audit --pack, lists/running.jsonl",
            remedy,
            essential,
        )

    def whether(
        self,
        name: str,
        question: str,
        *,
        holds: bool,
        found: str,
        where: str,
        remedy: str,
        essential: bool = False,
    ) -> Measure:
        """Make a measure of something that is so or is not."""
        return Measure(name, question, int(holds), 1, found, where, remedy, essential)

    # Measures that several risks share.

    def enforced(self, *, essential: bool) -> Measure:
        mode = mode_of(self.registry)
        spaces = sorted({one.namespace for one in modes(self.registry) if one.namespace})
        inside = {space: mode_of(self.registry, space) for space in spaces}
        loose = [f"{space}: {own.value}" for space, own in inside.items() if own is not Mode.ENFORCE]
        return self.whether(
            "gate.mode", "does the gate act on what it concludes", holds=mode is Mode.ENFORCE and not loose,
            found="; ".join((f"mode {mode.value}", *loose)), where="weighbridge policy mode",
            remedy='set it to enforce: weighbridge policy mode enforce --reason "…"', essential=essential,
        )  # fmt: skip

    def pinned(self) -> Measure:
        wanted = setting(self.registry, "policy")
        found = str(self.policy.digest) if self.policy else self.problem
        return self.whether(
            "policy.pinned", "are the policy files the ones that were approved", holds=found == wanted,
            found=f"pinned {wanted}, found {found}", where="weighbridge policy check",
            remedy="put the files back, or approve them: weighbridge policy use FOLDER",
        )  # fmt: skip

    def current(self) -> Measure:
        authority, now = self.authority, self.registry.clock.now()
        return self.whether(
            "authority.current", "is it in force who may do what", holds=authority.issued <= now < authority.expires,
            found=f"version {authority.version}, until {rfc3339(authority.expires)}", where="weighbridge trust show",
            remedy="sign it again: weighbridge trust renew",
        )  # fmt: skip

    def witnesses(self) -> Measure:
        age, seen = self.authority.checkpoint_age, fresh(self.registry.log, self.authority)
        names = len(self.authority.trusted.witnesses)
        old = seen.age(self.registry.clock.now()) if seen else None
        said = f"{names} witnesses named, {demanded(self.authority)} asked for, "
        said += f"last seen {rfc3339(seen.seen)}" if seen else "never seen by them"
        return self.whether(
            "log.witnessed", "has somebody else seen the log lately",
            holds=bool(names and age is not None and old is not None and old.total_seconds() <= age),
            found=said + (f", at most {age} s ago is asked for" if age is not None else ", no age is asked for"),
            where="weighbridge log show",
            remedy="name witnesses and the age of checkpoints in the authority, and ask them: weighbridge log cosign",
            essential=True,
        )  # fmt: skip

    def told(self) -> Measure:
        now, sinks = self.registry.clock.now(), self.registry.config.alerts
        found = [standing(self.registry, sink) for sink in sinks]
        deaf = [f"{one.sink.name} since {one.failing_since}" for one in found if one.long(now)]
        said = f"{len(sinks)} told" if sinks else "nobody is told"
        return self.whether(
            "alerts.told", "do those hear who are to be told when the gate refuses or cannot decide", holds=not deaf,
            found=said + (f"; deaf: {', '.join(deaf)}" if deaf else ""), where="weighbridge alert list --sinks",
            remedy="look at the receiver, then: weighbridge alert send",
        )  # fmt: skip

    def role(self, role: Role) -> Measure:
        rules = self.authority.projects.get(self.registry.project, self.authority.projects["*"])
        holders = rules.roles.get(role, ())
        return self.whether(
            f"role.{role.value}", f"may somebody {role.value}", holds=bool(holders),
            found=", ".join(holders) or "nobody", where="weighbridge trust show",
            remedy=f"name somebody for it: weighbridge trust add NAME --role {role.value}",
        )  # fmt: skip

    def set_in_policy(self, section: str, key: str) -> object:
        """Return a setting of the policy that is in force; None when it cannot be read."""
        rows = self.policy.settings.get(section) if self.policy else None
        return rows.get(key) if isinstance(rows, dict) else None


def _policy(registry: Registry) -> tuple[PolicyBundle | None, str]:
    try:
        return read_active(registry), ""
    except (WeighbridgeError, OSError) as error:
        return None, str(error).partition("\n")[0]


# ------------------------------------------------------------------------------- the eight risks


def _pickles(scale: _Scale) -> Risk:
    formats = scale.set_in_policy("scan", "formats")
    listed = [str(name) for name in formats] if isinstance(formats, list) else []
    code = sorted(set(listed) - CODELESS)
    return Risk("pickle-code", "Loading a model runs code (pickle and its like)", (
        scale.enforced(essential=True),
        scale.share("scan.complete", "did the gate's own scan read every byte, and pass", lambda one: one.scanned,
                    remedy="admit it again: weighbridge admit MODEL", essential=True),
        scale.whether("policy.formats", "does the policy take only formats that hold no code", holds=bool(listed) and not code,
                      found=f"takes {', '.join(listed) or 'nothing that can be read'}", where="policy.toml, [scan] formats",
                      remedy=f"leave out {', '.join(code)}" if code else "list the formats in policy.toml"),
        scale.pinned(),
    ))  # fmt: skip


def _tampering(scale: _Scale) -> Risk:
    return Risk("tampered-weights", "Weights are changed or swapped", (
        scale.share("files.signed", "did somebody sign exactly these files", lambda one: one.signed,
                    remedy="sign it: weighbridge sign MODEL", essential=True),
        scale.share("bytes.same", "were the kept bytes read again and found the same at the last decision",
                    lambda one: one.bytes_same, remedy="take it in again and admit it: weighbridge intake PATH"),
        scale.witnesses(),
    ), "Whether bytes at the runtime's own disk were changed since is for the loader to find: see the last risk.")  # fmt: skip


def _origin(scale: _Scale) -> Risk:
    asked = {Stage.DATA, Stage.TRAIN, Stage.PACKAGE} <= set(
        scale.authority.required(scale.registry.project, Origin.OWN)
    )
    builders = scale.set_in_policy("own", "builders")
    names = [str(name) for name in builders] if isinstance(builders, list) else []
    return Risk("unknown-origin", "Nobody knows how a model was built", (
        scale.share("provenance.ends", "does its provenance end at signed data or at an accepted origin",
                    lambda one: one.ends in ("data", "origin"), essential=True,
                    remedy="have data and training signed: weighbridge attest --stage train"),
        scale.whether("authority.stages", "are claims on data, training and packaging asked for", holds=asked,
                      found=", ".join(stage.value for stage in scale.authority.required(scale.registry.project, Origin.OWN)),
                      where="weighbridge trust show", remedy="ask for these stages in the authority"),
        scale.whether("policy.builders", "does the policy name who may build", holds=bool(names),
                      found=", ".join(names) or "any builder", where="policy.toml, [own] builders",
                      remedy="name the builders in policy.toml"),
    ))  # fmt: skip


def _inherited(scale: _Scale) -> Risk:
    newest, now = last_advisory(scale.registry), scale.registry.clock.now()
    watched = newest is not None and now - newest <= ADVISORY_AGE
    return Risk("poisoned-base", "A model inherits what is wrong with its base", (
        scale.share("lineage.coverage", "is every ancestor known, up to data or an accepted origin",
                    lambda one: one.ends in ("data", "origin"), essential=True,
                    remedy="see where it breaks: weighbridge lineage MODEL"),
        scale.share("advisories.clear", "does no advisory or revocation reach it", is_active,
                    remedy="take it out of use, or put another model there: weighbridge lineage --deployed"),
        scale.whether("advisories.followed", "were advisories or revocations recorded within a year", holds=watched,
                      found=f"the newest is of {rfc3339(newest)}" if newest else "none was ever recorded",
                      where="audit --pack, lists/responses.jsonl", remedy="record what is disclosed: weighbridge advisory publish"),
        scale.role(Role.REVOKE),
    ), "What an undeclared base is, this measure does not know; observed lineage is kept as it is found.")  # fmt: skip


def _promotion(scale: _Scale) -> Risk:
    with scale.registry.records.read() as connection:
        waiting = int(
            connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar() or 0
        )
    return Risk("unverified-promotion", "A model is promoted without being verified", (
        scale.enforced(essential=True),
        scale.share("running.decided", "does it run on a decision that allows, was enforced and is logged",
                    lambda one: one.decided, remedy="ask the gate: weighbridge admit MODEL", essential=True),
        scale.share("running.apart", "did somebody else than its builders evaluate and excuse it", lambda one: one.apart,
                    remedy="have somebody else sign evaluations and waivers"),
        scale.share("running.unexcused", "does it run without a waiver and without break-glass", lambda one: one.excused == 0,
                    remedy="put right what was excused: weighbridge waive lists it"),
        scale.pinned(),
        scale.current(),
        scale.whether("outbox.empty", "is everything that was decided in the log", holds=waiting == 0,
                      found=f"{waiting} waiting", where="weighbridge doctor",
                      remedy="any writing command finishes it: weighbridge trust renew"),
        scale.told(),
    ))  # fmt: skip


def _backdoors(scale: _Scale) -> Risk:
    least = scale.set_in_policy("own", "minimum")
    asked = [name for name in least if name.startswith("backdoor")] if isinstance(least, dict) else []
    return Risk("backdoored-weights", "Weights carry a backdoor", (
        scale.share("probes.passed", "was it tested for backdoors, with a signed result that passed", lambda one: one.probed,
                    remedy="have a test for backdoors signed as an evaluation with a metric named backdoor…", essential=True),
        scale.whether("policy.probes", "does the policy ask for such a result", holds=bool(asked),
                      found=", ".join(asked) or "no metric named backdoor… is asked for", where="policy.toml, [own.minimum]",
                      remedy="ask for it in [own.minimum]"),
        scale.share("data.signed", "is its training data signed for", lambda one: one.data or one.ends == "origin",
                    remedy="have it signed: weighbridge attest DATASET --stage data"),
        scale.share("evaluation.passed", "is there a signed evaluation that passed", lambda one: one.evaluated or one.ends == "origin",
                    remedy="have it signed: weighbridge attest MODEL --stage evaluate"),
    ), "Weighbridge has no probes of its own yet: counted are results that others signed, whatever their method is worth.")  # fmt: skip


def _dependencies(scale: _Scale) -> Risk:
    return Risk("malicious-dependency", "A dependency or an adapter is malicious", (
        scale.share("bom.signed", "is there a signed bill of materials bound to these files", lambda one: one.bom,
                    remedy="take it in again: weighbridge intake PATH", essential=True),
        scale.share("bom.dependencies", "does it name what the model needs to run, with hashes", lambda one: one.dependencies > 0,
                    remedy="keep a lock file with hashes beside the model, then take it in again", essential=True),
        scale.share("adapters.known", "is what it adapts known up to data or an accepted origin",
                    lambda one: not one.adapter or one.ends in ("data", "origin"),
                    remedy="have the base of the adapter taken in and signed for"),
        scale.share("names.listed", "does it pass without a waiver for unlisted names", lambda one: one.waived == 0,
                    remedy="replace what needed a waiver"),
    ), "Known vulnerabilities of what is named are not looked up here.")  # fmt: skip


def _loads(scale: _Scale) -> Risk:
    runs = len(scale.runs)
    return Risk("untrusted-load", "What the runtime loads is not what was admitted", (
        scale.share("running.admitted", "does it run on an admission that has not ended", lambda one: one.admitted and one.decided,
                    remedy="admit it again: weighbridge admit MODEL", essential=True),
        scale.share("load.ready", "does a copy lie ready that the loader verifies as it loads", lambda one: one.laid_out,
                    remedy="admit it again: weighbridge admit MODEL"),
        Measure("load.receipts", "did the runtime report back what it verified as it loaded", 0, max(runs, 1),
                "none: the loader verifies and does not report", "weighbridge.load", "not built yet"),
    ), "That a runtime uses the loader cannot be seen from here, so this risk is never fully on.")  # fmt: skip


RISKS: tuple[Callable[[_Scale], Risk], ...] = (
    _pickles, _tampering, _origin, _inherited, _promotion, _backdoors, _dependencies, _loads,
)  # fmt: skip
"""The eight risks of the coverage checklist, in its order."""
