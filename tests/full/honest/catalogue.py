"""What a family of honest files is written with: one entry for each file or folder that a real library made."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SEED = 20261122

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

CARD = """---
license: apache-2.0
language:
- en
tags:
- text-classification
datasets:
- imdb
metrics:
- accuracy
model-index:
- name: small
  results:
  - task: {type: text-classification}
    metrics:
    - {type: accuracy, value: 0.91}
---
# A small model

```python
from transformers import pipeline
classify = pipeline("text-classification", model="acme/small")
print(classify("a fine day"))
```

| split | accuracy |
|---|---|
| test | 0.91 |
"""


@dataclass(frozen=True)
class Honest:
    """One honest model: where it lies below the folder, which library wrote it, and what it is."""

    path: str
    library: str
    what: str


class Shelf:
    """Writes the files of one library below a folder and keeps the list of them."""

    def __init__(self, folder, library):
        self.folder = Path(folder) / library
        self.library = library
        self.made: list[Honest] = []
        self.skipped: list[str] = []

    def add(self, name: str, what: str, write: Callable[[Path], object]):
        """Call `write` with the path to write to; a library that fails to write makes the generator fail."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        if not path.exists():
            raise FileNotFoundError(f"{self.library}: {name} was not written")
        self.made.append(Honest(f"{self.library}/{name}", self.library, what))

    def skip(self, what: str):
        """Note something that the installed version of the library does not offer."""
        self.skipped.append(f"{self.library}: {what}")


def write_list(path: Path, made: list[Honest], skipped: list[str]):
    """Write what was made as JSON."""
    content = {"made": [asdict(item) for item in made], "skipped": skipped}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_list(path: Path) -> tuple[list[Honest], list[str]]:
    """Read what `write_list` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Honest(**item) for item in content["made"]], content["skipped"]


def bytes_writer(data: bytes) -> Callable[[Path], object]:
    """Return a writer of these bytes."""
    return lambda path: path.write_bytes(data)
