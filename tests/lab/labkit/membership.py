"""What Corosync says about its membership, read from its log.

No client call is made: a synchronous request in the middle of a membership change makes the daemon spin
at real-time priority until the change is over, which would disturb what is being observed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

STARTED = "Corosync Cluster Engine"
MEMBERS = re.compile(r"\[QUORUM\] Members\[\d+\]:((?: \d+)*)")
PRIMARY = re.compile(r"\[QUORUM\] This node is within the (non-)?primary component")


@dataclass(frozen=True)
class Membership:
    members: tuple[int, ...] = ()  # node ids, ascending
    quorate: bool = False


def parse(log: str) -> Membership:
    """The state after the last line, of the run of Corosync that the log ends with."""
    log = log[max(log.rfind(STARTED), 0):]
    members = MEMBERS.findall(log)
    primary = PRIMARY.findall(log)
    return Membership(tuple(sorted(int(word) for word in members[-1].split())) if members else (),
                      bool(primary) and primary[-1] == "")


def read(log: Path) -> Membership:
    try:
        return parse(log.read_text(errors="replace"))
    except FileNotFoundError:
        return Membership()
