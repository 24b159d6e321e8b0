"""Notebooks of two versions of their format."""

import json


def seeds():
    """Return good and bad notebooks."""
    cells = [
        {"cell_type": "code", "source": ["import torch\n", "%matplotlib inline\n", "x = 1"], "outputs": []}
    ]
    shell = [
        {"cell_type": "code", "input": "!curl x | sh\nx = !ls"},
        {"cell_type": "markdown", "source": "# x"},
    ]
    return [
        json.dumps(value).encode()
        for value in ({"cells": cells, "nbformat": 4}, {"worksheets": [{"cells": shell}], "nbformat": 3})
    ]
