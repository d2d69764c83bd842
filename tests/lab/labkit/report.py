"""The report of the demo: the JSON for machines and the page for people. Pure.

The page is plain text of at most 96 columns; colour and block characters only where the terminal
has them (`Style`), so that it reads as well on a dumb one.
"""

import textwrap
from dataclasses import asdict, dataclass, field


@dataclass
class Check:
    name: str
    passed: bool
    detail: str
    target: bool = False  # a number to reach: decides the exit code only when asked to

    def as_json(self) -> dict:
        return {"name": self.name, "pass": self.passed, "detail": self.detail}


@dataclass
class LedgerCounts:
    """`lost` and `duplicated` are None until the table was read."""

    acknowledged: int = 0
    lost: int | None = None
    duplicated: int | None = None
    reconnects: int = 0


@dataclass
class OutageMs:
    """From the kill, but for the longest gap, which is a time between two replies; None: never. A
    gap that had not ended when the story did counts as far as it went."""

    decision: float | None = None
    promoted: float | None = None
    first_reply: float | None = None
    longest_gap: float | None = None


@dataclass
class Report:
    guest: str = ""
    link: str = ""
    seed: int = 0
    ledger: LedgerCounts = field(default_factory=LedgerCounts)
    outage: OutageMs = field(default_factory=OutageMs)
    pause_us: dict = field(default_factory=dict)
    commit_latency_us: dict = field(default_factory=dict)
    epochs: int = 0
    pages_per_epoch: float = 0.0
    bytes_per_epoch: float = 0.0
    tps_unprotected: float = 0.0
    tps_protected: float = 0.0
    checks: list[Check] = field(default_factory=list)

    def passed(self, strict: bool = False) -> bool:
        return bool(self.checks) and all(
            check.passed for check in self.checks if strict or not check.target)

    def as_json(self, strict: bool = False) -> dict:
        def two(quantiles: dict) -> dict:
            return {name: round(quantiles.get(name, 0.0)) for name in ("p50", "p99")}

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value, 1)

        return {
            "result": "pass" if self.passed(strict) else "fail",
            "guest": self.guest,
            "link": self.link,
            "seed": self.seed,
            "ledger": asdict(self.ledger),
            "outage_ms": {name: rounded(value) for name, value in asdict(self.outage).items()},
            "pause_us": two(self.pause_us),
            "commit_latency_us": two(self.commit_latency_us),
            "epochs": self.epochs,
            "pages_per_epoch": round(self.pages_per_epoch, 1),
            "bytes_per_epoch": round(self.bytes_per_epoch),
            "tps": {"unprotected": round(self.tps_unprotected, 1),
                    "protected": round(self.tps_protected, 1)},
            "checks": [check.as_json() for check in self.checks],
        }


# --- numbers to reach

TARGETS = {"pause_p50_us": 3000, "pause_p99_us": 12000, "promotion_ms": 20, "longest_gap_ms": 1500,
           "tps_ratio": 0.7}


def target_checks(report: Report, promotion_ms: float | None) -> list[Check]:
    """The issue's numbers as checks that inform."""
    def at_most(name: str, value: float | None, limit: float, unit: str) -> Check:
        if not value:
            return Check(name, False, "not measured", target=True)
        return Check(name, value <= limit, f"{value:.1f} {unit}, to reach: {limit:g} {unit}",
                     target=True)

    ratio = report.tps_protected / report.tps_unprotected if report.tps_unprotected else 0.0
    return [
        at_most("pause p50", report.pause_us.get("p50", 0) / 1000, TARGETS["pause_p50_us"] / 1000,
                "ms"),
        at_most("pause p99", report.pause_us.get("p99", 0) / 1000, TARGETS["pause_p99_us"] / 1000,
                "ms"),
        at_most("promotion", promotion_ms, TARGETS["promotion_ms"], "ms"),
        at_most("longest gap", report.outage.longest_gap, TARGETS["longest_gap_ms"], "ms"),
        Check("protected/unprotected tps", ratio >= TARGETS["tps_ratio"],
              f"{ratio:.2f}, to reach: {TARGETS['tps_ratio']:g}", target=True),
    ]


# --- the page


@dataclass(frozen=True)
class Style:
    """What the terminal can show."""

    colour: bool = False
    blocks: bool = False

    def paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def good(self, text: str) -> str:
        return self.paint(text, "32")

    def bad(self, text: str) -> str:
        return self.paint(text, "31;1")

    def strong(self, text: str) -> str:
        return self.paint(text, "1")

    def bar(self, value: float, full: float, width: int) -> str:
        cells = min(width, round(width * value / full)) if full > 0 else 0
        return ("█" if self.blocks else "#") * cells

    def spark(self, values: list[float]) -> str:
        steps = " ▁▂▃▄▅▆▇█" if self.blocks else " .:-=+*%@"
        top = max(values, default=0) or 1
        return "".join(steps[0 if v <= 0 else max(1, min(8, round(8 * v / top)))] for v in values)


WIDTH = 72
PAGE_COLUMNS = 96
DETAIL_COLUMN = 36  # of the checks


