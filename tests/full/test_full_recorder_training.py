"""A real training by Hugging Face's Trainer and a real run of MLflow, recorded; and datasets as real libraries write them."""

from pathlib import Path

import pytest

from weighbridge.core.errors import Unreadable, UsageError, VerificationFailed
from weighbridge.formats import arrow_stream, parquet
from weighbridge.source.datasets import Layout, read_dataset
from weighbridge.source.local import open_folder
from world_recorder import everything, record_of, recording_world, signed_shards, starter, train

pytestmark = pytest.mark.full
SECRET = "hf_PlantedTokenThatMustNotAppear42"
KEY = "Zx8Qw3Er5Ty7Ui9Op1As2Df4Gh6Jk0L"


@pytest.fixture
def world(tmp_path, monkeypatch):
    from huggingface_hub import constants  # reads the environment once, for everybody in this process

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    made = recording_world(tmp_path, monkeypatch)
    yield made
    made.registry.close()


@pytest.fixture
def start(world):
    return starter(world)


def seen(folder):
    with open_folder(Path(folder)) as tree:
        return read_dataset(tree)


@pytest.fixture
def rows():
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict(
        {"input_ids": [[n % 90 + 1] * 8 for n in range(64)], "labels": [n % 2 for n in range(64)]}
    )


# Hugging Face's Trainer.


@pytest.fixture
def saved(world, rows):
    folder = world.folder / "rows"
    rows.save_to_disk(folder, num_shards=2)
    world.say_data(folder, world.people["data-team"])
    return folder


def trained(run, data, out, folder, **arguments):
    """Train a tiny model of two layers for four steps, as a script would."""
    import transformers
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    from weighbridge.recorder.transformers import RecorderCallback

    transformers.set_seed(1)
    config = BertConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16,
    )  # fmt: skip
    chosen = TrainingArguments(
        output_dir=str(folder / "checkpoints"), max_steps=4, per_device_train_batch_size=4, logging_steps=2,
        report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, hub_token=SECRET, **arguments,
    )  # fmt: skip
    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=chosen,
        train_dataset=data,
        callbacks=[RecorderCallback(run)],
    )
    trainer.train()
    trainer.model.save_pretrained(out)  # save_model adds the arguments as a pickle, which the gate refuses


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_tells_what_it_did_and_no_token(world, start, saved):
    import datasets

    out = world.folder / "out"
    with start(inputs=[saved], outputs=[out]) as run:
        trained(run, datasets.load_from_disk(str(saved)), out, world.folder)
    record = record_of(run.claims[0])
    facts = record["attached"]["trainer"]
    assert facts["steps"] == 4
    assert facts["rows"] == 64
    assert facts["model"] == "BertForSequenceClassification"
    assert facts["parameters"] > 1000
    assert facts["files_outside_inputs"] == []
    assert facts["arguments"]["max_steps"] == 4
    assert {"loss", "train_loss"} & set(record["metrics"])
    assert record["frameworks"]["transformers"]
    assert record["hardware"]["accelerators"] == []  # torch is there and was asked
    assert SECRET not in everything(run)
    world.reopen()
    world.say_evaluate(out, world.people["evaluate-team"])
    world.say_package(out, world.people["package-team"])
    world.take(out)
    assert world.promote(out).decision.allow


@pytest.mark.filterwarnings("ignore")
def test_data_that_lies_elsewhere_than_the_inputs_is_named(world, start, saved, rows):
    import datasets

    elsewhere = world.folder / "elsewhere"
    rows.save_to_disk(elsewhere)
    out = world.folder / "out"
    with start(inputs=[saved], outputs=[out]) as run:
        trained(run, datasets.load_from_disk(str(elsewhere)), out, world.folder)
    assert record_of(run.claims[0])["attached"]["trainer"]["files_outside_inputs"] == [
        "data-00000-of-00001.arrow"
    ]


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_breaks_claims_nothing(world, start, saved):
    out = world.folder / "out"
    with pytest.raises(ValueError, match="lr_scheduler"), start(inputs=[saved], outputs=[out]) as run:
        import datasets

        trained(
            run,
            datasets.load_from_disk(str(saved)),
            out,
            world.folder,
            lr_scheduler_type="reduce_lr_on_plateau",
        )
        raise ValueError("lr_scheduler")
    assert run.claims == ()


# MLflow.


