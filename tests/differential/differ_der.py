"""DER as a tree that can be changed and written again: lengths follow, unless a change spells one wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

STRINGS = (0x0C, 0x13, 0x16, 0x1E, 0x14, 0x04)
TIMES = (0x17, 0x18)
HOLDERS = (0x03, 0x04)
"""BIT STRING and OCTET STRING, in which there is often more DER."""
MAX_DEPTH = 24


@dataclass
class Node:
    """One element: primitive with a body, or with rows; `prefix` is what stands before rows in a BIT STRING."""

    tag: int
    body: bytes = b""
    rows: list[Node] | None = None
    prefix: bytes = b""
    spelled: str = ""
    trailing: bytes = field(default=b"")

    def dump(self) -> bytes:
        """Write the element."""
        inner = self.body if self.rows is None else self.prefix + b"".join(row.dump() for row in self.rows)
        return bytes([self.tag]) + _length(len(inner), self.spelled) + inner + self.trailing


class Raw(Node):
    """An element as bytes, whatever they are."""

    def dump(self) -> bytes:
        """Write the bytes."""
        return self.body


def _length(size: int, spelled: str) -> bytes:
    if spelled == "indefinite":
        return b"\x80"
    size = max(0, size + {"more": 1, "less": -1}.get(spelled, 0))
    shortest = b"" if size < 0x80 else size.to_bytes((size.bit_length() + 7) // 8, "big")
    if spelled == "long":
        shortest = b"\0" + shortest if size >= 0x80 else bytes([size])
    elif spelled == "huge":
        shortest = b"\xff" * 4
    return bytes([0x80 | len(shortest)]) + shortest if shortest else bytes([size])


def load(data: bytes, depth: int = 0) -> Node:
    """Read one element that fills `data`; raises ValueError."""
    nodes = _read(data, depth)
    if len(nodes) != 1:
        raise ValueError("not one element")
    return nodes[0]


def _read(data: bytes, depth: int) -> list[Node]:
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    nodes, at = [], 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1] if at + 1 < len(data) else 0, at + 2
        if tag & 0x1F == 0x1F or size == 0x80 or tag == 0:
            raise ValueError("not read here")
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + size > len(data):
            raise ValueError("cut off")
        nodes.append(_node(tag, data[at : at + size], depth))
        at += size
    return nodes


def _node(tag: int, body: bytes, depth: int) -> Node:
    if tag & 0x20:
        return Node(tag, rows=_read(body, depth + 1))
    prefix = body[:1] if tag == 0x03 else b""
    if tag in HOLDERS and len(body) > 2 + len(prefix):
        try:
            return Node(tag, rows=[load(body[len(prefix) :], depth + 1)], prefix=prefix)
        except ValueError:
            pass
    return Node(tag, body)


def walk(node: Node) -> Iterator[tuple[Node, Node | None]]:
    """Yield each element with the one it is in."""
    todo: list[tuple[Node, Node | None]] = [(node, None)]
    while todo:
        one, parent = todo.pop()
        yield one, parent
        todo += [(row, one) for row in reversed(one.rows or [])]


def mutated(rng, data: bytes, donor: bytes = b"") -> tuple[bytes, str]:
    """Return DER with one thing changed, and what was done; what is no DER comes back with bits changed."""
    try:
        root = load(data)
    except ValueError:
        return bits(rng, data), "bits"
    places = list(walk(root))
    done = rng.choice(CHANGES)(rng, *rng.choice(places), donor)
    changed = root.dump()
    return (changed, done) if changed != data else (bits(rng, data), "bits")


def bits(rng, data: bytes) -> bytes:
    """Change one to four bits, or a length."""
    if not data:
        return b"\0"
    out = bytearray(data)
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(out[: rng.randrange(len(out))])
    if kind == 1:
        return bytes(out) + rng.choice((b"\0", b"\xff", b"\x05\0", bytes(out[:8])))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _body(rng, node, parent, donor):
    if node.rows is None:
        node.body = _value(rng, node)
    else:
        node.rows = node.rows[: rng.randrange(len(node.rows) + 1)]
    return "value"


def _value(rng, node):
    if node.tag == 0x02:
        value = int.from_bytes(node.body, "big", signed=True)
        return rng.choice(
            (b"", b"\0", b"\x01", b"\xff", b"\0" + node.body, (value + 1).to_bytes(len(node.body) + 1, "big", signed=True), b"\x7f" * 40)
        )  # fmt: skip
    if node.tag == 0x01:
        return rng.choice((b"\0", b"\x01", b"\xff\xff", b""))
    if node.tag in TIMES and len(node.body) > 5:
        at = rng.randrange(len(node.body) - 1)
        return rng.choice(
            (
                node.body[:at] + bytes([48 + rng.randrange(10)]) + node.body[at + 1 :],
                node.body[:-1] + b"+0100",
                node.body[:-1] + b".5Z",
                node.body[:-1],
                node.body[:-3] + b"Z",
            )
        )
    if node.tag == 0x06 and node.body:
        return node.body[:-1] + bytes([node.body[-1] ^ 1 << rng.randrange(7)])
    return bits(rng, node.body)


def _tag(rng, node, parent, donor):
    if node.tag in STRINGS and rng.random() < 0.5:
        node.tag = rng.choice(STRINGS)
    elif node.tag in TIMES:
        node.tag = sum(TIMES) - node.tag
    else:
        node.tag = rng.choice(
            (node.tag ^ 0x20, node.tag ^ 0x80, node.tag ^ 1 << rng.randrange(5), 0x05, 0x30, 0x31)
        )
    return "tag"


def _delete(rng, node, parent, donor):
    if parent is not None and parent.rows is not None:
        parent.rows = [row for row in parent.rows if row is not node]
    return "delete"


def _duplicate(rng, node, parent, donor):
    if parent is not None and parent.rows is not None:
        parent.rows.insert(rng.randrange(len(parent.rows) + 1), node)
    return "duplicate"


def _reorder(rng, node, parent, donor):
    rows = node.rows if node.rows and len(node.rows) > 1 else parent.rows if parent is not None else None
    if rows is not None:
        rng.shuffle(rows)
    return "reorder"


def _spell(rng, node, parent, donor):
    node.spelled = rng.choice(("long", "long", "more", "less", "huge", "indefinite"))
    return "length"


def _trail(rng, node, parent, donor):
    node.trailing = rng.choice((b"\0", b"\0\0", b"\x05\0", b"\x04\x01a", b"\x30\0"))
    return "trailing"


def _graft(rng, node, parent, donor):
    try:
        rows = [row for row, _ in walk(load(donor)) if row.tag == node.tag]
    except ValueError:
        rows = []
    if rows:
        other = rng.choice(rows)
        node.body, node.rows, node.prefix = other.body, other.rows, other.prefix
    return "graft"


CHANGES = (_body, _body, _body, _tag, _delete, _duplicate, _reorder, _spell, _trail, _graft)
