"""A clone of the replica is asked in a network of its own, while the real guest works on. About 80 s."""

import json
import os
import re
import subprocess
import sys
import unittest
from datetime import datetime, timezone
from pathlib import Path

from lab_case import LabCase

from labkit import clone_watch, output_commit, pcap, story
from labkit.host import DAEMON
from labkit.hosts import GUEST
from labkit.story import wait_for

PSQL = "/usr/lib/postgresql/15/bin/psql"
STATE = "/var/lib/understudy/state"
DRILL_SECONDS = 100
PLAN = f"""
probe {{ tcp {{ port: 5432 }} timeout_s: 60 }}
probe {{ name: "ledger" timeout_s: 60 sql {{ psql: "{PSQL}" database: "bench"
  query: "select count(*), max(number), min(number) from ledger" }} }}
probe {{ name: "script" script {{ command: ["sh", "-c",
  "echo $GUEST $GUEST_ADDRESS $DRILL_EPOCH; ls /sys/class/net >/dev/null; ip -o -4 addr"] }} }}
"""


ASK_GDB = '''
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.settimeout(10)
s.sendall(b"+$?#3f")
said = b""
while b"$T" not in said:
    said += s.recv(100)
print(said)
'''

SHARED_BELOW = 100 << 20  # what a clone may have for itself that answered a query


class DrillCase(LabCase):
    """Not run by itself."""

    def drill(self, plan: str = "", host: str = "b") -> dict:
        words = ["drill", GUEST, "--json"]
        if plan:
            path = self.directory / "drill.plan"
            path.write_text(plan)
            words += ["--probe", str(path)]
        done = self.hosts.understudy(host, *words, timeout=DRILL_SECONDS)
        self.assertTrue(done.stdout, done.stderr)
        report = json.loads(done.stdout)["drill"]
        self.assertEqual(report["passed"], done.returncode == 0)
        return report

    def processes(self, host: str, name: str) -> list[int]:
        """Of the whole host, in whatever network."""
        space = os.readlink(f"/proc/{self.hosts.lab.host(host).init_pid()}/ns/pid")
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (os.readlink(entry / "ns/pid") == space
                        and (entry / "comm").read_text().startswith(name)):
                    found.append(int(entry.name))
            except OSError:
                pass  # it ended meanwhile
        return found

    def assert_nothing_left(self, host: str, machines: int):
        wait_for("the clone's end", lambda: len(self.processes(host, "qemu")) == machines, 10)
        files = self.hosts.run(host, ["find", STATE, "-type", "f"]).stdout.split()
        known = [file for file in files if re.search(r"/(record|availability|disks/.*|drills/[^/]*"
                                                     r"\.(json|html))$", file)]
        self.assertEqual(files, known)

    def assert_ledger_of_epoch(self, report: dict, acks_before: int, acks_after: int):
        said = next(probe["said"] for probe in report["probe"] if probe["name"] == "ledger")
        count, last, first = (int(number) for number in said.split("|"))
        self.assertEqual((count, first), (last, 1), "the clone's ledger has a hole")
        self.assertGreaterEqual(last, acks_before, "a row was acknowledged and the clone lacks it")
        self.assertLessEqual(last, acks_after + 1, "the clone went on by itself")

    def assert_evidence(self, report: dict):
        """What was told is what is kept, and it is whole."""
        path = f"{STATE}/drills/{report['id']}"
        kept = json.loads(self.hosts.run("b", ["cat", path + ".json"]).stdout)
        self.assertEqual(kept, report)
        page = self.hosts.run("b", ["cat", path + ".html"]).stdout
        self.assertIn(report["configuration_hash"], page)
        self.assertNotRegex(page, r"(?i)<script|src=|https?:")
        self.assertRegex(report["configuration_hash"], r"^[0-9a-f]{32}$")
        self.assertRegex(report["id"], rf"^{GUEST}-\d{{8}}T\d{{6}}Z$")
        self.assertLess(int(report["recovery_point_us"]), 1_000_000)
        self.assertGreater(int(report["recovery_us"]), 0)
        self.assertGreater(int(report["finished_unix_us"]), int(report["started_unix_us"]))
        steps = [step["name"] for step in report["step"]]
        self.assertEqual(steps[-1], "clean up")
        self.assertIn("copy what is not shared", steps)
        self.assert_memory_is_shared(report)

    def assert_memory_is_shared(self, clone: dict):
        self.assertGreater(int(clone["own_memory_bytes"]), 0)
        self.assertLess(int(clone["own_memory_bytes"]), SHARED_BELOW, "of a guest's memory")

    def drill_beside_a_ledger(self):
        capture = self.directory / "drill.pcap"
        of_backup = self.directory / "of-b.pcap"
        with self.hosts.trace(capture), clone_watch.sent_by(self.hosts, "b", of_backup), \
                story.LedgerProcess(self.hosts, self.directory) as ledger:
            before = len(ledger.wait_acks(20, 20))
            report = self.drill(PLAN)
            after = len(ledger.acks())
            verdict = ledger.stop()
            clone_watch.send_on_purpose(self.hosts, "b")
        self.assertTrue(report["passed"], report)
        self.assertTrue(report["hypervisor"].startswith("QEMU "), report)
        self.assert_ledger_of_epoch(report, before, after)
        self.assert_evidence(report)
        self.assert_ledger_good(ledger, verdict)
        self.assertEqual(clone_watch.counts(of_backup), (0, clone_watch.FRAMES), "of the clone, and on purpose")
        packets = list(pcap.read(capture))
        for finding in (output_commit.check_beacons(output_commit.beacons(packets)),
                        output_commit.check_streams(packets, story.GUEST_ADDRESS),
                        output_commit.check_no_reset(packets, story.GUEST_ADDRESS)):
            self.assertTrue(finding.good, finding.violations)
        self.assert_nothing_left("b", 1)
        self.assertIn("the replica is identical", self.hosts.order("a", "verify", GUEST))
        self.tell(report)

    def tell(self, report: dict):
        steps = ", ".join(f"{step['name']} {int(step['took_us']) / 1000:.0f}" for step in report["step"])
        before, worst = (report[when]["commit_latency_p50_us"] / 1000 for when in ("before", "worst"))
        print(f"  recovered in {int(report['recovery_us']) / 1000:.0f} ms ({steps} ms); the real guest's"
              f" commits {before:.1f} ms before, {worst:.1f} ms at worst (p50)", file=sys.stderr)