@pytest.fixture
def tracked(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()


@pytest.mark.filterwarnings("ignore")
def test_a_tracked_run_is_taken_up_without_its_secrets_and_told_of_the_claim(world, start, tracked):
    from weighbridge.recorder.mlflow import follow, leave_note

    data, out = signed_shards(world), world.folder / "out"
    with tracked.start_run() as active:
        with start(inputs=[data], outputs=[out]) as run:
            follow(run, active.info.run_id)
            tracked.log_params(
                {"lr": 0.1, "hub_token": SECRET, "note": f"key {KEY}", "db": "postgres://u:pw9@h/x"}
            )
            tracked.set_tag("mlflow.source.git.repoURL", f"https://user:{SECRET}@git.example/x.git")
            tracked.log_metric("loss", 0.5, step=1)
            tracked.log_metric("loss", 0.25, step=2)
            train(out)
        leave_note(run, active.info.run_id)
    facts = record_of(run.claims[0])["attached"]["mlflow"]
    assert facts["run_id"] == active.info.run_id
    assert facts["metrics"] == {"loss": 0.25}
    assert facts["params"]["lr"] == "0.1"
    text = everything(run)
    for secret in (SECRET, KEY, "pw9"):
        assert secret not in text
    client = tracked.tracking.MlflowClient()
    assert client.get_run(active.info.run_id).data.tags["weighbridge.claim"] == str(
        run.claims[0].bundle.digest
    )


@pytest.mark.filterwarnings("ignore")
def test_datasets_and_models_that_mlflow_names_are_held_against_the_inputs(world, start, tracked):
    import pandas as pd
    from mlflow.data.pandas_dataset import from_pandas

    from weighbridge.recorder.mlflow import follow

    data, out = signed_shards(world), world.folder / "out"
    frame = pd.DataFrame({"a": [1, 2]})
    with tracked.start_run() as active, start(inputs=[data], outputs=[out]) as run:
        follow(run, active.info.run_id)
        tracked.log_input(from_pandas(frame, source=str(data / "data"), name="ours"), context="training")
        tracked.log_input(from_pandas(frame, source=str(world.folder / "other"), name="theirs"))
        model = tracked.initialize_logged_model(name="tiny")
        client = tracked.tracking.MlflowClient()
        client.log_outputs(active.info.run_id, [tracked.entities.LoggedModelOutput(model.model_id, 3)])
        train(out)
    facts = record_of(run.claims[0])["attached"]["mlflow"]
    found = {row["name"]: row for row in facts["datasets"]}
    assert (found["ours"]["read"], found["ours"]["context"]) == (True, ["training"])
    assert found["theirs"]["read"] is False
    assert facts["datasets_outside_inputs"] == ["theirs"]
    assert facts["models"] == [{"model_id": model.model_id, "step": 3, "name": "tiny"}]


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_mlflow_does_not_know_is_found_before_the_training(world, start, tracked):
    from weighbridge.recorder.mlflow import follow

    with (
        pytest.raises(UsageError, match="knows no run"),
        start(inputs=[signed_shards(world)], outputs=[world.folder / "out"]) as run,
    ):
        follow(run, "0" * 32)


# Datasets as libraries write them.


def outcomes_of(read, inputs):
    """Return what came of reading each input: a count, or the check of a refusal; anything else is raised."""
    found = set()
    for data in inputs:
        try:
            found.add("a count" if read(data) >= 0 else "a negative count")
        except Unreadable as error:
            found.add(error.check)
    return found


@pytest.mark.filterwarnings("ignore")
def test_rows_and_splits_of_what_is_saved_to_disk(world, rows):
    import datasets

    rows.save_to_disk(world.folder / "one", num_shards=3)
    assert seen(world.folder / "one").facts.layout is Layout.ARROW
    assert seen(world.folder / "one").facts.rows == 64
    datasets.DatasetDict({"train": rows, "odd": rows.select(range(5))}).save_to_disk(world.folder / "two")
    facts = seen(world.folder / "two").facts
    assert facts.layout is Layout.ARROW_DICT
    assert {name: split.rows for name, split in facts.splits.items()} == {"train": 64, "odd": 5}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [{}, {"row_group_size": 7}, {"compression": "zstd"}, {"write_page_index": True}, {"version": "1.0"}],
    ids=str,
)
def test_rows_of_parquet_shards(world, options):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder = world.folder / "shards" / "data"
    folder.mkdir(parents=True)
    table = pa.table({"a": list(range(100)), "b": [{"q": [1, None], "r": str(n)} for n in range(100)]})
    for number in range(2):
        pq.write_table(table, folder / f"train-0000{number}-of-00002.parquet", **options)
    pq.write_table(table.slice(0, 0), folder / "validation-00000-of-00001.parquet", **options)
    facts = seen(folder.parent).facts
    assert facts.layout is Layout.PARQUET
    assert {name: split.rows for name, split in facts.splits.items()} == {"train": 200, "validation": 0}
    assert facts.uncounted == ()


@pytest.mark.filterwarnings("ignore")
def test_no_change_of_a_footer_is_believed_that_contradicts_itself(world):
    """Each byte of a footer and of a stream's first messages changed: a count, or a refusal, and never anything else."""
    pa = pytest.importorskip("pyarrow")
    import io

    import pyarrow.parquet as pq

    table = pa.table({"a": list(range(50))})
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=20)
    good = target.getvalue()
    length = int.from_bytes(good[-8:-4], "little")
    changed = [
        good[:at] + bytes([value]) + good[at + 1 :]
        for at in range(len(good) - 8 - length, len(good))
        for value in (0, 0x80, 0xFF, good[at] ^ 1)
    ]
    assert outcomes_of(lambda b: parquet.read_footer(io.BytesIO(b), len(b)).rows, changed) <= {
        "a count",
        "dataset.parquet",
    }
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    stream = sink.getvalue()
    assert arrow_stream.count_rows(io.BytesIO(stream), len(stream)) == 50
    changed = [
        stream[:at] + bytes([stream[at] ^ flip]) + stream[at + 1 :]
        for at in range(len(stream))
        for flip in (1, 0xFF)
    ]
    assert outcomes_of(lambda b: arrow_stream.count_rows(io.BytesIO(b), len(b)), changed) <= {
        "a count",
        "dataset.arrow",
    }


@pytest.mark.filterwarnings("ignore")
def test_a_shard_of_parquet_that_is_swapped_stops_the_next_training(world, start):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder = world.folder / "shards"
    folder.mkdir()
    for number in range(3):
        pq.write_table(pa.table({"a": [number]}), folder / f"train-0000{number}-of-00003.parquet")
    world.say_data(folder, world.people["data-team"])
    with start(inputs=[folder], outputs=[world.folder / "out"]):
        train(world.folder / "out")
    pq.write_table(pa.table({"a": [7]}), folder / "train-00001-of-00003.parquet")
    with (
        pytest.raises(VerificationFailed, match="nobody who may sign data"),
        start(inputs=[folder], outputs=[world.folder / "out2"]),
    ):
        pytest.fail("the block was entered")
