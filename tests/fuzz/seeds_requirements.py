"""Requirements files, pinned and not."""


def seeds():
    """Return good and bad lists."""
    return [
        b"torch==2.4.0 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\n-r other.txt\n# comment\n",
        b"numpy>=1 ; python_version > '3'\nx @ git+https://203.0.113.9/x\n--extra-index-url http://203.0.113.9/\n-e .\n",
    ]
