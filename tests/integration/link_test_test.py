"""`understudy link test`: the path to the other host is measured, also beside a protected guest."""

import re
import unittest

from lab_case import LabCase


class LinkTestTest(LabCase):
    protected = True

    def test_every_link_is_measured(self):
        done = self.hosts.understudy("a", "link", "test", "b")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        rows = re.findall(r"^([* ]) (\S+).* ([\d.]+) ([KMG])iB/s +([\d.]+) (us|ms)", done.stdout, re.MULTILINE)
        self.assertTrue(rows, done.stdout)
        self.assertEqual([row[0] for row in rows].count("*"), 1, "one link is the configured one")
        for _, name, _, unit, _, _ in rows:
            self.assertIn(unit, "MG", f"{name} is slower than a megabyte a second: {done.stdout}")
        self.assert_epochs_advance()

    def test_the_backup_is_asked_too(self):
        done = self.hosts.understudy("b", "link", "test", "a")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_without_its_daemon_a_host_is_named(self):  # the last: it ends the protection
        self.hosts.lab.stop_service("b")
        try:
            done = self.hosts.understudy("a", "link", "test", "b")
            self.assertEqual(done.returncode, 1)
            self.assertIn("host b cannot be reached", done.stdout)
        finally:
            self.hosts.lab.start_service("b")


if __name__ == "__main__":
    unittest.main()
