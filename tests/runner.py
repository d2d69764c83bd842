"""Builds and runs the tests: what `tests/run` does once everything is installed.

A suite is a function that returns Results; one that fails does not keep the others from running. The
whole output of each step is in build/test-logs; what is shown is progress, and the end of what failed.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
LOGS = ROOT / "build/test-logs"
SKIPPED = 77
FILE_SECONDS = 420      # one file of integration tests, unless named here
LONG_FILES = {"survives_kill_test": 720}
BENCH_OPTIONS = {"outage_bench.py": ["--kills", "8"]}  # 30 by hand: ten minutes
GUESTS = ["pg", "pg-two-disks", "maria"]
GUEST_SECONDS = 900     # building them, where a mirror is slow
BUILD_SECONDS = 2400
TEST_SECONDS = 1200     # one call of ctest
GRACE_SECONDS = 40      # for a test to take its lab down when its time is over
FUZZ_SECONDS = 20       # one program
FUZZ_GRACE_SECONDS = 120  # to read its corpus, and to tell what it found
PROGRESS_SECONDS = 10
TAIL_LINES = 60

HELP = """\
tests/run [SUITE...] [--preset P] [-k PATTERN] [--link L] [--seconds N]

Installs what is missing, builds, runs the tests and prints a summary; exits 0 only if nothing failed.

suites  unit          Catch2 tests of the modules
        python        tests of the lab's and the demo's own code
        integration   real QEMU and Corosync in the lab
        format        clang-format leaves the sources alone
        includes      no module includes what it must not know
        tidy          clang-tidy (slow)
        fuzz          libFuzzer against the decoders; installs clang, and builds for minutes: `unit` drives
                      the same targets with noise; its corpus is in build/fuzz/corpus
        bench         the numbers of the README (slow)
        all           all of these
        Default, as in continuous integration: unit with each preset, python, format, includes,
        integration.

--preset P    release, asan or tsan, for unit; default release
-k PATTERN    only tests whose name matches: a regular expression for C++ tests, a part of the file's
              or the test's name for Python tests, of the program's name for fuzz
--link L      tcp or dpdk: by what checkpoints (and with dpdk the guests' packets, too) travel in
              `integration`; default TCP, and DPDK in the tests that are about it
--seconds N   for each program of fuzz; default 20

A test that cannot run here counts as skipped, and says why.
"""


@dataclass
class Result:
    what: str
    state: str  # passed, failed, skipped
    seconds: float
    detail: str = ""


class Failure(Exception):
    """A step that failed; the message goes to the summary."""


def stream(argv: list[str], log: Path, seconds: float, progress: bool = False, **environment) -> int:
    """Runs a command with its output in `log`; with progress, its newest line every ten seconds. A
    command that takes too long is ended with all its children, and so it is if we are."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as out:
        process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, **environment})
        deadline, said = time.monotonic() + seconds, time.monotonic()
        try:
            while True:
                try:
                    return process.wait(0.2)
                except subprocess.TimeoutExpired:
                    pass
                if time.monotonic() > deadline:
                    raise Failure(f"took more than {seconds:g} s ({log})")
                if progress and time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    print(f"    {last_line(log)}", flush=True)
        finally:
            if process.poll() is None:
                end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """SIGTERM first: what a test made outside of its processes, only the test can remove."""
    deadline = time.monotonic() + GRACE_SECONDS
    number = signal.SIGTERM
    while True:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # all gone, and the first of them waited for
            return
        process.poll()
        time.sleep(0.1)
        number = 0 if time.monotonic() < deadline else signal.SIGKILL


def last_line(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line[:110] for line in reversed(lines) if line.strip()), "")


def show_tail(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if re.search(r"\berror:|FAILED:", line)][:20]
    print("\n".join([f"---- {log}", *errors, *lines[-TAIL_LINES:], "----"]), flush=True)


