"""A recorded run claims what it read and made; whatever goes wrong on the way, it claims nothing."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from weighbridge.claims.predicates import read_claim
from weighbridge.core.errors import (
    Refused,
    UsageError,
    VerificationFailed,
)
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement
from weighbridge.gate.lineage import family
from weighbridge.keys.files import generate
from weighbridge.registry import bundles
from world_recorder import said, train


def kept(world, folder):
    """Return what the registry keeps about the weights of a folder."""
    return bundles.about(world.reopen(), [world.manifest(folder).weights])


def test_a_run_claims_what_it_read_and_made(world, signed_data, start):
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out], parameters={"lr": 0.1}) as run:
        world.hand.pass_(hours=2)
        run.parameter("epochs", 3)
        run.metric("loss", 0.25)
        train(out)
    (claim,) = run.claims
    read = read_claim(Statement.decode(claim.bundle.envelope.payload))
    assert read.about == (world.manifest(out).weights,)
    assert [(p.digest, p.relation) for p in read.parents] == [
        (world.manifest(signed_data).digest, Relation.DATASET)
    ]
    definition, details = said(claim)["buildDefinition"], said(claim)["runDetails"]
    assert definition["buildType"] == "https://weighbridge.dev/buildtypes/train/v1"
    assert definition["externalParameters"] == {"lr": 0.1, "epochs": 3}
    record = definition["internalParameters"]
    assert record["metrics"] == {"loss": 0.25}
    assert record["inputs"][0]["signed_by"] == "data-team"
    assert record["inputs"][0]["observed"]["rows"] == 2
    assert details["metadata"]["startedOn"] == "2026-11-22T12:00:00Z"
    assert details["metadata"]["finishedOn"] == "2026-11-22T14:00:00Z"
    assert details["builder"]["id"] == "https://weighbridge.dev/builders/recorder"
    assert [b.digest for b in kept(world, out)] == [claim.bundle.digest]


def test_data_signed_training_recorded_packaged_is_promoted_and_a_swapped_shard_breaks_each_step(
    world, signed_data, start
):
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out]):
        train(out)
    world.reopen()
    world.say_evaluate(out, world.people["evaluate-team"])
    world.say_package(out, world.people["package-team"])
    world.take(out)
    assert world.promote(out).decision.allow

    shard = signed_data / "data" / "train-00001-of-00002.jsonl"
    shard.write_text('{"n": "swapped"}\n')
    with (
        pytest.raises(VerificationFailed) as refused,
        start(inputs=[signed_data], outputs=[world.folder / "o2"]),
    ):
        pytest.fail("the block was entered")
    assert refused.value.check == "recorder.dataset-unsigned"

    # Somebody trains on it all the same and lets it pass: the walk breaks at the data that nobody signed.
    second = world.folder / "second"
    with start(inputs=[signed_data], outputs=[second], unsigned="allowed") as run:
        train(second, 7.0)
    swapped = world.manifest(signed_data).digest
    assert said(run.claims[0])["buildDefinition"]["externalParameters"]["weighbridge:unsigned"] == [
        str(swapped)
    ]
    world.reopen()
    world.say_evaluate(second, world.people["evaluate-team"])
    world.say_package(second, world.people["package-team"])
    world.take(second)
    result = world.promote(second)
    assert not result.decision.allow
    (check,) = [c for c in result.decision.refusals if c.id == "ancestry.ends"]
    assert swapped.short in check.found
    parents = {edge.parent for edge in family(world.registry, world.manifest(second).digest).edges}
    assert swapped in parents


def test_data_swapped_while_it_is_used_breaks_the_run(world, signed_data, start):
    out = world.folder / "out"
    shard = signed_data / "data" / "train-00000-of-00002.jsonl"
    before = shard.stat()
    with pytest.raises(VerificationFailed) as refused, start(inputs=[signed_data], outputs=[out]) as run:
        train(out)
        shard.write_text('{"n": 9}\n')
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))  # as somebody would who hides it
    assert refused.value.check == "recorder.input-changed"
    assert "train-00000-of-00002.jsonl' changed" in refused.value.problem
    assert run.claims == ()
    assert kept(world, out) == []


@pytest.mark.parametrize("how", ["written", "renamed", "touched"])
def test_data_that_was_swapped_and_put_back_breaks_the_run(world, signed_data, start, how):
    out = world.folder / "out"
    shard = signed_data / "data" / "train-00000-of-00002.jsonl"
    good, before = shard.read_bytes(), shard.stat()
    with pytest.raises(VerificationFailed) as refused, start(inputs=[signed_data], outputs=[out]) as run:
        if how == "written":
            shard.write_bytes(b"poison")
            train(out)
            shard.write_bytes(good)
        elif how == "renamed":
            shard.rename(world.folder / "aside")
            shard.write_bytes(b"poison")
            train(out)
            (world.folder / "aside").replace(shard)
        else:
            train(out)
            shard.touch()
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert refused.value.check == "recorder.input-changed"
    assert "exchanged or touched" in refused.value.problem
    assert run.claims == ()
    with pytest.raises(UsageError):  # what did not hold is not signed by asking again
        run.sign()


def test_a_cache_that_a_library_leaves_in_the_data_is_explained(world, signed_data, start):
    with (
        pytest.raises(VerificationFailed) as refused,
        start(inputs=[signed_data], outputs=[world.folder / "out"]),
    ):
        train(world.folder / "out")
        (signed_data / "cache-0123abcd.arrow").write_bytes(b"x")
    assert "cache_file_name" in refused.value.remedy


def test_facts_that_cannot_be_had_leave_no_claim(world, signed_data, start):
    def broken():
        raise OSError("the tracker is gone")

    with (
        pytest.raises(OSError, match="gone"),
        start(inputs=[signed_data], outputs=[world.folder / "out"]) as run,
    ):
        train(world.folder / "out")
        run.attach("tracker", broken)
    assert run.claims == ()
    with pytest.raises(UsageError):
        run.sign()


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("appeared", lambda f: (f / "zz.jsonl").write_text("{}")),
        ("vanished", lambda f: (f / "data" / "train-00001-of-00002.jsonl").unlink()),
    ],
)
def test_files_that_come_or_go_break_the_run(world, signed_data, start, word, change):
    with (
        pytest.raises(VerificationFailed, match=word),
        start(inputs=[signed_data], outputs=[world.folder / "out"]),
    ):
        train(world.folder / "out")
        change(signed_data)


def test_an_exception_passes_through_and_nothing_is_claimed(world, signed_data, start):
    out = world.folder / "out"
    with pytest.raises(ZeroDivisionError), start(inputs=[signed_data], outputs=[out]) as run:
        train(out)
        raise ZeroDivisionError
    assert run.claims == ()
    assert run.statements == ()
    assert kept(world, out) == []
    with pytest.raises(UsageError):
        run.sign()


def test_leaving_by_exit_claims_nothing(world, signed_data, start):
    out = world.folder / "out"
    with pytest.raises(SystemExit), start(inputs=[signed_data], outputs=[out]):
        train(out)
        sys.exit(0)
    assert kept(world, out) == []


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path[:0] = {path!r}
    import weighbridge
    from world_recorder import train
    with weighbridge.record("train", inputs=[{data!r}], outputs=[{out!r}], key={key!r}, {where}):
        train(Path({out!r}))
        os.kill(os.getpid(), signal.{signal})
"""


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("where", ["bundle={bundle!r}", ""])
def test_a_killed_run_leaves_no_claim(world, signed_data, signal, where):
    out, bundle = world.folder / "out", world.folder / "out.sigstore.json"
    world.registry.close()
    script = textwrap.dedent(KILLED).format(
        path=[str(Path(__file__).parents[1])], data=str(signed_data), out=str(out),
        key=str(world.keys["train-team"]), signal=signal, where=where.format(bundle=str(bundle)),
    )  # fmt: skip
    started = world.folder / "run.py"
    started.write_text(script)
    environ = os.environ | {"WEIGHBRIDGE_HOME": str(world.registry.layout.root)}
    done = subprocess.run([sys.executable, started], env=environ, capture_output=True, check=False)
    assert done.returncode < 0, done.stderr.decode()
    assert (out / "model.safetensors").exists()
    assert not bundle.exists()
    assert [p.name for p in world.folder.iterdir() if p.name.startswith(".out")] == []
    assert kept(world, out) == []


