"""Changes to JSON documents that know where base64, checkpoints, numbers and lists stand in them."""

from __future__ import annotations

import base64
import binascii
import json

import differ_der

ODD = (
    None,
    "",
    [],
    {},
    0,
    -1,
    True,
    1.5,
    "0",
    "00",
    "-1",
    "1e3",
    1 << 63,
    "9" * 20,
    "AAAA",
    "null",
    [None],
    {"x": 1},
)
DATES = ("2026-11-22T20:10:00Z", "2026-11-22T20:09:59.999Z", "2026-11-22T20:10:00.001Z", "1969-01-01T00:00:00Z", "2026-11-22 20:10:00Z", "2026-11-22T20:10:00", "2026-11-22T21:10:00+01:00", "9999-12-31T23:59:59Z")  # fmt: skip


def roads(value, road=()):
    """Yield the way to every member and row."""
    if road:
        yield road
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in rows:
        yield from roads(inner, (*road, step))


def at(value, road):
    """Return what stands there; raises LookupError or TypeError where nothing does."""
    for step in road:
        if not isinstance(value, (dict, list)):
            raise TypeError(step)
        value = value[step]
    return value


def named(road):
    """The member's name: rows of a list go by the name of the list."""
    return next((step for step in reversed(road) if isinstance(step, str)), "document")


def binary(text):
    """What base64 of at least a few bytes holds; None for any other text."""
    if len(text) < 8:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def mutated(rng, data: bytes, donors: list[bytes]) -> tuple[bytes, str, str]:
    """Change one place of a document; returns it with the member's name and what was done."""
    if rng.random() < 0.06:
        return _raw(rng, data), "document", "raw"
    document = json.loads(data)
    road = rng.choice(list(roads(document)))
    where, last = at(document, road[:-1]), road[-1]
    found = where[last]
    done = rng.choice(("odd", "delete", "swap", "list", "name", *("value",) * 5))
    if done == "odd":
        where[last] = rng.choice(ODD)
    elif done == "delete":
        del where[last]
    elif done == "swap":
        where[last] = _elsewhere(rng, road, found, donors)
    elif done == "list":
        done = _rows(rng, where, last, found)
    elif done == "name":
        done = _name(rng, where, last, found)
    else:
        where[last], done = _value(rng, found, _elsewhere(rng, road, found, donors))
    return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode(), str(named(road)), done


def _elsewhere(rng, road, found, donors):
    """The same member of another document."""
    try:
        return at(json.loads(rng.choice(donors)), road)
    except (LookupError, TypeError):
        return found


def _rows(rng, where, last, found):
    rows = found if isinstance(found, list) else where if isinstance(where, list) else None
    if not rows:
        where[last] = [found]
        return "wrapped in a list"
    kind = rng.randrange(4)
    if kind == 0:
        rows.insert(rng.randrange(len(rows) + 1), rng.choice(rows))
        return "row twice"
    if kind == 1:
        rng.shuffle(rows)
        return "rows reordered"
    if kind == 2:
        del rows[rng.randrange(len(rows))]
        return "row deleted"
    rows += rows[:] * rng.choice((1, 40))
    return "many rows"


def _name(rng, where, last, found):
    if isinstance(where, list):
        where.append(found)
        return "row twice"
    other = rng.choice((_snake(last), last.upper(), last + " ", "x-" + last))
    if rng.random() < 0.5:
        del where[last]
        where[other] = found
        return "renamed"
    if rng.random() < 0.3:
        where[other] = rng.choice((None, found, 1))
        return "a member more"
    where[last], done = _value(rng, found, found)
    return done


def _snake(name):
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)


