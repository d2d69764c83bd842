"""What sysbench prints, and which guests there are."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labkit import guest  # noqa: E402
from labkit.database import DATABASES, Postgres, parse_sysbench  # noqa: E402
from labkit.story import Background  # noqa: E402

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
        self.assertEqual((run.finished, run.fault), (True, ""))

    def test_an_aborted_run(self):
        run = parse_sysbench("FATAL: mysql_drv_query() returned error 2013 (Lost connection)\n")
        self.assertEqual((run.finished, len(run.errors)), (False, 1))
        self.assertIn("Lost connection", run.fault)


# Like pgbench against a slow guest: its clients are connected after $1 lines, and SIGALRM ends it at any time.
SLOW_PGBENCH = """
trap 'echo "number of transactions actually processed: $count"; exit' ALRM
for count in $(yes 0 | head -$1) 5; do
  echo "progress: 1.0 s, $count.0 tps"
  sleep 0.1
done
while :; do sleep 0.1; done
"""


class EndOfLoadTest(unittest.TestCase):
    def end_load(self, script: str, lines_before: int, seconds: float):
        with tempfile.TemporaryDirectory() as directory:
            class Client:
                client_process = staticmethod(subprocess.Popen)

            with Background(Client, ["bash", "-c", script, "pgbench", str(lines_before)],
                            Path(directory) / "load.log") as load:
                return Postgres().end_load(load, seconds)

    def test_pgbench_ends_when_it_has_done_something(self):
        run = self.end_load(SLOW_PGBENCH, 8, 30)
        self.assertEqual((run.transactions, run.fault), (5, ""))

    def test_pgbench_that_does_nothing_is_a_fault(self):
        run = self.end_load("sleep 60", 0, 0.2)
        self.assertEqual(run.fault, "it had not ended in time")

    def test_pgbench_that_ends_by_itself_is_not_waited_for(self):
        run = self.end_load("echo 'pgbench: error: could not connect'", 0, 30)
        self.assertIn("could not connect", run.fault)


class RecipesTest(unittest.TestCase):
    def test_every_guest_has_a_machine_and_a_known_database(self):
        for name in guest.names():
            with self.subTest(guest=name):
                machine = guest.machine(name)
                self.assertIn(machine.database, DATABASES)
                self.assertTrue((guest.RECIPES / name / "build").exists() or machine.image)


if __name__ == "__main__":
    unittest.main()
