"""Reading a policy: strict about files, settings and what a rule may ask."""

import hashlib
import tomllib

import pytest

from weighbridge.bom.licence_words import Duty
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting
from weighbridge.core.manifest import WEIGHT_SUFFIXES
from weighbridge.policy.settings import DUTIES, load_bundle, read_settings, starter

OWN = b"package weighbridge.own\n\ndefault allow := false\n"


def bundle(text="", name="own.rego", **more):
    return load_bundle({name: OWN + text.encode(), **more})


def test_the_starter_policy_can_be_read():
    read = load_bundle(starter())
    assert set(read.modules) == {
        "legacy.rego", "lib.rego", "own.rego", "predicates.rego", "require.rego", "third_party.rego",
    }  # fmt: skip
    assert set(read.tests) == {"legacy_test.rego", "own_test.rego", "third_party_test.rego"}
    assert read.data["weight_suffixes"] == list(WEIGHT_SUFFIXES)
    assert read.data["settings"] == read.settings


def test_the_starter_settings_say_what_the_defaults_are():
    """Each setting stands in the starter file; only the lists a project will want to fill differ."""
    given = tomllib.loads(starter()["policy.toml"].decode())
    read, defaults = read_settings(starter()["policy.toml"].decode()), read_settings("")
    del given["schema"]
    assert {s: set(rows) for s, rows in given.items()} == {s: set(rows) for s, rows in read.items()}
    different = {f"{s}.{key}" for s, rows in read.items() for key in rows if rows[key] != defaults[s][key]}
    assert different == {"scan.formats", "licences.deny", "licences.refuse"}


def test_the_digest_is_that_of_the_names_and_contents():
    files = {"own.rego": OWN, "policy.toml": b"[scan]\nmax_age_days = 7\n"}
    named = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert load_bundle(files).digest == Digest.of(canonical(named))
    assert load_bundle(dict(reversed(files.items()))).digest == load_bundle(files).digest
    for name, data in files.items():
        changed = {**files, name: data + b"\n"}
        assert load_bundle(changed).digest != load_bundle(files).digest


def test_tests_count_into_the_digest_and_not_into_the_rules():
    test = b"package weighbridge.own_test\n"
    assert bundle(**{"own_test.rego": test}).tests == {"own_test.rego": test.decode()}
    assert bundle(**{"own_test.rego": test}).modules == bundle().modules
    assert bundle(**{"own_test.rego": test}).digest != bundle().digest


def test_limits_are_exact():
    assert load_bundle({f"a{n}.rego": OWN for n in range(100)}).modules
    assert load_bundle({"own.rego": OWN + b" " * (1024 * 1024 - len(OWN))}).modules
    assert read_settings("[scan]\nmax_age_days = 36500\n")["scan"]["max_age_days"] == 36500
    assert read_settings("[scan]\nmax_age_days = 1\n")["scan"]["max_age_days"] == 1
    largest = 2**53 - 1
    assert read_settings(f"[own.minimum]\na = {largest}\n")["own"]["minimum"] == {"a": largest}
    with pytest.raises(BadSetting):
        read_settings(f"[own.minimum]\na = {largest + 1}\n")


def test_the_refusal_names_what_was_found():
    with pytest.raises(BadSetting, match=r"own\.rego uses rand\.…"):
        bundle('x := rand.intn("a", 5)')
    with pytest.raises(BadSetting, match=r"own\.rego uses time\.now_ns"):
        bundle("x := time.now_ns()")
    with pytest.raises(BadSetting, match=r"own\.rego is in the package of nobody"):
        load_bundle({"own.rego": b"x := 1"})
    with pytest.raises(BadSetting, match=r"own\.rego is in the package other\.one"):
        load_bundle({"own.rego": b"package other.one"})


