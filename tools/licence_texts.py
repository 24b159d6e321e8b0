"""Hold the licence knowledge base against licence texts: every quotation must stand in its text.

Run with a folder of texts named as the rows name them (`<key>.LICENSE`, for example the folder
`licensedcode/data/licenses` inside the scancode-toolkit wheel). With --write the digests of the texts are written
into the knowledge base; without, a difference is an error. The texts themselves are never copied.
"""

import json
import sys
from pathlib import Path

from weighbridge.bom.licence_texts import known_text, words_of

BASE = Path(__file__).resolve().parents[1] / "src/weighbridge/bom/data/licences.json"


def body(path: Path) -> str:
    """Return a text without the front matter that the collection puts before it."""
    text = path.read_text(encoding="utf-8")
    return text.split("\n---\n", 1)[1] if text.startswith("---\n") else text


def main(folder: Path, *, write: bool) -> int:
    """Check every row that names texts; print what does not fit; 1 when something does not."""
    base = json.loads(BASE.read_text(encoding="utf-8"))
    problems = []
    for row in base["licences"]:
        bodies = {}
        for text in row["texts"]:
            content = body(folder / f"{text['key']}.LICENSE")
            begins = words_of(text.get("from", ""))
            words = words_of(content)
            at = next((i for i in range(len(words)) if words[i : i + len(begins)] == begins), None)
            if at is None:
                problems.append(f"{row['id']}: {text['key']} does not hold {text['from']!r}")
                continue
            ends = words_of(text.get("to", ""))
            stops = (i + len(ends) for i in range(at, len(words)) if words[i : i + len(ends)] == ends)
            kept = known_text(row["id"], " ".join(words[at : next(stops) if ends else None]))
            facts = {"words": kept.words, "head": kept.head, "sha256": kept.sha256}
            if write:
                text.update(facts)
            elif {name: text.get(name) for name in facts} != facts:
                problems.append(f"{row['id']}: {text['key']} has other digests")
            bodies[text["key"]] = " ".join(words)
        for term in row["terms"]:
            quoted = " ".join(words_of(term.get("quote", "")))
            if row["checked"] == "text" and not any(f" {quoted} " in f" {b} " for b in bodies.values()):
                problems.append(f"{row['id']}: {term['duty']}: {term.get('quote')!r} is not in its text")
    if write:
        BASE.write_text(json.dumps(base, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(
        "\n".join([*problems, f"{len(base['licences'])} licences, {len(problems)} problems", ""])
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), write="--write" in sys.argv[2:]))
