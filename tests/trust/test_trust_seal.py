"""From a statement to a bundle through a real log, and back through the verifier."""

import sys
from datetime import timedelta
from subprocess import run

import pytest
from trust_forge import NOW, ORIGIN, PROJECT, STATEMENT, authority, key

from weighbridge.core.errors import NotFound
from weighbridge.core.tier import Role
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.seal import log_and_seal, seal, sign_statement
from weighbridge.trust.verify import verify_bundle, verify_log_extension

GENESIS = [b"genesis one", b"genesis two"]


@pytest.fixture
def log(tmp_path):
    return Log.create(tmp_path / "log", ORIGIN, key("log"), now=NOW, genesis=GENESIS)


def believed(bundle, role, now=NOW):
    data = bundle.to_json()
    return verify_bundle(
        Bundle.from_json(data), authority=authority(), project=PROJECT, role=role, now=now
    ).proven


@pytest.mark.parametrize(("by", "role"), [("trainer", Role.TRAIN), ("reviewer", Role.ORIGIN)])
def test_what_is_sealed_is_believed(log, by, role):
    envelope = sign_statement(STATEMENT, key(by))
    bundle = log_and_seal(envelope, key(by).public_pem, log, log_signer=key("log"), now=NOW)
    proven = believed(bundle, role)
    assert (proven.log_index, proven.logged_at, proven.signer.name) == (2, NOW, by)


def test_logging_an_envelope_again_finds_it(log):
    envelope = sign_statement(STATEMENT, key("trainer"))
    pem = key("trainer").public_pem
    first = log_and_seal(envelope, pem, log, log_signer=key("log"), now=NOW)
    log.append([b"another"], signer=key("log"), now=NOW)
    again = log_and_seal(envelope, pem, log, log_signer=key("log"), now=NOW + timedelta(days=1))
    assert log.size == 4
    assert again.entry.index == first.entry.index
    assert again.digest == first.digest
    assert believed(again, Role.TRAIN).logged_at == NOW


def test_a_bundle_sealed_early_stays_good_while_the_log_grows(log):
    envelope = sign_statement(STATEMENT, key("trainer"))
    pem = key("trainer").public_pem
    bundle = log_and_seal(envelope, pem, log, log_signer=key("log"), now=NOW)
    log.append([b"entry %d" % n for n in range(300)], signer=key("log"), now=NOW)
    assert believed(bundle, Role.TRAIN)
    later = seal(envelope, pem, log, bundle.entry.index)
    assert believed(later, Role.TRAIN) == believed(bundle, Role.TRAIN)
    verify_log_extension(
        bundle.entry.checkpoint,
        later.entry.checkpoint,
        log.consistency(bundle.entry.size),
        key("log").public_pem,
    )


def test_another_process_without_the_logs_key_can_seal(log, tmp_path):
    envelope = sign_statement(STATEMENT, key("trainer"))
    pem = key("trainer").public_pem
    log.append([log_body(envelope, pem)], signer=key("log"), now=NOW)
    reader = Log.open(tmp_path / "log", key("log").public_pem)
    assert believed(seal(envelope, pem, reader, 2), Role.TRAIN)


def test_what_is_not_in_the_log_is_not_sealed(log):
    with pytest.raises(NotFound):
        seal(sign_statement(STATEMENT, key("trainer")), key("trainer").public_pem, log, 2)


def test_the_verifier_needs_no_file_network_or_process():
    """Importing it brings none of the modules that could reach outside."""
    program = (
        "import sys, weighbridge.trust.verify\n"
        "reach = {'socket', 'ssl', 'subprocess', 'sqlite3', 'http', 'fcntl', 'cryptography', 'numpy', 'click'}\n"
        "print(sorted(reach & {name.partition('.')[0] for name in sys.modules}))"
    )
    assert run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
