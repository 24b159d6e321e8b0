"""Explain rules: the table of all of them, and the page of one, as it is installed with the package."""

from __future__ import annotations

from importlib import import_module, resources

from weighbridge.core.errors import NotFound
from weighbridge.scanner import RULES
from weighbridge.scanner.file import RuleInfo

PAGES = "rules"


def rule_table() -> tuple[RuleInfo, ...]:
    """Return every rule, by id."""
    modules = {import_module(name) for name in RULES.values()}
    found = {info.id: info for module in modules for info in module.RULES}
    return tuple(found[id_] for id_ in sorted(found))


def explain(rule: str) -> str:
    """Return the page of a rule (Markdown); raises NotFound."""
    if rule not in RULES:
        raise NotFound(f"there is no rule {rule!r}", remedy="see `weighbridge rule` for all of them")
    page = resources.files("weighbridge.scanner") / PAGES / f"{rule}.md"
    return page.read_text(encoding="utf-8").rstrip()
