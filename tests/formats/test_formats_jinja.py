"""Chat templates are read, never run: the roads into Python are found however they are spelled, real idioms pass."""

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Verdict
from weighbridge.formats import jinja

DANGEROUS = [
    "{{ x.__class__ }}",
    "{{ x['__class__'] }}",
    "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ x|attr('__class__') }}",
    "{{ x|attr('y') }}",
    "{{ [x]|map('attr', 'y')|list }}",
    "{{ [x]|map(attribute='__class__')|list }}",
    "{{ [x]|map(attribute='a.__class__')|list }}",
    "{{ [x]|sum('__class__') }}",
    "{{ [x]|sort(attribute='__class__') }}",
    "{{ [x]|groupby('__class__') }}",
    "{{ [x]|selectattr('__class__')|list }}",
    "{{ [x]|join(',', '__class__') }}",
    "{{ [x]|unique(attribute='__class__') }}",
    "{{ [x]|max(attribute='__class__') }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id') }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__ }}",
    "{{ (messages|map('upper')).gi_frame.f_globals }}",
    "{{ namespace.mro() }}",
    "{% set k = '__class__' %}{{ x[k] }}",
    "{% set ns = namespace(k='__class__') %}{{ x[ns.k] }}",
    "{% set d = {'k': '__class__'} %}{{ x[d.k] }}",
    "{% for k in ['__class__'] %}{{ x[k] }}{% endfor %}",
    "{% for k, v in {'__class__': 1}.items() %}{{ x[k] }}{% endfor %}",
    "{% macro m(k) %}{{ x[k] }}{% endmacro %}{{ m('__class__') }}",
    "{% macro m(k='__class__') %}{{ x[k] }}{% endmacro %}{{ m() }}",
    "{% with k = '__class__' %}{{ x[k] }}{% endwith %}",
    "{{ x['__CLASS__'|lower] }}",
    "{{ x[('__class__', 1)[0]] }}",
    "{% generation %}{{ x.__class__ }}{% endgeneration %}",
    "{% if x.__class__ %}{% endif %}",
    "{% for i in x.__class__.__mro__ %}{% endfor %}",
    "{% macro m(a=x.__class__) %}{% endmacro %}",
    "{% call x.__class__() %}{% endcall %}",
    "{% filter replace(x.__class__, '') %}{% endfilter %}",
    "{{ x if y is sameas z.__class__ }}",
    "{{ x[1:y.__class__] }}",
    "{{ __import__('os') }}",
    "{% set ns.x = y.__class__ %}",
    "{# hidden #}{%- set a = x.__class__ -%}",
]

UNLISTED = [
    "{{ x['__cl' ~ 'ass__'] }}",
    "{{ x['__cl' + 'ass__'] }}",
    "{{ x['%c%c' % (95, 95)] }}",
    "{{ x['_' * 2] }}",
    "{{ x['ssalc'|reverse|replace('a', 'b')] }}",
    "{{ x[['__cl', 'ass__']|join] }}",
    "{{ x['{}'.format(y)] }}",
    "{{ x['a-b'.split('-')[0]] }}",
    "{% set k %}__class__{% endset %}{{ x[k] }}",
    "{% set a = '__cl' ~ 'ass__' %}{% set b = a %}{{ x[b] }}",
    "{% set l = [] %}{% set _ = l.append('__cl' ~ 'ass__') %}{{ x[l[0]] }}",
    "{% set l = x.split(',') %}{% set _ = l.append('a' ~ 'b') %}{{ y[l[0]] }}",
    "{% set l = x|list %}{% set m = l %}{% set _ = m.append('a' ~ 'b') %}{{ y[l[0]] }}",
    "{% set _ = messages.append('a' ~ 'b') %}{{ x[messages[-1]] }}",
    "{% set messages = messages[1:] %}{% set _ = messages.append('a' ~ 'b') %}{{ x[messages[-1]] }}",
    "{% set d = {} %}{% set _ = d.update({'k': 'a' ~ 'b'}) %}{{ x[d.k] }}",
    "{% macro m(a, k) %}{{ x[k] }}{% endmacro %}{{ m(1, 'a' ~ 'b') }}",
    "{% macro m(a, k) %}{{ x[k] }}{% endmacro %}{{ m(k='a' ~ 'b', a=1) }}",
    "{% macro m(k) %}{{ x[k] }}{% endmacro %}{{ m(*y) }}",
    "{% macro m() %}{{ x[varargs[0]] }}{% endmacro %}{{ m('a' ~ 'b') }}",
    "{% macro m() %}a{{ 'b' }}{% endmacro %}{{ x[m()] }}",
    "{% macro m() %}{{ caller('a' ~ 'b') }}{% endmacro %}{% call(k) m() %}{{ x[k] }}{% endcall %}",
    "{% for k in [1] recursive %}{{ x[k] }}{{ loop(['a' ~ 'b']) }}{% endfor %}",
    "{{ [x]|map(attribute='a' ~ 'b')|list }}",
    "{{ [x]|map(y)|list }}",
    "{{ [x]|map('nope')|list }}",
    "{{ [x]|select(y)|list }}",
    "{{ [x]|map(*y)|list }}",
    "{{ x|nope }}",
    "{{ x is nope }}",
    "{{ nope() }}",
    "{{ x.nope() }}",
    "{{ x['items']() }}",
    "{{ x.format(y) }}",
    "{{ '{0.real}'.format(y) }}",
    "{{ '{0:{1}}'.format(y, z) }}",
    "{{ '{x[0]}'.format(x=y) }}",
    "{{ x.format_map(y) }}",
    "{% set range = x %}{{ range(3) }}",
    "{% set j = ','.join %}{{ j(x) }}",
    "{{ x._private }}",
    "{{ x.f_anything }}",
    "{{ cycler('a', 'b').next() }}",
    "{{ joiner(', ') }}",
    "{{ lipsum }}",
    "{{ self.title() }}",
    "{% include 'other' %}",
    "{% import 'other' as o %}",
    "{% from 'other' import o %}",
    "{% extends 'other' %}",
]

