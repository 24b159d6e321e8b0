"""A real MLflow server on 127.0.0.1, in a process of its own, with its artifacts behind its own proxy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

MLFLOW = Path(sys.prefix) / "services" / "bin" / "mlflow"


@contextmanager
def mlflow(folder):
    """Yield the server's address; its records and artifacts lie in `folder`, everything it starts ends with it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    environment = {
        "PATH": f"{MLFLOW.parent}:{os.environ['PATH']}", "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    command = [
        str(MLFLOW), "server", "--backend-store-uri", f"sqlite:///{folder}/records.db", "--artifacts-destination",
        f"{folder}/artifacts", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    log = Path(folder) / "server.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(900):
                with suppress(OSError):
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            else:
                raise AssertionError(log.read_text())
            yield address
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
