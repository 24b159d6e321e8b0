"""Chat templates with the constructs that published models use."""

_TEXTS = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim }}{% if loop.last %}{{ eos_token }}{% endif %}{% endfor %}",
    "{%- set ns = namespace(found=false, at=messages|length - 1) %}{%- for m in messages[::-1] %}{%- set ns.found = m.content.split('</think>')[-1].lstrip('\\n') %}{%- endfor %}",
    "{% macro show(x, deep=false) %}{% if x is mapping %}{{ x | tojson(indent=4) }}{% else %}{{ x | map(attribute='name') | join(', ') }}{% endif %}{% endmacro %}{{ show(tools) }}",
    "{% generation %}{{ raise_exception('x') if not messages else strftime_now('%d %b %Y') }}{% endgeneration %}",
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages | attr('__cl' ~ 'ass__') }}{% set k = '__' + 'init__' %}{{ x[k] }}",
)


def seeds():
    """Return good and bad templates."""
    return [text.encode() for text in _TEXTS]
