"""A plug-in: a function of another distribution, run in a process of its own with a deadline and little of ours.

It is off until the user names it together with the digest of its distribution's files, which the process that runs it
computes first. Whatever it does to that process, the gate has decided before and goes on after.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.canonical import canonical
from weighbridge.core.errors import OutOfBudget, Refused, Unreachable
from weighbridge.gate.telling.receivers import Occasion

GROUP = "weighbridge.alerts"
"""Entry points: functions that take a list of alerts and a table of options, and raise when they could not tell."""
WORKER = Path(__file__).with_name("worker.py")
CHANGED = 3
"""Exit code of the worker when the files are not those that the user named."""
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY")
MAX_SAID = 300


class Plugin:
    """Runs one function of one distribution."""

    most = 64

    def __init__(self, sink: Sink, environ: Mapping[str, str], *, offline: bool) -> None:
        """Take what the plug-in may see of the environment; raises Unreachable when working offline."""
        if offline:
            raise Unreachable(
                f"the plug-in {sink.plugin} was not started",
                cause="working offline, and what it does is not known here",
                remedy="leave out --offline",
                check="net.offline",
            )
        self._sink = sink
        self._environ = {key: environ[key] for key in (*PASSED, *sink.env) if key in environ}

    def tell(self, alerts: Sequence[Alert], occasion: Occasion) -> None:
        """Start the process, hand it the alerts, and wait no longer than the deadline."""
        order = canonical(
            {
                "group": GROUP,
                "plugin": self._sink.plugin,
                "digest": self._sink.digest,
                "options": dict(self._sink.options or {}),
                "alerts": [alert.to_json(occasion.registry) for alert in alerts],
            }
        )
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-X", f"pycache_prefix={os.devnull}", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environ,
            cwd="/",
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(order, timeout=occasion.seconds)
        except subprocess.TimeoutExpired:
            raise OutOfBudget(
                f"the plug-in {self._sink.plugin} did not end within {occasion.seconds:.0f} s",
                remedy="give it more `seconds`, or find out what it waits for",
            ) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()
        if process.returncode == 0:
            return
        cause = (
            said[:MAX_SAID].decode("utf-8", "replace").strip() or f"it ended with code {process.returncode}"
        )
        if process.returncode == CHANGED:
            raise Refused(
                f"the plug-in {self._sink.plugin} was not started",
                cause=cause,
                remedy="look at what was installed, then name its digest in [[alert]]",
                check="alert.plugin",
            )
        raise Unreachable(f"the plug-in {self._sink.plugin} could not tell", cause=cause)
