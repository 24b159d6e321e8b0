"""Passwords of keys: from the environment, else asked for on the terminal; never from the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from weighbridge.cli.options import Shared
from weighbridge.core.errors import UsageError
from weighbridge.keys.ports import Signer

VARIABLE = "WEIGHBRIDGE_KEY_PASSWORD"
NEW_VARIABLE = "WEIGHBRIDGE_NEW_KEY_PASSWORD"


def password_for(reference: str) -> Callable[[], str]:
    """Return a function that finds the password or PIN of a key; it is called only where a key has one."""
    return lambda: _found(VARIABLE, f"Password of {reference}", confirm=False)


def new_password(reference: str, variable: str = NEW_VARIABLE) -> str:
    """Find the password that a key is to get; on a terminal it is asked for twice."""
    return _found(variable, f"New password of {reference}", confirm=True)


def open_key(shared: Shared, reference: str) -> Signer:
    """Open the key that a reference names (a path, `pkcs11:…`, `awskms://…`), asking for its password where it has one."""
    from weighbridge.trust.signers import open_signer

    return open_signer(reference, password=password_for(reference), offline=bool(shared.config["offline"]))


def _found(variable: str, question: str, *, confirm: bool) -> str:
    if given := os.environ.get(variable):
        return given
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "a password is needed, and there is no terminal to ask on",
            cause=f"{variable} is not set",
            remedy=f"run this on a terminal, or set {variable}",
            check="key.password",
        )
    answer: str = click.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer
