"""The replica is the primary's memory at a sealed epoch: every block, byte by byte, under load."""

import unittest

from lab_case import GUEST, LabCase

from labkit import story

TIMES = 5


class IdentityTest(LabCase):
    protected = True

    def test_every_block_is_identical_under_pgbench(self):
        with story.Background(self.hosts, story.pgbench_command(120),
                              self.directory / "pgbench.log") as bench:
            for attempt in range(1, TIMES + 1):
                with self.subTest(attempt=attempt):
                    self.assertTrue(bench.running, bench.text())
                    said = self.hosts.order("a", "verify", GUEST)
                    self.assertIn("pc.ram", said)
                    self.assertNotIn("differ", said.lower())
                    self.assert_epochs_advance()

    def test_at_rest(self):
        self.assertIn("pc.ram", self.hosts.order("a", "verify", GUEST))


class IdentityOverVhostTest(IdentityTest):
    """The daemon itself writes into the guest's memory, beside QEMU: frames and rings."""

    lab_options = {"backend": "vhost_user"}


if __name__ == "__main__":
    unittest.main()
