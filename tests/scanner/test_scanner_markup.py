"""Markup: PMML and OpenVINO are recognised whatever they are called, entities are named, drawings and web pages pass."""

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes


def found(text, name="x.txt"):
    part = scan_one(from_bytes(name, text.encode(), "unknown"))
    return {(finding.rule, finding.verdict) for finding in part.findings}


UNREAD = ("markup-unread", Verdict.UNREAD)
ENTITY = ("markup-entity", Verdict.DANGEROUS)
SCRIPT = ("markup-script", Verdict.UNLISTED)


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html><html><body onload='x()'>hi</body></html>",
        '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>',
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg/>',
        '<p align="center"><img src="a.png"></p>\n# A model',
        "<s>\n</s>\n<unk>\nhello\n",
        "<",
    ],
)
def test_pages_and_drawings_pass(text):
    assert found(text) == set()


def test_models_are_recognised():
    assert found('<?xml version="1.0"?>\n<!-- x --><PMML version="4.4"></PMML>') == {UNREAD}
    assert found('<p:PMML xmlns:p="x"/>') == {UNREAD}
    assert found(
        '\ufeff<net name="m"><layers><layer version="extension"><data library="/tmp/x.so"/></layer></layers></net>'
    ) == {UNREAD}


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY % x PUBLIC "p" "http://e/x">]><a/>',
        '<!DOCTYPE a SYSTEM "http://e/x.dtd"><a/>',
        "<!DOCTYPE a PUBLIC 'x' 'file:///x'><a/>",
        '<?xml version="1.0"?><a><xi:include href="/etc/passwd"/></a>',
    ],
)
def test_what_fetches_files_is_dangerous(text):
    assert ENTITY in found(text)


def test_entities_of_its_own_are_broken():
    assert found('<!DOCTYPE a [<!ENTITY x "y">]><a/>') == {("markup-entity", Verdict.BROKEN)}


@pytest.mark.parametrize(
    "inner", ["<script>x</script>", "<g onload='x'/>", "<a href='javascript:x'/>", "<foreignObject/>"]
)
def test_a_drawing_with_a_script_is_unlisted(inner):
    assert found(f"<svg>{inner}</svg>") == {SCRIPT}


def test_hostile_openings_end():
    assert found("<!--" * 50_000) == set()
    assert found("<!DOCTYPE" + "[" * 50_000) == set()
    assert found("<?" * 50_000) == set()
    assert found("<?xml " + "<include " * 50_000) == set()
    assert found("<!ENTITY " * 50_000) == {("markup-entity", Verdict.BROKEN)}
    assert found("<!DOCTYPE a PUBLIC " * 50_000) == set()
