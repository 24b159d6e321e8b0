"""What pandas pickles where pyarrow is installed: texts lie in buffers of Arrow, restored by functions of pyarrow."""

import pandas as pd
import pyarrow as pa
from honest.catalogue import Shelf

WORDS = ["a", "b", None]


def make(folder):
    """Write the family and return its shelves."""
    shelf = Shelf(folder, "pandas with pyarrow")
    things = {
        "words": pd.DataFrame({"word": WORDS}),
        "index": pd.Index(["a", "b"]),
        "typed": pd.DataFrame({"n": pd.array([1, None], dtype=pd.ArrowDtype(pa.int64()))}),
    }
    for name, thing in things.items():
        shelf.add(f"{name}.pkl", f"{name}, to_pickle", lambda p, t=thing: pd.to_pickle(t, p))
    return [shelf]
