"""One death of a host under load, and everything that must be true afterwards.

The demo tells it once, the tests and the bench many times. The lab is up, the guest protected.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from . import output_commit, pcap, story
from .ledger import Ack, CheckVerdict, RunVerdict, longest_gap
from .report import Check, LedgerCounts, OutageMs

AFTERMATH_SECONDS = 3.0   # of ledger after the first reply
PROMOTION_SECONDS = 20.0  # patience, not a target
LEDGER_BEGIN_SECONDS = 30  # the same, for its first reply
LOAD_END_SECONDS = 60     # the same: an emulated guest takes seconds to accept eight clients


@dataclass
class KillResult:
    """Filled in as the story goes on; what was not reached stays as it is here."""

    kill_ns: int | None = None  # CLOCK_REALTIME
    epochs: int = 0             # committed at the last look before
    outage: OutageMs = field(default_factory=OutageMs)
    promotion_ms: float | None = None
    acks: list[Ack] = field(default_factory=list)
    ledger: LedgerCounts = field(default_factory=LedgerCounts)
    checks: list[Check] = field(default_factory=list)

    def check(self, name: str, passed: bool, detail: str):
        self.checks.append(Check(name, bool(passed), detail))

    def failures(self) -> list[str]:
        return [f"{check.name}: {check.detail}" for check in self.checks if not check.passed]


def step_quietly(_: str):
    return nullcontext()


def tell(hosts, directory: Path, delay: float, result: KillResult, strike=None, victim: str = "a",
         survivor: str = "b", step=step_quietly, clients: int = 8, examine: bool = True):
    """`clients` of the database's own benchmark are at work beside the ledger; `examine`: with the database's own
    checker, which reads all of it. `strike()` kills and returns the moment before (realtime ns); default: the
    victim's host dies. `step(title)` is a context around each part. StoryError if the story cannot go on; `result`
    then has the rest.
    """
    strike = strike or (lambda: hosts.kill(victim))
    capture = directory / "guest-network.pcap"
    try:
        with hosts.trace(capture):
            ledger, verdict = under_load(hosts, directory, delay, result, strike, victim, survivor,
                                         step, clients)
    except story.StoryError:
        check_capture(capture, None, result)  # it may show why
        raise
    with step("look at it from outside"):
        check_table(hosts, ledger, result, examine)
        check_capture(capture, verdict.local_port, result)


def under_load(hosts, directory: Path, delay: float, result: KillResult, strike, victim: str,
               survivor: str, step, clients: int):
    """The part with clients at work; the ledger's process has ended when this returns."""
    load_seconds = int(delay + AFTERMATH_SECONDS + 3)
    with story.LedgerProcess(hosts, directory) as ledger, \
            (story.Background(hosts, hosts.database.open_load_command(load_seconds, clients),
                              directory / "load-kill.log") if clients else nullcontext()) as load:
        with step(f"ledger and load at work, {delay:.2f} s"):
            ledger.wait_acks(1, LEDGER_BEGIN_SECONDS)
            result.epochs = hosts.guest(victim).get("epoch", 0)
            time.sleep(delay)
        try:
            with step(f"KILL HOST {victim}"):
                result.kill_ns = strike()
                watch(hosts, survivor, ledger, result)
            with step("the ledger and the load go on"):
                time.sleep(AFTERMATH_SECONDS)
                verdict = ledger.stop()
                run = hosts.database.end_load(load, LOAD_END_SECONDS) if load else None
        finally:
            result.acks = ledger.acks()
            result.ledger.acknowledged = len(result.acks)
            result.outage.longest_gap = longest_gap(
                result.acks, time.monotonic_ns() if ledger.running else None).ms
    check_clients(result, verdict, run)
    return ledger, verdict


def watch(hosts, survivor: str, ledger, result: KillResult):
    """The outage in milliseconds from the kill."""
    guest = hosts.wait_promotion(survivor, result.kill_ns, PROMOTION_SECONDS)
    times, outage = guest["last_failover"], result.outage
    outage.decision = times["decision_unix_us"] / 1e3 - result.kill_ns / 1e6
    outage.promoted = times["running_unix_us"] / 1e3 - result.kill_ns / 1e6
    result.promotion_ms = times["promote_us"] / 1e3
    # A reply that was on its way when the host died is no reply of the new one.
    first = ledger.wait_ack_after(times["running_unix_us"] * 1000, PROMOTION_SECONDS)
    outage.first_reply = (first.realtime_ns - result.kill_ns) / 1e6


def check_clients(result: KillResult, verdict: RunVerdict, run: story.LoadRun | None):
    result.check("same connection", verdict.same_backend and not verdict.failure,
                 verdict.failure or f"port {verdict.local_port}, server process"
                                    f" {verdict.backend_pid} from first row to last")
    if run is None:
        return
    result.check("load goes on", not run.fault,
                 run.fault or f"{run.transactions} transactions across the kill, none failed")


def check_table(hosts, ledger: story.LedgerProcess, result: KillResult, examine: bool = True):
    table: CheckVerdict = ledger.check()
    result.ledger.lost, result.ledger.duplicated = table.lost, table.duplicated
    # The table's word for it: each server process that wrote rows was a connection.
    result.ledger.reconnects = max(0, table.backends - 1)
    result.check("each row exactly once", table.good,
                 "; ".join(table.examples) if not table.good else
                 f"{table.acknowledged} acknowledged, {table.lost} lost, {table.duplicated} twice,"
                 f" {table.unacknowledged} more on its way")
    if examine:
        result.check(hosts.database.checker, *hosts.database.check(hosts))


def check_capture(capture: Path, ledger_port: int | None, result: KillResult):
    """Without a port, a reset of any connection counts."""
    packets = list(pcap.read(capture))
    guest, ports = story.GUEST_ADDRESS, {ledger_port} if ledger_port else None
    for name, finding in (
            ("no reset", output_commit.check_no_reset(packets, guest, ports)),
            ("output commit: beacons",
             output_commit.check_beacons(output_commit.beacons(packets), result.kill_ns)),
            ("output commit: streams", output_commit.check_streams(packets, guest))):
        result.check(name, finding.good,
                     finding.violations[0] if finding.violations else finding.detail)
