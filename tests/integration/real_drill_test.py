"""A drill with the guest itself: to its backup and home again, while a client is at work. About 80 s."""

import json
import subprocess
import sys
import time
import unittest
from pathlib import Path

from lab_case import REPOSITORY, LabCase

from labkit import story
from labkit.hosts import GUEST
from labkit.story import wait_for

SCHEMA = REPOSITORY / "failover/drill_report.schema.json"
STATE = Path("/var/lib/understudy/state")
HOST_ADDRESS = "10.78.0.21"  # of host a on the guest network
DRILL_SECONDS = 300
SKIPPED = "no way to 10.78.0.10"
WAITS = ["wait until it is protected to host a", "wait until it is protected to host b"]
MOVES = ["switch over to host b", "switch back to host a"]
QUESTIONS = [f"ask the guest {where}" for where in ("before", "on host b", "on host a")]


class RealDrillTest(LabCase):
    protected = True

    def drill(self, *words: str) -> dict:
        done = self.hosts.understudy("a", "drill", GUEST, "--real", "--yes", "--json", *words,
                                     timeout=DRILL_SECONDS)
        self.assertTrue(done.stdout, done.stderr)
        report = json.loads(done.stdout)["drill"]
        self.assertEqual(report["passed"], done.returncode == 0, report)
        self.assertIn("moves from host a to host b and back", done.stderr)
        return report

    def assert_home(self):
        seen = self.hosts.wait_state("a", "PROTECTED", 5)
        self.assertEqual((seen["active_host"], seen["backup_host"]), ("a", "b"))

    def assert_evidence(self, report: dict):
        """What was told is what is kept, and it is whole."""
        path = STATE / "drills" / report["id"]
        kept = json.loads(self.hosts.run("a", ["cat", f"{path}.json"]).stdout)
        self.assertEqual(kept, report)
        import jsonschema  # Debian's, for the system's Python
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(kept)
        page = self.hosts.run("a", ["cat", f"{path}.html"]).stdout
        self.assertIn("the guest itself, to its backup and back", page)
        self.assertIn(report["configuration_hash"], page)
        self.assertEqual(kept["kind"], "real")
        self.assertEqual([(move["from"], move["to"]) for move in kept["move"]], [("a", "b"), ("b", "a")])
        for move in kept["move"]:
            self.assertGreater(int(move["stood_still_us"]), 0)
        self.assertGreater(int(kept["recovery_us"]), 0)
        listed = json.loads(self.hosts.order("a", "drills", "--json"))["drills"]["drill"]
        self.assertEqual(listed[0], report)

    def tell(self, report: dict):
        steps = ", ".join(f"{step['name']} {int(step['took_us']) / 1e6:.2f} s" for step in report["step"])
        still = ", ".join(f"{int(move['stood_still_us']) / 1000:.1f} ms" for move in report["move"])
        print(f"  stood still for {still}; recovered in {int(report['recovery_us']) / 1000:.0f} ms; {steps}",
              file=sys.stderr)

    def test_1_what_cannot_be_is_said_and_nothing_moves(self):
        refused = self.hosts.understudy("b", "drill", GUEST, "--real", "--yes")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("runs on host a; give the command there", refused.stderr)
        asked = self.hosts.understudy("a", "drill", GUEST, "--real")
        self.assertEqual(asked.returncode, 1)
        self.assertIn("moves from host a to host b and back", asked.stderr)
        self.assertIn(SKIPPED, asked.stderr)
        self.assertIn("nothing was done", asked.stderr)
        self.assert_home()

    def test_2_there_and_back_beside_a_ledger(self):
        self.hosts.run("a", ["ip", "addr", "add", f"{HOST_ADDRESS}/24", "dev", "br0"])
        capture = self.directory / "real.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            report = self.drill()
            ledger.wait_ack_after(time.time_ns(), 10)
            verdict = ledger.stop()
        self.tell(report)
        self.assertTrue(report["passed"], report)
        self.assert_home()
        self.assert_evidence(report)
        self.assertEqual([step["name"] for step in report["step"]],
                         [QUESTIONS[0], MOVES[0], QUESTIONS[1], WAITS[0], MOVES[1], QUESTIONS[2], WAITS[1]])
        self.assertEqual([probe["name"] for probe in report["probe"]],
                         [f"tcp 5432, {when}" for when in ("before", "on b", "on a")])
        self.assert_ledger_good(ledger, verdict)
        self.assert_wire_good(capture)

    def test_3_a_guest_that_does_not_answer_is_not_moved(self):
        plan = self.directory / "real.plan"
        plan.write_text('probe { tcp { port: 9 } timeout_s: 1 }')
        term = self.guest("a")["term"]
        report = self.drill("--probe", str(plan))
        self.assertFalse(report["passed"])
        self.assertIn("before anything was done. Now guest pg runs at home, on host a, protected to b",
                      report["failure"])
        self.assertEqual(report["move"], [])
        self.assertEqual(self.guest("a")["term"], term)

    def test_4_without_a_way_to_the_guest_it_is_not_asked(self):
        self.hosts.run("a", ["ip", "addr", "del", f"{HOST_ADDRESS}/24", "dev", "br0"])
        report = self.drill()
        self.assertTrue(report["passed"], report)
        self.assertIn(SKIPPED, report["probes_skipped"])
        self.assertEqual([step["name"] for step in report["step"]], [MOVES[0], WAITS[0], MOVES[1], WAITS[1]])
        self.assertEqual(report["probe"], [])
        self.assert_evidence(report)
        self.assert_home()

    def test_5_the_daemon_is_stopped_in_the_middle(self):
        lab = self.hosts.lab
        client = lab.popen("a", ["understudy", "drill", GUEST, "--real", "--yes"], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
        wait_for("the guest on b", lambda: self.guest("a").get("active_host") == "b", 30)
        lab.stop_service("a")
        said = client.communicate(timeout=20)[0]
        self.assertNotEqual(client.returncode, 0)
        self.assertIn("understudy status", said)
        lab.start_service("a")
        self.hosts.wait_protected("b", "a")
        last = json.loads(self.hosts.order("a", "drills", "--json"))["drills"]["drill"][0]
        self.assertFalse(last["passed"])
        self.assertEqual([(move["from"], move["to"]) for move in last["move"]], [("a", "b")])
        self.assertIn("this host's daemon was stopped", last["failure"])
        self.assertIn("Now guest pg runs on host b, not at home, without a backup. To bring it home:"
                      " `understudy switchover pg` on host b", last["failure"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
