"""What sysbench prints, and which guests there are."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labkit import guest  # noqa: E402
from labkit.database import DATABASES, parse_sysbench  # noqa: E402

SYSBENCH = """\
[ 1s ] thds: 8 tps: 35.81 qps: 228.77 (r/w/o: 0.00/149.20/79.57) lat (ms,95%): 350.33
    transactions:                        194    (26.57 per sec.)
    ignored errors:                      1      (0.14 per sec.)
    reconnects:                          0      (0.00 per sec.)
         avg:                                  297.31
"""


class SysbenchTest(unittest.TestCase):
    def test_a_whole_run(self):
        run = parse_sysbench(SYSBENCH)
        self.assertEqual((run.transactions, run.tps, run.latency_ms, run.failed), (194, 26.57, 297.31, 0))
        self.assertTrue(run.finished)
        self.assertFalse(run.aborted)

    def test_an_aborted_run(self):
        run = parse_sysbench("FATAL: mysql_drv_query() returned error 2013 (Lost connection)\n")
        self.assertEqual((run.finished, run.aborted, len(run.errors)), (False, True, 1))


class RecipesTest(unittest.TestCase):
    def test_every_guest_has_a_machine_and_a_known_database(self):
        for name in guest.names():
            with self.subTest(guest=name):
                machine = guest.machine(name)
                self.assertIn(machine.database, DATABASES)
                self.assertTrue((guest.RECIPES / name / "build").exists() or machine.image)


if __name__ == "__main__":
    unittest.main()
