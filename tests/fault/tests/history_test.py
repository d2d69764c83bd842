"""The history's checks find what they are for."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from history import Read, Write, check_reads, check_table, longest_silence, parse  # noqa: E402

MS = 1_000_000


def writes(*times: tuple[int, int], writer: int = 0) -> list[Write]:
    return [Write(writer, number, begin, end) for number, (begin, end) in enumerate(times, 1)]


class ParseTest(unittest.TestCase):
    def test_a_torn_line_was_never_heard(self):
        self.assertEqual(parse("w 0 1 5 9\nr 1 0 10 12\nw 0 2 1"), ([Write(0, 1, 5, 9)], [Read((1, 0), 10, 12)]))


class ReadsTest(unittest.TestCase):
    def test_a_read_between_what_was_heard_and_what_was_sent_is_right(self):
        rows = writes((0, 2), (3, 9), (10, 12))
        for said in (1, 2):
            self.assertEqual(check_reads(rows, [Read((said, 0), 4, 8)]), [])

    def test_a_row_that_was_acknowledged_must_be_seen(self):
        self.assertIn("row 1 was acknowledged", check_reads(writes((0, 2), (3, 9)), [Read((0, 0), 4, 8)])[0])

    def test_a_row_from_the_future_must_not(self):
        self.assertIn("saw row 3", check_reads(writes((0, 2), (3, 9), (10, 12)), [Read((3, 0), 4, 8)])[0])

    def test_reads_do_not_go_back(self):
        rows = writes((0, 2), (3, 20))
        self.assertIn("a later one ends at 1", check_reads(rows, [Read((2, 0), 4, 5), Read((1, 0), 6, 7)])[0])

    def test_the_row_under_way_at_the_end_may_be_seen(self):
        self.assertEqual(check_reads(writes((0, 2)), [Read((2, 0), 4, 8)]), [])

    def test_each_writer_by_itself(self):
        rows = writes((0, 2)) + writes((0, 3), writer=1)
        self.assertEqual(check_reads(rows, [Read((1, 1), 4, 8)]), [])
        self.assertEqual(len(check_reads(rows, [Read((1, 0), 4, 8)])), 1)


class TableTest(unittest.TestCase):
    def test_each_row_once_and_one_more_is_right(self):
        self.assertEqual(check_table(writes((0, 2), (3, 4)), [(0, 1), (0, 2), (0, 3)]), [])

    def test_what_is_not(self):
        for rows, what in (([(0, 1)], "is gone"), ([(0, 1), (0, 2), (0, 2)], "2 times"),
                           ([(0, 1), (0, 2), (0, 4)], "never asked for")):
            self.assertIn(what, check_table(writes((0, 2), (3, 4)), rows)[0])


class SilenceTest(unittest.TestCase):
    def test_one_that_began_before_counts(self):
        rows = writes((0, 10 * MS), (10 * MS, 500 * MS), (500 * MS, 510 * MS))
        self.assertEqual(longest_silence(rows, 400 * MS, 600 * MS), 490)
        self.assertEqual(longest_silence(rows, 505 * MS, 600 * MS), 10)


if __name__ == "__main__":
    unittest.main()
