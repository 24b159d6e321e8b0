"""No attack passes: hundreds of files made from primitives at random, at a fixed seed and at a new one each run."""

import random
from collections import Counter

import generate
import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

FIXED = len(generate.FAMILIES) * 10
FRESH = len(generate.FAMILIES) * 4
NAMES_ONLY = frozenset({"file-suffix"})
"""Rules that block for a file's name; an attack must not pass under any other name either."""


def scan(files):
    entries = [FileEntry(path, len(data), Digest.of(data)) for path, data in files.items()]
    return scan_files("attack", Manifest.of(entries), lambda entry: files[entry.path])


def passes(seed, number):
    one = generate.sample(seed, number)
    report = scan(one.files)
    wrong = [finding.message for finding in report.findings if "reading it ended in" in finding.message]
    assert wrong == [], one.label
    return all(finding.verdict.passes for finding in report.findings if finding.rule not in NAMES_ONLY)


def missed(seed, numbers):
    return [generate.sample(seed, number).label for number in numbers if passes(seed, number)]


def test_the_samples_are_many_and_of_every_class():
    made = [generate.sample(1, number) for number in range(FIXED)]
    assert len(made) >= 400
    classes = Counter(letter for one in made for letter in one.classes)
    assert set(classes) == set("ABCDEFGHI")
    assert min(classes.values()) >= 10
    assert min(Counter(one.family for one in made).values()) >= 10
    contents = {tuple(one.files.values()) for one in made}
    assert len(contents) > 0.9 * len(made), "the same attack again and again"


def test_a_sample_is_found_again_by_its_number():
    for number in range(len(generate.FAMILIES)):
        assert generate.sample(7, number) == generate.sample(7, number)
    assert generate.sample(7, 3) != generate.sample(8, 3)


@pytest.mark.parametrize("part", range(8))
def test_no_attack_of_the_fixed_seed_passes(part):
    assert missed(1, range(part * FIXED // 8, (part + 1) * FIXED // 8)) == []


def test_no_attack_of_a_fresh_seed_passes():
    seed = random.SystemRandom().randrange(1 << 32)
    assert missed(seed, range(FRESH)) == [], f"seed {seed}"
