"""Seeds for the tar reader: one small archive of each format."""

import io
import tarfile


def seeds() -> list[bytes]:
    """Return archives in the three formats, with long names, folders and links."""
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            for name, kind, content in (
                ("folder/", tarfile.DIRTYPE, b""),
                ("folder/data.pkl", tarfile.REGTYPE, b"\x80\x04]\x94(K\x01K\x02e."),
                ("x" * (90 if form == tarfile.USTAR_FORMAT else 180), tarfile.REGTYPE, b"text\n"),
                ("link", tarfile.SYMTYPE, b""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.size = kind, len(content)
                archive.addfile(info, io.BytesIO(content))
        found.append(out.getvalue())
    return found
