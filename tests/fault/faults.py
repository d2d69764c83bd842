"""What the campaign does to a lab: faults of hosts, processes and wires, drawn by seed.

Faults name roles, not hosts, so that a seed means the same whichever host is active. A fault that takes a
guest's or a replica's memory (`mortal`) comes first in its round and alone of its kind: the guest is
protected then, and must survive. Others follow it at any moment.
"""

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass

from labkit.host import COROSYNC, DAEMON
from labkit.lab import Lab

ROLES = ("active", "backup", "witness")
CARRIERS = ("active", "backup")  # what has replication
HOLD_SECONDS = (0.4, 9.0)        # from the first fault to the end of all
SECOND_AFTER = (0.0, 2.5)
FLAPS = 5
FLAP_SECONDS = (0.1, 0.7)
SLOW_RATE = "20mbit"
BUSY = "while True: pass"
# How often, and whom.
MORTAL = {"kill": (5, ROLES), "kill-daemon": (3, ROLES), "stop-daemon": (1, ROLES), "kill-corosync": (2, ROLES)}
PASSING = {"freeze": (3, ROLES), "cut": (3, ROLES), "cut-pair": (2, ROLES), "cut-one-way": (3, ROLES),
           "cut-replication": (2, CARRIERS), "flap": (2, ROLES), "slow": (1, CARRIERS),
           "saturate": (1, ("everyone",))}
KINDS = (*MORTAL, *PASSING)
PAIRS = ("cut-pair", "cut-one-way")


@dataclass(frozen=True)
class Fault:
    kind: str
    role: str
    other: str = ""  # of a pair

    def __str__(self) -> str:
        joint = " -> " if self.kind == "cut-one-way" else " / "
        return f"{self.kind} {self.role}{joint + self.other if self.other else ''}"


@dataclass(frozen=True)
class Round:
    first: Fault
    second: Fault | None
    second_after: float  # seconds after the first
    hold: float          # seconds from the first fault until everything is mended
    pause: float         # seconds before the first

    def __str__(self) -> str:
        more = f", {self.second_after:.1f} s later {self.second}" if self.second else ""
        return f"{self.first}{more}, for {self.hold:.1f} s"


class Draw:
    """The rounds of a seed, without end. `only`, of "kind" or "kind:role", limits the first fault of each;
    there is no second then. `hold`: instead of a drawn time."""

    def __init__(self, seed: int, only: list[str] | None = None, hold: float | None = None):
        self.random_ = random.Random(seed)
        every = {**MORTAL, **PASSING}
        self.first_ = {}
        for wanted in only or every:
            kind, _, role = wanted.partition(":")
            weight, roles = every[kind]
            self.first_[kind] = (weight, (role,) if role else roles)
        self.seconds_ = not only
        self.hold_ = hold

    def fault(self, kinds: dict) -> Fault:
        kind = self.random_.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        roles = kinds[kind][1]
        role = self.random_.choice(roles)
        other = self.random_.choice([each for each in roles if each != role]) if kind in PAIRS else ""
        return Fault(kind, role, other)

    def next(self) -> Round:
        first = self.fault(self.first_)
        second = self.fault(PASSING) if self.seconds_ and self.random_.random() < 0.5 else None
        drawn = self.random_.uniform(*HOLD_SECONDS)
        return Round(first, second, self.random_.uniform(*SECOND_AFTER), self.hold_ or drawn,
                     self.random_.uniform(0.2, 1.5))


def known(wanted: str) -> bool:
    """Whether "kind" or "kind:role" names something that can be done."""
    kind, _, role = wanted.partition(":")
    return kind in KINDS and (not role or role in {**MORTAL, **PASSING}[kind][1])


class Mischief:
    """What is done to one lab, and how it is mended."""

    def __init__(self, lab: Lab, moments: random.Random):
        self.lab_ = lab
        self.moments_ = moments
        self.busy_: list[subprocess.Popen] = []

    def inflict(self, fault: Fault, hosts: dict[str, str]) -> None:
        """`hosts`: who has which role."""
        lab, host, other = self.lab_, hosts.get(fault.role), hosts.get(fault.other)
        match fault.kind:
            case "kill":
                lab.kill(host)
            case "kill-daemon":
                lab.kill_service(host, DAEMON)
            case "stop-daemon":
                lab.stop_service(host, DAEMON)
            case "kill-corosync":
                lab.kill_service(host, COROSYNC)
            case "freeze":
                lab.freeze(host)
            case "cut":
                lab.cut(host)
            case "cut-pair":
                lab.cut(host, other)
            case "cut-one-way":
                lab.cut(host, other, one_way=True)
            case "cut-replication":
                lab.cut(hosts["active"], hosts["backup"], network="replication")
            case "flap":
                self.flap(host)
            case "slow":
                lab.shape(host, SLOW_RATE)
            case "saturate":
                self.busy_ += [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count())]

    def flap(self, host: str) -> None:
        for _ in range(FLAPS):
            self.lab_.cut(host)
            time.sleep(self.moments_.uniform(*FLAP_SECONDS))
            self.lab_.heal()
            time.sleep(self.moments_.uniform(*FLAP_SECONDS))

    def mend(self) -> None:
        """The end of all faults: whatever ran before runs again."""
        self.leave_alone()
        lab = self.lab_
        lab.thaw()
        lab.heal()
        for host in lab.hosts:
            lab.shape(host, None)
        for host in lab.hosts:
            if not lab.host(host).running():
                lab.start(host, wait=False)
                continue
            for service in (COROSYNC, DAEMON):
                if not lab.host(host).service_pid(service):
                    lab.start_service(host, service)

    def leave_alone(self) -> None:
        """Nothing of ours goes on outside of the lab."""
        for process in self.busy_:
            process.kill()
            process.wait()
        self.busy_.clear()
