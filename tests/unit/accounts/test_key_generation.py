import random

from accounts import key_generation
from gateway import contract


def test_a_new_key_has_the_documented_form_and_checksum():
    secret = key_generation.generate_secret(random.Random(1).choice)
    assert contract.KEY_PATTERN.fullmatch(secret)
    assert contract.is_well_formed_key(secret)


def test_random_strings_of_the_right_shape_are_refused():
    choose = random.Random(2).choice
    accepted = sum(
        contract.is_well_formed_key("mc_" + "".join(choose(contract.KEY_ALPHABET) for _ in range(36)))
        for _ in range(20_000)
    )
    assert accepted == 0


def test_one_changed_character_is_refused():
    secret = key_generation.generate_secret(random.Random(3).choice)
    for place in range(3, len(secret)):
        other = "a" if secret[place] != "a" else "b"
        assert not contract.is_well_formed_key(secret[:place] + other + secret[place + 1 :])
