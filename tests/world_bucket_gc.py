"""Garbage collection in a bucket, quickly: requests that end after a second, and a store that keeps to that as S3 does."""

import re
from datetime import UTC, datetime, timedelta

from weighbridge.registry import removing
from weighbridge.store import removal

SECONDS, MARGIN = 1, timedelta(seconds=2)
ENDED = SECONDS + MARGIN.total_seconds() + 1
"""Seconds after which a request of before is reckoned with no more."""


def quicken(monkeypatch=None):
    """Have requests end soon, in this process."""
    change = monkeypatch.setattr if monkeypatch else setattr
    change(removal, "SECONDS", SECONDS)
    change(removing, "SECONDS", SECONDS)
    change(removing, "MARGIN", MARGIN)


def late_requests_do_nothing(handler, method, path, _body):
    """Do what S3 does with an address whose time is over (moto does not): 403."""
    told = dict(re.findall(r"X-Amz-(Date|Expires)=(\w+)", path))
    if method != "DELETE" or not told:
        return False
    began = datetime.strptime(told["Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if datetime.now(UTC) <= began + timedelta(seconds=int(told["Expires"])):
        return False
    handler.answer(403, [], b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    return True
