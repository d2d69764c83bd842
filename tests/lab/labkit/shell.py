"""Running commands: a failure names the command and what it said."""

import subprocess
import time

from .plan import LabError


def run(*argv: str, text: str | None = None, check: bool = True) -> str:
    """Standard output of a short command; LabError if it fails and `check` is set."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, cwd="/",
                          stdin=subprocess.DEVNULL if text is None else None)
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
