"""The guest itself goes back to an epoch of its history; what it did since then is kept as a branch, from which it
can be started. About 110 s."""

import json
import signal
import subprocess
import sys
import time
import unittest
from datetime import datetime, timezone

from lab_case import LabCase

from labkit import story
from labkit.hosts import GUEST
from labkit.story import wait_for

PSQL = "/usr/lib/postgresql/15/bin/psql"
BRANCHES = "/var/lib/understudy/state/branches"
REWIND_SECONDS = 120
# The ledger rests so long before the moment: the history may have but one epoch of each second.
REST_US = 1_500_000


class RewindTest(LabCase):
    lab_options = {"guest_name": "pg-disk", "memory_mib": 256, "history_s": 3600}
    protected = True

    def refused(self, host: str, *words: str) -> str:
        done = self.hosts.understudy(host, "rewind", GUEST, *words, timeout=30)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    def history(self, host: str = "b") -> dict:
        return json.loads(self.hosts.order(host, "history", GUEST, "--json"))["history"]

    def seconds_kept(self, host: str = "b") -> float:
        history = self.history(host)
        ends = [int(history.get(end, {}).get("committed_unix_us", 0)) for end in ("oldest", "newest")]
        return (ends[1] - ends[0]) / 1e6

    def ledger_rows(self) -> list[int]:
        """Of the table as it is now."""
        self.hosts.wait_database()
        done = self.hosts.client([PSQL, "-h", story.GUEST_ADDRESS, "-U", "postgres", "-d", "bench", "-At",
                                  "-c", "select number from ledger order by number"], timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [int(line) for line in done.stdout.split()]

    def assert_amcheck(self):
        good, said = story.amcheck(self.hosts)
        self.assertTrue(good, said)

    def test_1_what_cannot_be_is_said_and_changes_nothing(self):
        before = self.hosts.wait_state("a", "PROTECTED", 10)
        wait_for("a history of some seconds", lambda: self.seconds_kept() > 4, 30)
        self.assertIn("on host b; give the command there", self.refused("a", "--ago", "1s", "--yes"))
        self.assertIn("does not go back so far", self.refused("b", "--ago", "1h", "--yes"))
        self.assertIn("has not come yet", self.refused("b", "--epoch", "999999999", "--yes"))
        self.assertIn("say how far back", self.refused("b", "--yes"))
        asked = self.refused("b", "--ago", "2s")
        self.assertIn(f"is kept as a branch in {BRANCHES}", asked)
        self.assertIn("nothing was done", asked)
        full = [f"{BRANCHES}/{GUEST}-20200101T00000{number}Z-1.checkpoint" for number in range(8)]
        self.hosts.run("b", ["mkdir", "-p", BRANCHES])
        self.hosts.run("b", ["touch", *full])
        self.assertIn(f"remove one, the oldest is {full[0]}", self.refused("b", "--ago", "2s", "--yes"))
        self.hosts.run("b", ["rm", *full])
        seen = self.hosts.wait_state("a", "PROTECTED", 10)
        self.assertEqual((seen["active_host"], seen["term"]), ("a", before["term"]))

    def moment_at_rest(self, host: str) -> dict:
        """An epoch before which the ledger has stood still for a while, and so has what follows from it."""
        stopped_us = time.time_ns() // 1000

        def later():
            newest = self.history(host).get("newest", {"committed_unix_us": 0})
            return newest if int(newest["committed_unix_us"]) > stopped_us + REST_US else None

        return wait_for("an epoch after the ledger's last", later, 30)

    def test_2_what_fails_on_the_way_leaves_the_newest_epoch(self):
        """No branch can be written: it is a switchover like any other, and says why it is no more."""
        for command in (["mkdir", "-p", BRANCHES],
                        ["mount", "-t", "tmpfs", "-o", "size=4g,nr_inodes=1", "none", BRANCHES]):
            self.assertEqual(self.hosts.run("b", command).returncode, 0)
        with story.LedgerProcess(self.hosts, self.directory, "unharmed") as ledger:
            ledger.wait_acks(20, 20)
            said = self.refused("b", "--ago", "1s", "--yes")
            self.assertIn("was not rewound: its future could not be kept", said)
            self.assertIn("runs on this host now, at its newest epoch", said)
            ledger.wait_ack_after(time.time_ns(), 20)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.hosts.run("b", ["umount", BRANCHES])
        self.hosts.wait_protected("b", "a")

    def test_3_ended_by_its_operator_it_leaves_the_newest_epoch(self):
        with story.LedgerProcess(self.hosts, self.directory, "ended") as ledger:
            ledger.wait_acks(20, 20)
            wait_for("a history of some seconds", lambda: self.seconds_kept("a") > 2, 30)
            rewind = self.hosts.lab.popen("a", ["understudy", "rewind", GUEST, "--ago", "1s", "--yes"],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            self.assertTrue(any("keeping the future" in line for line in rewind.stderr), "it did not begin")
            rewind.send_signal(signal.SIGINT)
            rewind.communicate(timeout=20)
            ledger.wait_ack_after(time.time_ns() + 1_000_000_000, 30)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assertIn("the command was ended", self.hosts.daemon_log("a") + self.hosts.daemon_log("b"))
        for host in "ab":
            self.assertEqual(self.hosts.run(host, ["ls", "-A", BRANCHES]).stdout, "")
        if self.guest("a")["active_host"] == "a":  # it was handed over, and went on as it was
            self.hosts.wait_protected("a", "b")
            self.hosts.order("a", "switchover", GUEST)
        self.hosts.wait_protected("b", "a")

    def test_4_it_goes_back_and_is_protected_again(self):
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            ledger.process_.process_.send_signal(signal.SIGSTOP)
            moment = self.moment_at_rest("a")
            then = len(ledger.acks())
            ledger.process_.process_.send_signal(signal.SIGCONT)
            ledger.wait_acks(then + 40, 30)
            at = datetime.fromtimestamp(int(moment["committed_unix_us"]) / 1e6, timezone.utc)
            began = time.time_ns()
            done = self.hosts.understudy("a", "rewind", GUEST, "--to", at.strftime("%Y-%m-%d %H:%M:%S.%f"),
                                         "--yes", "--json", timeout=REWIND_SECONDS)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            took = (time.time_ns() - began) / 1e9
            ledger.process_.kill()
            newest = len(ledger.acks())
        told = json.loads(done.stdout)["rewound"]
        print(f"  went back to before {newest - then} rows in {took:.1f} s, stood still for"
              f" {int(told.get('stood_still_us', 0)) / 1e6:.2f} s, branch of"
              f" {int(told['branch']['bytes']) >> 20} MiB", file=sys.stderr)
        self.assertLessEqual(int(told["now"]["epoch"]), int(moment["epoch"]))
        self.assertGreater(int(told["abandoned"]["epoch"]), int(moment["epoch"]))
        self.assertEqual(told["host"], "a")

        rows = self.ledger_rows()
        self.assertEqual(rows, list(range(1, len(rows) + 1)), "the ledger has a hole")
        self.assertIn(len(rows), (then, then + 1), "it is not the epoch that was asked for")
        self.assertGreater(newest, then + 1, "there was no future to abandon")
        self.assert_amcheck()

        self.hosts.wait_protected("a", "b")
        self.assertIn("the replica is identical", self.hosts.order("a", "verify", GUEST))
        self.assertEqual([one["path"] for one in self.history("a")["branch"]], [told["branch"]["path"]])
        self.assertTrue(told["branch"]["path"].startswith(f"{BRANCHES}/{GUEST}-"))
        self.assertGreater(int(told["branch"]["bytes"]), 1 << 20)
        type(self).branch = told["branch"]["path"]
        type(self).abandoned_rows = newest

    def test_5_its_host_dies_and_it_goes_on(self):
        with story.LedgerProcess(self.hosts, self.directory, "second") as ledger:
            ledger.wait_acks(20, 20)
            killed = self.hosts.kill("a")
            self.hosts.wait_promotion("b", killed, 20)
            ledger.wait_ack_after(time.time_ns(), 20)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assert_amcheck()

    def test_6_the_abandoned_future_can_be_started(self):
        self.hosts.bring_back("a", "b")
        self.hosts.order("a", "import", GUEST, self.branch, "--yes", timeout=REWIND_SECONDS)
        rows = self.ledger_rows()
        self.assertEqual(rows, list(range(1, len(rows) + 1)), "the ledger has a hole")
        self.assertIn(len(rows), (self.abandoned_rows, self.abandoned_rows + 1))
        self.assert_amcheck()


if __name__ == "__main__":
    unittest.main()
