"""What runs in a cluster: the models that Kubernetes objects name, read from the JSON that `kubectl get -o json` prints.

Which field of which kind names a model is data (`MODELS`, `PODS`). A model that is named in a way that cannot be followed is
a row as well, with the reason: what runs and cannot be told is what somebody has to look at. Nothing is asked of a cluster.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from weighbridge.core.errors import BadReference, UsageError
from weighbridge.core.reference import parse_reference

MAX_DOCUMENT = 1024 * 1024 * 1024
MAX_TARGET = 200

MODELS: Mapping[str, tuple[str, ...]] = {
    # kind: where a model's address stands; `*` is every key or place of a list, `**` any depth.
    "InferenceService": ("spec.*.model.storageUri", "spec.*.*.storageUri", "spec.*.storageUris.*.uri"),
    "TrainedModel": ("spec.model.storageUri",),
    "LocalModelCache": ("spec.sourceModelUri",),
    "LLMInferenceService": ("spec.model.uri", "spec.model.lora.adapters.*.uri"),
    "LLMInferenceServiceConfig": ("spec.model.uri", "spec.model.lora.adapters.*.uri"),
    "SeldonDeployment": ("spec.predictors.**.modelUri",),
    "Model": ("spec.storageUri",),
    "BaseModel": ("spec.storage.storageUri",),
    "ClusterBaseModel": ("spec.storage.storageUri",),
    "VLLMRuntime": ("spec.model.modelURL",),
    "ModelAdapter": ("spec.artifactURL",),
    "NIMCache": (),
    "NIMService": (),
    "RayService": (),
    "Workspace": (),
}
"""Kinds that always mean a model: one in which none is found is a row that says so."""
PODS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "CronJob": ("spec.jobTemplate.spec.template.spec",),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "Rollout"),
        ("spec.template.spec",),
    ),
    "LeaderWorkerSet": ("spec.leaderWorkerTemplate.*.spec",),
    "InferenceService": ("spec.*", "spec.*.workerSpec"),
    "LLMInferenceService": ("spec.template", "spec.worker", "spec.prefill.template", "spec.prefill.worker"),
    "ServingRuntime": ("spec",),
    "ClusterServingRuntime": ("spec",),
}
"""Where a kind holds what a pod is made of."""
FLAGS = (
    "--model", "--model-id", "--model_id", "--model-path", "--model-dir", "--speculative-model", "--tokenizer", "--hf-repo",
)  # fmt: skip
VARIABLES = ("MODEL_ID", "HF_MODEL_ID", "STORAGE_URI", "MODEL_NAME_OR_PATH", "MODEL_PATH", "NIM_MODEL_NAME")
SERVERS = re.compile(
    r"vllm|text-generation-inference|tgi-|sglang|tritonserver|torchserve|ollama|llama[.-]cpp|kserve|/nim/|mlserver|lmdeploy"
)
"""Images that serve models: where one of them names none, that is said."""
OWNERS = ("weighbridge.dev/owner", "owner", "team", "app.kubernetes.io/part-of")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True, slots=True)
class Running:
    """A model that somebody says runs: where, which, whose; `problem` says why it cannot be told which."""

    target: str
    reference: str
    owner: str = ""
    problem: str = ""
    note: str = ""


def running(document: bytes) -> tuple[list[Running], int]:
    """Return the models that the objects of a cluster name, and how many objects name none; raises UsageError."""
    try:
        value: Any = json.loads(document)
        items = value.get("items", [value])
        objects = [item for item in items if isinstance(item, dict) and isinstance(item.get("kind"), str)]
        if len(objects) != len(items):
            raise ValueError("an item is no object of a cluster")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(
            "this is not what a cluster's client prints",
            cause=str(error)[:200],
            remedy="kubectl get pods,deployments,statefulsets,inferenceservices -A -o json | weighbridge deploy --from k8s -",
        ) from error
    present = {_identity(item.get("kind"), _names(item)) for item in objects}
    found: list[Running] = []
    silent = 0
    for item in objects:
        if _owned(item, present):
            continue
        rows = list(_object(item, objects))
        silent += not rows
        found += _numbered(item, rows)
    return _distinct(found), silent


def _object(item: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Iterator[Running]:
    kind = item["kind"]
    seen: dict[str, Running] = {}
    sourced = [value for path in MODELS.get(kind, ()) for value in reached(item, path.split("."))]
    pods = [
        pod for path in PODS.get(kind, ()) for pod in reached(item, path.split(".")) if isinstance(pod, dict)
    ]
    for text in sourced:
        row = named(text)
        seen.setdefault(row.reference or row.problem, row)
    for pod in pods:
        for row in _pod(pod, mounted=bool(sourced)):
            seen.setdefault(row.reference or row.problem, row)
    if not seen and kind in MODELS:
        yield from _special(item, objects)
    yield from seen.values()


def _special(item: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Iterator[Running]:
    """Follow what is told elsewhere, or say that it cannot be followed."""
    kind, spec = item["kind"], item.get("spec") or {}
    hub = next(iter(reached(spec, ["source", "hf"])), None) if kind == "NIMCache" else None
    if isinstance(hub, dict) and hub.get("modelName"):
        repository = "/".join(str(part) for part in (hub.get("namespace"), hub["modelName"]) if part)
        yield named(f"hf://{repository}" + (f"@{hub['revision']}" if hub.get("revision") else ""))
        return
    bases = [base.get("name") for base in reached(spec, ["baseRefs", "*"]) if isinstance(base, dict)]
    for other in objects:
        if other["kind"] == "LLMInferenceServiceConfig" and _names(other)[1] in bases:
            for text in reached(other, ["spec", "model", "uri"]):
                yield named(text)
                return
    why = {
        "RayService": "its models stand in a text of Ray Serve's own (serveConfigV2)",
        "NIMCache": "it comes from a catalogue of its vendor's",
        "NIMService": "its image brings the model, or finds it by itself",
        "Workspace": "it names a preset of its operator's, not a model",
    }.get(kind, f"no field of this {kind} names a model")
    yield Running("", "", problem=why)


def _pod(pod: Mapping[str, Any], *, mounted: bool) -> Iterator[Running]:
    rows: list[Running] = []
    for volume in _list(pod, "volumes"):
        reference = next(iter(reached(volume, ["image", "reference"])), None)
        if isinstance(reference, str):
            rows.append(named(f"oci://{reference}"))
    containers = [
        box for key in ("initContainers", "containers", "ephemeralContainers") for box in _list(pod, key)
    ]
    serving, local = "", ""
    for box in containers:
        image = box.get("image") if isinstance(box.get("image"), str) else ""
        serving = serving or (image if SERVERS.search(image) else "")
        if box.get("name") == "modelcar" and image:
            rows.append(named(f"oci://{image}"))
        words = _words(box)
        trust = "--trust-remote-code" in words
        for text, revision in _told(box, words):
            row = named(text, revision)
            if isinstance(text, str) and text.startswith(("/", "./")):
                local = local or text
                continue
            rows.append(
                replace(row, note="it is told to run code of the model's repository") if trust else row
            )
    yield from rows
    if local and not rows and not mounted:
        yield Running(
            "", "", problem=f"it reads {local[:120]!r} in the container; what lies there is not told"
        )
    elif serving and not rows and not mounted:
        yield Running(
            "", "", problem=f"{serving[:120]!r} serves models, and no argument or variable says which"
        )


def _told(box: Mapping[str, Any], words: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Yield (what names a model, its revision) of one container: arguments first, then variables."""
    revision = next((value for flag, value in _flags(words) if flag == "--revision"), "")
    for flag, value in _flags(words):
        if flag in FLAGS:
            yield value, revision if flag != "--tokenizer" else ""
        elif flag == "--lora-modules":
            yield value.partition("=")[2] or value, ""
    for before, word in pairwise(words):
        if before == "serve" and not word.startswith("-"):  # vllm serve MODEL
            yield word, revision
    for variable in _list(box, "env"):
        if variable.get("name") in VARIABLES:
            yield variable.get("value") or variable, ""


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if not flag.startswith("--"):
            continue
        following = words[place + 1] if place + 1 < len(words) else ""
        if equals or not following.startswith("--"):
            yield flag, value if equals else following


