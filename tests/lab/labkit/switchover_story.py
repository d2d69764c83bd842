"""A guest moves to its backup and back, again and again, while a ledger and a load are at work.

Before and behind each move the ledger's longest silence is measured, so that what the move costs a
client can be told apart from what the load costs it anyway.
"""

import re
import time
from contextlib import nullcontext
from pathlib import Path

from . import story
from .hosts import GUEST
from .ledger import longest_gap
from .variant import VariantReport, quantile

PROTECTED_SECONDS = 120
MOVE_SECONDS = 12    # of load planned for each move, the full copy back included
FIRST_ROWS_SECONDS = 120  # patience, not a target
OUTAGE_MS = 50       # to reach
WINDOW_NS = 1_000_000_000


def tell(hosts, directory: Path, times: int, report: VariantReport, step, loaded: bool = True):
    """`hosts` have the guest on a, protected to b. StoryError if it cannot go on."""
    capture = directory / "guest-network.pcap"
    command = hosts.database.load_command(times * MOVE_SECONDS)
    load = story.Background(hosts, command, directory / "load.log") if loaded else nullcontext()
    # The capture ends before the load is killed, whose connections are reset then.
    with load, hosts.trace(capture), story.LedgerProcess(hosts, directory) as ledger:
        ledger.wait_acks(20, FIRST_ROWS_SECONDS)
        moves = [move(hosts, ledger, number, step) for number in range(times)]
        report.check("load at work to the end", not loaded or load.running,
                     "the load ran through every move" if not loaded or load.running
                     else "the load ended before the last move")
        verdict = ledger.stop()
        said = load.text() if loaded else ""
    if loaded:
        errors = hosts.database.parse_load(said).errors
        report.check("load never failed", not errors, errors[0] if errors else "no error, no reset")
    with step("look at it from outside"):
        report.check_ledger(hosts, ledger, verdict)
        report.check_capture(capture)
    summarise(moves, report)


def move(hosts, ledger: story.LedgerProcess, number: int, step) -> dict:
    here, there = ("a", "b") if number % 2 == 0 else ("b", "a")
    with step(f"switchover {number + 1}, from {here} to {there}") as one:
        before = time.time_ns()
        usual = gap(ledger, before - WINDOW_NS, before)
        said = hosts.order(here, "switchover", GUEST)
        ledger.wait_ack_after(time.time_ns(), 60)
        client = gap(ledger, before - WINDOW_NS // 5, time.time_ns())
        paused = float(re.search(r"for ([\d.]+) ms", said)[1])
        one.note(f"paused {paused:.1f} ms; longest silence at the client {client:.0f} ms,"
                 f" {usual:.0f} ms in the second before")
    begun = time.monotonic()
    with step(f"protected by {here} again"):
        hosts.wait_protected(there, here)
    return {"paused_ms": paused, "client_ms": client, "usual_ms": usual,
            "unprotected_s": round(time.monotonic() - begun, 2)}


def gap(ledger: story.LedgerProcess, after_ns: int, until_ns: int) -> float:
    return longest_gap([ack for ack in ledger.acks() if after_ns < ack.realtime_ns < until_ns]).ms


def summarise(moves: list[dict], report: VariantReport):
    report.facts["moves"] = moves
    for key, name in (("paused_ms", "paused on one host until it ran on the other"),
                      ("client_ms", "longest silence at the client around it"),
                      ("usual_ms", "the same in the second before it"),
                      ("unprotected_s", "until it was protected again")):
        values = [one[key] for one in moves]
        unit = key.rpartition("_")[2]
        p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
        report.facts[key] = {"p50": p50, "p99": p99}
        report.lines.append(f"{name:<46} p50 {p50:7.1f} {unit}   p99 {p99:7.1f} {unit}")
    for key, name in (("paused_ms", "paused p50"), ("client_ms", "client's silence p50")):
        p50 = report.facts[key]["p50"]
        report.check(name, p50 <= OUTAGE_MS, f"{p50:.1f} ms, to reach: {OUTAGE_MS} ms", target=True)