def _value(rng, found, other):
    if isinstance(found, bool) or found is None:
        return (not found), "value"
    if isinstance(found, int):
        return rng.choice((found + 1, found - 1, str(found), float(found), found * 2)), "number"
    if isinstance(found, str):
        return _text(rng, found, other if isinstance(other, str) else "")
    if isinstance(found, dict):
        keys = list(found)
        rng.shuffle(keys)
        kind = rng.randrange(8)
        if kind == 0:
            return {key: found[key] for key in keys} | {"unknown": 1}, "unknown member"
        if kind == 1 or not keys:
            return {key: found[key] for key in keys}, "members reordered"
        inner = found[keys[0]]
        changed, done = _value(rng, inner, other.get(keys[0], inner) if isinstance(other, dict) else inner)
        return found | {keys[0]: changed}, done
    return rng.choice(([found], found[::-1], dict(enumerate(found)), None)), "list"


def _text(rng, text, other):
    if text.isdecimal():
        number = int(text)
        choices = (number + 1, str(number + 1), str(number - 1), number, "0" + text, text + " ", "+" + text, text + ".0", text + "e0", str(number + (1 << 32)))  # fmt: skip
        return rng.choice(choices), "number"
    if text.endswith("Z") and text[:4].isdecimal():
        return rng.choice(DATES), "date"
    if "\n" in text:
        return note(rng, text, other), "text"
    data = binary(text)
    if data is None:
        return word(rng, text), "text"
    if rng.random() < 0.2:
        return _spelling(rng, text), "base64"
    donor = binary(other) or b""
    changed, done = differ_der.mutated(rng, data, donor) if rng.random() < 0.6 else (differ_der.bits(rng, data), "bits")  # fmt: skip
    return base64.b64encode(changed).decode(), done


def _spelling(rng, text):
    """The same or nearly the same base64."""
    body = text.rstrip("=")
    return rng.choice(
        (
            body, body + "==", text + "=", text + "\n", text[:4] + "\n" + text[4:], text[:4] + " " + text[4:], text.replace("+", "-").replace("/", "_"), body[:-1] + chr(ord(body[-1]) ^ 1) + text[len(body) :], text.swapcase(), text + text, text[:4] + "!" + text[4:],
        )
    )  # fmt: skip


def word(rng, text):
    """Another spelling of a word."""
    return rng.choice(
        (text + " ", " " + text, text.upper(), text.swapcase(), text[:-1], text + "\0", text + "\n", text.replace(".", ""), text[::-1], text + "2", "\ufeff" + text)
    )  # fmt: skip


def note(rng, text, other):
    """Change a line of a signed note, or take one of another."""
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(9)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif kind == 2:
        rng.shuffle(lines)
    elif kind == 3:
        lines[place] = word(rng, lines[place])
    elif kind == 4:
        rows = [line for line in other.split("\n") if line.startswith("—")]
        lines[-1:-1] = rows[:1] * rng.choice((1, 1, 70))
    elif kind == 5:
        lines[place] += rng.choice(("\r", "\t", " ", "\x0b", "\u2028"))
    elif kind == 6:
        return text.replace("\n", "\r\n") if rng.random() < 0.3 else text.rstrip("\n")
    elif kind == 7 and lines[place].startswith("—"):
        head, name, value = lines[place].split(" ", 2)
        changed = differ_der.bits(rng, binary(value) or b"x")
        lines[place] = f"{head} {name} {base64.b64encode(changed).decode()}"
    elif len(lines) > 1 and lines[1].isdecimal():
        lines[1] = str(int(lines[1]) + rng.choice((-1, 1, 1 << 32)))
    return "\n".join(lines)


def _raw(rng, data):
    kind = rng.randrange(6)
    if kind == 0:
        return differ_der.bits(rng, data)
    if kind == 1:
        return b"\xef\xbb\xbf" + data
    if kind == 2:
        return data + rng.choice((b" ", b"\n", b"\0", b"{}", b","))
    if kind == 3:
        return json.dumps(json.loads(data), indent=1).encode()
    document = json.loads(data)
    road = rng.choice([road for road in roads(document) if isinstance(road[-1], str)])
    value, twice = at(document, road), json.dumps(road[-1]) + ":"
    return data.replace(
        twice.encode(), f"{twice}{json.dumps(rng.choice((value, None, 'x')))},{twice}".encode(), 1
    )