def _words(box: Mapping[str, Any]) -> list[str]:
    """Return the words of a container's command line; what is given to a shell is taken apart as a shell does."""
    words: list[str] = []
    for word in (*_list(box, "command", str), *_list(box, "args", str)):
        try:
            words += shlex.split(word, comments=True) if any(space in word for space in " \n") else [word]
        except ValueError:
            words.append(word)
    return words


def named(text: Any, revision: str = "") -> Running:
    """Return a row for what a field says: a reference of ours, or why it is none."""
    if not isinstance(text, str) or not text:
        return Running(
            "",
            "",
            problem="it is taken from a secret, a config map or another field, and stands nowhere here",
        )
    written = text
    if match := re.fullmatch(r"hf://([^:@]+):(.+)", text):  # KServe's way to write a revision
        written = f"hf://{match[1]}@{match[2]}"
    elif _REPO.fullmatch(text):
        written = f"hf://{text}" + (f"@{revision}" if revision else "")
    if "$(" in text or "${" in text or "{{" in text:
        return Running("", "", problem=f"{text[:120]!r} is filled in when it starts")
    try:
        reference = parse_reference(written)
    except BadReference as error:
        return Running("", "", problem=f"{text[:120]!r}: {error.problem[:200]}")
    if reference.scheme in ("path", "name"):
        return Running("", "", problem=f"{text[:120]!r} is a place in the container, or a name of its own")
    return Running("", str(reference))


