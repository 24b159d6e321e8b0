"""`record`: a block of a script whose inputs are checked before it, whose outputs are claimed after it, or nothing is.

Before the block: 1. who signs is known and the key opens · 2. inputs are hashed · 3. datasets are signed, nothing is
revoked · 4. what lies at the outputs is noted. After it, unless it raised: 5. inputs are hashed again and equal · 6.
outputs are hashed and new · 7. surroundings are written down, secrets struck out · 8. claims are signed and kept, all or
none. Each step that fails raises, and there is no claim.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from weighbridge.claims.words import Material
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import Clock, Entropy
from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import Refused, UsageError
from weighbridge.core.statement import Statement
from weighbridge.recorder import code, outputs
from weighbridge.recorder import environment as surroundings
from weighbridge.recorder.inputs import Read, check_revoked, read_again, read_input, signed
from weighbridge.recorder.locks import Lock, find_lock
from weighbridge.recorder.plan import Given, Options, Plan, make_plan
from weighbridge.recorder.scrub import Scrub
from weighbridge.recorder.stages import stage_word
from weighbridge.recorder.statements import Account, statements
from weighbridge.recorder.trust import Trust, trust_file
from weighbridge.registry.layout import Layout
from weighbridge.registry.signing import Means, Signed, check_free, keep, sign_with, write_claims
from weighbridge.registry.wiring import Registry, SystemClock, SystemEntropy, open_registry
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.signers import open_signer

logger = logging.getLogger("weighbridge.recorder")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One claim that a run left: the signed bundle, and where it is (a file, or an entry of the registry's log)."""

    statement: Statement
    bundle: Bundle
    signer: str
    log_index: int | None = None
    path: Path | None = None


