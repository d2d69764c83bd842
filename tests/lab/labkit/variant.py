"""What the demo's variants share: a report of facts and checks, printed and kept as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from . import output_commit, pcap, report, story


@dataclass
class VariantReport:
    title: str
    facts: dict = field(default_factory=dict)  # by name; lists of numbers and plain values
    lines: list[str] = field(default_factory=list)  # for people
    checks: list[report.Check] = field(default_factory=list)

    def check(self, name: str, passed: bool, detail: str, target: bool = False):
        self.checks.append(report.Check(name, bool(passed), detail, target))

    def passed(self, strict: bool = False) -> bool:
        return report.Report(checks=self.checks).passed(strict)

    def publish(self, path: Path, style: report.Style, strict: bool) -> bool:
        """Prints it and writes it; whether the variant succeeded."""
        passed = self.passed(strict)
        path.write_text(json.dumps(
            {"result": "pass" if passed else "fail", "variant": self.title, **self.facts,
             "checks": [check.as_json() for check in self.checks]}, indent=2) + "\n")
        print("\n".join(["", style.strong(self.title), *(f"  {line}" for line in self.lines), "",
                         *report.check_lines(report.Report(checks=self.checks), style)]))
        return passed

    def check_ledger(self, hosts, ledger: story.LedgerProcess, verdict):
        """After its end: one connection, each row once."""
        self.check("same connection", verdict.same_backend and not verdict.failure,
                   verdict.failure or f"{verdict.acknowledged} rows over one connection")
        table = ledger.check()
        self.check("each row exactly once", table.good,
                   "; ".join(table.examples) or f"{table.acknowledged} acknowledged, {table.lost} lost,"
                                                f" {table.duplicated} twice")
        self.check(hosts.database.checker, *hosts.database.check(hosts))

    def check_capture(self, capture: Path, ports: set[int] | None = None):
        """Of the guests' network: nothing (of these client ports) was reset, nothing shown was taken back."""
        packets = list(pcap.read(capture))
        for name, finding in (
                ("no reset", output_commit.check_no_reset(packets, story.GUEST_ADDRESS, ports)),
                ("output commit: beacons",
                 output_commit.check_beacons(output_commit.beacons(packets))),
                ("output commit: streams",
                 output_commit.check_streams(packets, story.GUEST_ADDRESS))):
            self.check(name, finding.good,
                       finding.violations[0] if finding.violations else finding.detail)


def quantile(values: list[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
