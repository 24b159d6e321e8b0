"""What may be taken from here: finds the model that a repository and revision mean, and asks the gate before it is handed out.

A repository is the hub's own id of models that were taken in from it (and of what was converted from them), or a name of this
registry, alone or as `<project>/<name>`. `main` is what the gate admitted: the name's target, or the newest model of the
repository that is trusted and active. Other revisions are a commit, the branch or tag that was asked for at intake, or the
model's own digest: `wb1:<hex>`, or the first forty digits of it where a client wants a commit.

The records are held against their tally whenever that changed, and every two seconds; the gate's word is verified whenever
the records changed. What was answered holds no longer than that.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import sqlalchemy as sa

from weighbridge.claims.summary import Summary
from weighbridge.core.canonical import parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, NotFound, WeighbridgeError
from weighbridge.core.reference import is_name, parse_reference
from weighbridge.core.tier import Status, Tier
from weighbridge.gate.alarms import noted
from weighbridge.gate.handout import Withheld, claims_about, renew, withheld, word_of
from weighbridge.registry import access, jobs, models, names, tally
from weighbridge.registry.artifacts import Artifact
from weighbridge.registry.wiring import Registry
from weighbridge.server.refusals import Pending
from weighbridge.store import schema
from weighbridge.trust.authority import EVERY_PROJECT

MAIN = frozenset({"", "main", "HEAD", "latest"})
CHECK_SECONDS = 2.0
BLOCKED_SECONDS = 30.0
"""How long a refusal of the gate is repeated before it is asked again: each answer is logged."""
UNFINISHED = timedelta(seconds=60)
FAILED = timedelta(minutes=10)
"""How long a failed intake is told before another is begun."""
COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"(?:wb1:)?(?P<hex>[0-9a-f]{12,64})")
MAX_OFFERS = 256


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that may be handed out now, as one revision of a repository."""

    repository: str
    commit: str
    """Forty digits: the hub's commit where the bytes are that commit's, else of the model's own digest."""
    model: models.Model
    word: Summary


@dataclass(frozen=True, slots=True)
class _Row:
    digest: Digest
    commit: str
    asked: str
    """The branch or tag that was asked for at intake."""
    good: bool
    """In the trusted tier and active, by its row."""

    def is_(self, revision: str) -> bool:
        match = _DIGEST.fullmatch(revision)
        own = match is not None and self.digest.hex.startswith(match["hex"])
        return own or revision in (self.commit, self.asked)


@dataclass
class _Known:
    """What was found while the records said the same."""

    tally: str = ""
    offers: dict[tuple[str, str], Offer] = field(default_factory=dict)
    kept: dict[str, list[tuple[str, str, models.Model]]] = field(default_factory=dict)
    artifacts: dict[tuple[str, Digest], Artifact] = field(default_factory=dict)
    checked: float = 0.0


