"""A host that loses the others closes its output; never do two hosts answer for one guest."""

import time
import unittest

from lab_case import LabCase, wait_for

from labkit import output_commit, pcap, story

PROMOTION_SECONDS = 20
DEPOSED_SECONDS = 30


class QuorumTest(LabCase):
    protected = True

    def test_an_isolated_primary_is_silent_and_learns_that_it_is_deposed(self):
        capture = self.directory / "guest-network.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            # The cluster network only: the guest's network stays up, silence is a's own doing.
            cut_ns = self.hosts.lab.cut("a").realtime_ns
            promoted = self.hosts.wait_promotion("b", cut_ns, PROMOTION_SECONDS)
            running_ns = promoted["last_failover"]["running_unix_us"] * 1000
            ledger.wait_ack_after(running_ns, 15)
            self.primary_waits()
            self.hosts.lab.heal()
            self.primary_is_deposed()
            ledger.wait_ack_after(time.time_ns(), 10)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        packets = list(pcap.read(capture))
        for finding in (output_commit.check_beacons(output_commit.beacons(packets), cut_ns),
                        output_commit.check_streams(packets, story.GUEST_ADDRESS)):
            self.assertTrue(finding.good, finding.violations)

    def primary_waits(self):
        """Without quorum: its guest suspended or dead, and status says so."""
        status = wait_for("a to see that it has no quorum", lambda: (
            seen if not (seen := self.hosts.status("a"))["quorum"]["quorate"] else None), 15)
        self.assertFalse(status["quorum"]["quorate"])
        wait_for("a to suspend its guest",
                 lambda: self.guest("a").get("state") in ("SUSPENDED", "STOPPED", "FAILED"), 10)

    def primary_is_deposed(self):
        wait_for("a to kill its guest", lambda: not self.qemu_runs("a"), DEPOSED_SECONDS)
        guest = wait_for("a to know who runs it", lambda: (
            seen if (seen := self.guest("a")).get("active_host") == "b" else None), DEPOSED_SECONDS)
        self.assertGreaterEqual(guest["term"], self.guest("b")["term"])
        self.assertTrue(self.qemu_runs("b"))


class NobodyDecidesTest(LabCase):
    """Without a quorum anywhere, nobody promotes, nobody answers; a healed net goes on."""

    protected = True

    def test_three_islands(self):
        capture = self.directory / "guest-network.pcap"
        lab = self.hosts.lab
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            cut_ns = lab.cut("a").realtime_ns
            lab.cut("b", "w")
            wait_for("b to have no quorum",
                     lambda: not self.hosts.status("b")["quorum"]["quorate"], 15)
            time.sleep(3)  # in which a wrong promotion would have happened
            self.assertNotEqual(self.guest("b").get("active_host"), "b")
            silent_ns = cut_ns + 100_000_000
            self.assertEqual([ack for ack in ledger.acks() if ack.realtime_ns > silent_ns], [],
                             "a guest without quorum answered")
            lab.heal()
            ledger.wait_ack_after(time.time_ns(), DEPOSED_SECONDS)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        finding = output_commit.check_beacons(output_commit.beacons(pcap.read(capture)), cut_ns)
        self.assertTrue(finding.good, finding.violations)


if __name__ == "__main__":
    unittest.main()
