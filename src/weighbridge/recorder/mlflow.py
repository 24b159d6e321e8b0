"""Attach to a run that MLflow tracks: its id, parameters, metrics, the datasets and models it names; and leave it a note.

    with mlflow.start_run() as active, weighbridge.record("train", inputs=[data], outputs=[out]) as run:
        follow(run, active.info.run_id)

What MLflow says is said on its word: parameters pass through `scrub`, tags are not read at all (they hold names of users
and addresses of repositories). Only this module imports mlflow, and only whoever uses it imports this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.tracking import MlflowClient

from weighbridge.core.errors import CannotTell, Unreadable, UsageError
from weighbridge.recorder.record import Recording

NAME = "mlflow"
TAG = "weighbridge.claim"
"""Under this tag a tracked run names the claims about it, so that whoever looks at the run finds them."""
MAX_ROWS = 200


def follow(run: Recording, run_id: str, *, tracking_uri: str | None = None) -> None:
    """Have a recording take up what MLflow tracks under `run_id` when its block ends well.

    Raises UsageError when there is no such run, so that a wrong id is found before the training and not after it.
    """
    client = MlflowClient(tracking_uri=tracking_uri)
    _get(client, run_id)
    run.attach(NAME, lambda: _facts(client, run, run_id))


def leave_note(run: Recording, run_id: str, *, tracking_uri: str | None = None) -> None:
    """Set the tag `weighbridge.claim` of a tracked run to the digests of the claims about it; call it after the block."""
    if not run.claims:
        raise UsageError("nothing was claimed, so there is nothing to note", remedy="call it after the block")
    noted = " ".join(str(one.bundle.digest) for one in run.claims)
    try:
        MlflowClient(tracking_uri=tracking_uri).set_tag(run_id, TAG, noted)
    except Exception as error:  # every store of MLflow has errors of its own
        raise Unreadable(
            "MLflow did not take the note",
            cause=type(error).__name__,
            remedy="the claims are kept all the same",
        ) from error


def _get(client: MlflowClient, run_id: str) -> Any:
    try:
        return client.get_run(run_id)
    except Exception as error:  # the same
        raise UsageError(
            f"MLflow knows no run {run_id[:64]!r}",
            cause=type(error).__name__,
            remedy="give the id of the active run and the tracking_uri it is kept under",
        ) from error


def _facts(client: MlflowClient, run: Recording, run_id: str) -> Mapping[str, Any]:
    try:
        found = client.get_run(run_id)
    except Exception as error:  # the same
        raise CannotTell(
            f"the run {run_id[:64]} can no longer be read from MLflow",
            cause=type(error).__name__,
            remedy="nothing was claimed; look at the tracking server",
        ) from error
    datasets = [_dataset(row, run) for row in _rows(getattr(found, "inputs", None), "dataset_inputs")]
    return {
        "run_id": str(found.info.run_id),
        "experiment_id": str(found.info.experiment_id),
        "params": dict(found.data.params),
        "metrics": dict(found.data.metrics),
        "datasets": datasets,
        "datasets_outside_inputs": [row["name"] for row in datasets if row["read"] is False],
        "models": _models(client, found),
    }


def _dataset(row: Any, run: Recording) -> dict[str, Any]:
    """Say what MLflow calls a dataset, and whether it lies among the inputs that this run hashed."""
    named = row.dataset
    contexts = [tag.value for tag in getattr(row, "tags", []) or [] if tag.key == "mlflow.data.context"]
    return {
        "name": str(named.name),
        "digest": str(named.digest),
        "source_type": str(named.source_type),
        "context": contexts[:1],
        "read": _read(str(named.source), run),
    }


def _read(source: str, run: Recording) -> bool | None:
    """Tell whether a local source lies in an input; None for what is not local or does not say."""
    try:
        said = json.loads(source)
    except ValueError:
        return None
    where = said.get("uri") or said.get("path") or said.get("url") if isinstance(said, dict) else None
    if not isinstance(where, str):
        return None
    parts = urlsplit(where)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path) if parts.scheme else where).expanduser().resolve()
    inputs = [read.input.path.resolve() for read in run.inputs]
    return any(path == one or one in path.parents for one in inputs)


def _models(client: MlflowClient, found: Any) -> list[dict[str, Any]]:
    """Name the models that a run logged; what the server does not tell is left out."""
    models: list[dict[str, Any]] = []
    for row in _rows(getattr(found, "outputs", None), "model_outputs"):
        said: dict[str, Any] = {"model_id": str(row.model_id), "step": int(row.step)}
        try:
            said["name"] = str(client.get_logged_model(row.model_id).name)
        except Exception:  # noqa: BLE001 (an older server knows no logged models)
            said["name"] = ""
        models.append(said)
    return models


def _rows(holder: Any, name: str) -> Iterable[Any]:
    return list(getattr(holder, name, None) or [])[:MAX_ROWS]
