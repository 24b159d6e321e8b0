"""Repositories as they lie on a hub: transformers, peft and sentence-transformers layouts, and what a Trainer leaves."""

import json
import os

os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="0"
)

import pickle

import joblib
import tokenizers
import torch
import transformers
from honest.catalogue import CARD, SEED, TEMPLATE, Shelf

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 60,
}


def tokenizer():
    """Return a small fast tokenizer with a chat template."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    model.decoder = tokenizers.decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=special)
    model.train_from_iterator(["a short text about bread", "rivers and bridges"], trainer)
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special, strict=True))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=64, **names)
    fast.chat_template = TEMPLATE
    return fast


def models():
    """Return small models of the common kinds: name → model."""
    t = transformers
    llama = {**SMALL, "num_key_value_heads": 1, "max_position_embeddings": 64}
    return {
        "bert": t.BertForSequenceClassification(t.BertConfig(**SMALL, num_labels=3)),
        "gpt2": t.GPT2LMHeadModel(t.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=60, n_positions=64)),
        "llama": t.LlamaForCausalLM(t.LlamaConfig(**llama)),
        "mistral": t.MistralForCausalLM(t.MistralConfig(**llama)),
        "qwen2": t.Qwen2ForCausalLM(t.Qwen2Config(**llama)),
        "gemma": t.GemmaForCausalLM(t.GemmaConfig(**llama, head_dim=8)),
        "roberta": t.RobertaModel(t.RobertaConfig(**SMALL)),
        "t5": t.T5ForConditionalGeneration(
            t.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=60)
        ),
        "vit": t.ViTForImageClassification(
            t.ViTConfig(**{k: v for k, v in SMALL.items() if k != "vocab_size"}, image_size=8, patch_size=4)
        ),
        "whisper": t.WhisperForConditionalGeneration(
            t.WhisperConfig(
                d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=60, num_mel_bins=8, max_source_positions=8,
                pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            )
        ),
    }  # fmt: skip


def repositories(shelf):
    """Write each model as a repository; some sharded, some with weights as torch wrote them before safetensors."""
    for index, (name, model) in enumerate(models().items()):

        def whole(path, model=model, index=index):
            size = {"max_shard_size": "10KB"} if index % 3 == 2 else {}
            model.save_pretrained(path, **size)
            if index != 8:
                tokenizer().save_pretrained(path)
            (path / "README.md").write_text(CARD)

        shelf.add(f"{name}", f"{name}, save_pretrained", whole)

        def older(path, model=model):
            path.mkdir()
            torch.save(model.state_dict(), path / "pytorch_model.bin")
            model.config.save_pretrained(path)

        shelf.add(f"{name}-bin", f"{name}, pytorch_model.bin", older)


def sentence_transformers(shelf):
    """Write the layout of sentence-transformers, with the files that its save writes."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    pooling = {
        "word_embedding_dimension": 16,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
    }
    versions = {
        "__version__": {"sentence_transformers": "3.0.0", "transformers": "4.41.0", "pytorch": "2.3.0"}
    }

    # Where version 6 of the library has its classes.
    later = {
        "Transformer": "sentence_transformers.base.modules.transformer",
        "Pooling": "sentence_transformers.sentence_transformer.modules.pooling",
        "Normalize": "sentence_transformers.base.modules.normalize",
    }

    def write(path, *, moved=False):
        transformers.BertModel(transformers.BertConfig(**SMALL)).save_pretrained(path)
        tokenizer().save_pretrained(path)
        names = [module["type"].rpartition(".")[2] for module in modules]
        types = [
            f"{later[name]}.{name}" if moved else module["type"]
            for name, module in zip(names, modules, strict=True)
        ]
        rows = [module | {"type": kind} for module, kind in zip(modules, types, strict=True)]
        (path / "modules.json").write_text(json.dumps(rows, indent=2))
        (path / "config_sentence_transformers.json").write_text(json.dumps({**versions, "prompts": {}}))
        (path / "sentence_bert_config.json").write_text(
            json.dumps({"max_seq_length": 64, "do_lower_case": False})
        )
        (path / "1_Pooling").mkdir()
        (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        (path / "README.md").write_text(CARD)

    shelf.add("sentence-transformers", "the layout of sentence-transformers", write)
    shelf.add("sentence-transformers-6", "the same since version 6", lambda path: write(path, moved=True))


def adapters(shelf):
    """Write LoRA adapters with peft."""
    import peft

    for name, target, task in (("llama", ["q_proj", "v_proj"], "CAUSAL_LM"), ("bert", ["query"], "SEQ_CLS")):
        config = peft.LoraConfig(
            r=2, target_modules=target, task_type=task, base_model_name_or_path="acme/small"
        )
        adapted = peft.get_peft_model(models()[name], config)
        shelf.add(f"adapter-{name}", f"a LoRA adapter for {name}", lambda p, a=adapted: a.save_pretrained(p))


def trained(shelf, folder):
    """Write what a Trainer leaves: arguments, optimizer, scheduler, random states and its own state."""
    model = models()["bert"]
    arguments = transformers.TrainingArguments(
        output_dir="out", report_to=[], use_cpu=True, learning_rate=3e-5
    )
    shelf.add("training_args.bin", "TrainingArguments", lambda p: torch.save(arguments, p))
    shelf.add(
        "training_args.json", "TrainingArguments as JSON", lambda p: p.write_text(arguments.to_json_string())
    )

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return {"input_ids": torch.arange(5) + index, "labels": index % 3}

    def run(path):
        given = transformers.TrainingArguments(
            output_dir=str(path), report_to=[], use_cpu=True, max_steps=2, save_steps=2, per_device_train_batch_size=4,
            disable_tqdm=True, dataloader_pin_memory=False, seed=SEED % 1000,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=given, train_dataset=Rows(), processing_class=tokenizer()
        )
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()

    shelf.add("trainer", "the folder of a Trainer after two steps", run)


def pickled(shelf):
    """Write objects of transformers and tokenizers as pickles."""
    fast, llama = tokenizer(), models()["llama"]
    made = {
        "config": llama.config,
        "generation-config": transformers.GenerationConfig(max_new_tokens=5, do_sample=True),
        "tokenizer": fast,
        "tokenizers": fast.backend_tokenizer,
        "encoding": dict(fast("a text")),
        "batch-encoding": fast("a text", return_tensors="pt"),
        "state": llama.state_dict(),
        "output": transformers.modeling_outputs.BaseModelOutput(last_hidden_state=torch.ones(1, 2, 3)),
    }
    for index, (name, thing) in enumerate(made.items()):
        protocol = (2, 3, 4, 5)[index % 4]
        data = pickle.dumps(thing, protocol=protocol)
        shelf.add(
            f"pickled/{name}.p{protocol}.pkl",
            f"{name}, pickle protocol {protocol}",
            lambda p, d=data: p.write_bytes(d),
        )
    shelf.add("pickled/model.pt", "a whole BERT", lambda p: torch.save(models()["bert"], p))
    shelf.add("pickled/llama.pt", "a whole Llama", lambda p: torch.save(llama, p))
    shelf.add("pickled/tokenizer.joblib", "a tokenizer, joblib", lambda p: joblib.dump(fast, p))


def make(folder):
    """Write the family and return its shelves."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    shelf = Shelf(folder, "transformers")
    repositories(shelf)
    sentence_transformers(shelf)
    adapters(shelf)
    trained(shelf, folder)
    pickled(shelf)
    return [shelf]
