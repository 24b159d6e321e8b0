"""`policy`: check, test, replay or change the active policy and the mode; a change is signed, logged and pinned."""

from __future__ import annotations

import click

from weighbridge.cli import policy_change, policy_replay, policy_test


@click.group()
def policy() -> None:
    """Check or change the active policy and the mode."""


policy.add_command(policy_change.use)
policy.add_command(policy_change.approve)
policy.add_command(policy_change.mode_)
policy.add_command(policy_change.show)
policy.add_command(policy_replay.replay)
policy.add_command(policy_test.check)
policy.add_command(policy_test.starter)
policy.add_command(policy_test.test)
