"""A past and the newest moment of a protected guest are written to files, and the guest goes on from one of them
elsewhere, protected as usual. Files that are not whole, or of another guest, change nothing. About 90 s."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import unittest
from datetime import datetime, timezone
from pathlib import Path

from lab_case import LabCase

from labkit import story
from labkit.hosts import GUEST
from labkit.story import wait_for

PSQL = "/usr/lib/postgresql/15/bin/psql"
STATE_FILE = f"state/disks/{GUEST}.state"  # beside the image
SMALL_DISK = "/mnt"  # in a host: a file system of its own
LEDGER = "select count(*), max(number), min(number) from ledger"


class ExportTest(LabCase):
    """pg is exported; pg2 is only configured, and never runs."""

    lab_options = {"guest_name": "pg-disk", "memory_mib": 256, "history_s": 3600, "others": [{}]}
    protected = True

    def ask(self, sql: str) -> str:
        done = self.hosts.client([PSQL, "-Atc", sql, self.hosts.database.dsn], 30)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def assert_ledger(self, at_least: int, at_most: int):
        count, last, first = (int(number) for number in self.ask(LEDGER).split("|"))
        self.assertEqual((count, first), (last, 1), "the ledger has a hole")
        self.assertGreaterEqual(last, at_least, "a row was acknowledged and is not there")
        self.assertLessEqual(last, at_most, "a later row is there")

    def export(self, name: str, *words: str) -> dict:
        before, begun = self.commit_ms(), time.monotonic()
        done = self.hosts.understudy("b", "export", GUEST, str(self.directory / name), *words, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        exported = json.loads(done.stdout)["exported"]
        print(f"  exported {int(exported['pages']) / 256:.0f} MiB of memory and {int(exported['chunks']) / 16:.0f} of"
              f" disks to {int(exported['bytes']) / 2**20:.0f} MiB in {time.monotonic() - begun:.1f} s; the real"
              f" guest's commits {before:.1f} ms before, {self.commit_ms():.1f} ms after (p50)", file=sys.stderr)
        return exported

    def commit_ms(self) -> float:
        return self.guest("a")["commit_latency_us"]["p50"] / 1000

    def refused(self, host: str, *words: str) -> str:
        done = self.hosts.understudy(host, *words)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def refuse_exports(self):
        there = self.directory / "there"
        there.write_text("not to be lost")
        self.assertIn("--force", self.refused("b", "export", GUEST, str(there)))
        self.assertEqual(there.read_text(), "not to be lost")
        fresh = str(self.directory / "fresh")
        self.assertIn("on host b; give the command there", self.refused("a", "export", GUEST, fresh))
        self.assertIn("does not go back so far", self.refused("b", "export", GUEST, fresh, "--ago", "1h"))
        self.hosts.run("b", ["mount", "-t", "tmpfs", "-o", "size=64m", "small", SMALL_DISK])
        self.assertIn("another file system", self.refused("b", "export", GUEST, f"{SMALL_DISK}/pg"))
        self.assertEqual(self.hosts.run("b", ["ls", "-A", SMALL_DISK]).stdout, "")
        self.assertFalse(os.path.exists(fresh))

    def disk_of(self, host: str) -> tuple[bytes, bytes]:
        """What the guest's image holds, and what the host thinks of it."""
        image = self.hosts.lab.host(host).disk
        with open(image, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest(), (image.parent / STATE_FILE).read_bytes()

    def test_1_moments_are_written_while_the_guest_is_protected(self):
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            self.refuse_exports()
            # Soon after it: of what is older than 10 s only one epoch a second is kept.
            rows = len(ledger.acks())
            moment = datetime.now(timezone.utc)
            rows = len(ledger.wait_acks(rows + 10, 30))
            past = self.export("past", "--at", moment.strftime("%Y-%m-%d %H:%M:%S.%f"))
            verdict = ledger.stop()
            self.assertGreater(verdict.acknowledged, rows, "the guest stood still")
            self.assert_ledger_good(ledger, verdict)
        type(self).then = max(ack.number for ack in ledger.acks() if ack.realtime_ns <= moment.timestamp() * 1e9)
        self.assertLess(self.then + 1, verdict.acknowledged, "the moment is not in the past")
        newest = self.export("newest")
        self.assertLess(int(past["epoch"]), int(newest["epoch"]))
        for one in (past, newest):
            file = Path(one["path"])
            self.assertEqual(file.stat().st_size, int(one["bytes"]))
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
            self.assertGreater(int(one["pages"]), 1000)
            self.assertGreater(int(one["chunks"]), 100)
        type(self).newest_rows = verdict.acknowledged
        self.assert_epochs_advance()
        self.assertIn("the replica is identical", self.hosts.order("a", "verify", GUEST))

    def begin_export(self, target: Path) -> tuple[subprocess.Popen, set[str]]:
        """The command under way, and what was in the directory before it had written anything."""
        before = set(os.listdir(self.directory))
        export = self.hosts.lab.popen("b", ["understudy", "export", GUEST, str(target)], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
        self.assertTrue(export.stderr.readline(), "it did not begin")
        return export, before

    def test_2_an_export_ends_with_its_command_or_its_daemon_without_a_trace(self):
        target = self.directory / "torn"
        lab = self.hosts.lab
        export, before = self.begin_export(target)
        export.send_signal(signal.SIGINT)
        export.communicate(timeout=20)
        wait_for("the export to end", lambda: "the command was ended" in self.hosts.daemon_log("b"), 5)
        self.assertEqual(set(os.listdir(self.directory)), before)

        export, before = self.begin_export(target)
        lab.kill_service("b", "understudyd")
        export.communicate(timeout=20)
        if export.returncode != 0:  # else it was faster
            self.assertEqual(set(os.listdir(self.directory)), before)
        lab.start_service("b", "understudyd")
        self.hosts.wait_state("b", "PROTECTED", 90)

    def refuse_imports(self):
        """Of what is not whole, or not this guest's; and nothing is changed by it."""
        before = [self.disk_of(host) for host in ("a", "b")]
        whole = (self.directory / "past").read_bytes()
        bad = self.directory / "bad"
        for change, words in ((lambda: bad.write_bytes(whole[:len(whole) * 2 // 3]), "cut off"),
                              (lambda: bad.write_bytes(self.flipped(whole)), "damaged"),
                              (lambda: bad.write_bytes(b"QFI\xfb" * 100), "no checkpoint file"),
                              (bad.unlink, "No such file")):
            change()
            self.assertIn(words, self.refused("b", "import", GUEST, str(bad), "--yes"))
        past = str(self.directory / "past")
        self.assertIn("of guest pg, not of guest pg2", self.refused("b", "import", "pg2", past, "--yes"))
        self.assertIn("in a script say --yes", asked := self.refused("b", "import", GUEST, past))
        self.assertIn("This disk image is overwritten", asked)
        image = self.hosts.lab.host("b").disk
        size = image.stat().st_size
        os.truncate(image, size + 4096)
        self.assertIn("truncate -s", self.refused("b", "import", GUEST, past, "--yes"))
        os.truncate(image, size)
        self.hosts.wait_state("b", "STOPPED", 10)
        self.assertEqual(before, [self.disk_of(host) for host in ("a", "b")])

    @staticmethod
    def flipped(data: bytes) -> bytes:
        at = len(data) // 2
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]

    def test_3_the_guest_goes_on_from_a_file_and_is_protected(self):
        self.assertIn("runs already", self.refused("b", "import", GUEST, str(self.directory / "past"), "--yes"))
        self.hosts.order("a", "stop", GUEST)
        self.hosts.wait_state("b", "STOPPED", 30)
        self.refuse_imports()

        self.hosts.order("b", "import", GUEST, str(self.directory / "past"), "--yes")
        self.hosts.wait_database()
        self.assert_ledger(self.then, self.then + 1)
        check = [story.PG_AMCHECK, "--host", story.GUEST_ADDRESS, "--username", "postgres", "--heapallindexed",
                 "--table", "ledger", "--table", "pgbench_tellers", "bench"]
        checked = self.hosts.client(check, 60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

        self.hosts.wait_protected("b", "a")
        self.hosts.order("b", "stop", GUEST)
        self.hosts.wait_state("a", "STOPPED", 30)
        self.hosts.order("a", "import", GUEST, str(self.directory / "newest"), "--yes")
        self.hosts.wait_database()
        self.assert_ledger(self.newest_rows, self.newest_rows)
        self.hosts.protect("a", "b")
        with story.LedgerProcess(self.hosts, self.directory, "again") as ledger:
            ledger.wait_acks(20, 20)
            killed = self.hosts.kill("a")
            ledger.wait_ack_after(killed + 1_000_000_000, 30)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assertEqual(self.guest("b")["active_host"], "b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