def reached(value: Any, path: Sequence[str]) -> list[Any]:
    """Return what lies at a path: keys, `*` for each of a list or mapping, `**` for any depth."""
    if not path:
        return [value]
    step, rest = path[0], path[1:]
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if step == "*":
        return [found for one in inner for found in reached(one, rest)]
    if step == "**":
        below = [found for one in inner for found in reached(one, path)]
        return [*reached(value, rest), *below]
    return reached(value[step], rest) if isinstance(value, dict) and step in value else []


def _list(value: Mapping[str, Any], key: str, kind: type = dict) -> list[Any]:
    found = value.get(key)
    return [one for one in found if isinstance(one, kind)] if isinstance(found, list) else []


def _names(item: Mapping[str, Any]) -> tuple[str, str]:
    told = item.get("metadata") if isinstance(item.get("metadata"), dict) else {}
    assert isinstance(told, dict)
    return str(told.get("namespace") or "cluster"), str(told.get("name") or "unnamed")


def _identity(kind: Any, names: tuple[str, str]) -> tuple[str, str, str]:
    return (str(kind), *names)


def _owned(item: Mapping[str, Any], present: set[tuple[str, str, str]]) -> bool:
    """Tell whether another object of the same document made this one: it speaks for both."""
    space = _names(item)[0]
    owners = reached(item, ["metadata", "ownerReferences", "*"])
    return any(
        isinstance(owner, dict) and _identity(owner.get("kind"), (space, str(owner.get("name")))) in present
        for owner in owners
    )


def _numbered(item: Mapping[str, Any], rows: Sequence[Running]) -> list[Running]:
    """Give the rows of one object its name and owner, and a number from the second on."""
    space, name = _names(item)
    told = {
        key: value
        for place in ("annotations", "labels")
        for found in reached(item, ["metadata", place])
        if isinstance(found, dict)
        for key, value in found.items()
    }
    owner = next((str(told[key]) for key in OWNERS if told.get(key)), space)
    target = f"{space}/{name}"[:MAX_TARGET]
    return [
        replace(row, target=target + (f"/{number}" if number > 1 else ""), owner=owner)
        for number, row in enumerate(rows, 1)
    ]


def _distinct(rows: Sequence[Running]) -> list[Running]:
    """Keep targets apart that objects of two kinds share."""
    seen: dict[str, int] = {}
    distinct = []
    for row in rows:
        seen[row.target] = again = seen.get(row.target, 0) + 1
        distinct.append(row if again == 1 else replace(row, target=f"{row.target}#{again}"))
    return distinct
