"""The ledger's pure parts: acknowledgements, gaps, and the comparison with the table."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labkit.ledger import (Ack, Gap, compare, first_ack_after, longest_gap,  # noqa: E402
                           parse_acks)

MS = 1_000_000


def acks(*times_ms: int) -> list[Ack]:
    return [Ack(number, at * MS, at * MS + 7) for number, at in enumerate(times_ms, 1)]


class ParseTest(unittest.TestCase):
    def test_a_torn_last_line_is_no_acknowledgement(self):
        self.assertEqual(parse_acks("1 10 20\n2 30 4"), [Ack(1, 10, 20)])

    def test_an_empty_file_has_none(self):
        self.assertEqual(parse_acks(""), [])


class GapTest(unittest.TestCase):
    def test_the_longest_is_found_with_its_times(self):
        self.assertEqual(longest_gap(acks(0, 10, 500, 510)),
                         Gap(490.0, 10 * MS + 7, 500 * MS + 7))

    def test_silence_until_the_end_counts_when_asked(self):
        self.assertEqual(longest_gap(acks(0, 10), until_monotonic_ns=1010 * MS).ms, 1000.0)

    def test_one_reply_has_no_gap(self):
        self.assertEqual(longest_gap(acks(5)).ms, 0.0)

    def test_first_after_a_time_is_strictly_after(self):
        self.assertEqual(first_ack_after(acks(0, 10, 20), 10 * MS + 7).number, 3)
        self.assertIsNone(first_ack_after(acks(0, 10), 99 * MS))


class CompareTest(unittest.TestCase):
    def test_each_row_once_is_good(self):
        self.assertTrue(compare(acks(1, 2, 3), [(1, 9), (2, 9), (3, 9)]).good)

    def test_one_row_on_its_way_is_good(self):
        self.assertTrue(compare(acks(1, 2), [(1, 9), (2, 9), (3, 9)]).good)

    def test_two_rows_on_their_way_are_not(self):
        self.assertFalse(compare(acks(1), [(1, 9), (2, 9), (3, 9)]).good)

    def test_an_acknowledged_row_that_is_gone_is_lost(self):
        verdict = compare(acks(1, 2, 3), [(1, 9), (3, 9)])
        self.assertEqual((verdict.lost, verdict.good), (1, False))
        self.assertEqual(verdict.examples, ["row 2 was acknowledged and is gone"])

    def test_a_row_that_is_there_twice_is_duplicated(self):
        verdict = compare(acks(1, 2), [(1, 9), (2, 9), (2, 9)])
        self.assertEqual((verdict.duplicated, verdict.good), (1, False))

    def test_rows_of_two_server_processes_are_not_one_connection(self):
        self.assertFalse(compare(acks(1, 2), [(1, 9), (2, 10)]).good)


if __name__ == "__main__":
    unittest.main()
