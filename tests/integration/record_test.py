"""Who may run a guest is remembered on disk: through power losses, damage and a disk that refuses."""

import subprocess
import unittest

from lab_case import LabCase, wait_for

from labkit.hosts import GUEST

RECORD = "/var/lib/understudy/state/record"


class RecordTest(LabCase):
    def quorum(self, host: str) -> dict:
        done = self.hosts.understudy(host, "status", "--json")
        return self.hosts.status(host)["quorum"] if done.returncode == 0 else {}

    def wait_voter(self, host: str):
        wait_for(f"host {host} to vote", lambda: self.quorum(host).get("voter"), 30)

    def run_on(self, host: str, *command: str):
        subprocess.run(self.hosts.lab.host(host).enter(list(command)), check=True, capture_output=True)

    def warnings(self, host: str) -> str:
        return "\n".join(self.hosts.status(host).get("warning", []))

    def test_1_a_majority_that_lost_its_power_remembers(self):
        lab = self.hosts.lab
        self.hosts.start_guest("a")
        term = self.guest("a")["term"]
        for host in "abw":
            lab.kill(host)
        for host in "bw":
            lab.start(host)
        self.wait_voter("b")
        known = wait_for("b to know the record", lambda: (
            seen if (seen := self.guest("b")).get("active_host") == "a" else None), 30)
        self.assertGreaterEqual(known["term"], term)
        self.assertNotIn("not agreed", self.warnings("b"))
        lab.start("a")
        self.wait_voter("a")

    def test_2_a_damaged_memory_has_no_vote_until_others_have_told_it(self):
        lab = self.hosts.lab
        lab.stop_service("b")
        self.run_on("b", "dd", "if=/dev/urandom", f"of={RECORD}", "bs=1", "count=4", "seek=30", "conv=notrunc")
        lab.start_service("b")
        self.wait_voter("b")
        self.assertNotIn("damaged", self.warnings("b"))
        self.run_on("b", "test", "-e", f"{RECORD}.damaged")

    def test_3_a_disk_that_refuses_takes_the_vote_and_says_so(self):
        lab = self.hosts.lab
        lab.stop_service("b")
        self.run_on("b", "mkdir", f"{RECORD}.new")  # in the way of the next write, as a full disk is
        lab.start_service("b")
        wait_for("b to complain", lambda: "cannot remember" in self.warnings("b"), 30)
        self.run_on("b", "rmdir", f"{RECORD}.new")
        wait_for("b to be content", lambda: "cannot remember" not in self.warnings("b"), 30)
        self.wait_voter("b")
        self.assertEqual(self.guest("a").get("name"), GUEST)


if __name__ == "__main__":
    unittest.main()