def test_two_recorders_at_once_do_not_mix(world, signed_data, start):
    other = world.dataset("other", "c,d\n")
    world.say_data(other, world.people["data-team"])
    a, b = world.folder / "a", world.folder / "b"
    with start(inputs=[signed_data], outputs=[a]) as one, start(inputs=[other], outputs=[b]) as two:
        one.metric("loss", 1)
        two.metric("loss", 2)
        train(a, 1.0)
        train(b, 2.0)
    for run, folder, data, loss in ((one, a, signed_data, 1), (two, b, other, 2)):
        record = said(run.claims[0])["buildDefinition"]["internalParameters"]
        assert record["metrics"] == {"loss": loss}
        assert [row["manifest"] for row in record["inputs"]] == [str(world.manifest(data).digest)]
        assert run.statements[0].identities == (world.manifest(folder).weights,)


def test_two_recorders_in_threads_do_not_mix(world, signed_data, start):
    barrier, runs, errors = threading.Barrier(2), {}, []

    def work(number):
        try:
            out = world.folder / f"t{number}"
            with start(inputs=[signed_data], outputs=[out], bundle=world.folder / f"t{number}.json") as run:
                barrier.wait(20)
                run.parameter("number", number)
                train(out, float(number + 1))
                barrier.wait(20)
            runs[number] = run
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in range(2):
        (claim,) = runs[number].claims
        assert said(claim)["buildDefinition"]["externalParameters"] == {"number": number}
        assert claim.statement.identities == (world.manifest(world.folder / f"t{number}").weights,)


