"""Three hundred processes killed with SIGKILL at a random moment of taking in, promoting and revoking.

After each of them the registry is consistent: the command finishes when it is run again, each model is in one tier and has
one status, each decision that was said is there and logged, and nothing that would have been blocked got through.
"""

import random
import time

import pytest
from faulty_house import House, template

from world_house import World

pytestmark = pytest.mark.full

HOUSES, ROUNDS = 14, 8
"""Three kills a round, and as many more as ended before they were killed: 336 at least."""


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A house with a sound model for each round, and how long each command takes in it."""
    house = template(tmp_path_factory.mktemp("kills") / "house", more=ROUNDS)
    measured = {}
    trial = house.copy(tmp_path_factory.mktemp("trial") / "house")
    for number in range(2):  # the second is warm
        for name, words in commands(trial, number).items():
            began = time.perf_counter()
            assert trial.call(*words).code == 0, words
            measured[name] = time.perf_counter() - began
    return house, measured


def commands(house: House, number: int) -> dict[str, tuple[str, ...]]:
    """Return the three commands of a round."""
    folder = house.folder / f"come-{number}"
    World.files(house, folder.name, model__safetensors=weights(number), config__json='{"model_type": "bert"}')
    return {
        "intake": ("intake", str(folder), "--format", "json"),
        "promote": ("promote", f"sound-{number}", "--name", f"sound-{number}-model", "--format", "json"),
        "revoke": ("revoke", f"sound-{number}", "--reason", "poisoned", "--format", "json"),
    }


def weights(number: int) -> bytes:
    from world_house import safetensors

    return safetensors({"weight": [1000.0 + number, 2.0]})


@pytest.mark.parametrize("seed", range(HOUSES))
def test_a_killed_process_leaves_a_registry_that_goes_on(made, tmp_path, seed):
    template_house, measured = made
    house, chance = template_house.copy(tmp_path / "house"), random.Random(seed)
    kills = 0
    for number in range(ROUNDS):
        for name, words in commands(house, number).items():
            tries = 0
            while not house.killed(*words, after=chance.uniform(0, measured[name] * 1.2)):
                tries += 1  # it had ended; said again, it has less to do
                assert tries < 200
            kills += 1
            blocked = house.call("promote", chance.choice(("unproven", "denied", "evil")), "--format", "json")
            assert blocked.code == 1, blocked.text
            again = house.call(*words)
            assert again.code == 0, (name, again.text)
            house.hand.pass_(seconds=chance.randrange(3))
            house.stands()
        house.holds_what_it_said()
        assert house.statuses()[f"sound-{number}"] == "revoked"
    assert kills == ROUNDS * 3
