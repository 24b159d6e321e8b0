"""Debian's docker-registry on loopback, in a process and a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from world_s3 import free_port

PROGRAM = shutil.which("docker-registry")
CONFIGURATION = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: "{folder}"}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def registry():
    """Yield `127.0.0.1:port` of a registry that keeps everything in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="weighbridge-registry-") as folder:
        port = free_port()
        settings = Path(folder) / "registry.yml"
        settings.write_text(CONFIGURATION.format(folder=f"{folder}/data", port=port))
        with subprocess.Popen(
            [PROGRAM, "serve", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                for _ in range(200):
                    with suppress(OSError):
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
                        break
                    time.sleep(0.05)
                yield f"127.0.0.1:{port}", Path(folder) / "data"
            finally:
                process.terminate()