def test_a_forked_worker_that_leaves_the_block_claims_nothing(world, signed_data, start):
    out, bundle = world.folder / "out", world.folder / "out.json"
    with start(inputs=[signed_data], outputs=[out], bundle=bundle) as run:
        train(out)
        child = os.fork()
        if not child:  # as a worker does that falls out of its loop
            run.__exit__(None, None, None)
            os._exit(0 if not bundle.exists() and run.claims == () else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert bundle.exists()


def test_only_the_first_process_of_a_distributed_training_records(world, signed_data, start, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out]) as run:
        train(out)
    assert run.idle
    assert run.claims == ()


def test_a_stranger_s_signature_is_no_signature(world, start):
    folder = world.dataset("theirs")
    world.say_data(folder, generate())
    with pytest.raises(VerificationFailed) as refused, start(inputs=[folder], outputs=[world.folder / "out"]):
        pytest.fail("the block was entered")
    assert refused.value.check == "recorder.dataset-unsigned"
    assert "stranger" in refused.value.cause


def test_whoever_trains_may_not_sign_data(world, start):
    folder = world.dataset("theirs")
    world.say_data(folder, world.people["train-team"])
    with (
        pytest.raises(VerificationFailed, match="may not sign as data") as refused,
        start(inputs=[folder], outputs=[world.folder / "out"]),
    ):
        pytest.fail("the block was entered")
    assert refused.value.check == "recorder.dataset-unsigned"


def test_revoked_data_stops_a_run_also_where_unsigned_data_would_pass(world, signed_data, start):
    world.person("boss", "revoke")
    from weighbridge.gate.revoke import revoke

    revoke(world.registry, world.manifest(signed_data).digest, reason="poisoned", signer=world.people["boss"])
    with (
        pytest.raises(Refused) as refused,
        start(inputs=[signed_data], outputs=[world.folder / "out"], unsigned="allowed"),
    ):
        pytest.fail("the block was entered")
    assert refused.value.check == "recorder.input-revoked"
    assert refused.value.cause == "poisoned"
