"""A backup that receives rubbish refuses it, says why, keeps its last commit and its session."""

import re
import unittest

from lab_case import GUEST, LabCase, test_seed, wait_for

from labkit import story, wire
from labkit.plan import REPLICATION_PORT

PATIENCE_SECONDS = 15  # a connection that says nothing may live this long
AT_ONCE = 40           # connections that an attacker opens and forgets
# What the line in the backup's log says, besides who was refused.
REASONS = {
    "rubbish": "magic",
    "an HTTP request": "magic",
    "half a header": "ended in the middle of a frame",
    "a truncated hello": "ended in the middle of a frame",
    "a wrong version": "version 99",
    "an oversized length": "at most [0-9]+ are allowed",
    "an unknown type": "unknown type 200",
    "a wrong checksum": "checksum",
    "pages without a hello": "checksum|not expected",
    "a commit from nowhere": "sequence number|checksum|not expected",
    "nothing": "said nothing within",
}


class HostileReplicationTest(LabCase):
    protected = True

    @property
    def backup(self) -> str:
        return self.hosts.lab.plan.address("b")

    def send(self, data: bytes) -> str:
        done = self.hosts.run("w", [story.PYTHON, "-c", wire.SENDER, self.backup,
                                    str(REPLICATION_PORT), data.hex(), str(PATIENCE_SECONDS)])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()[0]

    def test_each_is_refused_with_its_reason_and_the_session_goes_on(self):
        attacks = wire.attacks(test_seed())
        self.assertEqual(attacks.keys(), REASONS.keys())
        for name, data in attacks.items():
            with self.subTest(attack=name):
                said = len(self.hosts.daemon_log("b"))
                term = self.guest("a")["term"]
                self.assertIn(self.send(data), ("closed", "reset"), "the connection was left open")
                self.wait_refusal(said, REASONS[name])
                self.assert_epochs_advance()
                self.assertEqual(self.guest("a")["term"], term, "it caused a failover")
        self.assertIn("pc.ram", self.hosts.order("a", "verify", GUEST))

    def wait_refusal(self, said: int, reason: str):
        """A line of b's log, younger than its first `said` characters, names the peer and why."""
        address = re.escape(self.hosts.lab.plan.address("w"))
        line = re.compile(rf"replication\.refused from={address}:\d+ why=\".*({reason})")
        wait_for(f"`{reason}` in b's log",
                 lambda: line.search(self.hosts.daemon_log("b")[said:]), 5)

    def test_many_silent_connections_do_not_stop_it(self):
        script = ("import socket, sys, time\n"
                  "peers = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
                  f" for _ in range({AT_ONCE})]\n"
                  "print('all', flush=True)\n"
                  "time.sleep(3)\n")
        done = self.hosts.run("w", [story.PYTHON, "-c", script, self.backup, str(REPLICATION_PORT)])
        # Refusing some of them is as good as taking them.
        self.assertTrue(done.returncode == 0 or "Connection" in done.stderr, done.stderr)
        self.assert_epochs_advance()


if __name__ == "__main__":
    unittest.main()
