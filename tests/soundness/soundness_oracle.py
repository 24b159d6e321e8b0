"""What CPython's own unpicklers ask for: both of them, with a `find_class` that records and returns inert classes.

Nothing a stream names is ever imported; the only code that runs is this file and the standard library's
unpicklers. This stands in the tests only: the package itself imports no unpickler.
"""

import io
import pickle
import resource
from pathlib import Path


def nothing(*_args, **_kwargs):
    return None


class Meta(type):
    """Classes that take anything, as callables, as targets of state and items, and as keys."""

    def __call__(cls, *_args, **_kwargs):
        return object.__new__(cls)

    def __setitem__(cls, key, value):
        pass

    def __iter__(cls):
        return iter(())


def inert(module, name):
    """A class that stands for module.name; what it makes may be called, filled, set, hashed."""
    return Meta(
        "Inert",
        (),
        {
            "__new__": lambda cls, *_a, **_k: object.__new__(cls),
            "__init__": nothing,
            "__call__": lambda self, *_a, **_k: object.__new__(type(self)),
            "__setstate__": staticmethod(nothing),
            "__setitem__": lambda self, key, value: None,
            "__iter__": lambda self: iter(()),
            "append": staticmethod(nothing),
            "extend": staticmethod(nothing),
            "add": staticmethod(nothing),
            "__slots__": (),
        },
    )


STANDING = inert("", "")


class Python(pickle._Unpickler):
    """The unpickler in Python."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.asked = []

    def find_class(self, module, name):
        self.asked.append((module, name))
        return inert(module, name)

    def persistent_load(self, pid):
        return STANDING()


class Compiled(pickle.Unpickler):
    """The unpickler in C, on a source that cannot peek."""

    def __init__(self, data):
        super().__init__(self.source(data))
        self.asked = []

    @staticmethod
    def source(data):
        return io.BytesIO(data)

    def find_class(self, module, name):
        self.asked.append((module, name))
        return inert(module, name)

    def persistent_load(self, pid):
        return STANDING()


class Peeking(Compiled):
    """The unpickler in C, on a source that can peek, as a file can: it reads frames differently."""

    @staticmethod
    def source(data):
        return io.BufferedReader(io.BytesIO(data))


UNPICKLERS = (Python, Compiled, Peeking)
ROOM = 256 << 20
STATM = Path("/proc/self/statm")


def asked(kind, data):
    """Return the names that unpickler asks for before it stops; one that wants much memory stops there."""
    unpickler = kind(data)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(STATM.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, limits[1]))
    try:
        unpickler.load()
    except Exception:  # noqa: BLE001  whatever stops it, it has asked for what it asked
        return unpickler.asked
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return unpickler.asked


def missed(data, traced):
    """Return what each unpickler asks for that is not among the events of the trace."""
    named = {(event.module, event.name) for event in traced.events if event.kind == "global"}
    found = {kind.__name__: sorted(set(asked(kind, data)) - named) for kind in UNPICKLERS}
    return {kind: names for kind, names in found.items() if names}
