"""How much a server takes on: sizes, times and numbers, all of them ends and none of them wishes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, seconds and counts; what is beyond them is answered with 408, 413, 431 or 503."""

    request: int = 96 * 1024
    """Bytes of a body, where the address says nothing else: a token, a key, a query."""
    entry: int = 16 * 1024 * 1024
    """Bytes of what is to be logged: an envelope comes with its payload, which may list a whole model."""
    held: int = 128 * 1024 * 1024
    """Bytes of bodies that are read and not answered yet, all requests together."""
    at_once: int = 64
    """Requests that are read or worked on at one time; the next are told to come again."""
    workers: int = 32
    """Threads; most of them wait together for one flush of the log to disk."""
    connections: int = 256
    """Connections, idle ones included."""
    head_seconds: float = 10.0
    """Until a request's head has come, counted from its connection or from its first byte."""
    body_seconds: float = 20.0
    """Until its body has come."""
    work_seconds: float = 30.0
    """Until it is answered; what is under way then is finished, and nobody hears of it."""
    write_seconds: float = 20.0
    """Until a client has taken something of a large answer; then its connection is cut."""
    idle_seconds: int = 30
    """Until a connection without a request is closed."""
    renew_seconds: float = 3600.0
    """Between two looks whether TUF metadata has spent half of its time."""
    stop_seconds: int = 20
    """What is under way may take so long when the server stops."""
    waiting: int = 1024
    """Bodies that wait for the log; no more can come than requests at once, so this is a second fence."""
