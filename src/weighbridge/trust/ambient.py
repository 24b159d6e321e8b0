"""The identity token of the job that runs us: GitHub Actions, GitLab, a Kubernetes service account, SPIFFE.

Where it is looked for, in this order; the first place that is there decides, and a place that is there and has no
usable token is an error, not a reason to look further (else a broken job would sign as somebody else):

1. a variable with the token itself: `SIGSTORE_ID_TOKEN`, or the names that were configured (GitLab's `id_tokens`);
2. `WEIGHBRIDGE_ID_TOKEN_FILE`, a file with the token: a JWT-SVID that spiffe-helper keeps fresh, a projected volume;
3. GitHub Actions: asked over the network with `ACTIONS_ID_TOKEN_REQUEST_URL` and `…_TOKEN`;
4. `/var/run/sigstore/cosign/oidc-token`, where Sigstore's clients expect a projected service account token.

What is read here is the token as its holder sees it: issuer, audience and end, to refuse early what would be refused
late. Nobody is believed because of it; `tokens` verifies.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from weighbridge.core.errors import BadSetting, NotFound, Refused, Unreachable, UsageError

AUDIENCE = "sigstore"
NAMES = ("SIGSTORE_ID_TOKEN",)
PROJECTED = Path("/var/run/sigstore/cosign/oidc-token")
MAX_TOKEN = 16 * 1024
"""Characters; tokens with many groups in them have some thousand."""

_FILE = "WEIGHBRIDGE_ID_TOKEN_FILE"
_URL, _BEARER = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"


@dataclass(frozen=True, slots=True)
class AmbientToken:
    """A token, unverified, with what it says of itself; the token itself is in no `repr`."""

    token: str = field(repr=False)
    place: str
    """Where it was found, for messages: a variable's name, a path, or `GitHub Actions`."""
    issuer: str
    subject: str
    expires: datetime


def ambient_token(
    environ: Mapping[str, str],
    *,
    now: datetime,
    audience: str = AUDIENCE,
    names: Sequence[str] = NAMES,
    projected: Path = PROJECTED,
    offline: bool = False,
) -> AmbientToken:
    """Find this job's token for an audience.

    Raises NotFound(token.none) where there is no such job, UsageError(token.missing) where a job did not ask for
    tokens, Refused(token.form, token.audience, token.expired) for a token that nobody would take, and Unreachable.
    """
    for name in names:
        if name in environ:
            return look(environ[name], name, audience=audience, now=now)
    if _FILE in environ:
        path = Path(environ[_FILE])
        return look(_read(path), str(path), audience=audience, now=now)
    if _URL in environ and _BEARER in environ:
        text = _github(environ, audience, offline=offline)
        return look(text, "GitHub Actions", audience=audience, now=now)
    if projected.is_file():
        return look(_read(projected), str(projected), audience=audience, now=now)
    raise _nowhere(environ, names, audience)


def look(text: str, place: str, *, audience: str, now: datetime) -> AmbientToken:
    """Read a token without verifying it (RFC 7519); raises Refused as `ambient_token` does."""
    token = text.strip()
    claims = _claims(token)
    if claims is None:
        raise Refused(
            f"{place} holds no identity token",
            cause="expected a signed JSON Web Token: three parts with dots between them",
            remedy="check what the job writes there",
            check="token.form",
        )
    wanted = claims.get("aud")
    audiences = wanted if isinstance(wanted, list) else [wanted]
    if audience not in audiences:
        raise Refused(
            f"the token in {place} is not for {audience!r}",
            cause=f"its audience is {', '.join(str(one)[:100] for one in audiences)}",
            remedy=f"let the job ask for a token with the audience {audience!r}",
            check="token.audience",
        )
    expires = _moment(claims.get("exp"))
    if expires is None or expires <= now:
        raise Refused(
            f"the token in {place} is no longer valid",
            cause=f"it ended at {expires:%Y-%m-%d %H:%M:%S} UTC"
            if expires
            else "it does not say when it ends",
            remedy="run the job again, and sign soon after its token was made",
            check="token.expired",
        )
    return AmbientToken(token, place, str(claims.get("iss", "")), str(claims.get("sub", "")), expires)


def _claims(token: str) -> dict[str, Any] | None:
    parts = token.split(".")
    if len(token) > MAX_TOKEN or len(parts) != 3 or not all(parts):
        return None
    try:
        body = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), b"-_", validate=True)
        claims = json.loads(body)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _read(path: Path) -> str:
    """Read a token's file: a projected volume is a link, so links are followed; what is no small file is not read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TOKEN:
                return ""
            return os.read(descriptor, MAX_TOKEN + 1).decode("ascii", "replace")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(
            f"the token in {path} cannot be read",
            cause=os.strerror(error.errno) if error.errno else "input/output error",
            remedy=f"check {_FILE} and the volume that holds the token",
            check="token.missing",
        ) from None


def _github(environ: Mapping[str, str], audience: str, *, offline: bool) -> str:
    """Ask GitHub's runner for a token (GitHub documentation, "OpenID Connect reference")."""
    from weighbridge.net import Door, ask

    try:
        parts = urlsplit(environ[_URL])
        query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "audience"]
        url = parts._replace(query=urlencode([*query, ("audience", audience)])).geturl()
        door = Door(url, offline=offline, has_token=True)
    except (BadSetting, ValueError) as error:
        cause = error.cause if isinstance(error, BadSetting) else "it is no address"
        raise BadSetting(
            f"{_URL} cannot be used", cause=cause, remedy="run this in a job of GitHub Actions"
        ) from None
    answer = ask(door, url, headers={"Authorization": f"Bearer {environ[_BEARER]}"})
    try:
        value = json.loads(answer.body)["value"] if answer.status == 200 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, str):
        raise Unreachable(
            "GitHub Actions gave no identity token",
            cause=f"{door.host} answered with status {answer.status}",
            remedy="run the job again",
            check="token.service",
        )
    return value


def _nowhere(environ: Mapping[str, str], names: Sequence[str], audience: str) -> UsageError:
    if environ.get("GITHUB_ACTIONS"):
        return UsageError(
            "this job of GitHub Actions may not have an identity token",
            cause=f"{_URL} is not set",
            remedy="give the job `permissions: {id-token: write, contents: read}`",
            check="token.missing",
        )
    if environ.get("GITLAB_CI"):
        return UsageError(
            "this job of GitLab has no identity token",
            cause=f"none of {', '.join(names)} is set",
            remedy=f"give the job `id_tokens: {{{names[0] if names else NAMES[0]}: {{aud: {audience}}}}}`",
            check="token.missing",
        )
    if "KUBERNETES_SERVICE_HOST" in environ:
        return UsageError(
            "this pod has no identity token",
            cause=f"{PROJECTED} is not there; the pod's own token is for the cluster's API alone and is never sent out",
            remedy=f"project a serviceAccountToken with the audience {audience!r} there, or name its file in {_FILE}",
            check="token.missing",
        )
    return NotFound(
        "there is no identity token here",
        cause="this is no job of GitHub Actions, GitLab or Kubernetes that we can recognise",
        remedy=f"name a file with a token in {_FILE}, sign with a key, or log in with a browser",
        check="token.none",
    )
