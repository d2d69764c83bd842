"""A guest that lost its backup is protected again without a hand, as soon as a host is there."""

import time
import unittest

from lab_case import LabCase

from labkit import story

PROMOTION_SECONDS = 20
FROZEN_SECONDS = 10


class HealingTest(LabCase):
    protected = True

    def wait_taken_over(self, host: str, since_ns: int, ledger: story.LedgerProcess):
        promoted = self.hosts.wait_promotion(host, since_ns, PROMOTION_SECONDS)
        ledger.wait_ack_after(promoted["last_failover"]["running_unix_us"] * 1000, 15)

    def test_1_a_frozen_host_is_deposed_and_serves_again(self):
        """A host that stood still finds itself deposed before a packet leaves it, and becomes the backup."""
        capture = self.directory / "frozen.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            frozen = self.hosts.lab.freeze("a")
            self.wait_taken_over("b", frozen.realtime_ns, ledger)
            time.sleep(max(0.0, FROZEN_SECONDS - (time.time_ns() - frozen.realtime_ns) / 1e9))
            self.hosts.lab.thaw("a")
            self.hosts.wait_protected("b", "a")
            ledger.wait_ack_after(time.time_ns(), 10)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assert_wire_good(capture)

    def test_2_there_and_back(self):
        """Host b dies, a takes over, b comes back, a dies, b takes over: one TCP connection throughout."""
        capture = self.directory / "there-and-back.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            self.wait_taken_over("a", self.hosts.kill("b"), ledger)
            alone = self.guest("a")
            self.assertEqual([one["host"] for one in alone.get("candidate", [])], ["b"], alone)
            self.hosts.heal("b", "a")
            self.assert_epochs_advance("a")
            self.wait_taken_over("b", self.hosts.kill("a"), ledger)
            time.sleep(1)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assert_wire_good(capture)


if __name__ == "__main__":
    unittest.main()