class Recording:
    """One run being recorded; made by `weighbridge.record`, used as a context manager, once."""

    def __init__(self, plan: Plan, *, clock: Clock, entropy: Entropy) -> None:
        self.plan = plan
        self.inputs: tuple[Read, ...] = ()
        self.statements: tuple[Statement, ...] = ()
        """What is claimed; there once the block has ended well, also when signing it then failed."""
        self.claims: tuple[Recorded, ...] = ()
        rank = plan.environ.get("RANK", "0")
        self.idle = rank.isdecimal() and int(rank) > 0
        """True in all but the first process of a distributed training: one of them records."""
        self.started: datetime = clock.now()
        self._clock, self._entropy = clock, entropy
        self._scrub = Scrub(plan.environ)
        self._parameters: dict[str, JSON] = {}
        self._metrics: dict[str, float] = {}
        self._result = plan.result
        self._attached: dict[str, Callable[[], Mapping[str, Any]]] = {}
        self._before: dict[Path, outputs.Stamps] = {}
        self._stood: dict[Path, outputs.Stamps] = {}
        self._code = code.Code()
        self._lock: Lock | None = None
        self._variables: dict[str, JSON] = {}
        self._process = 0
        self._state = "new"

    # What a script says on the way.

    def parameter(self, name: str, value: Any) -> None:
        """Note a parameter of the run; secrets are struck out of it."""
        self.parameters({name: value})

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note parameters of the run; a later value of the same name takes the place of the earlier."""
        said = self._scrub.value(dict(values))
        assert isinstance(said, dict)
        self._parameters |= said

    def metric(self, name: str, value: float) -> None:
        """Note a measured value; raises UsageError for what is no finite number."""
        self.metrics({name: value})

    def metrics(self, values: Mapping[str, float]) -> None:
        """Note measured values; the last of a name counts."""
        for name, value in values.items():
            try:
                number = float(value)
            except (TypeError, ValueError) as error:
                raise UsageError(f"the metric {name!r} is no number", cause=repr(value)[:80]) from error
            if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 (what is not itself is no number)
                raise UsageError(f"the metric {name!r} is {number}, which a claim cannot say")
            self._metrics[self._scrub.text(str(name))] = number

    def result(self, word: str) -> None:
        """Say how an evaluation ended: PASSED, WARNED or FAILED."""
        if word not in ("PASSED", "WARNED", "FAILED"):
            raise UsageError(f"{word!r} is no result", remedy="say PASSED, WARNED or FAILED")
        self._result = word

    def attach(self, name: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Have `facts` asked for when the block has ended well; what it returns stands in the record under `name`."""
        self._attached[name] = facts

    # The block.

    def __enter__(self) -> Self:
        if self._state != "new":
            raise UsageError("a recording is used once", remedy="call weighbridge.record again")
        self._state, self._process = "running", os.getpid()
        if self.idle:
            logger.info("not recorded here: another process of this training records")
            return self
        self._signer_opens()
        outputs.check_apart([one.path for one in self.plan.inputs], self.plan.outputs, self._written())
        self.started = self._clock.now()
        self.inputs = self._read_inputs()
        self._before = {path: outputs.stamps(path) for path in self.plan.outputs}
        self._code = code.look(self.plan.script, self.plan.environ)
        self._lock = find_lock(self.plan.lock, code.working_folders(self.plan.script))
        self._variables = surroundings.variables(self.plan.environ, self.plan.variables, self._scrub)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.idle or os.getpid() != self._process:  # a forked worker leaves the block it was born in
            return
        if kind is not None:
            self._state = "failed"
            return
        self._state = "failed"  # until everything held
        self.statements = tuple(self._conclude())
        self._state = "ending"
        self.sign()

    def sign(self) -> None:
        """Sign and keep what was recorded; to be called again only when it failed at the end of the block.

        Raises what signing raises (a locked registry, an expired token) and then keeps no claim.
        """
        if self._state != "ending":
            raise UsageError("there is nothing to sign", remedy="let the block end without an error first")
        with self._registry(needed=self.plan.bundle is None or self._signs_here) as registry:
            means = Means(
                self._open_key, self._clock.now(), self.plan.environ, bool(self.plan.config["offline"])
            )
            made = [sign_with(registry, one, self.plan.how, means) for one in self.statements]
            self.claims = tuple(self._keep(registry, made))
        self._state = "done"

    # Before.

    @property
    def _signs_here(self) -> bool:
        return self.plan.how.keyless and not self.plan.how.elsewhere

    def _open_key(self, reference: str) -> Any:
        password = self.plan.password or self.plan.environ.get("WEIGHBRIDGE_KEY_PASSWORD")
        return open_signer(reference, password=password, offline=bool(self.plan.config["offline"]))

    def _signer_opens(self) -> None:
        """Find out before hours of work whether there is something to sign with and somewhere to keep it."""
        if self.plan.how.key:
            self._open_key(self.plan.how.key)
        for path in self._written():
            check_free(path)
            if not path.parent.is_dir():
                raise UsageError(f"{path.parent} is no folder", remedy="make it, or name another bundle")
        if self.plan.bundle is None or self._signs_here:
            with self._registry(needed=True):
                pass

    def _written(self) -> list[Path]:
        return [self.plan.bundle] if self.plan.bundle is not None else []

    @contextmanager
    def _registry(self, *, needed: bool = False) -> Iterator[Registry | None]:
        """Open the configured registry where it is there; raises RegistryUnusable when it is needed and is not."""
        config = self.plan.config
        there = Layout(Path(config["registry"]).expanduser().absolute()).card.exists()
        if not there and not needed:
            yield None
            return
        registry = open_registry(config, clock=self._clock, entropy=self._entropy)
        try:
            yield registry
        finally:
            registry.close()

    def _read_inputs(self) -> tuple[Read, ...]:
        self._stood = {one.path: outputs.stamps(one.path, follow=True) for one in self.plan.inputs}
        named = [replace(one, name=self._scrub.text(one.name)) for one in self.plan.inputs]
        found = [read_input(one) for one in named]
        with self._registry(needed=self.plan.bundle is None) as registry:
            trust = self._trust(registry)
            check_revoked(found, trust)
            checked = [self._checked(read, trust) for read in found]
        for first, second in ((a, b) for i, a in enumerate(checked) for b in checked[i + 1 :]):
            if first.identity == second.identity and first.input.relation is not second.input.relation:
                raise UsageError(
                    f"{first.input.name} is given twice, in two relations", check="recorder.input"
                )
        return tuple(checked)

    def _trust(self, registry: Registry | None) -> Trust | None:
        if self.plan.authority is not None:
            return trust_file(self.plan.authority, self.plan.config, self._clock.now())
        return Trust(registry.authority, registry.project, registry) if registry is not None else None

    def _checked(self, read: Read, trust: Trust | None) -> Read:
        """Return an input with who signed it; an unsigned dataset passes only where the caller said so."""
        if not read.input.is_dataset:
            return read
        try:
            return signed(read, trust, self._clock.now())
        except Refused as error:
            if not self.plan.unsigned:
                raise
            logger.warning("%s", error.problem)
            return read

    # After.

    def _conclude(self) -> list[Statement]:
        if self.plan.stage == "evaluate" and not self._metrics:
            raise UsageError(
                "an evaluation without a metric says nothing", remedy="call run.metric(NAME, VALUE)"
            )
        attached = {name: self._scrub.value(dict(facts())) for name, facts in self._attached.items()}
        for read in self.inputs:
            read_again(read)
            outputs.check_stood(read, self._stood[read.input.path])
        trains = stage_word(self.plan.stage).trains
        made = [outputs.read_output(path, weights=trains) for path in self.plan.outputs]
        if trains and not self.plan.kept:
            for one in made:
                outputs.check_fresh(one, self._before[one.path])
        return statements(self.plan.stage, self.inputs, made, self._account(attached))

    def _account(self, attached: Mapping[str, JSON]) -> Account:
        plan = self.plan
        materials: list[Material] = self._code.materials()
        installed = surroundings.distributions()
        record: dict[str, JSON] = {
            "recorder": f"weighbridge {VERSION}",
            "inputs": self._scrub.value([read.to_json() for read in self.inputs]),
            "arguments": list(self._scrub.arguments(plan.command_line)),
            "code": self._scrub.value(self._code.to_json()),
            "frameworks": surroundings.frameworks(installed),
            "hardware": surroundings.hardware(),
            "variables": self._variables,
        }
        if self._lock is not None:
            materials.insert(0, Material("lock", self._lock.name, self._lock.digest))
            record["lock"] = self._scrub.value(self._lock.to_json(installed))
        else:
            record["distributions"] = [one.to_json() for one in installed]
        if attached:
            record["attached"] = dict(attached)
        if self._metrics and plan.stage != "evaluate":
            record["metrics"] = dict(self._metrics)
        return Account(
            builder=plan.builder,
            invocation=plan.invocation or self._entropy.token(16).hex(),
            started=self.started,
            finished=self._clock.now(),
            parameters=self._said(),
            record=record,
            materials=tuple(materials),
            metrics=self._metrics,
            result=self._result,
            source=plan.source,
            licence=plan.licence,
            description=plan.description,
        )

    def _said(self) -> dict[str, JSON]:
        """Return the parameters, and beside them what was let pass: a policy may ask for its absence."""
        said = self._scrub.value(dict(self.plan.parameters))
        assert isinstance(said, dict)
        found: dict[str, JSON] = {**said, **self._parameters}
        unsigned: list[JSON] = [
            str(read.identity) for read in self.inputs if read.input.is_dataset and read.proven is None
        ]
        if unsigned:
            found["weighbridge:unsigned"] = unsigned
        if self.plan.kept:
            found["weighbridge:kept"] = True
        return found

    def _keep(self, registry: Registry | None, made: Sequence[Signed]) -> list[Recorded]:
        path = self.plan.bundle
        if path is not None:
            write_claims(path, made)
            return [
                Recorded(said, one.bundle, one.who, path=path)
                for said, one in zip(self.statements, made, strict=True)
            ]
        assert registry is not None
        kept = keep(registry, *made)
        return [
            Recorded(said, bundle, one.who, index)
            for said, one, (bundle, index) in zip(self.statements, made, kept, strict=True)
        ]


def record(
    stage: str,
    *,
    inputs: Sequence[Given] = (),
    outputs: Sequence[str | os.PathLike[str]] = (),
    models: Sequence[Given] = (),
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    **options: Unpack[Options],
) -> Recording:
    """Record a block of a script: `with weighbridge.record("train", inputs=[…], outputs=[…]) as run:`.

    `stage` is train, fine-tune, continued-pretrain, merge, adapter, quantize, prune, distil, evaluate, package or data.
    `inputs` are datasets, which must be signed by somebody whom the authority lets sign data (else the block is not
    entered, unless `unsigned="allowed"`), `models` what the output comes from or, for evaluate, what is tested.
    `outputs` are what the block writes. `options` are those of `recorder.plan.Options`: who signs, where the claim goes,
    what else is said. docs/recording.md explains each.

    Raises UsageError, Refused or CannotTell before the block; at its end VerificationFailed when inputs changed, and
    whatever reading outputs and signing raise. An exception in the block passes through, and nothing is claimed.
    """
    plan = make_plan(stage, inputs, outputs, models, options)
    return Recording(plan, clock=clock or SystemClock(), entropy=entropy or SystemEntropy())