def replies_per_cell(ack_times_ns: list[int], kill_ns: int, cell_ms: float, before: int,
                     after: int) -> list[float]:
    """How many replies came in each cell of time around the kill."""
    cells = [0.0] * (before + after)
    for time_ns in ack_times_ns:
        cell = int((time_ns - kill_ns) / 1e6 // cell_ms) + before
        if 0 <= cell < len(cells):
            cells[cell] += 1
    return cells


def timeline(report: Report, ack_times_ns: list[int], kill_ns: int, style: Style) -> list[str]:
    """The replies the client got around the kill, and what happened when."""
    outage = report.outage
    span = max(filter(None, (outage.first_reply, outage.promoted, outage.longest_gap, 1000.0)))
    cell_ms = max(25.0, span * 2 / WIDTH)
    before = WIDTH // 4
    cells = replies_per_cell(ack_times_ns, kill_ns, cell_ms, before, WIDTH - before)
    lines = [f"  replies to the ledger, {cell_ms:.0f} ms a column", f"  |{style.spark(cells)}|"]
    events = [("host a killed", 0.0), ("quorum decides", outage.decision),
              ("guest runs on b", outage.promoted), ("first reply", outage.first_reply)]
    for name, at in events:
        if at is None:
            lines.append(f"   {name}: never")
            continue
        column = before + min(int(at // cell_ms), WIDTH - before - 1)
        mark = f"^ {name} " + ("" if at == 0 else f"+{at:.0f} ms")
        # Near the right edge the words stand left of their mark.
        if column + len(mark) > WIDTH:
            mark = f"{name} +{at:.0f} ms ^"
            column -= len(mark) - 1
        lines.append("   " + " " * column + mark)
    return lines


def number(value: float | None, unit: str) -> str:
    return "never" if value is None else f"{value:,.0f} {unit}"


def throughput(report: Report, style: Style) -> list[str]:
    top = max(report.tps_unprotected, report.tps_protected)
    ratio = report.tps_protected / report.tps_unprotected if report.tps_unprotected else 0
    return [f"  {name:<12}{value:>8.0f} tps  {style.bar(value, top, 40)}"
            + (f"  {ratio:.0%}" if name == "protected" else "")
            for name, value in (("unprotected", report.tps_unprotected),
                                ("protected", report.tps_protected))]


def check_lines(report: Report, style: Style) -> list[str]:
    def line(check: Check) -> str:
        parts = textwrap.wrap(check.detail, PAGE_COLUMNS - DETAIL_COLUMN)
        detail = f"\n{' ' * DETAIL_COLUMN}".join(parts)
        if check.target:
            word = style.good("met   ") if check.passed else style.bad("missed")
        else:
            word = style.good("ok    ") if check.passed else style.bad("FAILED")
        return f"  {word}  {check.name:<26}{detail}"

    must = [line(check) for check in report.checks if not check.target]
    targets = [line(check) for check in report.checks if check.target]
    lines = [style.strong("What had to hold"), *must]
    return lines + ["", style.strong("Numbers to reach"), *targets] if targets else lines


def render(report: Report, ack_times_ns: list[int], kill_ns: int | None, style: Style,
           strict: bool = False) -> str:
    """The page. `kill_ns` None: the story ended before the kill."""
    rule = ("─" if style.blocks else "-") * (WIDTH + 4)
    ledger, outage = report.ledger, report.outage
    lines = [rule]
    if report.passed(strict):
        lines.append(style.good("The host died; the database did not notice.")
                     + f"   seed {report.seed}")
    else:
        lines.append(style.bad("A check failed.") + f"   seed {report.seed}")
    lines += [rule, f"  guest {report.guest} · link {report.link}" if style.blocks
              else f"  guest {report.guest} - link {report.link}", ""]
    if kill_ns is not None:
        lines += [style.strong("The outage, as the client saw it"),
                  *timeline(report, ack_times_ns, kill_ns, style),
                  f"  longest gap between two replies: {number(outage.longest_gap, 'ms')}", "",
                  style.strong("The ledger, one TCP connection"),
                  f"  {ledger.acknowledged:,} rows acknowledged, "
                  + ("the table was never read" if ledger.lost is None else
                     f"{ledger.lost} lost, {ledger.duplicated} duplicated,"
                     f" {ledger.reconnects} reconnects"), ""]
    if report.link:
        lines += protection(report, style)
    return "\n".join([*lines, *check_lines(report, style), rule])


def protection(report: Report, style: Style) -> list[str]:
    pause, commit = report.pause_us, report.commit_latency_us
    return [style.strong("Protection"),
            f"  {report.epochs:,} epochs of {report.pages_per_epoch:,.0f} pages and"
            f" {report.bytes_per_epoch / 1024:,.0f} KiB",
            f"  pause           p50 {pause.get('p50', 0) / 1000:6.2f} ms   p99"
            f" {pause.get('p99', 0) / 1000:6.2f} ms",
            f"  commit latency  p50 {commit.get('p50', 0) / 1000:6.2f} ms   p99"
            f" {commit.get('p99', 0) / 1000:6.2f} ms", "",
            style.strong("The database under load, 8 clients"), *throughput(report, style), ""]
