"""The table of the services says what the services are."""

import importlib
import inspect
import re

import pytest

from weighbridge.trust import SERVICES


def found(name):
    module, *names = name.split(".")
    thing = importlib.import_module(f"weighbridge.trust.{module}")
    for part in names:
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_the_parameters_are_those_of_the_function(name):
    parameters = list(inspect.signature(found(name)).parameters.values())
    if parameters[0].name == "self":
        parameters.pop(0)
    said, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            said.append("*")
            starred = True
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        said.append(parameter.name + default)
    written = re.match(r"\((.*?)\)(?:, \.| ->|, signers|$)", SERVICES[name])[1]
    assert written.replace("=POLICY", "='1.3.6.1.4.1.57264.2'").replace("Roots()", "<factory>") == ", ".join(
        said
    ).replace("typing.", "")
