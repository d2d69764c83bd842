"""Running commands: a failure names the command and what it said, and none is left half done."""

import signal
import subprocess
import time

from .plan import LabError


class Interruption:
    """^C and SIGTERM as KeyboardInterrupt, but not in the middle of a short command: a child that nobody
    waits for would go on making what is just being removed."""

    def __init__(self):
        self.busy = False
        self.pending = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_) -> None:
        if self.busy:
            self.pending = True
        else:
            raise KeyboardInterrupt

    def __enter__(self):
        self.busy = True

    def __exit__(self, *_):
        self.busy = False
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt


interruption = Interruption()


def run(*argv: str, text: str | None = None, check: bool = True) -> str:
    """Standard output of a short command; LabError if it fails and `check` is set."""
    # An input, even an empty one: the command must not read the terminal.
    with interruption:
        done = subprocess.run(argv, input=text or "", capture_output=True, text=True, cwd="/")
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}, it said: {said}")
    return done.stdout


def wait_until(condition, seconds: float, what: str, interval: float = 0.02):
    """The first true value of condition(); LabError naming `what` when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(interval)
