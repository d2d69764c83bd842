"""What the campaign does to a lab: faults of hosts, processes and wires, drawn by seed.

Faults name roles, not hosts, so that a seed means the same whichever host is active. A fault that takes a
guest's or a replica's memory (`mortal`) comes first in its round and alone of its kind: the guest is
protected then, and must survive. Others follow it at any moment.
"""

import random
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
# How often, and whom.
MORTAL = {"kill": (5, ROLES), "kill-daemon": (3, ROLES), "stop-daemon": (1, ROLES), "kill-corosync": (2, ROLES)}
PASSING = {"freeze": (3, ROLES), "cut": (3, ROLES), "cut-pair": (2, ROLES), "cut-one-way": (3, ROLES),
           "cut-replication": (2, CARRIERS), "flap": (2, ROLES), "slow": (1, CARRIERS)}
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
    """The rounds of a seed, without end. `only` limits the first fault of each; there is no second then."""

    def __init__(self, seed: int, only: list[str] | None = None):
        self.random_ = random.Random(seed)
        self.only_ = only

    def fault(self, kinds: dict) -> Fault:
        kind = self.random_.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        roles = kinds[kind][1]
        role = self.random_.choice(roles)
        other = self.random_.choice([each for each in roles if each != role]) if kind in PAIRS else ""
        return Fault(kind, role, other)

    def next(self) -> Round:
        every = {**MORTAL, **PASSING}
        first = self.fault({kind: every[kind] for kind in self.only_} if self.only_ else every)
        second = self.fault(PASSING) if not self.only_ and self.random_.random() < 0.5 else None
        return Round(first, second, self.random_.uniform(*SECOND_AFTER), self.random_.uniform(*HOLD_SECONDS),
                     self.random_.uniform(0.2, 1.5))


def inflict(lab: Lab, fault: Fault, hosts: dict[str, str], draw: random.Random) -> None:
    """`hosts`: who has which role."""
    host, other = hosts[fault.role], hosts.get(fault.other)
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
            flap(lab, host, draw)
        case "slow":
            lab.shape(host, SLOW_RATE)


def flap(lab: Lab, host: str, draw: random.Random) -> None:
    for _ in range(FLAPS):
        lab.cut(host)
        time.sleep(draw.uniform(*FLAP_SECONDS))
        lab.heal()
        time.sleep(draw.uniform(*FLAP_SECONDS))


def mend(lab: Lab) -> None:
    """The end of all faults: whatever ran before runs again."""
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
