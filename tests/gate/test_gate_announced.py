"""What a registry announces holds claims that came with a certificate, also while they wait in the outbox."""

from datetime import UTC, datetime

from weighbridge.config import read_config
from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement, subject_of
from weighbridge.gate.announced import announced_in
from weighbridge.registry import bundles
from weighbridge.registry.outbox import enqueue, submit
from weighbridge.registry.services import development_token, sign_here
from weighbridge.registry.setup import init_registry
from weighbridge.trust.certificates import signer_of
from world import Hand


def test_a_claim_with_a_certificate_is_announced_before_and_after_it_is_kept(tmp_path):
    hand = Hand(datetime(2026, 11, 22, 12, tzinfo=UTC))
    config = read_config(
        {"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path / "home"), "USER": "tester"},
        {"registry": str(tmp_path / "registry")},
    )
    registry = init_registry(config, clock=hand, entropy=hand, demonstration=True)
    statement = Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/test/v1", {})
    made = sign_here(registry, statement, development_token(registry, "trainer@example.org"))
    draft = bundles.take_proven(made)
    key = signer_of(made.certificates[0]).key
    assert key not in announced_in(registry).content
    with registry.writing():
        with registry.records.write() as connection:
            enqueue(registry, connection, [draft])
        assert {key, made.digest} <= announced_in(registry).content
        submit(registry)
    assert {key, made.digest} <= announced_in(registry).content
    registry.close()
