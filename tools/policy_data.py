"""Write what `policy check` knows by heart: the shape of evidence and the canned questions.

Run it after a member of evidence is added: `python tools/policy_data.py`; with `--check` it only compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src" / "weighbridge" / "policy" / "data"
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "policy")]


def main(arguments: list[str]) -> int:
    """Write the files, or say which of them are not as they would be written."""
    from canned import questions  # the good evidence that the tests of the policy use

    from weighbridge.policy.shape import from_schema

    schema = json.loads((ROOT / "docs/reference/schemas/evidence.schema.json").read_text(encoding="utf-8"))
    wanted = {"evidence.json": from_schema(schema, schema["$defs"]), "questions.json": questions()}
    stale = 0
    for name, content in wanted.items():
        text = (
            json.dumps(content, indent=1 if len(content) == 1 else None, ensure_ascii=False, sort_keys=True)
            + "\n"
        )
        path = DATA / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale += 1
            sys.stdout.write(
                f"{'stale' if '--check' in arguments else 'written'}: {path.relative_to(ROOT)}\n"
            )
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    return min(stale, 1) if "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
