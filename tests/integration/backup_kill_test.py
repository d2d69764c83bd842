"""The death of the backup leaves the guest running. Its output is held until a quorate membership
without the backup has decided that it runs alone, and then released."""

import time
import unittest

from lab_case import LabCase

from labkit import output_commit, pcap, story

IN_FLIGHT_MS = 60  # a commit that was on its way when the backup died may still let packets go
ACK_SECONDS = 15


class BackupKillTest(LabCase):
    protected = True

    def test_output_waits_for_the_decision_then_goes_on(self):
        capture = self.directory / "guest-network.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            kill_ns = self.hosts.kill("b")
            alone = self.hosts.wait_state("a", "UNPROTECTED", 15)
            ledger.wait_ack_after(kill_ns + 1_000_000_000, ACK_SECONDS)
            time.sleep(1)
            verdict = ledger.stop()
        self.assertEqual(alone["active_host"], "a")
        self.assert_ledger_good(ledger, verdict)
        self.check_wire(list(pcap.read(capture)), kill_ns)

    def check_wire(self, packets: list, kill_ns: int):
        counters = output_commit.beacons(packets)
        finding = output_commit.check_beacons(counters, kill_ns)
        self.assertTrue(finding.good, finding.violations)
        streams = output_commit.check_streams(packets, story.GUEST_ADDRESS)
        self.assertTrue(streams.good, streams.violations)
        # No membership can change sooner than Corosync's token: until then all output is held.
        token_ms = self.hosts.lab.plan.token_ms
        early = [packet for packet in packets if packet.source == story.GUEST_ADDRESS
                 and IN_FLIGHT_MS < (packet.time_ns - kill_ns) / 1e6 < token_ms]
        self.assertEqual(len(early), 0, "guest packets left before anyone could have decided")
        # Nothing that was held is lost: the beacons go on with the next number.
        before = max(counter for time_ns, counter in counters if time_ns <= kill_ns)
        numbers = [counter for _, counter in counters if counter >= before]
        self.assertEqual(numbers, list(range(before, before + len(numbers))))


if __name__ == "__main__":
    unittest.main()
