"""A guest that sends more than may be held for it: slowed, nothing lost, and the status says so."""

import sys
import time
import unittest

from lab_case import LabCase, wait_for

from labkit import story

HOLD_LIMIT_KIB = 128  # the least; the downloads together have more on their way
DOWNLOADS = 3
EPOCH_MS = 100
FILLED_SECONDS, DOWNLOAD_SECONDS = 60, 180  # a guest that is emulated on a slow machine
ROWS, WIDTH = 600, 16_000  # cheap to make, for a guest that is emulated
COPY = f"copy (select lpad(i::text, {WIDTH}, 'x') from generate_series(1, {ROWS}) i) to stdout"


class FullOutputTest(LabCase):
    # Long epochs: a slow guest, too, sends more than the room holds before one ends.
    lab_options = {"uplink": "dpdk", "hold_limit_kib": HOLD_LIMIT_KIB,
                   "interval_ms": EPOCH_MS, "min_interval_ms": EPOCH_MS}
    protected = True

    def at_limit(self) -> int:
        guest = self.guest("a")
        return guest.get("hold_full", 0) + guest.get("ingress_cut", 0)

    def test_downloads_fill_the_room_and_arrive_whole(self):
        before = self.guest("a")
        logs = [self.directory / f"download{number}" for number in range(DOWNLOADS)]
        psql = ["psql", "-q", "-h", story.GUEST_ADDRESS, "-U", "postgres", "bench", "-c", COPY]
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(5, 20)
            begin = time.monotonic()
            downloads = [story.Background(self.hosts, psql, log) for log in logs]
            try:
                wait_for("the room to be full", self.at_limit, FILLED_SECONDS)
                filled = time.monotonic() - begin
                said = self.hosts.order("a", "status")
                for download in downloads:
                    download.wait(DOWNLOAD_SECONDS)
            finally:
                for download in downloads:
                    download.kill()
            took = time.monotonic() - begin
            acks = len(ledger.acks())
            ledger.wait_acks(acks + 10, 30)
            verdict = ledger.stop()
        expected = "".join(f"{i:x>{WIDTH}}\n" for i in range(1, ROWS + 1))
        for log in logs:
            self.assertTrue(log.read_text() == expected, f"{log.name} is damaged")
        self.assert_ledger_good(ledger, verdict)
        self.assertIn("held at limit", said)
        after = self.guest("a")
        print(f"  full after {filled:.1f} s, all there after {took:.1f} s; full {after['hold_full']} times,"
              f" {after['ingress_cut']} packets to the guest cut, {after['epoch'] - before['epoch']} epochs", file=sys.stderr)
        self.assertEqual(after["egress_dropped"], before["egress_dropped"], "output was dropped")
        self.assertLessEqual(after["hold_limit_bytes"], HOLD_LIMIT_KIB << 10)
        self.assert_epochs_advance()


if __name__ == "__main__":
    unittest.main()
