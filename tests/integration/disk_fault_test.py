"""One kill for each guest whose hardware is unlike pg-disk's; `tests/fault/disks` has more. About half a minute each."""

import random
import unittest

from lab_case import LabCase, test_seed

from labkit.disk_faults import DiskFaults


class MariaTest(LabCase):
    """MariaDB on SCSI."""

    lab_options = {"guest_name": "maria", "memory_mib": 512}

    def test_its_host_dies(self):
        faults = DiskFaults(self.hosts, self.directory, random.Random(test_seed()))
        faults.begin()
        self.assertEqual(faults.compare(), [])
        self.assertEqual(faults.kill().failures, [])
        self.assertEqual(faults.end(), [])


class LegacyTest(MariaTest):
    """IDE, e1000 and VGA, which its console is."""

    lab_options = {"guest_name": "pg-legacy", "memory_mib": 512}


if __name__ == "__main__":
    unittest.main(verbosity=2)
