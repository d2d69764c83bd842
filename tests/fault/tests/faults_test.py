"""A seed means one campaign, and no round takes both memories of a guest."""

import sys
import unittest
from itertools import islice
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "lab")]

from faults import KINDS, MORTAL, PAIRS, Draw, known  # noqa: E402


def rounds(seed: int, count: int = 300, **options):
    draw = Draw(seed, **options)
    return list(islice(iter(draw.next, None), count))


class DrawTest(unittest.TestCase):
    def test_a_seed_is_a_campaign(self):
        self.assertEqual(rounds(7), rounds(7))
        self.assertNotEqual(rounds(7), rounds(8))

    def test_every_kind_comes(self):
        self.assertEqual({one.first.kind for one in rounds(1)}, set(KINDS))

    def test_at_most_one_takes_memory_and_it_is_the_first(self):
        for one in rounds(2):
            self.assertFalse(one.second and one.second.kind in MORTAL, one)

    def test_a_pair_is_of_two(self):
        for one in rounds(3):
            if one.first.kind in PAIRS:
                self.assertTrue(one.first.other and one.first.other != one.first.role, one)

    def test_only_means_only(self):
        chosen = rounds(4, only=["kill"])
        self.assertEqual({(one.first.kind, one.second) for one in chosen}, {("kill", None)})
        self.assertEqual({str(one.first) for one in rounds(4, only=["kill:active"])}, {"kill active"})
        self.assertEqual({one.hold for one in rounds(4, hold=3.0)}, {3.0})

    def test_what_can_be_named(self):
        self.assertTrue(known("kill") and known("kill:witness") and known("saturate"))
        self.assertFalse(known("explode") or known("kill:client") or known("slow:witness"))


if __name__ == "__main__":
    unittest.main()
