"""YAML of models: training configurations, MLflow descriptions, model cards' front matter."""

_TEXTS = (
    "a: &x {b: 1}\nc: *x\nd: [1, 2.5, true, ~, 2026-01-01]\n",
    "optim:\n  _target_: torch.optim.AdamW\n  lr: 0.1\nmodel: {target: ldm.models.diffusion.ddpm.LatentDiffusion, params: {}}\n",
    "flavors:\n  python_function:\n    env: {conda: conda.yaml, virtualenv: python_env.yaml}\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n",
    "a: !!python/object/apply:os.system ['x']\n",
    "%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system ''\n",
    "instruction_template: |-\n  {% for m in messages %}{{ m.content }}{% endfor %}\n",
    "class_path: my.Model\ninit_args: {a: 1}\n---\nsecond: document\n",
)


def seeds():
    """Return good and bad texts."""
    return [text.encode() for text in _TEXTS]
