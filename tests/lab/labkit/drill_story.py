"""A failover drill while the real guest works: what it costs, and whether anyone could hear the clone."""

import json
import time
from pathlib import Path

from . import clone_watch, story
from .hosts import GUEST
from .variant import VariantReport

LOAD_SECONDS = 12      # before the drill, and at least so long beside it
DRILL_SECONDS = 150
FIRST_ROWS_SECONDS = 120  # patience, not a target
RATIO = 0.85           # to reach on two processors
STATE = "/var/lib/understudy/state"
SCHEMA = Path(__file__).resolve().parents[3] / "failover/drill_report.schema.json"


def tell(hosts, directory: Path, report: VariantReport, step):
    """`hosts` have the guest on a, protected to b. StoryError if it cannot go on."""
    of_clone, capture = directory / "of-b.pcap", directory / "guest-network.pcap"
    with hosts.trace(capture), clone_watch.sent_by(hosts, "b", of_clone), \
            story.LedgerProcess(hosts, directory) as ledger:
        ledger.wait_acks(20, FIRST_ROWS_SECONDS)
        with step(f"load alone, {LOAD_SECONDS} s"):
            before = hosts.run_load(LOAD_SECONDS, directory)
        drill, during, seconds = beside_load(hosts, directory, step)
        with step(f"load alone again, {LOAD_SECONDS} s"):
            after = hosts.run_load(LOAD_SECONDS, directory)
        verdict = ledger.stop()
        with step("frames sent on purpose"):
            clone_watch.send_on_purpose(hosts, "b")
    with step("look at it from outside"):
        report.check("drill", drill["passed"], drill["failure"] or "every probe passed")
        check_silence(of_clone, report)
        check_evidence(hosts, drill, report)
        report.check_ledger(hosts, ledger, verdict)
        # The load beside the drill is killed, and its connections are reset then.
        report.check_capture(capture, {verdict.local_port})
    tell_rates(before, during, after, seconds, drill, report)


def beside_load(hosts, directory: Path, step) -> tuple[dict, list[float], float]:
    """The drill's report, the load's rate in each second of it, and how long it took."""
    command = hosts.database.load_command(DRILL_SECONDS)
    with story.Background(hosts, command, directory / "load-drill.log") as load, \
            step("drill beside the load") as one:
        story.wait_for("the load's first seconds",
                       lambda: len(hosts.database.parse_load(load.text()).seconds) > 2, 30)
        begun, clock = time.time(), time.monotonic()
        done = hosts.understudy("b", "drill", GUEST, "--json", timeout=DRILL_SECONDS)
        seconds = time.monotonic() - clock
        ended = time.time()
        if not done.stdout:
            raise story.StoryError(f"no drill: {done.stderr.strip()}")
        drill = json.loads(done.stdout)["drill"]
        one.note(f"{'passed' if drill['passed'] else 'FAILED'} after {seconds:.1f} s")
        time.sleep(2)  # for the last second's line
        rates = [tps for at, tps in hosts.database.parse_load(load.text()).seconds
                 if begun < at <= ended + 1]
    return drill, rates, seconds


def check_silence(of_clone: Path, report: VariantReport):
    clone, purpose = clone_watch.counts(of_clone)
    report.facts["frames"] = {"of_the_clone": clone, "sent_on_purpose": purpose}
    report.check("nobody hears the clone", clone == 0, f"{clone} frames of it on the real network")
    report.check("the capture can hear", purpose == clone_watch.FRAMES,
                 f"{purpose} of {clone_watch.FRAMES} frames that were sent on purpose")


def check_evidence(hosts, drill: dict, report: VariantReport):
    import jsonschema  # Debian's, for the system's Python

    path = f"{STATE}/drills/{drill['id']}"
    kept = json.loads(hosts.run("b", ["cat", path + ".json"]).stdout)
    problems = [error.message for error in jsonschema.Draft202012Validator(
        json.loads(SCHEMA.read_text())).iter_errors(kept)]
    if kept != drill:
        problems.append("what was told is not what is kept")
    if drill["configuration_hash"] not in hosts.run("b", ["cat", path + ".html"]).stdout:
        problems.append("the page lacks the configuration's hash")
    report.check("evidence", not problems,
                 problems[0] if problems else f"{drill['id']}.json by its schema, and a page")


def tell_rates(before, during: list[float], after, seconds: float, drill: dict,
               report: VariantReport):
    alone = (before.tps + after.tps) / 2
    rate = sum(during) / len(during) if during else 0.0
    ratio = rate / alone if alone else 0.0
    report.facts.update(
        tps={"before": round(before.tps, 1), "during": round(rate, 1), "after": round(after.tps, 1)},
        ratio=round(ratio, 3), seconds=round(seconds, 2),
        recovery_ms=int(drill["recovery_us"]) / 1000,
        recovery_point_ms=int(drill["recovery_point_us"]) / 1000)
    report.lines += [
        f"recovery point {report.facts['recovery_point_ms']:.0f} ms, recovery time"
        f" {report.facts['recovery_ms']:.0f} ms, the drill {seconds:.1f} s",
        f"load before {before.tps:.0f}, during {rate:.0f}, after {after.tps:.0f} tps"
        f" ({len(during)} seconds of it beside the drill)"]
    report.check("rate during / beside it", ratio >= RATIO,
                 f"{ratio:.2f}, to reach: {RATIO}", target=True)
