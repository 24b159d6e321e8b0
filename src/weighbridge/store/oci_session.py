"""Talking to one repository of an OCI registry: who asks, tokens, a few tries, and nothing told to other hosts.

Sources: OCI distribution specification 1.1; the token way of the distribution project; RFC 7617.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from weighbridge.core.errors import Unreachable
from weighbridge.net import Answer, Door, ask

TRIES = 4
SECONDS = 60.0
MOST = 32 * 1024 * 1024
BUSY = (429, 500, 502, 503, 504)

_CHALLENGE = re.compile(r'([a-z]+)="([^"]*)"')
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Session:
    """One repository; safe to share between threads."""

    def __init__(
        self,
        address: str,
        repository: str,
        *,
        environ: Mapping[str, str] | None = None,
        wait: Callable[[float], None] = time.sleep,
        offline: bool = False,
        setting: str = "the setting `blobs` (WEIGHBRIDGE_BLOBS)",
    ) -> None:
        """Check the address, `https://host` (or http on this machine only); raises BadSetting, and Unreachable if `offline`.

        `setting` says in messages where the address was given.
        """
        env = os.environ if environ is None else environ
        parts = urlsplit(address)
        user = env.get("OCI_USERNAME", "") if env.get("OCI_HOST") == parts.netloc else ""
        self._login = f"{user}:{env.get('OCI_PASSWORD', '')}" if user else ""
        self._door = Door(
            address,
            offline=offline,
            has_token=True,
            most=MOST,
            what="the registry",
            setting=setting,
            tags=False,
        )
        self.base = f"{address}/v2/{repository}/"
        self.where = f"{parts.netloc}/{repository}"
        self._repository = repository
        self._origin = (parts.scheme, parts.netloc)
        self._token: dict[str, str] = {}
        self._wait = wait

    def own(self, address: str) -> bool:
        """Tell whether an address is this registry's own."""
        parts = urlsplit(address)
        return (parts.scheme, parts.netloc) == self._origin

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most: int = MOST,
        once: bool = False,
    ) -> Answer:
        """Ask for a path below the repository, or an address that the registry named; raises Unreachable.

        Asked again when there was no answer or the registry is busy, unless `once`: then no answer is status 503.
        What leads to another host is followed for reading, without who asks.
        """
        url = urljoin(self.base, path)
        for left in reversed(range(1 if once else TRIES)):
            try:
                answer = self._asked(method, url, dict(headers or {}), body)
            except Unreachable:
                if once:
                    return Answer(503, b"there was no answer")
                if not left:
                    raise
                answer = Answer(503, b"")
            if answer.status not in BUSY or not left:
                break
            self._wait(0.1 * 2 ** (TRIES - left))
        if len(answer.body) > most and answer.status < 300:
            raise Unreachable(
                f"{self.where} gave no usable answer",
                cause=f"{most} bytes were asked for, {len(answer.body)} came",
                remedy="check what lies between, then run the command again",
                check="blob.unreachable",
            )
        return answer

    def _asked(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        def once() -> Answer:
            mine = self._token if self.own(url) else {}
            return ask(
                self._door,
                url,
                method=method,
                headers={**headers, **mine},
                body=body,
                seconds=SECONDS,
                follow=method in ("GET", "HEAD"),
            )

        answer = once()
        if answer.status == 401 and self.own(url):
            self._token = self._authorised(answer.headers.get("www-authenticate", ""))
            answer = once()
        return answer

    def _authorised(self, challenge: str) -> dict[str, str]:
        kind, _, rest = challenge.partition(" ")
        encoded = base64.b64encode(self._login.encode()).decode()
        basic = {"Authorization": f"Basic {encoded}"} if self._login else {}
        if kind.lower() != "bearer":
            return basic
        asked = dict(_CHALLENGE.findall(rest))
        realm = urlsplit(asked.get("realm", ""))
        if realm.scheme != "https" and realm.hostname not in _LOOPBACK:
            raise self._no_token("it sends for a token to an address that is not https://")
        door = Door(
            f"{realm.scheme}://{realm.netloc}", offline=False, what="the registry's tokens", setting="`blobs`"
        )
        scope = f"repository:{self._repository}:pull,push,delete"
        query = urlencode({"service": asked.get("service", ""), "scope": scope})
        answer = ask(door, f"{asked['realm']}?{query}", headers=basic, seconds=SECONDS)
        try:
            value = json.loads(answer.body)
            token = value.get("token") or value.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._no_token(f"{door.host} answered with status {answer.status}")
        return {"Authorization": f"Bearer {token}"}

    def _no_token(self, cause: str) -> Unreachable:
        return Unreachable(
            f"{self.where} gave no token",
            cause=cause,
            remedy="set OCI_HOST, OCI_USERNAME and OCI_PASSWORD",
            check="blob.access",
        )
