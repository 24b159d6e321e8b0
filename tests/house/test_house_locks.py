"""What gets installed is locked to the byte, names no index, and agrees from one lock to the next."""

import re
import tomllib

import pytest
from house_tree import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("run", "check", "full", "extras", "services", "lock")
FOREIGN = ("jobs", "kms", "objects", "pkcs11", "postgres", "sigstore")
"""Extras for services that the tests do not stand on; a lock of their own holds what they would bring."""
ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[\w.+!-]+)(?: ;[^\\]*)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def lines(lock):
    return (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8").splitlines()


def pins(lock):
    found = {}
    for line in lines(lock):
        if match := ENTRY.match(line):
            found.setdefault(match["name"], set()).add(match["version"])
    assert found
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_a_hash_or_a_comment(lock):
    """So there is no index, no address, no path, no option, and nothing without a hash."""
    previous = ""
    for line in lines(lock):
        assert ENTRY.match(line) or HASH.match(line) or re.match(r"^ *#", line), line
        assert not ENTRY.match(previous) or HASH.match(line), f"no hash follows {previous}"
        previous = line


@pytest.mark.parametrize(("upper", "lower"), [("check", "run"), ("full", "check"), ("extras", "full")])
def test_locks_agree(upper, lower):
    above, below = pins(upper), pins(lower)
    assert {name: above[name] for name in above.keys() & below.keys() if above[name] != below[name]} == {}


def test_checks_install_all_that_running_needs():
    assert pins("run").keys() <= pins("check").keys()


def test_everything_declared_is_locked_at_a_version_that_fits():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"run": project["dependencies"]}
    extras = project["optional-dependencies"]
    wanted["check"] = [line for name, extra in extras.items() if name not in FOREIGN for line in extra]
    wanted["extras"] = [line for name in FOREIGN for line in extras[name]]
    for lock, requirements in wanted.items():
        locked = pins(lock)
        for requirement in map(Requirement, requirements):
            versions = locked.get(canonicalize_name(requirement.name), set())
            assert versions, f"{requirement} is not locked: run make lock"
            assert all(requirement.specifier.contains(version) for version in versions), (
                f"{requirement}: run make lock"
            )


def test_no_lock_brings_torch():
    """Named by anybody, it would bring gigabytes of CUDA; tools/fit_torch.py fits it alone."""
    for lock in LOCKS:
        assert not [name for name in pins(lock) if name == "torch" or name.startswith(("nvidia-", "cuda-"))]
