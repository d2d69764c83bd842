"""A guest that writes faster than the link carries is slowed, not lost, not unprotected."""

import time
import unittest

from lab_case import LabCase, wait_for

from labkit import story

MEASURE_SECONDS = 3
NARROWER = 4  # than what the guest's writes need, as measured just before
SLOW_SECONDS = 10
RECOVERY_SECONDS = 20
# Sorts in memory and builds a table: hundreds of dirty megabytes a minute. How much of them travels depends on
# how alike the pages are to those before.
DIRTY = ("create unlogged table if not exists dirty(t text);"
         " truncate dirty; insert into dirty select md5(i::text) from generate_series(1, 60000) i;"
         " select count(distinct t) from dirty;")


class SlowLinkTest(LabCase):
    protected = True

    def setUp(self):
        self.addCleanup(self.full_speed)

    def sent_bytes(self) -> int:
        return int(self.guest("a")["totals"]["bytes"])

    def slow_down(self):
        """To a part of what the guest needs now."""
        before = self.sent_bytes()
        time.sleep(MEASURE_SECONDS)
        rate = (self.sent_bytes() - before) * 8 // MEASURE_SECONDS // NARROWER
        self.hosts.lab.network.narrow("a", "b", f"{rate}bit")

    def full_speed(self):
        self.hosts.lab.network.narrow("a", "b", None)

    def dirty(self):
        psql = f"psql -q -h {story.GUEST_ADDRESS} -U postgres bench -c '{DIRTY}'"
        return story.Background(self.hosts, ["sh", "-c", f"while {psql}; do :; done"],
                                self.directory / "dirty.log")

    def test_the_guest_is_slowed_and_stays_protected(self):
        with story.LedgerProcess(self.hosts, self.directory) as ledger, self.dirty():
            ledger.wait_acks(10, 20)
            self.slow_down()
            seen = self.watch(SLOW_SECONDS)
            acks_slow = len(ledger.acks())
            self.full_speed()
            ledger.wait_acks(acks_slow + 50, RECOVERY_SECONDS)
            verdict = ledger.stop()
        self.assertTrue(any(guest["throttled"] for guest in seen), "status never said throttled")
        self.assertEqual({guest["state"] for guest in seen}, {"PROTECTED"})
        self.assertGreater(seen[-1]["epoch"], seen[0]["epoch"], "no epoch committed meanwhile")
        self.assert_ledger_good(ledger, verdict)
        wait_for("throttled to end", lambda: self.guest("a").get("throttled") is False,
                 RECOVERY_SECONDS)
        self.assert_epochs_advance()

    def watch(self, seconds: float) -> list[dict]:
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            guest = self.guest("a")
            if guest:
                seen.append(guest)
            time.sleep(0.2)
        return seen


if __name__ == "__main__":
    unittest.main()