def test_missing_settings_have_defaults():
    settings = read_settings("[scan]\nmax_age_days = 7\n")
    assert settings["scan"]["max_age_days"] == 7
    assert settings["scan"]["notes_allowed"] is True
    assert settings["own"]["minimum"] == {}


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("[scann]\n", "there is no setting scann in", "did you mean scan?"),
        ("[scan]\nmax_age = 3\n", "there is no setting scan.max_age in", "did you mean scan.max_age_days?"),
        ("[scan]\nzzz = 3\n", "there is no setting scan.zzz in", "see docs/reference/policy.md"),
        ("scan = 3\n", "scan in policy.toml is not a section", "write [scan]"),
        ("scan = \n", "policy.toml cannot be read", "see docs"),
        ("[scan]\nmax_age_days = 7\nmax_age_days = 8\n", "policy.toml cannot be read", "see docs"),
        ('schema = "weighbridge.policy/2"\n', "policy.toml is of schema 'weighbridge.policy/2'", "see docs"),
        ("schema = 1\n", "policy.toml is of schema 1", "see docs"),
        ("[scan]\nmax_age_days = 0\n", "scan.max_age_days in policy.toml is 0", "see docs"),
        ("[scan]\nmax_age_days = 36501\n", "scan.max_age_days in policy.toml is 36501", "see docs"),
        ("[scan]\nmax_age_days = true\n", "scan.max_age_days in policy.toml is True", "see docs"),
        ('[scan]\nmax_age_days = "7"\n', "scan.max_age_days in policy.toml is '7'", "see docs"),
        ('[scan]\nnotes_allowed = "no"\n', "scan.notes_allowed in policy.toml is 'no'", "see docs"),
        ("[scan]\nnotes_allowed = 0\n", "scan.notes_allowed in policy.toml is 0", "see docs"),
        ('[scan]\nformats = "safetensors"\n', "scan.formats in policy.toml is 'safetensors'", "see docs"),
        ("[scan]\nformats = [1]\n", "scan.formats in policy.toml is [1]", "see docs"),
        ('[scan]\nformats = [""]\n', "scan.formats in policy.toml is ['']", "see docs"),
        ("[own]\nminimum = 3\n", "own.minimum in policy.toml is 3", "see docs"),
        ('[own.minimum]\na = "x"\n', "own.minimum in policy.toml is {'a': 'x'}", "see docs"),
        ("[own.minimum]\na = true\n", "own.minimum in policy.toml is {'a': True}", "see docs"),
        ("[own.minimum]\na = nan\n", "own.minimum in policy.toml is {'a': nan}", "see docs"),
        ("[own.minimum]\na = inf\n", "own.minimum in policy.toml is {'a': inf}", "see docs"),
        ("[require.owner]\n", "there is no setting require.owner in", "did you mean require.own?"),
        ("[require]\nown = 3\n", "require.own in policy.toml is not a section", "write [require.own]"),
        (
            "[require.own]\nslsa_lvl = 3\n",
            "there is no setting require.own.slsa_lvl in",
            "did you mean require.own.slsa_level?",
        ),
        ("[require.own]\nslsa_level = 4\n", "require.own.slsa_level in policy.toml is 4", "see docs"),
        ("[require.own]\nslsa_level = true\n", "require.own.slsa_level in policy.toml is True", "see docs"),
        ('[require.own]\nscan_verdict = "broken"\n', "require.own.scan_verdict in", "see docs"),
        ("[require.legacy]\nbom = {a = 0}\n", "require.legacy.bom in policy.toml is {'a': 0}", "see docs"),
        ("[require.legacy]\nbom = {a = 101}\n", "require.legacy.bom in policy.toml is", "see docs"),
        ("[require.legacy]\nmax_depth = -1\n", "require.legacy.max_depth in policy.toml is -1", "see docs"),
        ('[legacy]\nuntil = "2027-01-31"\n', "legacy.until in policy.toml is '2027-01-31'", "see docs"),
        ("[legacy]\nuntil = 2027-01-31\n", "legacy.until in policy.toml is", "see docs"),
        ('[log]\nassurance = "some"\n', "log.assurance in policy.toml is 'some'", "see docs"),
        ("[log]\nassurance = 2026-01-01\n", "log.assurance in policy.toml is", "see docs"),
    ],
)
def test_a_setting_with_a_mistake(text, problem, remedy):
    with pytest.raises(BadSetting) as caught:
        read_settings(text)
    assert caught.value.problem.startswith(problem)
    assert caught.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "this policy has no rules"),
        ({"policy.toml": b""}, "this policy has no rules"),
        ({"own_test.rego": b"package weighbridge.own_test\n"}, "this policy has no rules"),
        ({"own.rego": OWN, "readme.md": b""}, "'readme.md' is not a file of a policy"),
        ({"own.rego": OWN, "../own.rego": OWN}, "'../own.rego' is not a file of a policy"),
        ({"own.rego": OWN, "Own.rego": OWN}, "'Own.rego' is not a file of a policy"),
        ({"own.rego": OWN, "policy.toml.rego": OWN}, "'policy.toml.rego' is not a file of a policy"),
        ({"own.rego": OWN, "own.rego\n": OWN}, "'own.rego\\n' is not a file of a policy"),
        ({"own.rego": b"\xff"}, "own.rego is not UTF-8"),
        ({"own.rego": OWN, "policy.toml": b"\xff"}, "policy.toml is not UTF-8"),
        ({"own.rego": OWN + b" " * 1024 * 1024}, "own.rego is larger than 1048576 bytes"),
        ({f"a{n}.rego": OWN for n in range(101)}, "a policy of more than 100 files"),
    ],
)
def test_files_that_are_no_policy(files, problem):
    with pytest.raises(BadSetting) as caught:
        load_bundle(files)
    assert caught.value.problem == problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "package other",
        "package weighbridge",
        "package weighbridgeown",
        "package weighbridge.Own",
        "",
        "# package weighbridge.own",
        "x := `\npackage weighbridge.own\n`",
        "package weighbridge.own\npackage weighbridge.third_party",
    ],
)
def test_a_foreign_package(text):
    with pytest.raises(BadSetting, match="is in the package"):
        load_bundle({"own.rego": text.encode()})


