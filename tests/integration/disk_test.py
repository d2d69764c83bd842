"""A guest whose database lies on two replicated disks, its log on one of its own: its host dies, then both do.
Its disk may be full, its backup's decay. About 2 minutes."""

import os
import re
import subprocess
import time
import unittest
from datetime import datetime

from lab_case import LabCase

from labkit import kill_story, story
from labkit.host import DAEMON
from labkit.plan import DISK_IN_HOST, disk_in_host
from labkit.story import wait_for


SYNC_RATE_MIB = 400
CHUNK = 64 << 10


class DiskTest(LabCase):
    lab_options = {"guest_name": "pg-two-disks", "memory_mib": 512, "disk_settings": "on_error: STOP ",
                   "sync_rate_mib": SYNC_RATE_MIB}

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
        self.put_the_log_on_a_file_system_of_its_own()
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
        self.refuse_a_read_only_image()
        self.fill_the_backups_disk(size)
        refused = self.hosts.understudy("a", "protect", "pg", "--backup", "b")
        self.assertIn("No space left on device", refused.stderr)
        self.assertEqual(self.guest("a")["state"], "UNPROTECTED")
        self.hosts.lab.exec("b", ["umount", "-l", DISK_IN_HOST], check=True)

    def refuse_a_read_only_image(self):
        self.hosts.lab.exec("b", ["sh", "-ec", f"mount --bind {DISK_IN_HOST} {DISK_IN_HOST}"
                                  f" && mount -o remount,bind,ro {DISK_IN_HOST}"], check=True)
        refused = self.hosts.understudy("a", "protect", "pg", "--backup", "b")
        self.assertIn("Read-only file system", refused.stderr)
        self.assertEqual(self.guest("a")["state"], "UNPROTECTED")
        self.hosts.lab.exec("b", ["umount", "-l", DISK_IN_HOST], check=True)

    def fill_the_backups_disk(self, size: int):
        """A whole image on a file system that has no room for what will be written to it."""
        self.hosts.lab.exec("b", ["sh", "-ec", f"""
            mkdir /run/small
            mount -t tmpfs -o size=30m tmpfs /run/small
            truncate -s {size} /run/small/pg.img
            mount --bind /run/small/pg.img {DISK_IN_HOST}"""], check=True)

    def put_the_log_on_a_file_system_of_its_own(self):
        """On host a, until it dies: so that it can be full."""
        log = disk_in_host(1)
        self.hosts.lab.exec("a", ["sh", "-ec", f"""
            mkdir /run/log
            mount -t tmpfs -o size=1g tmpfs /run/log
            cp --sparse=always {log} /run/log/log.img
            mount --bind /run/log/log.img {log}"""], check=True)

    def run_out_of_space(self):
        """The guest stands still while its disk is full, and goes on, with nothing lost."""
        with story.LedgerProcess(self.hosts, self.directory, "full") as ledger:
            ledger.wait_acks(5, 20)
            # To what is used, in pages: the next block that is new finds no room. The kernel refuses
            # less, and the guest goes on writing.
            self.hosts.lab.exec("a", ["sh", "-c", """for try in $(seq 50); do
                used=$(df -k --output=used /run/log | tail -n 1)
                mount -o remount,size=${used}k /run/log && exit
                done; exit 1"""], check=True)
            wait_for("the disk to be full", lambda: "No space left on device; the guest stands still"
                     in self.guest("a")["detail"], 30)
            full = time.time_ns()
            self.hosts.lab.exec("a", ["mount", "-o", "remount,size=1g", "/run/log"], check=True)
            ledger.wait_ack_after(full, 20)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assertNotIn("stands still", self.guest("a")["detail"])

    def test_2_a_full_disk_stops_the_guest_for_as_long(self):
        self.run_out_of_space()
        self.hosts.protect("a", "b")
        self.run_out_of_space()
        self.assertIn("the replica is identical", self.hosts.order("a", "verify", "pg"))

    def free_chunk(self, image) -> int:
        """The byte where a chunk begins that the file system in the image does not use, nor soon will."""
        said = subprocess.run(["dumpe2fs", str(image)], capture_output=True, text=True, timeout=60).stdout
        block = int(re.search(r"^Block size: +(\d+)$", said, re.M)[1])
        ranges = [(int(first) * block, int(last) * block)
                  for line in re.findall(r"^  Free blocks: (.*)$", said, re.M)
                  for first, last in re.findall(r"(\d+)-(\d+)", line)]
        first, last = max(ranges, key=lambda one: one[1] - one[0])
        self.assertGreater(last - first, 4 * CHUNK)
        return (first + last) // 2 // CHUNK * CHUNK

    def test_3_damage_on_the_backup_is_found_and_repaired_while_the_guest_runs(self):
        image = self.hosts.lab.host("b").disks[0]
        at = self.free_chunk(image)
        with open(image, "r+b", buffering=0) as file:
            for page in range(at, at + CHUNK, 4096):
                os.pwrite(file.fileno(), b"decayed", page)
        with story.LedgerProcess(self.hosts, self.directory, "verify") as ledger:
            ledger.wait_acks(5, 20)
            epoch = self.guest("a")["epoch"]
            found = self.hosts.understudy("a", "verify", "pg")
            self.assertEqual(found.returncode, 1, found.stderr)
            self.assertRegex(found.stdout, r"pg.img +\S+ GiB +DIFFERS")
            self.assertRegex(found.stdout, rf"1 of its chunks of 64 KiB differs, at byte {at}\n")
            self.assertIn("the replica DIFFERS", found.stdout)
            # The disks took their time, at the rate that is allowed; a guest that was paused has no epochs.
            self.assertIn("comparing disks", found.stderr)
            self.assertGreater(int(re.search(r"^epoch ([\d,]+):", found.stdout, re.M)[1].replace(",", "")), epoch + 8)
            repaired = self.hosts.order("a", "verify", "pg", "--repair")
            self.assertRegex(repaired, rf"at byte {at}; 1 sent again and\s+committed")
            self.assertIn("the replica differed, and is repaired", repaired)
            self.assertIn("the replica is identical", self.hosts.order("a", "verify", "pg"))
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)

    def test_4_disk_and_memory_survive_at_the_same_epoch(self):
        verdict = self.hosts.order("a", "verify", "pg")
        self.assertRegex(verdict, r"pg.img +\S+ GiB +identical")
        self.assertRegex(verdict, r"pg-1.img +\S+ MiB +identical")
        result = kill_story.KillResult()
        kill_story.tell(self.hosts, self.directory, 1.0, result)
        self.assertEqual(result.failures(), [])

    def test_5_the_old_primary_takes_over_what_differs(self):
        """Its image went on beyond the last commit, and the survivor's since."""
        self.hosts.lab.start("a")
        self.hosts.wait_state("a", "UNPROTECTED", 20)
        self.hosts.protect("b", "a")
        compared, second = self.daemon_said("b", "disk.compared")[-2:]
        self.assertIn(" disk=0 ", compared)
        size = self.hosts.lab.host("b").disks[1].stat().st_size
        took = datetime.fromisoformat(second.split()[0]) - datetime.fromisoformat(compared.split()[0])
        self.assertGreater(took.total_seconds(), 0.9 * (size >> 20) / SYNC_RATE_MIB)
        differed = int(compared.rpartition("differed=")[2])
        self.assertLess(differed, 4000, compared)  # of 16384, nearly half of them not zero
        self.assertIn("the replica is identical", self.hosts.order("b", "verify", "pg"))

    def test_6_both_hosts_lose_power(self):
        """All that was acknowledged is on the disk of the host that ran it; the other one refuses."""
        with story.LedgerProcess(self.hosts, self.directory, "power") as ledger:
            ledger.wait_acks(50, 20)
            self.hosts.kill("a")  # the backup first: it must not get to take over
            self.hosts.kill("b")
        self.hosts.lab.start_together("ab")
        for host in "ab":
            self.hosts.wait_state(host, "STOPPED", 20)
        refused = self.hosts.understudy("a", "start", "pg")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("ran last on host b", refused.stderr)
        self.hosts.start_guest("b")
        table = ledger.check()
        self.assertEqual((table.lost, table.duplicated), (0, 0), table.examples)
        self.assertEqual(story.amcheck(self.hosts)[0], True)

    def test_7_a_backup_that_crashes_while_it_applies(self):
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

    def test_8_file_systems_are_clean_after_a_clean_end(self):
        self.power_off("b")
        self.fsck("b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
