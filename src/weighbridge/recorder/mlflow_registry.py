"""A registry store for MLflow that asks the gate: no alias and no stage for a version that it does not admit.

    MLFLOW_REGISTRY_URI=weighbridge+https://mlflow.example  (or mlflow.set_registry_uri)

Everything else goes to the server behind that address as without it, creating versions too: anything may be registered, only
what was admitted is handed out under a name that others follow. It binds clients that use it, so a server that others
can reach should let nobody else set aliases. Only this module and `mlflow` of this room import mlflow.
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE
from mlflow.store.model_registry.rest_store import RestStore
from mlflow.utils.credentials import get_default_host_creds

from weighbridge.core.errors import CannotTell, WeighbridgeError

SCHEME = "weighbridge+"
HANDED_TO_NOBODY = ("none", "archived")
"""Stages that need no admission: nobody runs what is in them."""


class GatedStore(RestStore):  # type: ignore[misc]  # mlflow has no types
    """MLflow's own REST store, with a gate before whatever makes others follow a name."""

    def __init__(self, store_uri: str) -> None:
        self._address = store_uri.removeprefix(SCHEME)
        super().__init__(partial(get_default_host_creds, self._address))

    def set_registered_model_alias(self, name: str, alias: str, version: Any) -> Any:
        """Set an alias, to an admitted version only; raises MlflowException."""
        self._ask(name, str(version), f"alias {alias!r}")
        return super().set_registered_model_alias(name, alias, version)

    def transition_model_version_stage(
        self, name: str, version: Any, stage: str, archive_existing_versions: Any
    ) -> Any:
        """Move a version to a stage, an admitted one only unless nobody runs what is there; raises MlflowException."""
        if str(stage).lower() not in HANDED_TO_NOBODY:
            self._ask(name, str(version), f"stage {stage!r}")
        return super().transition_model_version_stage(name, version, stage, archive_existing_versions)

    def _ask(self, name: str, version: str, what: str) -> None:
        """Ask the gate of the registry that the user's settings name; whatever goes wrong is a refusal."""
        try:
            decision = self._decision(name, version)
        except WeighbridgeError as error:
            code = TEMPORARILY_UNAVAILABLE if isinstance(error, CannotTell) else PERMISSION_DENIED
            raise MlflowException(
                f"weighbridge: {name!r} version {version} gets no {what}: {error}", error_code=code
            ) from error
        if decision.allow:
            return
        check = decision.refusals[0]
        said = f"{check.id}: expected {check.expected}; found {check.found}"
        if not decision.enforced:
            warnings.warn(f"weighbridge: not enforced (mode {decision.mode.value}): {said}", stacklevel=4)
            return
        raise MlflowException(
            f"weighbridge: {name!r} version {version} gets no {what}: the gate does not admit it\n"
            f"  {said}\n  help: {check.remedy}\n  all checks: weighbridge admit models:/{name}/{version} --explain",
            error_code=PERMISSION_DENIED,
        )

    def _decision(self, name: str, version: str) -> Any:
        # Late: MLflow imports this module in every process, also where nobody sets an alias.
        from weighbridge.config import read_config
        from weighbridge.gate.registered import admit_version
        from weighbridge.registry.wiring import SystemClock, SystemEntropy, open_registry

        registry = open_registry(read_config(os.environ), clock=SystemClock(), entropy=SystemEntropy())
        try:
            result = admit_version(registry, name, version, mlflow_uri=self._address, environ=os.environ)
            return result.decision
        finally:
            registry.close()


def store(store_uri: str, **_: Any) -> GatedStore:
    """Make the store, as MLflow asks for it by the scheme of an address."""
    return GatedStore(store_uri)
