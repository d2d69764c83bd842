"""The report: its JSON has the promised fields, its page fits a terminal, pgbench is understood."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labkit import report, story  # noqa: E402
from labkit.report import Check, LedgerCounts, OutageMs, Report, Style  # noqa: E402


def whole_report() -> Report:
    whole = Report(
        guest="pg", link="tcp 10.77.0.2:7400 up encrypted", seed=7, ledger=LedgerCounts(900, 0, 0),
        outage=OutageMs(452.04, 461.5, 700.0, 730.2), pause_us={"p50": 2100.0, "p99": 9000.0},
        commit_latency_us={"p50": 8000.0, "p99": 20000.0}, epochs=400, pages_per_epoch=494.0,
        bytes_per_epoch=1.5e6, tps_unprotected=400.0, tps_protected=320.0,
        checks=[Check("no row lost", True, "900 of 900")])
    whole.checks += report.target_checks(whole, promotion_ms=9.5)
    return whole


class JsonTest(unittest.TestCase):
    def test_the_fields(self):
        made = whole_report().as_json()
        self.assertEqual(list(made), ["result", "guest", "link", "seed", "ledger", "outage_ms",
                                      "pause_us", "commit_latency_us", "epochs",
                                      "pages_per_epoch", "bytes_per_epoch", "tps", "checks"])
        self.assertEqual(set(made["ledger"]), {"acknowledged", "lost", "duplicated", "reconnects"})
        self.assertEqual(made["outage_ms"], {"decision": 452.0, "promoted": 461.5,
                                             "first_reply": 700.0, "longest_gap": 730.2})
        self.assertEqual(set(made["checks"][0]), {"name", "pass", "detail"})
        self.assertEqual(made["result"], "pass")

    def test_no_checks_is_no_success(self):
        self.assertFalse(Report().passed())

    def test_a_missed_number_fails_only_when_strict(self):
        missed = whole_report()
        missed.tps_protected = 10.0
        missed.checks = [missed.checks[0], *report.target_checks(missed, 9.5)]
        self.assertTrue(missed.passed())
        self.assertFalse(missed.passed(strict=True))

    def test_a_number_that_was_not_measured_is_missed(self):
        self.assertFalse(any(check.passed for check in report.target_checks(Report(), None)))


class PageTest(unittest.TestCase):
    def page(self, style: Style) -> str:
        kill = 10**9
        acks = [kill + at * 10**6 for at in [*range(-400, 0, 30), *range(700, 1500, 30)]]
        return report.render(whole_report(), acks, kill, style)

    def test_plain_is_ascii_and_narrow(self):
        page = self.page(Style())
        self.assertTrue(page.isascii())
        self.assertLessEqual(max(map(len, page.splitlines())), 96)
        self.assertIn("first reply +700 ms", page)

    def test_a_story_that_ended_early_still_has_a_page(self):
        self.assertIn("A check failed", report.render(Report(), [], None, Style()))

    def test_an_event_that_never_came_says_so(self):
        failed = whole_report()
        failed.outage = OutageMs()
        self.assertIn("first reply: never", report.render(failed, [], 10**9, Style()))

    def test_cells_count_replies_around_the_kill(self):
        cells = report.replies_per_cell([0, 10**6, 30 * 10**6], 10**6, 10.0, 1, 3)
        self.assertEqual(cells, [1, 1, 0, 1])


PGBENCH = """pgbench (15.14 (Debian 15.14-0+deb12u1))
progress: 1700000001.5 s, 480.0 tps, lat 8.2 ms stddev 2.0, 0 failed
progress: 1700000002.5 s, 520.0 tps, lat 7.6 ms stddev 1.9, 0 failed
transaction type: <builtin: TPC-B (sort of)>
number of transactions actually processed: 1003
number of failed transactions: 0 (0.000%)
latency average = 7.970 ms
tps = 501.882301 (without initial connection time)
"""

# With --time shorter than its clients take to connect: no rate, and exit status 0.
NOT_CONNECTED = """pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: TPC-B (sort of)>
duration: 4 s
number of transactions actually processed: 0
number of failed transactions: 0 (NaN%)
"""


class PgbenchTest(unittest.TestCase):
    def test_a_whole_run(self):
        run = story.parse_pgbench(PGBENCH)
        self.assertEqual((run.tps, run.transactions, run.failed), (501.882301, 1003, 0))
        self.assertEqual(run.seconds[0], (1700000001.5, 480.0))
        self.assertEqual(run.fault, "")

    def test_an_aborted_client_is_seen(self):
        run = story.parse_pgbench("pgbench: error: client 2 aborted in command 4 (SQL): "
                                  "perhaps the backend died while processing\n" + PGBENCH)
        self.assertIn("client 2 aborted", run.fault)

    def test_a_run_that_was_cut_short_did_not_finish(self):
        run = story.parse_pgbench("\n".join(PGBENCH.splitlines()[:3]))
        self.assertEqual((run.finished, run.fault), (False, "it had not ended in time"))

    def test_a_run_whose_clients_were_not_connected_in_time_has_finished_and_shows_nothing(self):
        run = story.parse_pgbench(NOT_CONNECTED)
        self.assertTrue(run.finished)
        self.assertIn("before its clients were connected", run.fault)


if __name__ == "__main__":
    unittest.main()
