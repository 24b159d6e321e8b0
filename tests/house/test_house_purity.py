"""Rooms read no clock, draw no randomness, reach no unpickler and print nothing: shells and wiring do what must be done."""

import ast

import pytest
from house_tree import imported, package, resolved

SHELLS = ("cli", "server", "api", "loader")
WIRING = "src/weighbridge/registry/wiring.py"

CLOCKS = {
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime",
}  # fmt: skip
CHANCE = {"os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "uuid.uuid7"}
CHANCE_MODULES = ("random", "secrets", "numpy.random")
UNPICKLERS = ("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
UNPICKLING = {"torch.load", "numpy.lib.format.read_array", "pandas.read_pickle", "sklearn.externals"}
HTTP = (
    "urllib.request",
    "http.client",
    "http.server",
    "socketserver",
    "ftplib",
    "smtplib",
    "xmlrpc",
    "telnetlib",
)


def at(module, hits):
    return [f"{module.path}:{line} {name}" for line, name in hits]


def is_shell(module):
    return module.room.removesuffix(".py") in SHELLS or module.path == WIRING


def below(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("module", package(), ids=lambda module: module.path)
def test_time_and_chance_are_passed_in(module):
    if is_shell(module):
        return
    used = [(line, name) for line, name in resolved(module.tree) if name in CLOCKS | CHANCE]
    taken = [(line, name) for line, name in imported(module.tree) if below(name, CHANCE_MODULES)]
    named = [(line, name) for line, name in imported(module.tree) if name in CLOCKS | CHANCE]
    assert at(module, used + taken + named) == []


@pytest.mark.parametrize("module", package(), ids=lambda module: module.path)
def test_nothing_can_unpickle(module):
    taken = [
        (line, name) for line, name in imported(module.tree) if below(name, UNPICKLERS) or name in UNPICKLING
    ]
    used = [(line, name) for line, name in resolved(module.tree) if name in UNPICKLING]
    assert at(module, taken + used) == []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), f"{module.path}:{node.value.lineno} allow_pickle"
            assert node.value.value is False, f"{module.path}:{node.value.lineno} allow_pickle"


@pytest.mark.parametrize("module", package(), ids=lambda module: module.path)
def test_no_untrusted_text_becomes_code(module):
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    names = [(node.lineno, node.func.id) for node in calls if isinstance(node.func, ast.Name)]
    assert at(module, [hit for hit in names if hit[1] in ("eval", "exec", "__import__")]) == []


@pytest.mark.parametrize("module", package(), ids=lambda module: module.path)
def test_the_standard_library_opens_no_second_door_to_the_network(module):
    """The import contract names distributions; parts of the standard library's packages are named here."""
    taken = [(line, name) for line, name in imported(module.tree) if below(name, HTTP)]
    assert at(module, taken) == [] or module.path == "src/weighbridge/net.py"


@pytest.mark.parametrize("module", package(), ids=lambda module: module.path)
def test_only_shells_print(module):
    """Standard output carries data only, and one place decides how."""
    if module.room == "cli" or module.path.endswith("/worker.py"):
        return
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    printed = [(node.lineno, "print") for node in calls if dotted_print(node)]
    assert at(module, printed) == []


def dotted_print(node):
    return isinstance(node.func, ast.Name) and node.func.id == "print"


def test_the_judge_knows_no_engine():
    """Everything in policy but the engines themselves decides without starting one."""
    policy = [m for m in package() if m.room == "policy" and "/engines/" not in m.path]
    assert policy
    hits = [
        hit for m in policy for hit in at(m, imported(m.tree)) if "policy.engines" in hit or " regorus" in hit
    ]
    assert hits == []


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime as d\nd.now()",
        "import datetime\ndatetime.datetime.now()",
        "import time as t\nt.time()",
        "import os\nos.urandom(3)",
        "from time import time\ntime()",
    ],
)
def test_names_are_followed_through_their_imports(source):
    assert any(name in CLOCKS | CHANCE for _, name in resolved(ast.parse(source)))