@pytest.mark.parametrize(
    "text",
    [
        'x := http.send({"url": "https://example.test"})',
        'x := http["send"]({})',
        "x := http [`send`]({})",
        "x := time.now_ns()",
        'x := time["now_ns"]()',
        "x := time .now_ns()",
        "x := time\n.now_ns()",
        'x := rand.intn("a", 5)',
        'x := uuid.rfc4122("a")',
        "x := opa.runtime()",
        'x := net.lookup_ip_addr("example.test")',
        'x := io.jwt.decode_verify("", {})',
        'x := "#"; y := time.now_ns()',
        'x := "\\"#"; y := time.now_ns()',
        "x := `\n#`; y := time.now_ns()",
        'x := $"{time.now_ns()}"',
        "x := $`{time.now_ns()}`",
        "allow if input.x with time.now_ns as 5",
        "x := (time.now_ns())",
        "x if {time.now_ns() > 0}",
        "x := rego.metadata.chain()",
        'x := rego.parse_module("", "")',
        'x := json.match_schema({}, {"$ref": "https://example.test"})',
        "x := json . verify_schema({})",
        'x := json["verify_schema"]({})',
        'x := crypto.x509.parse_and_verify_certificates("")',
        "x := providers.aws.sign_req({}, {}, 0)",
        "x := internal.test_case([])",
        'trace("here")',
        'x := time.clock([0, "Local"])',
        "x := time.date([0, `Local`])",
    ],
)
def test_a_policy_that_asks_the_world(text):
    with pytest.raises(BadSetting, match=r"own\.rego uses ") as caught:
        bundle(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "# time.now_ns() must not be used",
        'x := "http.send(…) and time.now_ns()"',
        "x := `opa.runtime()`",
        "x := input.http.status",
        "x := input.net[0]",
        "x := data.settings.uuid",
        "import rego.v1\nx := 1",
        "import future.keywords.in\nx := 1",
        "x := json.marshal(input)",
        'x := "Local"',
        "x := input.data.uuid",
        "x := tracer(1)",
        "x := my_rand.intn",
        "x := time.parse_rfc3339_ns(input.evaluated_at)",
        "x := uptime.now_ns",
    ],
)
def test_what_only_looks_like_it(text):
    assert bundle(text).modules["own.rego"].endswith(text)


@pytest.mark.parametrize(
    "text",
    [
        "x := data",
        "x := data[input.a]",
        "x := data.system.a",
        "walk(data, [_, x])",
        "import data.other as o",
        "x := data . foo",
    ],
)
def test_a_policy_that_looks_at_what_is_not_its_own(text):
    with pytest.raises(BadSetting, match="looks at all of data"):
        bundle(text)


def test_the_duties_of_settings_are_those_of_licences():
    assert tuple(duty.value for duty in Duty) == DUTIES


def test_a_duty_that_no_licence_has_is_an_error():
    with pytest.raises(BadSetting, match=r"licences\.refuse"):
        read_settings('[licences]\nrefuse = ["noncommercial"]\n')
