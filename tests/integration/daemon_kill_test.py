"""The death of understudyd alone equals the death of its host: QEMU dies with it, the
backup takes over.
"""

import time
import unittest

from lab_case import LabCase, wait_for

from labkit import kill_story


class DaemonKillTest(LabCase):
    protected = True

    def test_equals_the_death_of_the_host(self):
        result = kill_story.KillResult()
        kill_story.tell(self.hosts, self.directory, 1.0, result, strike=self.strike)
        self.assertEqual(result.failures(), [])
        self.assertFalse(self.qemu_runs("a"), "a QEMU outlived its daemon")
        self.assertTrue(self.qemu_runs("b"))

    def strike(self) -> int:
        moment = self.hosts.lab.kill_service("a")
        begin = time.monotonic()
        wait_for("QEMU on a to die", lambda: not self.qemu_runs("a"), 2, every=0.01)
        self.assertLess(time.monotonic() - begin, 1.0, "it lived on without supervision")
        return moment.realtime_ns


if __name__ == "__main__":
    unittest.main()
