"""Both hosts are drained, restarted and filled again, one after the other; clients notice nothing. About 60 s."""

import unittest

from lab_case import LabCase

from labkit import story
from labkit.hosts import GUEST
from labkit.story import wait_for

PROTECTED_SECONDS = 90


class DrainTest(LabCase):
    protected = True

    def renew(self, host: str, other: str):
        """Drain, restart, undrain: the guest ends on `other`, protected to `host`."""
        self.assertIn("is empty", self.hosts.order(host, "drain", host))
        self.hosts.wait_state(other, "UNPROTECTED", 20)
        self.assertFalse(self.qemu_runs(host))
        wait_for("the refusal", lambda: any(
            "is drained" in one["obstacle"] for one in self.guest(other).get("candidate", [])), 20)
        self.hosts.lab.stop_service(host)
        self.hosts.lab.start_service(host)
        self.assertTrue(self.hosts.status(host)["drained"])
        refused = self.hosts.understudy(host, "start", GUEST)
        self.assertIn("is drained", refused.stderr)
        self.hosts.order(host, "undrain", host)
        seen = self.hosts.wait_state(other, "PROTECTED", PROTECTED_SECONDS)
        self.assertEqual((seen["active_host"], seen["backup_host"]), (other, host))

    def test_1_the_wrong_host_is_told(self):
        refused = self.hosts.understudy("a", "drain", "b")
        self.assertIn("give the command on host b", refused.stderr)
        refused = self.hosts.understudy("a", "drain", "nowhere")
        self.assertIn('no host "nowhere"', refused.stderr)

    def test_2_a_rolling_restart(self):
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            self.renew("a", "b")
            self.renew("b", "a")
            ledger.wait_acks(len(ledger.acks()) + 20, 20)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)

    def test_3_a_host_with_a_replica_gives_it_up(self):
        self.hosts.order("b", "drain", "b")
        self.hosts.wait_state("a", "UNPROTECTED", 10)
        self.assertFalse(self.qemu_runs("b"))

    def test_4_a_guest_that_cannot_move_stays_and_is_named(self):
        refused = self.hosts.understudy("a", "drain", "a")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn(f"guest {GUEST}: it has no backup", refused.stderr)
        self.assertEqual(self.guest("a")["state"], "UNPROTECTED")


if __name__ == "__main__":
    unittest.main(verbosity=2)
