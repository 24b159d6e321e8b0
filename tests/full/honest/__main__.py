"""Write the honest files: `PYTHONPATH=tests/full python -m honest FOLDER [FAMILY...]`; nothing is fetched."""

import importlib
import sys
import warnings
from pathlib import Path

from honest.catalogue import write_list

# "plain" comes last: once dill is imported, the pickles that joblib writes name dill as well.
FAMILIES = ("numeric", "learned", "boosted", "torches", "graphs", "hub", "plain")


FRAMES = {"numeric", "learned", "boosted", "plain"}
"""What pandas has a hand in. It writes other pickles where pyarrow is installed: these are the family `arrow`, apart."""


class Hidden:
    """Hides pyarrow from whoever would import it."""

    def find_spec(self, name, path=None, target=None):
        """Refuse pyarrow; everything else is for those after us."""
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"{name} is hidden here", name=name)


def main(folder: Path, families: tuple[str, ...]):
    """Write each family below `folder`, and its list beside it."""
    if FRAMES & set(families):
        sys.meta_path.insert(0, Hidden())
    for family in families:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shelves = importlib.import_module(f"honest.{family}").make(folder)
        made = [item for shelf in shelves for item in shelf.made]
        skipped = [line for shelf in shelves for line in shelf.skipped]
        write_list(folder / f"{family}.json", made, skipped)
        sys.stdout.write(f"{family}: {len(made)} files, {len(skipped)} skipped\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]) or FAMILIES)
