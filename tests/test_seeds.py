import hashlib

from agiqa_bench.seeds import derive_seed


def test_seed_is_the_first_four_bytes_of_a_hash_of_typed_lengths_and_parts():
    content = b"".join(len(part).to_bytes(8, "big") + part for part in (b"int:0", b"str:demo", b"int:3"))
    expected = int.from_bytes(hashlib.sha256(content).digest()[:4], "big")
    assert derive_seed(0, "demo", 3) == expected


def test_types_and_borders_between_parts_count():
    seeds = {derive_seed(1), derive_seed("1"), derive_seed("a", "bc"), derive_seed("ab", "c"), derive_seed("abc")}
    assert len(seeds) == 5
