"""The guest survives the death of its host at random moments, and nobody outside can tell.

UNDERSTUDY_ROUNDS and UNDERSTUDY_SEED change how often and when.
"""

import os
import random
import sys
import unittest

from lab_case import LabCase, test_seed

from labkit import kill_story

ROUNDS = int(os.environ.get("UNDERSTUDY_ROUNDS", "3"))
KILL_AFTER = (0.3, 3.0)


class SurvivesKillTest(LabCase):
    """Host a dies, then b, then a ...: the same guest all the time, with a disk of its own or without."""

    rounds = ROUNDS
    protected = True

    def test_at_random_moments(self):
        seed = test_seed()
        moments = random.Random(seed)
        for number in range(1, self.rounds + 1):
            delay = moments.uniform(*KILL_AFTER)
            victim, survivor = "ab" if number % 2 else "ba"
            print(f"  round {number}: host {victim} dies after {delay:.3f} s", file=sys.stderr)
            if number > 1:
                self.hosts.heal(survivor, victim)
            self.one_round(delay, victim, survivor)

    def one_round(self, delay: float, victim: str, survivor: str):
        result = kill_story.KillResult()
        kill_story.tell(self.hosts, self.directory, delay, result, victim=victim, survivor=survivor)
        print(f"    promoted +{result.outage.promoted:.0f} ms, first reply"
              f" +{result.outage.first_reply:.0f} ms", file=sys.stderr)
        self.assertEqual(result.failures(), [])


@unittest.skipIf("UNDERSTUDY_LINK" in os.environ, "the link is chosen: SurvivesKillTest takes it")
class SurvivesKillOverDpdkTest(SurvivesKillTest):
    """Checkpoints and the guest's packets through DPDK."""

    lab_options = {"link": "dpdk", "uplink": "dpdk"}
    rounds = min(ROUNDS, 2)


class SurvivesKillOverVhostTest(SurvivesKillTest):
    """The guest's packets out of its memory and through DPDK; its rings go on at the survivor."""

    lab_options = {"backend": "vhost_user", "uplink": "dpdk"}
    rounds = min(ROUNDS, 1)


if __name__ == "__main__":
    unittest.main()
