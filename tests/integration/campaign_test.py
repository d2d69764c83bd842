"""A few rounds of the fault campaign; the long ones are run by hand (tests/fault/campaign)."""

import subprocess
import unittest

from lab_case import LOGS, REPOSITORY, require_lab, test_seed

ROUNDS = 3


class CampaignTest(unittest.TestCase):
    def test_a_few_rounds(self):
        require_lab()
        LOGS.mkdir(parents=True, exist_ok=True)
        code = subprocess.call([REPOSITORY / "tests/fault/campaign", "--rounds", str(ROUNDS), "--seed", str(test_seed()),
                                "--output", LOGS / "campaign.json"])
        self.assertEqual(code, 0, "the campaign tells why")


if __name__ == "__main__":
    unittest.main()
