"""Reading a whole log again: every entry, hash and promise against the signed checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.canonical import MAX_SAFE_INTEGER
from weighbridge.core.digest import Digest
from weighbridge.keys.public import verify_signature
from weighbridge.ledger.checkpoint import Checkpoint
from weighbridge.ledger.entry import promise_message
from weighbridge.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from weighbridge.ledger.tiles import LEVEL_BITS, WIDTH, Tiles, damaged, hashes_at, perfect_root, tile_name


def check_all(tiles: Tiles, head: Checkpoint, *, log_id: Digest, public_pem: str) -> None:
    """Re-hash the log of this checkpoint, 256 entries at a time; raises RegistryUnusable at the first contradiction.

    Promises are held against the key; with an empty `public_pem` they are left out.
    """
    frontier = Frontier()
    for number in range(-(-head.size // WIDTH)):
        bodies = tiles.entries(number)
        leaves = [leaf_hash(body) for body in bodies]
        if b"".join(leaves) != tiles.hashes(0, number):
            raise damaged(f"entries from {number * WIDTH} on do not match their hashes")
        frontier = frontier.extend(leaves)
        if public_pem:
            _check_promises(
                bodies, tiles.promises(number), number * WIDTH, log_id=log_id, public_pem=public_pem
            )
        tiles.forget()
    if frontier.root != head.root:
        raise damaged("the entries do not add up to the root in the signed checkpoint")
    _check_levels(tiles, head.size)


def check_promise(
    body: bytes, promise: tuple[int, bytes], index: int, *, log_id: Digest, public_pem: str
) -> None:
    """Hold one entry's kept time against the log's signature; raises RegistryUnusable."""
    seconds, signature = promise
    # A damaged time may be beyond what JSON carries: nobody can have signed that.
    signed = seconds <= MAX_SAFE_INTEGER and verify_signature(
        public_pem, promise_message(body, seconds, log_id, index), signature
    )
    if not signed:
        raise damaged(f"the time of entry {index} is not the one that was signed")


def _check_promises(
    bodies: Sequence[bytes],
    promises: Sequence[tuple[int, bytes]],
    first: int,
    *,
    log_id: Digest,
    public_pem: str,
) -> None:
    for index, (body, promise) in enumerate(zip(bodies, promises, strict=True), start=first):
        check_promise(body, promise, index, log_id=log_id, public_pem=public_pem)


def _check_levels(tiles: Tiles, size: int) -> None:
    """Hold every hash above the leaves against the tile it stands for."""
    level = 1
    while count := size >> LEVEL_BITS * level:
        for index in range(count):
            at = index % WIDTH * HASH_SIZE
            found = tiles.hashes(level, index // WIDTH)[at : at + HASH_SIZE]
            if found != perfect_root(tiles.hashes(level - 1, index), 0, WIDTH):
                name = tile_name(hashes_at(level), index // WIDTH)
                raise damaged(f"{name} does not follow from the hashes below it")
            if at == (WIDTH - 1) * HASH_SIZE:
                tiles.forget()
        level += 1
