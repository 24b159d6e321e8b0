"""What the hub's client raises, in our words: problem, cause and remedy, and never the token."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from weighbridge.core.errors import (
    CannotTell,
    NotFound,
    OutOfBudget,
    Unreachable,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.reference import Reference

_MAX_MESSAGE = 300
_KINDS = {
    "ConnectError": "no connection could be made",
    "ConnectTimeout": "no connection could be made in time",
    "ReadTimeout": "it did not answer in time",
    "ReadError": "the connection broke off",
    "RemoteProtocolError": "the connection broke off",
    "OSError": "the transfer broke off",
}


@contextmanager
def worded(reference: Reference, host: str, token: str | None) -> Iterator[None]:
    """Turn every failure of a call to the hub into one of ours; our own errors pass."""
    try:
        yield
    except WeighbridgeError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever a strange answer makes the client stumble over)
        # `from None`: the client's messages hold whole addresses, and signed ones are secrets.
        raise _worded(error, reference, host, token) from None


def _worded(error: Exception, reference: Reference, host: str, token: str | None) -> WeighbridgeError:
    # By name, so that only `source.hub` imports the client; along the chain, because it wraps its own errors.
    names = {kind.__name__ for link in _chain(error) for kind in type(link).__mro__}
    said = next((text for link in _chain(error) if (text := _said(link, token))), "")
    if "GatedRepoError" in names:
        return Unreachable(
            f"{host} does not hand out {reference.target}",
            cause=said or "access to it has to be asked for",
            remedy="ask for access on its page, then give a token that has it (HF_TOKEN)",
            check="source.gated",
        )
    if "RepositoryNotFoundError" in names:
        return NotFound(
            f"{host} knows no repository {reference.target!r}",
            cause="it does not exist, or is private and no token with access was given",
            remedy="check the spelling; for a private one set HF_TOKEN",
        )
    if "RevisionNotFoundError" in names:
        return NotFound(
            f"{reference.target} has no revision {reference.revision or 'main'!r}",
            cause=f"{host} knows the repository, but no branch, tag or commit of that name in it",
            remedy="look at its branches and tags, and give one as hf://org/name@revision",
        )
    if "RemoteEntryNotFoundError" in names:
        return VerificationFailed(
            f"{host} does not have a file that it listed for {reference.target}",
            cause="the file set received would not be the one that was announced",
            remedy="try again later; if it happens twice, do not use this source and tell its owner",
            check="source.announced",
        )
    return _no_answer(error, reference, host, said)


def _no_answer(error: Exception, reference: Reference, host: str, said: str) -> CannotTell:
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return OutOfBudget(
                f"there is no room to download {reference.target}",
                cause=link.strerror or "the disk is full",
                remedy="free some space, or use a registry on a larger disk",
                check="source.space",
            )
    status = next((code for link in _chain(error) if (code := _status(link))), None)
    kinds = [type(link).__name__ for link in _chain(error)]
    cause = next((_KINDS[kind] for kind in kinds if kind in _KINDS), f"the answer made no sense ({kinds[0]})")
    if status:
        cause = f"it answered with status {status}"
    if said:
        cause += f": {said}"
    return Unreachable(
        f"{host} gave no usable answer about {reference.target}",
        cause=cause,
        remedy="check the address and the connection, then try again; models on this machine need no hub",
        check="source.unreachable",
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and what led to it, nearest first."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _status(error: BaseException) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def _said(error: BaseException, token: str | None) -> str:
    """Return the server's own message, made safe to print: one line, no control characters, not the token."""
    text = str(getattr(error, "server_message", None) or "")
    if token:
        text = text.replace(token, "(token)")
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line[:_MAX_MESSAGE]