PASSES = [
    "plain text with __class__ and {braces}",
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' ~ message.content }}{% endfor %}{{ eos_token }}",
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate!') }}{% endif %}",
    "{{ messages[messages|length - 1].role }}{{ messages[loop.index0 + 1]['content'] | trim }}{{ messages[-1] }}",
    "{% set ns = namespace(i=0) %}{% for m in messages %}{% set ns.i = ns.i + 1 %}{{ messages[ns.i] }}{% endfor %}",
    "{% for k, v in tool.properties.items() %}{{ tool.x[k].description }}{{ args[k] | tojson(indent=4) }}{% endfor %}",
    "{% macro m(d, no) %}{% for k in d if k not in no %}{{ d[k] }}{% endfor %}{% endmacro %}{{ m(tool, ['a', 'b']) }}",
    "{% generation %}{{ message.content }}{% endgeneration %}{% for x in y %}{% break %}{% continue %}{% endfor %}",
    "{{ content.split('</think>')[-1].lstrip('\\n') }}{{ strftime_now('%d %b %Y') }}",
    "{{ '{} and {x:>4}'.format(a, x=b) }}{{ '%s' | format(a) }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}",
    "{% set parts = [] %}{% set _ = parts.append('a' ~ b) %}{{ parts | join('\\n') }}{{ loop.cycle('a', 'b') }}",
    "{% set tns = fn.name.split('.')[0] %}{{ descriptions[tns] }}",
    "{{ messages[1:][0].role if tools is defined and tools is not none else date_string | default('x') }}",
]


@pytest.mark.parametrize("source", DANGEROUS)
def test_roads_into_python_are_dangerous(source):
    assert Verdict.DANGEROUS in {remark.verdict for remark in jinja.examine_template(source)}


@pytest.mark.parametrize("source", UNLISTED)
def test_what_nobody_listed_is_unlisted(source):
    assert {remark.verdict for remark in jinja.examine_template(source)} == {Verdict.UNLISTED}


@pytest.mark.parametrize("source", PASSES)
def test_what_chat_templates_do_passes(source):
    assert jinja.examine_template(source) == ()


@pytest.mark.parametrize(
    "source", ["{{ x", "{% if %}", "{% nope %}", "{{ 1e999999 }}{% endif %}", "{% for %}"]
)
def test_what_does_not_parse_is_broken(source):
    with pytest.raises(Refused) as caught:
        jinja.examine_template(source)
    assert caught.value.check == "jinja.syntax"


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 20_000 + "x" + ")" * 20_000 + " }}",
        "{{ " + "-" * 50_000 + "1 }}",
        "{{ x" + ".a" * 50_000 + " }}",
        "{{ x }}" * 150_000,
        "{{ x }}" * 110_000,
        "x" * (jinja.MAX_SOURCE + 1),
    ],
    ids=["parentheses", "signs", "attributes", "length", "parts", "characters"],
)
def test_what_costs_too_much_is_unread_not_clean(source):
    with pytest.raises(OutOfBudget) as caught:
        jinja.examine_template(source)
    assert caught.value.check == "jinja.budget"


def test_entangled_assignments_run_out_of_budget():
    lines = [f"{{% set v{i} = v{i + 1} or v{i + 2} %}}{{{{ x[v{i}] }}}}" for i in range(3000)]
    with pytest.raises(OutOfBudget) as caught:
        jinja.examine_template("".join(lines))
    assert caught.value.check == "jinja.budget"


def test_a_cycle_of_assignments_ends():
    source = (
        "{% set a = b.split('x') %}{% set b = a[0] %}{{ x[a] }}{{ x[b] }}{% set c = c.strip('_') %}{{ x[c] }}"
    )
    assert jinja.examine_template(source) == ()


def test_every_filter_and_test_of_the_library_was_decided():
    assert set(jinja2.filters.FILTERS) - jinja.FILTERS == {"attr", "urlize", "xmlattr"}
    assert set(jinja2.tests.TESTS) - jinja.TESTS == {"filter", "test"}


@pytest.mark.parametrize("order", [1, -1])
def test_many_small_remarks_never_hide_a_grave_one(order):
    parts = ["{{ x.__class__ }}", *(f"{{{{ f{i}() }}}}" for i in range(500))]
    verdicts = {remark.verdict for remark in jinja.examine_template("".join(parts[::order]))}
    assert verdicts == {Verdict.DANGEROUS, Verdict.UNLISTED}


def test_remarks_name_line_and_subject():
    (remark,) = jinja.examine_template("a\nb\n{{ x.__class__ }}")
    assert (remark.line, remark.subject) == (3, "attribute __class__")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="{}%#-x.'\"|()[]~_ \nabforinset=,:1*", max_size=60))
def test_noise_never_escapes_as_another_error(source):
    try:
        jinja.examine_template(source)
    except (Refused, OutOfBudget):
        return
