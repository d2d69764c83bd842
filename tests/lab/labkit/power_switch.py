"""The lab's power switch: a process outside all hosts that kills one for real when it is asked to.

It listens on a unix socket that every host sees, apart from all networks, as a management network is.
A line `ACTION HOST` is answered with `done`, `on`, `off` or what is wrong. The file `power` in the lab's
directory says how it behaves: `{"fails": true}` and `{"slow": SECONDS}`; a test writes it.
"""

import json
import os
import socketserver
import subprocess
import sys
import time
from pathlib import Path

from . import namespaces
from .shell import wait_until

SOCKET = "power.sock"
IN_HOST = f"/run/power/{SOCKET}"
START_SECONDS = 10
# Nobody waits for them here: they go with their labs.
_switches: list[subprocess.Popen] = []


def directory(lab) -> Path:
    return lab.state / "power"


def start(lab) -> None:
    """It lives in the network namespace of the lab's switch, and so goes with it."""
    directory(lab).mkdir()
    _switches.append(subprocess.Popen(
        ["nsenter", f"--net={namespaces.NETNS / lab.plan.namespace('switch')}", "--", sys.executable, "-m",
         "labkit.power_switch", lab.name], cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.DEVNULL, start_new_session=True))
    wait_until((directory(lab) / SOCKET).exists, START_SECONDS, "the power switch")


def behave(lab, **behaviour) -> None:
    beside = directory(lab) / "behaviour.new"
    beside.write_text(json.dumps(behaviour))
    beside.rename(directory(lab) / "behaviour")


class Request(socketserver.StreamRequestHandler):
    def handle(self):
        action, _, host = self.rfile.readline().decode().strip().partition(" ")
        try:
            answer = self.answer(action, host)
        except Exception as error:  # the switch must go on, and the agent hear of it
            answer = f"the switch failed: {error}"
        self.wfile.write(f"{answer}\n".encode())

    def answer(self, action: str, host: str) -> str:
        lab = self.server.lab
        file = directory(lab) / "behaviour"
        behaviour = json.loads(file.read_text()) if file.exists() else {}
        time.sleep(behaviour.get("slow", 0))
        if action == "monitor":
            return "done"
        if behaviour.get("fails"):
            return "the power switch does not answer"
        if action == "status":
            return "on" if lab.host(host).running() else "off"
        if action in ("off", "reboot"):
            lab.kill(host)
            return "done"
        return f"unknown action {action}"


class Switch(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 16


def main() -> None:
    from .lab import Lab

    lab = Lab(sys.argv[1])
    path = directory(lab) / SOCKET
    with Switch(str(path) + ".new", Request) as switch:
        switch.lab = lab
        os.rename(str(path) + ".new", path)  # who finds it can connect
        switch.serve_forever()


if __name__ == "__main__":
    main()
