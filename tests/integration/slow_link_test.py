"""A guest that writes faster than the link carries is slowed, not lost, not unprotected."""

import time
import unittest

from lab_case import LabCase, wait_for

from labkit import story
from labkit.shell import run

RATE = "100mbit"
SLOW_SECONDS = 10
RECOVERY_SECONDS = 20
# Sorts in memory and builds a table: hundreds of dirty megabytes a minute, far over the link's
# rate.
DIRTY = ("create unlogged table if not exists dirty(t text);"
         " truncate dirty; insert into dirty select md5(i::text) from generate_series(1, 60000) i;"
         " select count(distinct t) from dirty;")


class SlowLinkTest(LabCase):
    protected = True

    def setUp(self):
        self.addCleanup(self.full_speed)

    def cables(self) -> list[tuple[str, str]]:
        """Where the checkpoints between a and b leave, each way. Datagrams pass by host a's own queue
        (AF_PACKET), so theirs are shaped in the switch."""
        if self.hosts.lab.plan.link == "dpdk":
            return [("switch", "re-b"), ("switch", "re-a")]
        return [("a", "cl0"), ("switch", "cl-a")]

    def slow_down(self):
        """Limits the checkpoints between a and b; Corosync keeps a class of its own, as one who
        builds a cluster over a narrow link must see to, or the test would try Corosync instead."""
        for place, device in self.cables():
            tc = ["ip", "netns", "exec", self.hosts.lab.plan.namespace(place), "tc"]
            run(*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "10")
            run(*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:10", "htb",
                "rate", RATE, "burst", "64kb")
            run(*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:20", "htb",
                "rate", "1gbit")
            run(*tc, "filter", "add", "dev", device, "parent", "1:", "protocol", "ip", "u32",
                "match", "ip", "protocol", "17", "0xff", "flowid", "1:20")

    def full_speed(self):
        for place, device in self.cables():
            namespace = self.hosts.lab.plan.namespace(place)
            run("ip", "netns", "exec", namespace, "tc", "qdisc", "del", "dev", device, "root",
                check=False)

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
