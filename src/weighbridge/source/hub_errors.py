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
    from huggingface_hub import errors

    said = _said(error, token)
    if isinstance(error, errors.GatedRepoError):
        return Unreachable(
            f"{host} does not hand out {reference.target}",
            cause=said or "access to it has to be asked for",
            remedy="ask for access on its page, then give a token that has it (HF_TOKEN)",
            check="source.gated",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotFound(
            f"{host} knows no repository {reference.target!r}",
            cause="it does not exist, or is private and no token with access was given",
            remedy="check the spelling; for a private one set HF_TOKEN",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return NotFound(
            f"{reference.target} has no revision {reference.revision or 'main'!r}",
            cause=f"{host} knows the repository, but no branch, tag or commit of that name in it",
            remedy="look at its branches and tags, and give one as hf://org/name@revision",
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return VerificationFailed(
            f"{host} does not have a file that it listed for {reference.target}",
            cause="the file set received would not be the one that was announced",
            remedy="try again later; if it happens twice, do not use this source and tell its owner",
            check="source.announced",
        )
    return _no_answer(error, reference, host, said)


def _no_answer(error: Exception, reference: Reference, host: str, said: str) -> CannotTell:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfBudget(
            f"there is no room to download {reference.target}",
            cause=error.strerror or "the disk is full",
            remedy="free some space, or use a registry on a larger disk",
            check="source.space",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    inner = error.__cause__ or error.__context__ or error
    cause = f"it answered with status {status}" if status else _KINDS.get(type(inner).__name__, "")
    cause = cause or f"the answer made no sense ({type(inner).__name__})"
    if said:
        cause += f": {said}"
    return Unreachable(
        f"{host} gave no usable answer about {reference.target}",
        cause=cause,
        remedy="check the address and the connection, then try again; models on this machine need no hub",
        check="source.unreachable",
    )


def _said(error: Exception, token: str | None) -> str:
    """Return the server's own message, made safe to print: one line, no control characters, not the token."""
    text = str(getattr(error, "server_message", None) or "")
    if token:
        text = text.replace(token, "(token)")
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line[:_MAX_MESSAGE]
