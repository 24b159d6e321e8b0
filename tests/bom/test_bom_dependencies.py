"""Packages come with the version, the hashes and the place that a file gives, and with nothing it does not give."""

import json

import pytest
from bom_models import HASHES, facts_of, made, properties
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.bom.dependencies import MAX_REQUIREMENTS, requirement

ONE, TWO = HASHES


def rows(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    facts = facts_of({path: data, "w.bin": b"x"})
    found = [
        (row.name, row.version, row.asked, row.hashes, row.pointer, row.indexed) for row in facts.requirements
    ]
    return found, facts.unread


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch==2.1", ("torch", "2.1", "", (), "", True)),
        ("Foo_Bar.baz===1.0+cpu", ("foo-bar-baz", "1.0+cpu", "", (), "", True)),
        ("a[x,y]==1 ; python_version < '4'", ("a", "1", "", (), "", True)),
        ("a>=1,<2", ("a", "", ">=1,<2", (), "", True)),
        ("a==1.*", ("a", "", "==1.*", (), "", True)),
        ("a", ("a", "", "", (), "", True)),
        (f"a==1 --hash=sha256:{ONE} --hash=sha256:{TWO.upper()}", ("a", "1", "", (ONE, TWO), "", True)),
        ("a==1  # comment", ("a", "1", "", (), "", True)),
        (
            "a @ git+https://me:secret@host.example/a.git",
            ("a", "", "@ git+https://host.example/a.git", (), "", False),
        ),
    ],
)
def test_a_line_of_requirements(line, expected):
    assert rows("requirements.txt", line) == ([expected], ())


@pytest.mark.parametrize(
    "line", ["-r other.txt", "--index-url https://me:secret@i.example/", "# x", "", "-e ."]
)
def test_options_and_comments_are_passed_over(line):
    assert rows("requirements-dev.txt", line) == ([], ())


@pytest.mark.parametrize(
    "line", ["git+https://host.example/x.git", "./wheel.whl", "==1", "https://x.example/y"]
)
def test_what_names_no_package_is_listed_as_unread(line):
    found, unread = rows("requirements.txt", line)
    assert found == []
    assert [path for path, _ in unread] == ["requirements.txt"]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "poetry.lock",
            f'[[package]]\nname = "A"\nversion = "1"\nfiles = [{{file = "a", hash = "sha256:{ONE}"}}]\n',
            ("a", "1", "", (ONE,), "/package/0", True),
        ),
        (
            "uv.lock",
            (
                f'[[package]]\nname = "a"\nversion = "1"\nsource = {{registry = "https://i.example"}}\n'
                f'sdist = {{hash = "sha256:{ONE}"}}\nwheels = [{{hash = "sha256:{TWO}"}}]\n'
            ),
            ("a", "1", "", (TWO, ONE), "/package/0", True),
        ),
        (
            "uv.lock",
            '[[package]]\nname = "a"\nversion = "1"\nsource = {git = "https://g.example/a"}\n',
            ("a", "1", "", (), "/package/0", False),
        ),
        (
            "pylock.toml",
            f'[[packages]]\nname = "a"\nversion = "1"\nwheels = [{{hashes = {{sha256 = "{ONE}"}}}}]\n',
            ("a", "1", "", (ONE,), "/packages/0", True),
        ),
        (
            "Pipfile.lock",
            json.dumps({"default": {"a": {"version": "==1", "hashes": [f"sha256:{ONE}"]}}}),
            ("a", "1", "", (ONE,), "/default/a", True),
        ),
        (
            "environment.yml",
            "dependencies:\n- conda-forge::a=1=build\n",
            ("a", "1", "", (), "/dependencies/0", False),
        ),
        (
            "conda.yaml",
            "dependencies:\n- pip:\n  - a==1\n",
            ("a", "1", "", (), "/dependencies/0/pip/0", True),
        ),
        ("sub/python_env.yaml", "dependencies:\n- a==1\n", ("a", "1", "", (), "/dependencies/0", True)),
    ],
)
def test_lock_files_and_environments(path, text, expected):
    assert rows(path, text) == ([expected], ())


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("uv.lock", "not toml ["),
        ("uv.lock", "[[package]]\nversion = 1\n"),
        ("Pipfile.lock", "[]"),
        ("Pipfile.lock", '{"default": {"": {}}}'),
        ("conda.yaml", "- a"),
        ("conda.yaml", "dependencies: ['==']"),
        ("requirements.txt", b"\xff\xfe"),
    ],
)
def test_what_cannot_be_read_is_said(path, text):
    found, unread = rows(path, text)
    assert found == []
    assert {name for name, _ in unread} == {path}


def test_a_project_that_a_lock_is_written_for_is_no_package_of_it():
    assert rows("uv.lock", '[[package]]\nname = "me"\nversion = "1"\nsource = {editable = "."}\n') == ([], ())


def test_a_pin_stands_for_what_only_asks_and_equal_pins_join_their_hashes():
    files = {
        "requirements.txt": f"a>=1\nb==2 --hash=sha256:{ONE}\nc\n".encode(),
        "poetry.lock": f'[[package]]\nname = "a"\nversion = "1.5"\n[[package]]\nname = "b"\nversion = "2"\n'
        f'files = [{{hash = "sha256:{TWO}"}}]\n'.encode(),
    }
    found = {(row.name, row.version): (row.hashes, row.path) for row in facts_of(files).requirements}
    assert found == {
        ("a", "1.5"): ((), "poetry.lock"),
        ("b", "2"): ((TWO, ONE), "poetry.lock"),
        ("c", ""): ((), "requirements.txt"),
    }


def test_packages_in_the_document_carry_purl_hash_and_place():
    bom = made()
    rows = {row["bom-ref"]: row for row in bom["components"] if row["bom-ref"].startswith("package:")}
    torch = rows["package:torch@2.13.0"]
    assert torch["purl"] == "pkg:pypi/torch@2.13.0"
    assert torch["hashes"] == [{"alg": "SHA-256", "content": ONE}]
    assert properties(torch)["weighbridge:source"] == ["requirements.txt"]
    numpy = rows["package:numpy@2.4.6"]
    assert [item["content"] for item in numpy["hashes"]] == [TWO, ONE]
    assert "package:numpy >=2" not in rows
    assert "purl" not in rows["package:python@3.11"]
    assert rows["package:transformers@5.1.0"]["type"] == "framework"
    assert properties(rows["package:transformers@5.1.0"])["weighbridge:source"] == [
        "config.json#/transformers_version"
    ]
    assert set(rows) <= set(bom["dependencies"][0]["dependsOn"])
    code = next(row for row in bom["components"] if row["bom-ref"] == "code:org/code")
    assert properties(code)["weighbridge:role"] == ["remote-code"]


def test_more_packages_than_fit_are_said():
    text = "".join(f"p{number}==1\n" for number in range(MAX_REQUIREMENTS + 5))
    found, unread = rows("requirements.txt", text)
    assert len(found) == MAX_REQUIREMENTS
    assert unread == (("requirements.txt", f"more than {MAX_REQUIREMENTS} packages"),)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_line_is_a_package_or_none(text):
    row = requirement(text, "requirements.txt", "")
    assert row is None or (row.name and "@" not in row.version and "//" not in row.name)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["uv.lock", "Pipfile.lock", "conda.yaml", "requirements.txt", "mergekit_config.yml", "modules.json"]
    ),
    st.binary(max_size=120) | st.text(alphabet="[]{}:=\"'-,\n ab1", max_size=120).map(str.encode),
)
def test_any_bytes_end_in_facts(path, data):
    facts_of({path: data, "w.bin": b"x"}).to_json()
