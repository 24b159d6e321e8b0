"""Build the compiled pickle machine where mypy and a C compiler are there; without them all stays plain Python.

Everything else about the package stands in pyproject.toml. The machine is compiled by mypyc from the
unchanged files of `weighbridge.formats`, copied to where their compiled twin belongs
(docs/adr/0008-compiled-machine.md). Whatever goes wrong, the package is built without the binary, and the
wheel is tagged for what it holds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
FORMATS = ROOT / "src" / "weighbridge" / "formats"
TWIN = "weighbridge/formats/compiled"
MYPY = "mypy>=2.4"


def wanted() -> bool:
    """Whether to try: not where it is forbidden, nor where no C program can be compiled."""
    if os.environ.get("WEIGHBRIDGE_PURE") == "1":
        return False
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("probe.c").write_text("#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n")
        command = build_ext(Distribution({"ext_modules": [Extension("probe", ["probe.c"])]}))
        try:
            command.ensure_finalized()
            with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
                command.run()
        except Exception:  # noqa: BLE001  no compiler, no headers, no room: each means no
            return False
    return True


def extensions() -> list[Extension]:
    """Translate the machine to C and return what is to be compiled; raises whatever goes wrong."""
    from mypyc.build import mypycify

    source = (FORMATS / "pickle_build.py").read_text(encoding="utf-8")
    names = re.findall(
        r'"(\w+)"', re.search(r"^SOURCES: Final = (\(.*?\))", source, re.MULTILINE | re.DOTALL)[1]
    )
    tree = ROOT / "build" / "machine"
    shutil.rmtree(tree, ignore_errors=True)
    twin = tree / TWIN
    twin.mkdir(parents=True)
    for package in (tree / "weighbridge", twin.parent, twin):
        (package / "__init__.py").write_text('"""A package."""\n')
    shutil.copy(FORMATS / "pickle_events.py", twin.parent)
    for name in names:
        shutil.copy(FORMATS / f"{name}.py", twin)
    (twin / "built.py").write_text(f'"""What was compiled."""\n\nSOURCES: str = "{digest(names)}"\n')
    with contextlib.chdir(tree):
        made = mypycify(
            [
                "--config-file=",
                "--follow-imports=silent",
                *[f"{TWIN}/{name}.py" for name in [*names, "built"]],
            ],
            opt_level="3",
            debug_level="0",
            group_name="weighbridge.formats.compiled.group",
        )
    for extension in made:
        extension.sources = [str(tree / path) for path in extension.sources]
        extension.depends = [str(tree / path) for path in extension.depends]
        extension.include_dirs = [str(tree / path) for path in extension.include_dirs]
    return made


def digest(names: list[str]) -> str:
    """Return what `pickle_build.source_digest` returns, without importing the package."""
    import hashlib

    total = hashlib.sha256()
    for name in names:
        source = (FORMATS / f"{name}.py").read_bytes()
        total.update(f"{name} {len(source)}\n".encode() + source)
    return total.hexdigest()


class Package(Distribution):
    """A distribution that asks for build_ext although no extension is known before it runs."""

    is_plain = False

    def has_ext_modules(self) -> bool:
        """Answer yes until building the extension has failed."""
        return not self.is_plain


class BuildMachine(build_ext):
    """Compile the machine, or say why not and go on without."""

    def run(self) -> None:
        """Build it, or leave it out."""
        self.distribution.is_plain = True
        try:
            if importlib.util.find_spec("mypyc") is None or not wanted():
                sys.stderr.write("the pickle machine stays plain Python: mypy or a C compiler is missing\n")
                return
            self.distribution.ext_modules = extensions()
            work = build_ext(self.distribution)  # commands cannot be finalized twice
            work.inplace, work.build_lib, work.build_temp = self.inplace, self.build_lib, self.build_temp
            work.editable_mode = self.editable_mode
            work.ensure_finalized()
            work.run()
            self.__dict__.update(vars(work))
            self.distribution.is_plain = False
        except (Exception, SystemExit) as error:  # noqa: BLE001  the package works without, so it is built without
            sys.stderr.write(f"the pickle machine stays plain Python: {error!r}\n")
            self.distribution.ext_modules = self.extensions = []


class Wheel(bdist_wheel):
    """A wheel tagged for what it holds: for one interpreter with the binary in it, for any without."""

    def run(self) -> None:
        """Build the binary first: the tag depends on whether that worked."""
        self.run_command("build_ext")
        self.root_is_pure = self.distribution.is_plain
        super().run()


# Where packages are fetched for the build, mypy is asked for only if it will be of use: `egg_info` is the command
# by which pip asks what a build needs.
needs = (
    [MYPY] if "egg_info" in sys.argv[1:] and importlib.util.find_spec("mypyc") is None and wanted() else []
)
setup(
    distclass=Package,
    cmdclass={"build_ext": BuildMachine, "bdist_wheel": Wheel},
    setup_requires=needs,
)
