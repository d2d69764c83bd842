"""A backup that receives rubbish refuses it, says why, keeps its last commit and its session."""

import unittest

from lab_case import GUEST, LabCase, test_seed, wait_for

from labkit import story, wire
from labkit.plan import REPLICATION_PORT

PATIENCE_SECONDS = 15  # a connection that says nothing may live this long
AT_ONCE = 40           # connections that an attacker opens and forgets


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

    def test_each_is_refused_and_the_session_goes_on(self):
        for name, data in wire.attacks(test_seed()).items():
            with self.subTest(attack=name):
                said = len(self.hosts.daemon_log("b"))
                term = self.guest("a")["term"]
                self.assertIn(self.send(data), ("closed", "reset"), "the connection was left open")
                if data:
                    wait_for("the reason in b's log",
                             lambda said=said: len(self.hosts.daemon_log("b")) > said, 5)
                self.assert_epochs_advance()
                self.assertEqual(self.guest("a")["term"], term, "it caused a failover")
        self.assertIn("pc.ram", self.hosts.order("a", "verify", GUEST))

    def test_the_reasons_name_what_is_wrong(self):
        attacks = wire.attacks(1)
        for name, word in (("a wrong version", "version"), ("an oversized length", "at most"),
                           ("rubbish", "magic")):
            with self.subTest(attack=name):
                before = len(self.hosts.daemon_log("b"))
                self.send(attacks[name])
                wait_for(f"`{word}` in b's log", lambda word=word, before=before:
                         word in self.hosts.daemon_log("b")[before:].lower(), 5)

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
