"""Certificates that are asked for at one time share a commit of their log, and each still stands in it before it is issued."""

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from trust_services import NOW, bench, service_key, token


class Clock:
    def now(self):
        return NOW


def test_certificates_share_a_commit(tmp_path, monkeypatch):
    made = bench(tmp_path)
    key = service_key("somebody")
    proof = key.sign(b"trainer@example.org")
    append, sizes = made.ct.log.append, []
    entered, gate = threading.Event(), threading.Event()

    def slowly(bodies, **known):
        entered.set()
        assert gate.wait(20)
        sizes.append(len(bodies))
        return append(bodies, **known)

    monkeypatch.setattr(made.ct.log, "append", slowly)
    issued = []

    def ask():
        issued.append(made.ca.issue(token(), key.public_pem.encode(), proof, NOW))

    before = made.ct.log.size
    with made.ct.shared(Clock()):
        threads = [threading.Thread(target=ask) for _ in range(6)]
        threads[0].start()
        assert entered.wait(20)
        for thread in threads[1:]:
            thread.start()
        deadline = time.monotonic() + 20
        while len(made.ct._committer._queue) < 5:
            if time.monotonic() > deadline:
                gate.set()
                raise AssertionError("they do not wait together")
            time.sleep(0.01)
        assert not issued, "a certificate was issued before it was logged"
        gate.set()
        for thread in threads:
            thread.join()
    assert sizes == [1, 5]
    assert len({row.leaf for row in issued}) == 6
    assert made.ct.log.size == before + 6
    made.ca.issue(token(), key.public_pem.encode(), proof, NOW)
    assert sizes[-1] == 1, "alone again, it logs by itself"
