"""Two documents are compared by what they say; order, time and serial number are no change."""

import json

from bom_models import BASE, CLAIMS, FILES, HASHES, SOURCE, made

from weighbridge.bom.diff import Kind, diff

OTHER = "4e671687-395b-41f5-a30f-a58921a69b79"


def changed(before, after):
    return {(row.kind.value, row.what): (row.before, row.after) for row in diff(before, after)}


def test_equal_models_have_no_changes_whatever_version_order_and_serial():
    old = made(source=SOURCE, claims=CLAIMS)
    new = json.loads(json.dumps(made(source=SOURCE, claims=CLAIMS, spec="1.7", serial=OTHER)))
    new["components"].reverse()
    new["metadata"]["component"]["components"].reverse()
    assert diff(old, new) == ()


def test_a_changed_file_is_named_with_both_digests():
    new = {**FILES, "modeling_it.py": b"import os\n", "new.txt": b"x"}
    del new["chat_template.jinja"]
    rows = changed(made(), made(new))
    before, after = rows["file", "modeling_it.py"]
    assert before.startswith("SHA-256:")
    assert before != after
    assert rows["file", "new.txt"][0] == ""
    assert rows["file", "chat_template.jinja"][1] == ""
    assert ("subject", "identity") in rows
    assert ("subject", "weights") not in rows


def test_what_a_card_says_anew():
    card = FILES["README.md"].decode()
    new = card.replace("license: other", "license: mit").replace("- org/right\n", "").replace("81.5", "82")
    new = new.replace("[org/data, other]", "[org/data]").replace("image-text-to-text", "text-generation")
    rows = changed(made(), made({**FILES, "README.md": new.encode()}))
    assert rows["licence", "declared"] == ("my-licence", "MIT")
    assert rows["dataset", "other"] == ("declared", "")
    assert rows["result", "acc on HellaSwag, test (text-generation)"] == ("81.5", "82")
    assert rows["fact", "task"] == ("image-text-to-text", "text-generation")
    assert rows["fact", "pipeline_tag"] == ("image-text-to-text", "text-generation")
    assert ("parent", "org/right") not in rows, "the merge recipe still names it"


def test_a_parent_that_becomes_attested_and_a_new_claim():
    old = {**FILES, "README.md": b"---\nbase_model: org/base\n---\n"}
    del old["mergekit_config.yml"], old["adapter_config.json"], old["it.Q4_K_M.gguf"]
    rows = changed(made(old), made(old, claims=CLAIMS[:1]))
    assert rows["parent", "org/base"] == ("declared", f"fine-tune attested SHA-256:{BASE.hex}")
    assert rows["claim", "claim train by trainer"][0] == ""
    assert rows["dataset", "org/corpus"][1].startswith("attested SHA-256:")
    assert ("step", "fine-tune") in rows


def test_a_package_that_moves_and_a_fact_that_becomes_surer():
    text = FILES["requirements.txt"].decode().replace("2.13.0", "2.14.0").replace(HASHES[0], HASHES[1])
    rows = changed(made(), made({**FILES, "requirements.txt": text.encode()}))
    assert rows["package", "pkg:pypi/torch"] == (
        f"2.13.0 SHA-256:{HASHES[0]}",
        f"2.13.0, 2.14.0 SHA-256:{HASHES[1]}",
    )
    one, two = made(), json.loads(json.dumps(made()))
    for row in two["metadata"]["component"]["modelCard"]["properties"]:
        if row["name"] == "weighbridge:source:model_type":
            row["value"] = row["value"].replace("declared", "attested")
    assert changed(one, two) == {
        ("fact", "model_type (how sure)"): ("declared, declared", "attested, attested")
    }


def test_documents_of_others_are_compared_too():
    old = {"bomFormat": "CycloneDX", "specVersion": "1.4", "components": [{"type": "library", "name": "a", "version": "1", "purl": "pkg:npm/a@1"}]}  # fmt: skip
    new = {
        **old,
        "specVersion": "1.5",
        "components": [{**old["components"][0], "version": "2", "purl": "pkg:npm/a@2"}],
    }
    assert changed(old, new) == {("package", "pkg:npm/a"): ("1", "2")}
    assert next(iter(Kind)) is Kind.SUBJECT
