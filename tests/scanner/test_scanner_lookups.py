"""getattr passes for the zone of a time, and for nothing else; objects made of a dict pass where their class allows it."""

import datetime as dt
import pickle
import zoneinfo

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner import names
from weighbridge.scanner.engine import scan_files

GETATTR = b"cbuiltins\ngetattr\n"
ZONE = b"czoneinfo\nZoneInfo\n"
LOOKUP = GETATTR + b"(" + ZONE + b"V_unpickle\ntR"
BERLIN = b"(VEurope/Berlin\nI01\ntR"


def scan(data):
    entry = FileEntry("model.pkl", len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


@pytest.mark.parametrize("protocol", range(6))
def test_times_with_zones_are_clean(protocol):
    zones = [
        zoneinfo.ZoneInfo(key)
        for key in ("Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "UTC")
    ]
    value = {
        "trained": [dt.datetime(2024, 5, 1, tzinfo=zone) for zone in zones],
        "daily": dt.time(12, tzinfo=zones[0]),
        "zones": {zone: zone.key for zone in zones},
    }
    assert scan(pickle.dumps(value, protocol)).verdict is Verdict.CLEAN


def test_a_zone_by_hand_is_clean():
    assert scan(LOOKUP + BERLIN + b".").verdict is Verdict.CLEAN
    assert scan(LOOKUP.replace(b"builtins", b"__builtin__") + BERLIN + b".").verdict is Verdict.CLEAN


KEYS = (
    "/etc/passwd", "../../etc/passwd", "Europe/../../x", "..", ".", "", "Europe/", "/Europe", "Europe//Berlin", "a.b/c",
    "C:/x", "C:\\\\x", "a/b/c/d", "tzdata.zoneinfo", "a b", "a\\u00e9", "-x", "1x", "a" * 65, "__init__.py", "a\\u000a", "%s",
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_no_zone_has_is_refused(key):
    assert not scan(LOOKUP + b"(V" + key.encode() + b"\nI01\ntR.").verdict.passes


def test_a_bad_key_is_found_behind_hundreds_of_good_ones():
    many = b"0".join(LOOKUP + b"(VEurope/A%d\nI01\ntR" % number for number in range(300))
    assert not scan(b"N" + many + b"0" + LOOKUP + b"(V/etc/passwd\nI01\ntR0.").verdict.passes
    long = b"0".join(LOOKUP + b"(V" + b"a" * 64 + key + b"\nI01\ntR" for key in (b"", b"/../x"))
    assert not scan(b"N" + long + b"0.").verdict.passes


ATTACKS = {
    "another attribute of the class": GETATTR + b"(" + ZONE + b"Vfrom_file\ntR(V/etc/passwd\ntR.",
    "the cache of the class": GETATTR + b"(" + ZONE + b"Vclear_cache\ntR)R.",
    "the attribute of another class": GETATTR + b"(cos\nsystem\nV_unpickle\ntR" + BERLIN + b".",
    "a class of the same name": GETATTR + b"(cx\nZoneInfo\nV_unpickle\ntR" + BERLIN + b".",
    "the module above": GETATTR + b"(czoneinfo.ZoneInfo\nx\nV_unpickle\ntR" + BERLIN + b".",
    "the dotted name itself": b"czoneinfo\nZoneInfo._unpickle\n" + BERLIN + b".",
    "the dotted name as a module": b"czoneinfo.ZoneInfo\n_unpickle\n" + BERLIN + b".",
    "a special name": GETATTR + b"(" + ZONE + b"V__subclasses__\ntR)R.",
    "an attribute of the attribute": GETATTR + b"(" + LOOKUP + b"V__func__\ntR)R.",
    "an attribute of a zone": GETATTR + b"(" + LOOKUP + BERLIN + b"Vutcoffset\ntR(NtR.",
    "a default": GETATTR + b"(" + ZONE + b"V_unpickle\nNtR" + BERLIN + b".",
    "a class made of the attribute": LOOKUP + b"(VUTC\nI01\nt\x81.",
    "state for the attribute": LOOKUP + b"}b.",
    "state for the zone": LOOKUP + BERLIN + b"}Vx\nNsb.",
    "items for the zone": LOOKUP + BERLIN + b"Na.",
    "too few": LOOKUP + b"(VUTC\ntR.",
    "too many": LOOKUP + b"(VUTC\nI01\nNtR.",
    "a truth that is a text": LOOKUP + b"(VUTC\nV1\ntR.",
    "a key that is no text": LOOKUP + b"(cos\nsystem\nI01\ntR.",
    "the class called itself": ZONE + b"(VEurope/Berlin\ntR.",
    "the class made anew": ZONE + b")\x81.",
    "getattr alone": GETATTR + b".",
    "getattr kept beside a lookup": b"(" + GETATTR + LOOKUP + BERLIN + b"l.",
    "getattr kept in the memo": GETATTR + b"p0\n(" + ZONE + b"V_unpickle\ntR0g0\n.",
    "getattr kept behind the lookup": LOOKUP + b"0" + GETATTR + b".",
    "getattr in a dict": b"}Va\n" + GETATTR + b"s0" + LOOKUP + BERLIN + b".",
    "getattr under a call of another": GETATTR + b"cdatetime\ntimedelta\n(K\x01K\x01K\x01tR0" + LOOKUP + BERLIN + b".",
    "getattr in a tuple that ends later": b"(" + GETATTR + ZONE + b"V_unpickle\nt0" + LOOKUP + BERLIN + b".",
    "getattr twice": GETATTR + b"2(" + ZONE + b"V_unpickle\ntR0" + LOOKUP + BERLIN + b".",
    "getattr by OBJ": b"(" + GETATTR + ZONE + b"V_unpickle\no.",
    "getattr by INST": b"(" + ZONE + b"V_unpickle\nibuiltins\ngetattr\n.",
    "getattr as an argument": b"cfunctools\npartial\n(" + GETATTR + b"tR0" + LOOKUP + BERLIN + b".",
    "getattr as a factory": b"ccollections\ndefaultdict\n(" + GETATTR + b"tR0" + LOOKUP + BERLIN + b".",
    "getattr in the second stream": LOOKUP + BERLIN + b"." + GETATTR + b".",
    "setattr": b"cbuiltins\nsetattr\n(" + ZONE + b"V_unpickle\ncos\nsystem\ntR.",
}  # fmt: skip


@pytest.mark.parametrize("case", ATTACKS)
def test_getattr_opens_no_other_door(case):
    assert not scan(ATTACKS[case]).verdict.passes


def test_the_finding_names_what_is_looked_up():
    subjects = {finding.subject for finding in scan(GETATTR + b"(cos\npath\nVjoin\ntR.").findings}
    assert "os.path.join" in subjects


def test_every_listed_attribute_is_no_plain_name():
    for full in names._document("inert.json")["attributes"]:
        module, name, attribute = full.rsplit(".", 2)
        assert names.find_attribute(module, f"{name}.{attribute}") is not None
        assert names.find(module, f"{name}.{attribute}") is None
        assert names.find(f"{module}.{name}", attribute) is None
        assert not names.danger(module, f"{name}.{attribute}")
    assert names.find_attribute("collections", "OrderedDict") is None


# Objects made of a dict.


def made(of, base=b"c__builtin__\ndict\n", state=b"}Va\nK\x01s"):
    return b"ccopyreg\n_reconstructor\n(" + of + base + state + b"tR"


def test_an_object_made_of_a_dict_passes_only_where_its_class_allows_it():
    assert scan(made(b"cbuiltins\ndict\n") + b".").verdict is Verdict.CLEAN
    assert not scan(made(b"cx\nC\n") + b".").verdict.passes
    assert not scan(made(b"csklearn.linear_model._base\nLinearRegression\n") + b"}b.").verdict.passes
    assert not scan(made(b"ccollections\nOrderedDict\n") + b"}b.").verdict.passes
    assert not scan(made(b"cbuiltins\ndict\n", b"c__builtin__\nlist\n", b"]") + b".").verdict.passes
    assert not scan(made(b"cbuiltins\ndict\n", b"cx\nD\n") + b".").verdict.passes
    assert not scan(made(b"cbuiltins\ndict\n", state=b"cx\nD\n)R") + b".").verdict.passes