class Runner:
    def __init__(self, pattern: str | None):
        self.pattern = pattern
        self.built: set[tuple[str, str]] = set()
        self.results: list[Result] = []

    def step(self, what: str, action) -> None:
        """Runs action() -> (state, detail) and notes how it went and how long it took."""
        print(f"== {what}", flush=True)
        begin = time.monotonic()
        try:
            state, detail = action()
        except Failure as failure:
            state, detail = "failed", str(failure)
        result = Result(what, state, time.monotonic() - begin, detail)
        self.results.append(result)
        print(f"   {result.state} in {result.seconds:.1f} s{'  ' + detail if detail else ''}", flush=True)

    def build(self, preset: str, target: str) -> None:
        """Configures and builds once; Failure if it does not."""
        if (preset, target) in self.built:
            return
        log = LOGS / f"build-{preset}.log"
        steps = [["cmake", "--preset", preset],
                 ["cmake", "--build", "--preset", preset, "--target", target]]
        for argv in steps:
            if stream(argv, log, BUILD_SECONDS, progress=True):
                show_tail(log)
                raise Failure(f"{preset} does not build: {log}")
        self.built.add((preset, target))

    # Suites --------------------------------------------------------------------------------------

    def unit(self, preset: str) -> None:
        self.step(f"build {preset}", lambda: self._built(preset, "all" if preset == "release" else
                                                         "unit_tests"))
        if self.results[-1].state == "passed":
            self.step(f"unit {preset}", lambda: self._ctest(preset, "unit"))

    def fuzz(self, seconds: int) -> None:
        self.step("install (fuzz)", lambda: self._program("install-fuzz", [str(TESTS / "install"), "fuzz"]))
        if self.results[-1].state == "passed":
            self.step("build fuzz", lambda: self._built("fuzz", "fuzz_programs"))
        if self.results[-1].state == "passed":
            for path in sorted((ROOT / "build/fuzz/bin").glob("fuzz_*")):
                if not self.pattern or self.pattern in path.name:
                    self.step(path.name, lambda path=path: self._fuzz(path, seconds))

    def python(self) -> None:
        for path in sorted(TESTS.glob("*/tests/*_test.py")):
            self._python_file("python", path)

    def integration(self) -> None:
        self.step("build release", lambda: self._built("release", "all"))
        if self.results[-1].state != "passed":
            return
        self.step("integration (C++)", lambda: self._ctest("release", "integration"))
        self.step("guests", lambda: self._program("guests", [
            "sh", "-c", 'printf "%s\\n" "$@" | xargs -P "$(nproc)" -n 1 "$0" -B tests/lab/lab guest build',
            sys.executable, *GUESTS], GUEST_SECONDS))
        for path in sorted(TESTS.glob("integration/*_test.py")):
            self._python_file("integration", path)

    def format(self) -> None:
        self.step("format", self._format)

    def includes(self) -> None:
        self.step("includes", lambda: self._program("includes", [sys.executable, "-B",
                                                                 str(TESTS / "include_table.py")]))

    def tidy(self) -> None:
        self.step("build release", lambda: self._built("release", "all"))
        self.step("tidy", self._tidy)

    def bench(self) -> None:
        self.step("build release", lambda: self._built("release", "all"))
        for path in sorted(TESTS.glob("bench/*")):
            if path.is_file() and os.access(path, os.X_OK):
                argv = [str(path), *BENCH_OPTIONS.get(path.name, [])]
                self.step(f"bench {path.name}", lambda argv=argv: self._program(Path(argv[0]).name, argv))

    # How they are run ----------------------------------------------------------------------------

    def _built(self, preset: str, target: str):
        if (preset, target) in self.built:
            return "passed", "already built"
        self.build(preset, target)
        return "passed", ""

    def _ctest(self, preset: str, label: str):
        log, junit = LOGS / f"{label}-{preset}.log", LOGS / f"{label}-{preset}.xml"
        junit.unlink(missing_ok=True)
        argv = ["ctest", "--preset", preset, "-L", f"^{label}$", "--output-on-failure", "--no-tests=ignore",
                "--output-junit", str(junit), "-j", str(os.cpu_count())]
        code = stream(argv + (["-R", self.pattern] if self.pattern else []), log, TEST_SECONDS)
        counts, reasons = junit_counts(junit)
        detail = f"{counts['total']} tests" + (f", {counts['skipped']} skipped: {reasons}"
                                               if counts["skipped"] else "")
        if code or counts["failed"]:
            show_tail(log)
            where = re.findall(r"(\w+\.cpp:\d+): FAILED", log.read_text(errors="replace"))[:3]
            raise Failure(f"{counts['failed']} of {detail} failed"
                          f"{' at ' + ', '.join(where) if where else ''}: {log}")
        return ("passed", detail) if counts["total"] else ("skipped", "no such tests")

    def _python_file(self, suite: str, path: Path) -> None:
        argv = [sys.executable, "-B", "-m", "unittest", "-v", path.stem]
        if self.pattern and self.pattern not in path.stem:
            if self.pattern not in path.read_text():
                return
            argv += ["-k", self.pattern]
        self.step(f"{suite} {path.stem}", lambda: self._unittest(argv, path))

    def _unittest(self, argv: list[str], path: Path):
        log = LOGS / f"{path.stem}.log"
        paths = os.pathsep.join([str(path.parent), str(TESTS / "lab")])
        limit = LONG_FILES.get(path.stem, FILE_SECONDS)
        try:
            code = stream(argv, log, limit, progress=True, PYTHONPATH=paths)
        except Failure:
            show_tail(log)
            raise
        text = log.read_text(errors="replace")
        ran = re.search(r"^Ran (\d+) tests?", text, re.MULTILINE)
        reasons = sorted(set(re.findall(r"skipped ['\"](.+)['\"]$", text, re.MULTILINE)))
        if code == SKIPPED:
            return "skipped", last_line(log)
        if code:
            show_tail(log)
            raise Failure(f"exit {code}: {log}")
        total = int(ran[1]) if ran else 0
        skipped = text.count("... skipped")
        detail = f"{total} tests" + (f", {skipped} skipped: {'; '.join(reasons)}" if skipped else "")
        return ("skipped" if skipped >= total else "passed"), detail

    def _program(self, name: str, argv: list[str], seconds: float = TEST_SECONDS):
        log = LOGS / f"{name}.log"
        code = stream(argv, log, seconds, progress=True)
        if code == SKIPPED:
            return "skipped", last_line(log)
        if code:
            show_tail(log)
            raise Failure(f"exit {code}: {log}")
        return "passed", last_line(log)

    def _fuzz(self, program: Path, seconds: int):
        """What it finds stays in build/fuzz/findings and is tried first the next time; give such a file
        to the program to see all that it says."""
        log, name = LOGS / f"{program.name}.log", program.name.removeprefix("fuzz_")
        corpus, findings = ROOT / "build/fuzz/corpus" / name, ROOT / "build/fuzz/findings" / name
        for directory in (corpus, findings):
            directory.mkdir(parents=True, exist_ok=True)
        argv = [str(program), f"-max_total_time={seconds}", "-timeout=10", "-print_final_stats=1",
                "-close_fd_mask=2",  # what the daemon would log: megabytes of complaints
                f"-artifact_prefix={findings}/", str(corpus), str(findings)]
        if stream(argv, log, seconds + FUZZ_GRACE_SECONDS, progress=True, ASAN_OPTIONS="allow_addr2line=1"):
            show_tail(log)
            raise Failure(f"a finding: {log}, {findings}")
        runs = re.search(r"number_of_executed_units:\s*(\d+)", log.read_text(errors="replace"))
        return "passed", f"{int(runs[1]) if runs else 0:,} inputs, {len(list(corpus.iterdir()))} kept"

    def _format(self):
        listed = subprocess.run(["git", "ls-files", "*.cpp", "*.hpp", "*.c", "*.h"], cwd=ROOT,
                                capture_output=True, text=True, check=True).stdout.split()
        log = LOGS / "format.log"
        if stream(["clang-format", "--dry-run", "-Werror", *listed], log, 300):
            show_tail(log)
            raise Failure(f"clang-format -i would change files: {log}")
        return "passed", f"{len(listed)} files"

    def _tidy(self):
        commands = json.loads((ROOT / "build/release/compile_commands.json").read_text())
        files = sorted({entry["file"] for entry in commands if "/build/" not in entry["file"]
                        and (not self.pattern or self.pattern in entry["file"])})
        log = LOGS / "tidy.log"
        argv = ["run-clang-tidy", "-quiet", "-p", "build/release", "-j", str(os.cpu_count()), *files]
        if stream(argv, log, BUILD_SECONDS, progress=True):
            show_tail(log)
            raise Failure(f"clang-tidy found something: {log}")
        return "passed", f"{len(files)} files"


