"""Wall clocks that jump, and differ by days, decide nothing: no failover, no outage in the account, and one that is due comes.

Corosync and understudyd of each host get a wall clock of their own (libfaketime); their monotonic clocks are
the machine's, which is what a jump of the wall clock leaves alone. What is to happen by the wall clock, a drill
with the guest itself, does when it is due, however the clock went before. About 80 s.
"""

import json
import time
import unittest

from lab_case import LabCase, wait_for

from labkit import story

HOUR, DAY = 3600, 86400
# a, b, the witness; seconds ahead of the machine.
JUMPS = [(HOUR, 0, 0), (-HOUR, HOUR, 0), (0, -DAY, DAY), (400 * DAY, 0, -DAY), (0, 0, 0), (-DAY, DAY, HOUR)]
SETTLE_SECONDS = 1.5
PATIENCE = 30
DRILL_SECONDS = 120
DUE = (int(time.time()) + 6 * HOUR) // 60 * 60  # no jump above leads near it


class ClockTest(LabCase):
    lab_options = {"clocks": True, "guest_name": "pg-disk", "memory_mib": 256, "drill_settings":
                   f'real_schedule: "{time.strftime("%H:%M", time.localtime(DUE))}" '}
    protected = True

    def account(self, host: str) -> dict:
        return json.loads(self.hosts.order(host, "sla", "pg", "--json"))

    def wall_clock(self, host: str) -> float:
        """As its daemon has it: when the last line of its log was written."""
        stamp = self.hosts.daemon_log(host).strip().splitlines()[-1].split()[0]
        return time.mktime(time.strptime(stamp.partition(".")[0], "%Y-%m-%dT%H:%M:%S")) - time.timezone

    def jump(self, clocks: tuple[int, ...]):
        for host, ahead in zip(self.hosts.lab.hosts, clocks):
            self.hosts.lab.set_clock(host, ahead)

    def test_1_jumps_change_nothing(self):
        term = self.guest("a")["term"]
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            for clocks in JUMPS:
                self.jump(clocks)
                time.sleep(SETTLE_SECONDS)
                ledger.wait_ack_after(time.time_ns(), PATIENCE)
                self.assert_epochs_advance("a")
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        for host in ("a", "b"):
            seen = self.guest(host)
            self.assertEqual((seen["active_host"], seen["backup_host"], seen["term"]), ("a", "b", term), seen)
        account = self.account("a")
        self.assertEqual((account.get("outages", 0), account.get("down_us", 0)), (0, 0), account)

    def test_2_clocks_apart_a_death_is_met_as_ever(self):
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            self.hosts.kill("a")
            wait_for("b to run the guest", lambda: self.guest("b").get("active_host") == "b", PATIENCE)
            ledger.wait_ack_after(time.time_ns(), PATIENCE)
            ahead = self.wall_clock("b") - time.time()
            self.assertGreater(ahead, DAY / 2, "the clocks of this lab do not jump")
            self.jump((0, 0, 0))
            self.hosts.heal("a", "b")
            ledger.wait_ack_after(time.time_ns(), PATIENCE)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)

    def test_3_a_drill_with_the_guest_itself_comes_when_it_is_due(self):
        """On b, whose clock was a day ahead and is right again; it runs the guest."""
        self.jump((0, 0, 0))
        time.sleep(SETTLE_SECONDS)
        next_drill = json.loads(self.hosts.order("b", "drills", "--json"))["drills"]["next"]
        self.assertEqual([(int(one["at_unix_us"]) // 10**6, one["real"]) for one in next_drill], [(DUE, True)])
        ahead = DUE + 2 - int(time.time())
        self.jump((ahead, ahead, ahead))
        report = wait_for("the drill to end", lambda: next(iter(
            json.loads(self.hosts.order("b", "drills", "--json"))["drills"].get("drill", [])), None), DRILL_SECONDS)
        self.assertTrue(report["passed"] and report["scheduled"] and report["kind"] == "real", report)
        self.hosts.wait_protected("b", "a")


if __name__ == "__main__":
    unittest.main()