class DrillTest(DrillCase):
    protected = True

    def test_1_a_clone_answers_and_nobody_else_hears_it(self):
        self.drill_beside_a_ledger()

    def test_2_what_cannot_be_is_said(self):
        refused = self.hosts.understudy("a", "drill", GUEST)
        self.assertIn("on host b; give the command there", refused.stderr)
        refused = self.hosts.understudy("b", "rewind", GUEST, "--ago", "1s", "--yes")
        self.assertIn("no history of guest", refused.stderr)
        bad = self.directory / "bad.plan"
        bad.write_text('probe { http { port: 70000 } }')
        refused = self.hosts.understudy("b", "drill", GUEST, "--probe", str(bad))
        self.assertIn("the probe file:1", refused.stderr)
        failed = self.drill('probe { tcp { port: 9 } timeout_s: 1 }')
        self.assertIn("tcp 9", failed["failure"])
        self.assertFalse(failed["probe"][0]["passed"])
        self.assert_nothing_left("b", 1)
        listed = json.loads(self.hosts.order("b", "drills", "--json"))["drills"]["drill"]
        self.assertEqual([one["passed"] for one in listed], [False, True])

    def test_3_the_daemon_dies_in_the_middle(self):
        plan = 'probe { script { command: ["sleep", "1000"] } timeout_s: 60 }'
        path = self.directory / "long.plan"
        path.write_text(plan)
        lab = self.hosts.lab
        client = lab.popen("b", ["understudy", "drill", GUEST, "--probe", str(path)],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the clone's probe", lambda: self.hosts.run("b", ["pidof", "sleep"]).stdout.strip(), 60)
        self.assertEqual(len(self.processes("b", "qemu")), 2)
        lab.kill_service("b", DAEMON)
        client.wait(20)
        wait_for("its end", lambda: not self.hosts.run("b", ["pidof", "sleep"]).stdout.strip(), 10)
        self.assert_nothing_left("b", 0)
        self.hosts.wait_state("a", "UNPROTECTED", 20)
        lab.start_service("b", DAEMON)
        self.hosts.wait_state("a", "PROTECTED", 90)


class DrillDiskTest(DrillCase):
    lab_options = {"guest_name": "pg-disk", "memory_mib": 512, "history_s": 3600}
    protected = True

    def test_memory_and_disk_are_of_one_epoch(self):
        with story.Background(self.hosts, story.pgbench_command(100, 2),
                              self.directory / "pgbench.log"):
            self.drill_beside_a_ledger()

    def clone(self, *words: str) -> dict:
        done = self.hosts.understudy("b", "clone", GUEST, *words, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)["clone"]

    def test_the_past_runs_in_a_clone(self):
        plan = self.directory / "clone.plan"
        plan.write_text(PLAN)
        socket = "/tmp/clone.gdb"
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            then = len(ledger.wait_acks(20, 20))
            moment = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
            ledger.wait_acks(then + 40, 30)
            clone = self.clone("--at", moment, "--probe", str(plan), "--gdb", socket)
            refused = self.hosts.understudy("b", "clone", GUEST, "--ago", "1h")
            newest = len(ledger.acks())
            verdict = ledger.stop()
        self.assertIn("does not go back so far", refused.stderr)
        self.assertTrue(all(probe["passed"] for probe in clone["probe"]), clone)
        self.assert_ledger_of_epoch(clone, then, then)
        self.assertGreater(newest, then + 1, "the moment was not in the past")
        self.assert_ledger_good(ledger, verdict)
        history = json.loads(self.hosts.order("b", "history", GUEST, "--json"))["history"]
        self.assertLess(int(clone["epoch"]), int(history["newest"]["epoch"]))
        self.assertGreaterEqual(int(clone["epoch"]), int(history["oldest"]["epoch"]))
        inside = self.hosts.run("b", ["nsenter", f"--net={clone['network']}", "ip", "-o", "link"])
        self.assertNotIn("ring0", inside.stdout)
        self.assertIn("br0", inside.stdout)
        self.assertIn("$T", self.hosts.run("b", ["python3", "-c", ASK_GDB, socket]).stdout)
        listed = json.loads(self.hosts.order("b", "clones", "--json"))["clones"]["clone"]
        self.assertEqual([(one["id"], one["ended"]) for one in listed], [(clone["id"], "")])
        self.hosts.order("b", "clone", GUEST, "--stop", clone["id"])
        self.assert_nothing_left("b", 1)
        self.assertIn("the replica is identical", self.hosts.order("a", "verify", GUEST))

    def test_two_clones_share_memory_and_end_with_the_replica(self):
        plan = self.directory / "clones.plan"
        plan.write_text(PLAN)
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            counts = [len(ledger.wait_acks(20, 20))]
            clones = []
            for _ in range(2):
                clones.append(self.clone("--probe", str(plan)))
                counts.append(len(ledger.acks()))
            for number, clone in enumerate(clones):
                self.assert_ledger_of_epoch(clone, counts[number], counts[number + 1])
            listed = json.loads(self.hosts.order("b", "clones", "--json"))["clones"]["clone"]
            for clone in listed:
                self.assertEqual(clone["ended"], "")
                self.assert_memory_is_shared(clone)
            told = self.hosts.order("b", "clones")
            self.assertIn("the rest is shared with the replica", told)
            print(told, file=sys.stderr)
            self.hosts.kill("a")
            ledger.wait_acks(len(ledger.acks()) + 20, 30)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        wait_for("the clones' end", lambda: len(self.processes("b", "qemu")) == 1, 10)
        told = self.hosts.order("b", "clones")
        self.assertEqual(told.count("it ended"), 2, told)


if __name__ == "__main__":
    unittest.main(verbosity=2)
