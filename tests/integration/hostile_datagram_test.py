"""An attacker on the Ethernet segment of the datagram link: he hears all, and says what he likes.

No word of his changes the replica, promotes anybody or ends a daemon; the guest stays protected.
"""

import signal
import subprocess
import sys
import time
import unittest

from lab_case import GUEST, LabCase, test_seed, wait_for

from labkit import story
from labkit.host import DAEMON
from labkit.intruder import ATTACKS, read_record
from labkit.story import LAB_DIRECTORY, PYTHON

RECORDED_FRAMES = 400
ATTACK_SECONDS = 1.5
CALM_SECONDS = 10    # after an attack, until all is as before
CUT_SECONDS = 6.0    # more than the link's patience with silence
RESUME_SECONDS = 4.0


class HostileDatagramTest(LabCase):
    lab_options = {"link": "dpdk", "uplink": "dpdk"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seed = test_seed()
        cls.namespace = cls.hosts.lab.network.plug_in()
        cls.hosts.start_guest("a")
        cls.earlier = cls.record_while("earlier", lambda: cls.hosts.protect("a", "b"))
        cls.hosts.order("a", "unprotect", GUEST)
        cls.current = cls.record_while("current", lambda: cls.hosts.protect("a", "b"))

    @classmethod
    def intruder(cls, *words: str) -> subprocess.Popen:
        """Is at work when this returns."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", cls.namespace, "env", f"PYTHONPATH={LAB_DIRECTORY}", PYTHON, "-m",
             "labkit.intruder", *words], stdout=subprocess.PIPE, text=True)
        if not process.stdout.readline():
            raise story.StoryError(f"the intruder ended with {process.wait()}")
        return process

    @classmethod
    def record_while(cls, name: str, action) -> str:
        """The first frames of a session, as he hears them."""
        path = cls.directory / name
        with cls.intruder("record", str(path), str(RECORDED_FRAMES)) as listener:
            try:
                action()
                listener.wait(CALM_SECONDS)
            finally:
                listener.send_signal(signal.SIGKILL)
        return str(path)

    def attack(self, name: str, seconds: float, record: str) -> subprocess.Popen:
        return self.intruder("attack", name, record, str(seconds), str(self.seed), self.hosts.lab.name)

    def daemons(self) -> list[int]:
        return [self.hosts.lab.host(name).service_pid(DAEMON) for name in self.hosts.lab.hosts]

    def assert_as_before(self, term: int, daemons: list[int]):
        seen = self.hosts.wait_state("a", "PROTECTED", CALM_SECONDS)
        self.assertEqual((seen["active_host"], seen["term"]), ("a", term), "somebody was promoted")
        wait_for("the link", lambda: self.guest("a")["link"].endswith(" up encrypted"), CALM_SECONDS)
        self.assert_epochs_advance()
        self.assertEqual(self.daemons(), daemons, "a daemon ended")

    def test_1_what_he_heard_is_a_session_and_tells_him_nothing(self):
        self.assertTrue(self.guest("a")["link"].endswith(" up encrypted"), self.guest("a")["link"])
        for path in (self.earlier, self.current):
            frames = read_record(self.directory / path)
            self.assertGreater(len(frames), 100)
            self.assertGreater(len({frame.source for frame in frames}), 1, "both sides were heard")
            said = b"".join(frame.packet for frame in frames)
            self.assertNotIn(GUEST.encode() + b".ram", said)
            self.assertNotIn(b"USDY", said, "a frame in clear text")

    def test_2_no_attack_harms_the_guest_or_its_protection(self):
        term, daemons = self.guest("a")["term"], self.daemons()
        with story.LedgerProcess(self.hosts, self.directory) as ledger:
            ledger.wait_acks(10, 20)
            for name, record in [*((name, self.current) for name in ATTACKS), ("replay", self.earlier)]:
                with self.subTest(attack=name, record=record, seed=self.seed):
                    began = time.monotonic()
                    with self.attack(name, ATTACK_SECONDS, record) as attacker:
                        sent = int(attacker.stdout.read())
                    self.assertGreater(sent, 10, "nothing was sent")
                    self.assert_as_before(term, daemons)
                    print(f"  {name}: {sent} frames, calm after {time.monotonic() - began:.1f} s",
                          file=sys.stderr)
            acks = len(ledger.acks())
            ledger.wait_acks(acks + 20, CALM_SECONDS)
            verdict = ledger.stop()
        self.assert_ledger_good(ledger, verdict)
        self.assertNotIn("differ", self.hosts.order("a", "verify", GUEST).lower())

    def test_3_a_broken_link_is_mended_under_floods_of_greetings_and_false_answers(self):
        term, daemons = self.guest("a")["term"], self.daemons()
        for name in ("greetings", "answers"):
            with self.subTest(attack=name, seed=self.seed):
                seconds = CUT_SECONDS + 2 * RESUME_SECONDS
                with self.attack(name, seconds, self.current) as attacker:
                    self.hosts.lab.cut("a", "b", network="replication")
                    wait_for("the link to be down", lambda: " down " in self.guest("a")["link"], CUT_SECONDS)
                    self.hosts.lab.heal()
                    healed = time.monotonic()
                    wait_for("the link to be up", lambda: " up " in self.guest("a")["link"], RESUME_SECONDS)
                    print(f"  {name}: resumed {time.monotonic() - healed:.2f} s after the repair",
                          file=sys.stderr)
                    self.assertIsNone(attacker.poll(), "he gave up first")
                    attacker.kill()
                self.assert_as_before(term, daemons)
        self.assertNotIn("differ", self.hosts.order("a", "verify", GUEST).lower())


if __name__ == "__main__":
    unittest.main()