class Shelf:
    """Finds and asks. Its methods may be called from any thread; `again` opens the registry anew, for what writes."""

    def __init__(self, again: Callable[[], Registry]) -> None:
        self._again = again
        self._lock = threading.RLock()
        self._renewing: dict[Digest, threading.Lock] = {}
        self._refused: dict[Digest, tuple[float, Withheld]] = {}
        self._known = _Known()
        self.registry = again()

    def close(self) -> None:
        """Close the registry."""
        self.registry.close()

    def admit_reader(self, authorization: str) -> None:
        """Refuse who may not read in this project: raises Refused(access.token, access.denied)."""
        with self._reading() as registry:
            principal = access.identify(registry, authorization)
            access.require(registry, principal, access.Right.READ, registry.project)

    def offer(self, repository: str, revision: str) -> Offer:
        """Return what may be handed out; raises NotFound, Pending, Withheld, or what reading the registry raises."""
        for again in (True, False):
            with self._reading():
                offer = self._known.offers.get((repository, revision))
                if offer is not None and self.registry.clock.now() < offer.word.expires:
                    return offer
                row = self._chosen(repository, revision)
                if row is not None:
                    model = models.get(self.registry, row.digest)
                    word = word_of(self.registry, model)
                    if word is not None:
                        return self._keep(Offer(repository, row.commit, model, word), revision)
            if row is None:
                raise self._missing(repository, revision)
            if again:
                self._renew(model)
        raise withheld(self.registry, model)

    def kept(self, folded: str) -> list[tuple[str, str, models.Model]]:
        """Return repository, commit and model of all that was taken in under a name in lower case, admitted or not."""
        with self._reading() as registry:
            rows = self._known.kept.get(folded)
            if rows is None:
                found = self._folded(folded)[:MAX_OFFERS]
                rows = [(name, row.commit, models.get(registry, row.digest)) for name, row in found]
                self._known.kept[folded] = rows
            return rows

    def artifact(self, repository: str, commit: str, model: models.Model) -> Artifact:
        """Return a model with the claims about it, as artifacts of OCI."""
        key = (repository, model.digest)
        with self._reading() as registry:
            made = self._known.artifacts.get(key)
            if made is None:
                made = Artifact(repository, commit, model, claims_about(registry, model))
                self._known.artifacts[key] = made
            return made

    def spelled(self, folded: str) -> str:
        """Return how a repository is written that is asked for in lower case; itself when none is known."""
        with self._reading():
            return next((repository for repository, _ in self._folded(folded)), folded)

    def job(self, identity: str) -> jobs.Job:
        """Return a job; raises NotFound."""
        with self._reading() as registry:
            return jobs.find(registry, identity)

    def alarm(self, error: WeighbridgeError) -> None:
        """Have somebody told of bytes or records that are not what they should be. Never raises."""
        with self._lock:
            noted(error, self.registry.config, self.registry.clock, self.registry)

    # What is here.

    @contextmanager
    def _reading(self) -> Iterator[Registry]:
        """Give the registry with records that are believed; one thread at a time."""
        with self._lock:
            self._believe()
            yield self.registry

    def _believe(self) -> None:
        registry, known, table = self.registry, self._known, schema.setting
        query = sa.select(table.c.value).where(
            table.c.project == EVERY_PROJECT, table.c.key.startswith(tally.KEY)
        )
        waiting = sa.select(schema.outbox.c.id).where(
            schema.outbox.c.done_at.is_(None),
            schema.outbox.c.created_at < rfc3339(registry.clock.now() - UNFINISHED),
        )
        with registry.records.read() as connection:
            said = "\n".join(connection.execute(query.order_by(table.c.key)).scalars())
            unfinished = connection.execute(waiting.limit(1)).first() is not None
        if unfinished:
            self._finish()
        now = time.monotonic()
        if said == known.tally and not unfinished and now - known.checked < CHECK_SECONDS:
            return
        if said != known.tally:
            self._known = known = (
                _Known()
            )  # before anything can be refused: what was found is not believed meanwhile
            registry.take_up()
        tally.check(registry)
        known.tally, known.checked = said, now

    def _finish(self) -> None:
        """Let a killed writer's work count before anything is handed out: it may be a revocation."""
        registry = self._again()
        try:
            with registry.writing():
                pass
        finally:
            registry.close()

    def _keep(self, offer: Offer, revision: str) -> Offer:
        if len(self._known.offers) >= MAX_OFFERS:
            self._known.offers.clear()
        self._known.offers[offer.repository, revision] = offer
        return offer

    def _chosen(self, repository: str, revision: str) -> _Row | None:
        """Return the row that a revision means, or None; of several that fit the newest that is trusted and active."""
        name = self._name(repository)
        rows = self._named(name) if name else []
        if rows and revision in MAIN:
            return rows[0]
        rows = rows or self._from_hub(repository)
        fitting = [row for row in rows if revision in MAIN or row.is_(revision)]
        return next((row for row in fitting if row.good), fitting[0] if fitting else None)

    def _name(self, repository: str) -> str:
        name = repository.removeprefix(f"{self.registry.project}/")
        return name if is_name(name) else ""

    def _named(self, name: str) -> list[_Row]:
        """Return what a name points at, and after it what it pointed at before, newest first."""
        target = names.resolve(self.registry, name)
        if target is None:
            return []
        table = schema.name
        query = sa.select(table.c.manifest).where(
            table.c.project == self.registry.project, table.c.name == name
        )
        with self.registry.records.read() as connection:
            before = connection.execute(query.order_by(table.c.sequence.desc())).scalars().all()
        wanted = list(dict.fromkeys([str(target), *before]))
        found = {str(row.digest): row for row in self._rows(schema.model.c.digest.in_(wanted[:400]))}
        return [found[digest] for digest in wanted if digest in found]

    def _from_hub(self, repository: str) -> list[_Row]:
        source = schema.model.c.source
        rows = self._rows(source.contains(_member("repository", repository), autoescape=True), repository)
        if rows:
            converted = [
                source.contains(_member("converted_from", str(row.digest)), autoescape=True) for row in rows
            ]
            known = {row.digest for row in rows}
            rows += [row for row in self._rows(sa.or_(*converted[:100])) if row.digest not in known]
        return rows

    def _rows(self, where: sa.ColumnElement[bool], repository: str = "") -> list[_Row]:
        """Return rows, newest first; with `repository` only those whose source says exactly that."""
        table = schema.model
        query = sa.select(table.c.digest, table.c.source, table.c.tier, table.c.status)
        query = query.where(table.c.project == self.registry.project, where)
        with self.registry.records.read() as connection:
            rows = connection.execute(query.order_by(table.c.created_at.desc(), table.c.digest)).all()
        found = []
        for row in rows:
            facts = parse(row.source)
            if not isinstance(facts, dict) or (repository and facts.get("repository") != repository):
                continue
            digest, commit = Digest.parse(row.digest), str(facts.get("commit", ""))
            good = (row.tier, row.status) == (Tier.TRUSTED.value, Status.ACTIVE.value)
            shown = commit if COMMIT.fullmatch(commit) else digest.hex[:40]
            found.append(_Row(digest, shown, str(facts.get("requested", "")), good))
        return found

    def _folded(self, folded: str) -> list[tuple[str, _Row]]:
        name = self._name(folded)
        if name and (rows := self._named(name)):
            return [(folded, row) for row in rows]
        query = sa.select(schema.model.c.source).where(
            schema.model.c.project == self.registry.project,
            sa.func.lower(schema.model.c.source).contains(_member("repository", folded), autoescape=True),
        )
        with self.registry.records.read() as connection:
            sources = [parse(text) for text in connection.execute(query).scalars()]
        spellings = {str(facts["repository"]) for facts in sources if isinstance(facts, dict)}
        wanted = sorted(one for one in spellings if one.lower() == folded)
        return [(one, row) for one in wanted for row in self._from_hub(one)]

    # What is not here, or not any more.

    def _renew(self, model: models.Model) -> None:
        """Ask the gate again, one thread for each model; the others wait for its answer."""
        with self._lock:
            lock = self._renewing.setdefault(model.digest, threading.Lock())
        with lock:
            since, error = self._refused.get(model.digest, (0.0, None))
            if error is not None and time.monotonic() - since < BLOCKED_SECONDS:
                raise error
            with self._reading() as registry:
                if word_of(registry, model) is not None:
                    return  # another thread has asked meanwhile
            registry = self._again()
            try:
                renew(registry, model)
            except Withheld as refusal:
                self._refused[model.digest] = (time.monotonic(), refusal)
                raise
            finally:
                registry.close()

    def _missing(self, repository: str, revision: str) -> WeighbridgeError:
        """Return why a model is not here: nobody took it in, or it is being taken in now."""
        wanted = "" if revision in MAIN else revision
        try:
            reference = parse_reference(f"hf://{repository}{f'@{wanted}' if wanted else ''}")
        except BadReference:
            reference = None
        if reference is None or not self.registry.config["mirror_pull"] or "/" not in repository:
            return self._unknown(repository, revision)
        return self._pull(str(reference))

    def _pull(self, reference: str) -> WeighbridgeError:
        key = reference if len(reference) <= 128 else str(Digest.of(reference.encode()))
        with self._reading() as registry:
            before = _last(registry, key)
        if before is not None and before.state == jobs.FAILED and not self._old(before.ended_at):
            return Withheld(
                f"{reference} could not be taken in: {before.result.get('problem', before.message)}",
                cause=str(before.result.get("cause", "")),
                remedy=str(before.result.get("remedy", "")),
                check="mirror.pull",
            )
        if before is None or before.finished:
            registry = self._again()
            try:
                before = jobs.submit(registry, "intake", {"reference": reference}, key=key)
            finally:
                registry.close()
        error = Pending(
            f"{reference} is not here yet; pending, job {before.id}",
            cause=f"it is being taken in and is then to be promoted: {before.state}, {before.message}",
            remedy=f"ask again later; how far it is: /api/jobs/{before.id}",
            check="mirror.pending",
        )
        error.job = before.id
        return error

    def _old(self, when: str) -> bool:
        return when < rfc3339(self.registry.clock.now() - FAILED)

    def _unknown(self, repository: str, revision: str) -> WeighbridgeError:
        with self._reading() as registry:
            name = self._name(repository)
            known = bool((name and self._named(name)) or self._from_hub(repository))
            project = registry.project
        if known:
            return NotFound(
                f"{repository} has no revision {revision!r} here",
                remedy="ask for main, or for a commit that was taken in",
                check="mirror.revision",
            )
        return NotFound(
            f"{repository} is not in project {project!r}",
            remedy=f"ask whoever runs the registry to take it in: weighbridge pull hf://{repository}",
            check="mirror.repository",
        )


def _last(registry: Registry, key: str) -> jobs.Job | None:
    table = schema.job
    query = sa.select(table.c.id).where(
        table.c.project == registry.project, table.c.kind == "intake", table.c.key == key
    )
    with registry.records.read() as connection:
        identity = connection.execute(query.order_by(table.c.created_at.desc()).limit(1)).scalar()
    return jobs.find(registry, identity) if identity is not None else None


def _member(key: str, value: str) -> str:
    """Return how a member of canonical JSON is written."""
    return f'"{key}":{json.dumps(value, ensure_ascii=False)}'