def junit_counts(path: Path) -> tuple[dict[str, int], str]:
    counts, reasons = {"total": 0, "failed": 0, "skipped": 0}, []
    if path.exists():
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            counts["total"] += 1
            counts["failed"] += case.find("failure") is not None
            if case.find("skipped") is not None:
                counts["skipped"] += 1
                output = (case.findtext("system-out") or "").strip().splitlines()
                reasons.append(f"{case.get('name')} ({output[-1] if output else 'no reason given'})")
    return counts, "; ".join(reasons)


def summary(results: list[Result], seconds: float, interrupted: bool = False) -> int:
    width = max((len(result.what) for result in results), default=0)
    print("\n" + "=" * 78)
    for result in results:
        print(f"{result.what:{width}}  {result.state:7}  {result.seconds:7.1f} s  {result.detail}")
    failed = [result for result in results if result.state == "failed"]
    print("=" * 78)
    verdict = "FAILED" if failed else "INTERRUPTED" if interrupted else "PASSED"
    print(f"{verdict}: {len(results) - len(failed)} of {len(results)} steps in "
          f"{seconds / 60:.1f} min")
    return 1 if failed or not results else 0


SUITES = ("unit", "python", "integration", "format", "includes", "tidy", "fuzz", "bench")


def main() -> int:
    options = argparse.ArgumentParser(prog="tests/run", add_help=False)
    options.add_argument("suites", nargs="*", metavar="SUITE")
    options.add_argument("--preset", choices=["release", "asan", "tsan"])
    options.add_argument("-k", dest="pattern")
    options.add_argument("--link", choices=["tcp", "dpdk"])
    options.add_argument("--seconds", type=int, default=FUZZ_SECONDS)
    options.add_argument("-h", "--help", action="store_true")
    chosen = options.parse_args()
    unknown = set(chosen.suites) - {*SUITES, "all"}
    if chosen.help or unknown:
        print(*(f"tests/run: no suite {name!r}" for name in sorted(unknown)), HELP, sep="\n")
        return 2 if unknown else 0

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # also where a shell had them ignored
    if chosen.link:  # the lab's defaults
        os.environ |= {"UNDERSTUDY_LINK": chosen.link,
                       "UNDERSTUDY_UPLINK": "dpdk" if chosen.link == "dpdk" else "tap"}
    runner = Runner(chosen.pattern)
    begin = time.monotonic()
    try:
        for name in chosen.suites and (SUITES if "all" in chosen.suites else chosen.suites) or \
                (["unit"] if chosen.preset else ["format", "includes", "unit", "python", "integration"]):
            if name == "unit":
                for preset in [chosen.preset] if chosen.preset else \
                        ["release"] if chosen.suites and "all" not in chosen.suites else \
                        ["release", "asan", "tsan"]:
                    runner.unit(preset)
            elif name == "fuzz":
                runner.fuzz(chosen.seconds)
            else:
                getattr(runner, name)()
    except KeyboardInterrupt:
        print("tests/run: interrupted", file=sys.stderr)
        summary(runner.results, time.monotonic() - begin, interrupted=True)
        return 130
    return summary(runner.results, time.monotonic() - begin)


if __name__ == "__main__":
    sys.exit(main())
