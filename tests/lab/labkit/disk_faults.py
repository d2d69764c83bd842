"""One guest with disks through deaths of its host and power losses of both, one after another.

A power loss is SIGKILL to every process of both hosts: what the kernel had in its page cache stays, so
it proves the order of things and who may boot, not that fdatasync was called.
"""

import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import kill_story
from .story import LedgerProcess

KILL_AFTER = (0.0, 4.0)        # seconds under load
BETWEEN_DEATHS = (0.0, 1.5)    # of the two hosts, in every second power loss; else at once
POWER_OFF_SECONDS = 60
STOPPED_SECONDS = 20
FSCK_SECONDS = 120


@dataclass
class Round:
    """One fault and what followed; `failures` is empty when all was as it must be."""

    what: str
    victim: str
    delay: float
    acknowledged: int
    failures: list[str]
    detail: str


class DiskFaults:
    """The lab is up. `directory` is for logs; `moments` decides when hosts die."""

    def __init__(self, hosts, directory: Path, moments: random.Random):
        self.hosts = hosts
        self.directory = directory
        self.moments = moments
        self.active, self.backup = "a", "b"

    def begin(self):
        self.hosts.start_guest(self.active)
        self.hosts.protect(self.active, self.backup)

    def kill(self) -> Round:
        """The active host dies under load, and the guest goes on; then protected again by healing."""
        delay = self.moments.uniform(*KILL_AFTER)
        victim, survivor = self.active, self.backup
        result = kill_story.KillResult()
        kill_story.tell(self.hosts, self.directory, delay, result, victim=victim, survivor=survivor)
        self.active, self.backup = survivor, victim
        return Round("kill", victim, delay, result.ledger.acknowledged, result.failures(),
                     f"promoted +{result.outage.promoted:.0f} ms, first reply"
                     f" +{result.outage.first_reply:.0f} ms")

    def heal(self):
        self.hosts.heal(self.backup, self.active)

    def lose_power(self) -> Round:
        """Both hosts die under load and come back; the guest is booted where the record allows it, and
        every row that a client was told of is there."""
        delay = self.moments.uniform(*KILL_AFTER)
        apart = self.moments.uniform(*BETWEEN_DEATHS) if self.moments.random() < 0.5 else 0.0
        order = self.moments.sample([self.active, self.backup], 2)
        with LedgerProcess(self.hosts, self.directory, "power") as ledger:
            ledger.wait_acks(1, 20)
            time.sleep(delay)
            self.hosts.kill(order[0])
            time.sleep(apart)
            self.hosts.kill(order[1])
        failures = self.boot_again()
        table = ledger.check()
        if not table.good:
            failures.append("; ".join(table.examples))
        good, said = self.hosts.database.check(self.hosts)
        if not good:
            failures.append(f"{self.hosts.database.checker}: {said}")
        return Round("power loss", " then ".join(order), delay, table.acknowledged, failures,
                     f"{apart:.3f} s apart, booted on {self.active}")

    def boot_again(self) -> list[str]:
        """The host that ran the guest last boots it, and the other refuses: it has no newer images."""
        self.hosts.lab.start_together((self.active, self.backup))
        for host in (self.active, self.backup):
            self.hosts.wait_state(host, "STOPPED", STOPPED_SECONDS)
        other = self.hosts.understudy(self.backup, "start", "pg")
        if other.returncode == 0:  # it had taken over before it died, or rows will be missing
            self.active, self.backup = self.backup, self.active
            self.hosts.wait_database()
            return []
        self.hosts.start_guest(self.active)
        return [] if f"ran last on host {self.active}" in other.stderr else [
            f"host {self.backup} refused for another reason: {other.stderr.strip()}"]

    def wait_protected(self):
        self.hosts.wait_protected(self.active, self.backup)

    def compare(self) -> list[str]:
        """Both hosts' images and memory, at one sealed epoch."""
        said = self.hosts.understudy(self.active, "verify", "pg")
        return [] if said.returncode == 0 and "the replica is identical" in said.stdout else [
            f"verify: {said.stdout}{said.stderr}"]

    def end(self) -> list[str]:
        """The guest switches itself off; its file systems are clean."""
        self.hosts.database.power_off(self.hosts)
        self.hosts.wait_state(self.active, "STOPPED", POWER_OFF_SECONDS)
        failures = []
        for image in self.hosts.lab.host(self.active).disks:
            done = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True,
                                  timeout=FSCK_SECONDS)
            if done.returncode != 0:
                failures.append(f"fsck of {image.name}: {done.stdout.strip()}")
        return failures
