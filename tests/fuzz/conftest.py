"""The fuzz targets take their seeds from the attacks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))
