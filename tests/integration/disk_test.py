"""A guest whose database lies on two replicated disks, its log on one of its own: its host dies, then both do.
About 2 minutes."""

import os
import subprocess
import unittest

from lab_case import LabCase

from labkit import kill_story, story
from labkit.host import DAEMON
from labkit.plan import DISK_IN_HOST
from labkit.story import wait_for


class DiskTest(LabCase):
    lab_options = {"guest_name": "pg-two-disks", "memory_mib": 512}

    def daemon_said(self, host: str, event: str) -> list[str]:
        return [line for line in self.hosts.daemon_log(host).splitlines() if f" {event} " in line]

    def fsck(self, host: str):
        for disk in self.hosts.lab.host(host).disks:
            done = subprocess.run(["e2fsck", "-fn", str(disk)], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def power_off(self, host: str):
        """The guest ends by itself, its file systems clean."""
        self.hosts.database.power_off(self.hosts)
        self.hosts.wait_state(host, "STOPPED", 60)

    def test_1_images_that_do_not_fit_are_refused(self):
        backup = self.hosts.lab.host("b").disk
        size = backup.stat().st_size
        self.hosts.start_guest("a")
        for change, words in ((lambda: os.truncate(backup, size - 4096), "truncate -s"),
                              (lambda: backup.write_bytes(b"QFI\xfb" + bytes(508)), "qemu-img convert"),
                              (lambda: backup.unlink(), "No such file")):
            change()
            refused = self.hosts.understudy("a", "protect", "pg", "--backup", "b")
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(words, refused.stderr)
            self.assertEqual(self.guest("a")["state"], "UNPROTECTED")
        backup.write_bytes(b"")
        os.truncate(backup, size)
        self.fill_the_backups_disk(size)
        refused = self.hosts.understudy("a", "protect", "pg", "--backup", "b")
        self.assertIn("No space left on device", refused.stderr)
        self.assertEqual(self.guest("a")["state"], "UNPROTECTED")
        self.hosts.lab.exec("b", ["umount", "-l", DISK_IN_HOST], check=True)

    def fill_the_backups_disk(self, size: int):
        """A whole image on a file system that has no room for what will be written to it."""
        self.hosts.lab.exec("b", ["sh", "-ec", f"""
            mkdir /run/small
            mount -t tmpfs -o size=30m tmpfs /run/small
            truncate -s {size} /run/small/pg.img
            mount --bind /run/small/pg.img {DISK_IN_HOST}"""], check=True)

    def test_2_disk_and_memory_survive_at_the_same_epoch(self):
        self.hosts.protect("a", "b")
        verdict = self.hosts.order("a", "verify", "pg")
        self.assertRegex(verdict, r"pg.img +\S+ GiB +identical")
        self.assertRegex(verdict, r"pg-1.img +\S+ MiB +identical")
        result = kill_story.KillResult()
        kill_story.tell(self.hosts, self.directory, 1.0, result)
        self.assertEqual(result.failures(), [])

    def test_3_the_old_primary_takes_over_what_differs(self):
        """Its image went on beyond the last commit, and the survivor's since."""
        self.hosts.lab.start("a")
        self.hosts.wait_state("a", "UNPROTECTED", 20)
        self.hosts.protect("b", "a")
        compared = next(line for line in reversed(self.daemon_said("b", "disk.compared"))
                        if " disk=0 " in line)
        differed = int(compared.rpartition("differed=")[2])
        self.assertLess(differed, 4000, compared)  # of 16384, nearly half of them not zero
        self.assertIn("the replica is identical", self.hosts.order("b", "verify", "pg"))

    def test_4_both_hosts_lose_power(self):
        """All that was acknowledged is on the disk of the host that ran it; the other one refuses."""
        with story.LedgerProcess(self.hosts, self.directory, "power") as ledger:
            ledger.wait_acks(50, 20)
            self.hosts.kill("a")  # the backup first: it must not get to take over
            self.hosts.kill("b")
            ledger.stop()
        for host in "ab":
            self.hosts.lab.start(host, wait=False)
        self.hosts.lab.wait_members(self.hosts.lab.hosts)
        for host in "ab":
            self.hosts.wait_state(host, "STOPPED", 20)
        refused = self.hosts.understudy("a", "start", "pg")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("ran last on host b", refused.stderr)
        self.hosts.start_guest("b")
        table = ledger.check()
        self.assertEqual((table.lost, table.duplicated), (0, 0), table.examples)
        self.assertEqual(story.amcheck(self.hosts)[0], True)

    def test_5_a_backup_that_crashes_while_it_applies(self):
        self.hosts.protect("b", "a")
        command = story.pgbench_command(20)
        with story.Background(self.hosts, command, self.directory / "pgbench-crash.log"):
            wait_for("commits", lambda: self.guest("b").get("epoch", 0) > 20, 20)
            self.hosts.lab.kill_service("a", DAEMON)
            self.hosts.wait_state("b", "UNPROTECTED", 20)
            self.hosts.lab.start_service("a", DAEMON)
            self.hosts.wait_state("a", "UNPROTECTED", 20)
            self.hosts.protect("b", "a")
        self.assertIn("the replica is identical", self.hosts.order("b", "verify", "pg"))

    def test_6_file_systems_are_clean_after_a_clean_end(self):
        self.power_off("b")
        self.fsck("b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
