"""A guest moves to its backup on command, and back, while clients are at work: nothing is lost, no
connection is reset, and the outage is told.

UNDERSTUDY_SWITCHOVERS changes how often.
"""

import os
import re
import statistics
import sys
import time
import unittest

from lab_case import LabCase

from labkit import story
from labkit.hosts import GUEST
from labkit.ledger import longest_gap

SWITCHOVERS = int(os.environ.get("UNDERSTUDY_SWITCHOVERS", "4"))
# What a switchover that works never takes, on a slow machine either; the goal of 50 ms is for the
# demo's and the README's numbers, and printed here.
OUTAGE_MS = 500
PROTECTED_SECONDS = 90
WINDOW_NS = 1_000_000_000


class SwitchoverTest(LabCase):
    protected = True

    def test_back_and_forth(self):
        capture = self.directory / "guest-network.pcap"
        paused, gaps, usual, unprotected = [], [], [], []
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            here, there = "a", "b"
            for _ in range(SWITCHOVERS):
                before = time.time_ns()
                usual.append(self.gap(ledger, before - WINDOW_NS, before))
                said = self.hosts.order(here, "switchover", GUEST)
                paused.append(float(re.search(r"for ([\d.]+) ms", said)[1]))
                moved = time.monotonic()
                ledger.wait_ack_after(time.time_ns(), 10)
                gaps.append(self.gap(ledger, before - 200_000_000, time.time_ns()))
                here, there = there, here
                self.wait_protected_again(here, there)
                unprotected.append((time.monotonic() - moved) * 1000)
            # What the old host still has of the guest's memory does not travel back, and is right.
            self.hosts.order(here, "verify", GUEST)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assert_wire_good(capture)
        for name, of in (("paused", paused), ("longest gap at the client", gaps),
                         ("the same in the second before", usual),
                         ("without a replica then", unprotected)):
            print(f"  {len(of)} switchovers, {name}: p50 {statistics.median(of):.1f} ms,"
                  f" max {max(of):.1f} ms", file=sys.stderr)
        self.assertLess(statistics.median(paused), OUTAGE_MS)
        compared = [(int(pages), int(equal)) for host in "ab" for pages, equal in
                    re.findall(r"memory\.compared pages=(\d+) equal=(\d+)", self.hosts.daemon_log(host))]
        self.assertEqual(len(compared), SWITCHOVERS, compared)
        shares = [equal / pages for pages, equal in compared]
        print(f"  {len(shares)} copies back, memory that was there: least {min(shares):.3f},"
              f" of {min(compared)[0]} pages", file=sys.stderr)
        self.assertGreater(min(shares), 0.5, compared)

    def gap(self, ledger: story.LedgerProcess, after_ns: int, until_ns: int) -> float:
        return longest_gap([ack for ack in ledger.acks()
                            if after_ns < ack.realtime_ns < until_ns]).ms

    def wait_protected_again(self, active: str, backup: str):
        seen = self.hosts.wait_state(active, "PROTECTED", PROTECTED_SECONDS)
        self.assertEqual((seen["active_host"], seen["backup_host"]), (active, backup))


if __name__ == "__main__":
    unittest.main()
