"""A guest whose database lies on a replicated disk: hosts that return copy what may differ, and compare no more
than that. About 2 minutes."""

import os
import re
import unittest

from lab_case import LabCase

from labkit import story
from labkit.host import DAEMON
from labkit.story import wait_for

IMAGE_MIB = 1024


class ResyncTest(LabCase):
    lab_options = {"guest_name": "pg-disk", "memory_mib": 512}

    def synchronisations(self, host: str) -> list[tuple[int, str]]:
        """Of all that this daemon has begun: MiB compared, and why so many."""
        found = re.findall(r' disk\.synchronising mib=(\d+) of_mib=(\d+) why="([^"]*)"', self.hosts.daemon_log(host))
        for _, of_mib, _ in found:
            self.assertEqual(int(of_mib), IMAGE_MIB)
        return [(int(mib), why) for mib, _, why in found]

    def wait_pair(self, active: str, backup: str):
        """Until both remember the synchronisation: then their logs bear one id."""
        def pair():
            heads = [self.log(host).read_bytes()[8:24] for host in (active, backup) if self.log(host).exists()]
            return len(heads) == 2 and heads[0] == heads[1]

        wait_for("both logs to bear one id", pair, 20)

    def log(self, host: str):
        return self.hosts.lab.host(host).directory / "lib/understudy/state/disks/pg.log"

    def assert_little_compared(self, host: str, before: int):
        """In what was begun since; anything but this is a whole comparison."""
        new = self.synchronisations(host)[before:]
        self.assertTrue(new)
        for mib, why in new:
            self.assertEqual(why, "the rest is known to be equal")
            self.assertLess(mib, IMAGE_MIB // 3)
        print(f"compared {[mib for mib, _ in new]} of {IMAGE_MIB} MiB")

    def assert_identical(self, host: str):
        self.assertIn("the replica is identical", self.hosts.order(host, "verify", "pg"))

    def test_1_a_host_that_returns_copies_what_differs(self):
        self.hosts.start_guest("a")
        self.hosts.protect("a", "b")
        self.assertEqual(self.synchronisations("a"), [(IMAGE_MIB, "this host: there was no synchronisation")])
        self.wait_pair("a", "b")
        with story.LedgerProcess(self.hosts, self.directory, "kill") as ledger:
            ledger.wait_acks(20, 20)
            killed = self.hosts.kill("a")
            self.hosts.wait_promotion("b", killed, 20)
            ledger.wait_ack_after(killed, 20)
            self.hosts.heal("a", "b")
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assert_little_compared("b", 0)
        self.assert_identical("b")

    def test_2_a_backup_that_crashes_while_it_applies(self):
        self.wait_pair("b", "a")
        before = len(self.synchronisations("b"))
        with story.Background(self.hosts, story.pgbench_command(20), self.directory / "pgbench.log"):
            epoch = self.guest("b")["epoch"]
            wait_for("commits", lambda: self.guest("b").get("epoch", 0) > epoch + 20, 20)
            self.hosts.lab.kill_service("a", DAEMON)
            self.hosts.wait_state("b", "UNPROTECTED", 20)
            self.hosts.lab.start_service("a", DAEMON)
            self.hosts.wait_protected("b", "a")
        self.assert_little_compared("b", before)
        self.assert_identical("b")

    def test_3_both_hosts_lose_power(self):
        self.wait_pair("b", "a")
        with story.LedgerProcess(self.hosts, self.directory, "power") as ledger:
            ledger.wait_acks(50, 20)
            self.hosts.kill("a")  # the backup first: it must not get to take over
            self.hosts.kill("b")
        self.hosts.lab.start_together("ab")
        self.hosts.wait_state("b", "STOPPED", 20)
        before = len(self.synchronisations("b"))
        self.hosts.start_guest("b")
        table = ledger.check()
        self.assertEqual((table.lost, table.duplicated), (0, 0), table.examples)
        self.hosts.wait_protected("b", "a")
        self.assert_little_compared("b", before)
        self.assert_identical("b")

    def test_4_an_image_that_was_changed_by_hand_is_compared_as_a_whole(self):
        self.wait_pair("b", "a")
        before = len(self.synchronisations("b"))
        self.assertEqual(self.hosts.lab.stop_service("a"), 0)
        self.hosts.wait_state("b", "UNPROTECTED", 20)
        with open(self.hosts.lab.host("a").disk, "r+b", buffering=0) as image:
            os.pwrite(image.fileno(), b"by hand", (IMAGE_MIB - 1) << 20)
        self.hosts.lab.start_service("a", DAEMON)
        self.hosts.wait_protected("b", "a")
        self.assertEqual(self.synchronisations("b")[before:],
                         [(IMAGE_MIB, "the backup: the image of disk 0 was changed while the guest was not here")])
        self.assert_identical("b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
