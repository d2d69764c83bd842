"""Two hosts without a witness: nobody takes over before the other is known to be dead, by fencing or by an
operator's word."""

import json
import time
import unittest

from lab_case import LabCase, wait_for

from labkit import power_switch, story

PROMOTION_SECONDS = 20
A_SWITCH_THAT_FAILS = 6  # seconds in which a wrong promotion would have happened


class TwoHostsCase(LabCase):
    lab_options = {"hosts": 2, "fencing": {"a": 4000, "b": 0}}

    def warnings(self, host: str) -> str:
        return "\n".join(self.hosts.status(host).get("warning", []))

    def wait_warning(self, host: str, text: str, seconds: float = 20):
        wait_for(f"{host} to warn: {text}", lambda: text in self.warnings(host), seconds)

    def fencing(self, host: str) -> dict:
        return self.hosts.status(host).get("fencing", {})

    def wait_protected(self, active: str, backup: str):
        wait_for(f"{active} to protect its guest to {backup}", lambda: (
            (seen := self.guest(active)).get("state"), seen.get("backup_host")) == ("PROTECTED", backup), 90)

    def assert_goes_on(self, ledger, since_ns: int, host: str = "b"):
        promoted = self.hosts.wait_promotion(host, since_ns, PROMOTION_SECONDS)
        ledger.wait_ack_after(promoted["last_failover"]["running_unix_us"] * 1000, 15)
        verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)


class FencingTest(TwoHostsCase):
    protected = True

    def tearDown(self):
        power_switch.behave(self.hosts.lab)

    def test_1_a_host_that_hangs_is_fenced_and_its_guest_goes_on(self):
        """It stands still, so that nothing but the fence ends it."""
        lab = self.hosts.lab
        capture = self.directory / "fenced.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            frozen = lab.freeze("a")
            self.assert_goes_on(ledger, frozen.realtime_ns)
        self.assertFalse(lab.host("a").running(), "a was not fenced")
        self.assertEqual(self.fencing("b").get("state"), "SUCCEEDED")
        self.assertEqual(self.hosts.status("b")["quorum"].get("goes_on_without"), "a")
        self.assert_wire_good(capture, frozen.realtime_ns)
        lab.start("a")
        self.wait_protected("b", "a")
        self.assertEqual(self.hosts.status("b")["quorum"].get("goes_on_without"), "")

    def test_2_a_fence_that_fails_lets_nobody_take_over_until_an_operator_confirms(self):
        """The backup of b is a now: the roles of the first test are exchanged."""
        lab = self.hosts.lab
        power_switch.behave(lab, fails=True)
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            refused = self.hosts.understudy("a", "confirm-dead", "b", "--yes")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("is not dead: it is in the cluster now", refused.stderr)
            killed_ns = self.hosts.kill("b")
            self.wait_warning("a", "fencing has failed 2 times: ")
            self.assertIn("does not answer", self.warnings("a"))
            self.assertIn("`understudy confirm-dead b`", self.warnings("a"))
            self.assertEqual(self.fencing("a").get("state"), "GAVE_UP")
            time.sleep(A_SWITCH_THAT_FAILS)
            self.assertEqual(self.guest("a").get("active_host"), "b")
            unsure = self.hosts.understudy("a", "confirm-dead", "b")
            self.assertEqual(unsure.returncode, 1)
            self.assertIn("is the newest", unsure.stderr)
            self.assertIn("guest pg: term", unsure.stderr)
            self.assertIn("nothing was done", unsure.stderr)
            self.hosts.order("a", "confirm-dead", "b", "--yes")
            self.assert_goes_on(ledger, killed_ns, "a")
        again = self.hosts.understudy("a", "confirm-dead", "b", "--yes")
        self.assertIn("not needed", again.stderr)

    def test_3_of_two_that_cannot_see_each_other_one_survives(self):
        """Both live, both may fence: the delay decides for a, where the guest runs."""
        lab = self.hosts.lab
        lab.start("b")
        self.wait_protected("a", "b")
        capture = self.directory / "race.pcap"
        with self.hosts.trace(capture), story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            cut = lab.cut("a")
            wait_for("b to be fenced", lambda: not lab.host("b").running(), 15)
            ledger.wait_ack_after(time.time_ns(), 15)
            time.sleep(5)  # in which b's agent, begun before its death, would have struck
            self.assertTrue(lab.host("a").running(), "both were fenced")
            ledger.wait_ack_after(time.time_ns(), 5)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assert_wire_good(capture, cut.realtime_ns)

    def test_4_a_clean_stop_needs_no_fence(self):
        lab = self.hosts.lab
        lab.heal()
        lab.start("b")
        self.wait_protected("a", "b")
        power_switch.behave(lab, fails=True)
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(20, 20)
            stopped_ns = time.time_ns()
            lab.stop_service("a")
            self.assert_goes_on(ledger, stopped_ns)
        self.assertTrue(lab.host("a").running())
        self.assertEqual(self.fencing("b").get("failures", 0), 0)


class LoneHostTest(TwoHostsCase):
    """No fencing: nobody takes over by itself. A host that boots alone knows that it may be behind."""

    lab_options = {"hosts": 2}

    def test_a_lone_host_waits_for_an_operator(self):
        lab = self.hosts.lab
        self.assertIn("no automatic failover", self.warnings("a"))
        self.hosts.order("a", "start", "pg")
        for host in "ab":
            lab.kill(host)
        lab.start("b", wait=False)
        self.wait_warning("b", "may remember old things")
        refused = self.hosts.understudy("b", "start", "pg")
        self.assertEqual(refused.returncode, 1)
        unsure = self.hosts.understudy("b", "confirm-dead", "a")
        self.assertIn("may be OLD", unsure.stderr)
        self.assertRegex(unsure.stderr, r"guest pg: term \d+, ran on host a, backup no host")
        self.hosts.order("b", "confirm-dead", "a", "--yes")
        wait_for("b to go on alone", lambda: self.hosts.status("b")["quorum"].get("goes_on_without") == "a", 10)
        self.hosts.order("b", "start", "pg")
        # What was decided by the operator's word holds when the other comes back with its own memory.
        lab.start("a")
        wait_for("a to know", lambda: self.guest("a").get("active_host") == "b", 30)
        self.assertTrue(self.qemu_runs("b"))
        self.assertEqual(json.loads(self.hosts.order("a", "status", "--json"))["guest"][0]["active_host"], "b")


if __name__ == "__main__":
    unittest.main()
