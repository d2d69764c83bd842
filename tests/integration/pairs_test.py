"""Two guests on a pair of hosts, one each way: the trouble of one is not the other's; a host dies, and both go on;
it comes back, and both are protected again. About 60 s."""

import os
import signal
import unittest
from contextlib import contextmanager
from pathlib import Path

from lab_case import LabCase, wait_for

from labkit import output_commit, pcap
from labkit.story import LedgerProcess

PATIENCE = 30
HEALED_SECONDS = 120
EPOCHS = ROWS = 10
MEMINFO = "MemAvailable: 65536 kB\n"


class PairsTest(LabCase):
    """pg runs on a with its replica on b, pg2 on b with its replica on a."""

    lab_options = {"guest_name": "pg-disk", "memory_mib": 256, "beacon_ms": 0, "others": [{"home": "b"}]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hosts.order("a", "start", "pg")
        cls.hosts.order("b", "start", "pg2")
        for name in ("pg", "pg2"):
            cls.hosts.wait_database(name)

    def seen(self, host: str, name: str) -> dict:
        return self.hosts.guest(host, name)

    def qemu(self, host: str, name: str) -> int:
        """The guest's, or its replica's, on that host."""
        for pid in self.hosts.lab.host(host).pids():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # it ended meanwhile
            if "qemu" in line[0] and any(word.startswith(f"{name},") for word in line):
                return pid
        raise AssertionError(f"no QEMU of {name} on {host}")

    def assert_goes_on(self, host: str, name: str, ledger: LedgerProcess):
        """New epochs are committed and new rows acknowledged, in generous time."""
        epoch, rows = self.seen(host, name)["epoch"], len(ledger.acks())
        wait_for(f"more epochs of {name}", lambda: self.seen(host, name).get("epoch", 0) > epoch + EPOCHS, PATIENCE)
        ledger.wait_acks(rows + ROWS, PATIENCE)

    @contextmanager
    def ledgers(self):
        """One with each guest, and good in the end."""
        with LedgerProcess(self.hosts, self.directory, "one", "pg") as one, \
                LedgerProcess(self.hosts, self.directory, "two", "pg2") as two:
            for ledger in (one, two):
                ledger.wait_acks(ROWS, PATIENCE)
            yield one, two
            for ledger in (one, two):
                verdict = ledger.stop()
                self.assert_ledger_good(ledger, verdict)

    def test_1_a_host_without_memory_is_no_backup(self):
        """It says so, and the reason stands in the status; with memory it is one."""
        (self.hosts.lab.host("b").directory / "lab/meminfo").write_text(MEMINFO)
        self.hosts.lab.exec("b", ["mount", "--bind", "/run/lab/meminfo", "/proc/meminfo"], check=True)
        refused = self.hosts.understudy("a", "protect", "pg", "--backup", "b")
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, r"a replica of the guest needs \d+ MiB of memory and this host has 64 MiB")
        self.assertEqual(self.seen("a", "pg")["state"], "UNPROTECTED")
        self.hosts.lab.exec("b", ["umount", "/proc/meminfo"], check=True)
        self.hosts.protect("a", "b", "pg")
        self.hosts.protect("b", "a", "pg2")

    def test_2_the_trouble_of_one_is_not_the_others(self):
        with self.ledgers() as (one, two):
            frozen = self.qemu("a", "pg")
            os.kill(frozen, signal.SIGSTOP)  # that daemon keeps pg2's replica
            try:
                self.assert_goes_on("b", "pg2", two)
            finally:
                os.kill(frozen, signal.SIGCONT)
            # If that took long, it was given up and its backup runs it.
            active = wait_for("pg to be protected", lambda: guest["active_host"] if (
                guest := self.seen("a", "pg")).get("state") == "PROTECTED" else None, HEALED_SECONDS)
            if active != "a":
                self.hosts.order(active, "switchover", "pg")
                self.hosts.wait_protected("a", "b", "pg")
            os.kill(self.qemu("a", "pg2"), signal.SIGKILL)  # a replica fails on the host where pg runs
            self.assert_goes_on("a", "pg", one)
            self.hosts.wait_protected("b", "a", "pg2")

    def test_3_a_host_dies_and_comes_back(self):
        capture = self.directory / "pairs.pcap"
        with self.hosts.trace(capture), self.ledgers() as (one, two):
            killed = self.hosts.kill("a")
            promoted = self.hosts.wait_promotion("b", killed, PATIENCE, "pg")
            self.hosts.wait_state("b", "UNPROTECTED", PATIENCE, "pg2")
            for ledger in (one, two):
                ledger.wait_ack_after(promoted["last_failover"]["running_unix_us"] * 1000, PATIENCE)
            self.hosts.lab.start("a")
            self.wait_both_protected("b", "a")
            for name, ledger in (("pg", one), ("pg2", two)):
                self.assert_goes_on("b", name, ledger)
        packets = list(pcap.read(capture))
        for name in ("pg", "pg2"):
            address = self.hosts.lab.plan.find_guest(name).address
            for finding in (output_commit.check_streams(packets, address),
                            output_commit.check_no_reset(packets, address)):
                self.assertTrue(finding.good, finding.violations)

    def wait_both_protected(self, active: str, backup: str):
        """By itself, and one full copy after the other."""
        def both() -> bool:
            guests = self.hosts.status(active)["guest"]
            copied = [one["name"] for one in guests if one["state"] == "SYNCHRONISING"]
            self.assertLess(len(copied), 2, "two copies at once")
            return all((one["state"], one["active_host"], one["backup_host"]) == ("PROTECTED", active, backup)
                       for one in guests)
        wait_for("both guests to be protected", both, HEALED_SECONDS)


if __name__ == "__main__":
    unittest.main()
