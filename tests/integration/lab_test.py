"""The lab does what it says: two labs side by side, Corosync only. Needs root and corosync."""

import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from lab_case import take_down_at_exit

from labkit import namespaces
from labkit.host import COROSYNC
from labkit.lab import Lab
from labkit.plan import LabError
from labkit.shell import wait_until

LAB = Path(__file__).resolve().parents[1] / "lab/lab"
TAG = f"t{os.getpid()}"


def tool(name: str, *words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(LAB), "--name", name, *words], capture_output=True,
                          text=True, **options)


def mounts(name: str) -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if f"us-{name}-" in point or f"understudy-lab/{name}/" in point]


def traces_of(name: str) -> list[str]:
    """What of a lab is left on the machine."""
    found = namespaces.of_lab(name) + mounts(name)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(f"understudy-lab/{name}/" in word or f"us-{name}-" in word for word in words):
                found.append(" ".join(words))
    if Path(f"/run/understudy-lab/{name}").exists():
        found.append("its state directory")
    return found


def heard(lab: Lab, source: str, target: str) -> bool:
    """Whether one datagram from one host reaches the other on the cluster network."""
    address = lab.plan.address(target)
    listener = lab.popen(target, [sys.executable, "-c", (
        "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(1.0);"
        f"s.bind(('{address}',4000)); print('bound',flush=True);\n"
        "try: s.recv(9); print('heard')\n"
        "except TimeoutError: print('silence')")], stdout=subprocess.PIPE, text=True)
    with listener:
        assert listener.stdout.readline() == "bound\n"
        # More than one: the first may wait for ARP in vain while nothing answers.
        lab.exec(source, [sys.executable, "-c", (
            "import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
            f"for i in range(5): s.sendto(b'x',('{address}',4000)); time.sleep(0.05)")], check=True)
        return listener.stdout.readline() == "heard\n"


@unittest.skipIf(os.geteuid() != 0, "needs root to make namespaces")
class TwoLabs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one, cls.two = Lab(f"{TAG}one"), Lab(f"{TAG}two")
        for lab in (cls.one, cls.two):
            cls.addClassCleanup(lab.down)
            take_down_at_exit(lab)
        cls.one.up(guest_name=None, daemon=False)
        cls.two.up(hosts=4, guest_name=None, daemon=False)

    def tearDown(self):
        """Every test leaves a whole lab."""
        self.one.heal()
        self.one.thaw()
        for name in self.one.hosts:
            if not self.one.host(name).running():
                self.one.start(name, wait=False)
        self.one.wait_members(self.one.hosts)

    def test_membership_is_each_labs_own(self):
        self.assertEqual(self.one.hosts, ["a", "b", "w"])
        self.assertEqual(self.two.hosts, ["a", "b", "c", "w"])
        self.assertEqual(self.one.members("a").members, (1, 2, 3))
        self.assertEqual(self.two.members("a").members, (1, 2, 3, 4))

    def test_a_killed_host_is_gone_at_once_and_comes_back(self):
        sleeper = self.one.popen("a", ["sleep", "1000"])
        wait_until(lambda: len(self.one.host("a").pids()) >= 3, 5, "the sleeper")
        self.one.kill("a")
        self.assertEqual(namespaces.pids(self.one.plan.namespace("a")), [])
        self.assertNotEqual(sleeper.wait(5), 0)
        self.assertFalse(self.one.network.cables_up("a"))
        self.one.wait_members(["b", "w"])
        self.assertEqual(self.one.status()["hosts"]["a"]["state"], "dead")
        with self.assertRaisesRegex(LabError, "host a is dead"):
            self.one.exec("a", ["true"])
        self.one.start("a")
        self.one.wait_members(["a", "b", "w"])
        self.assertEqual(self.two.members("a").members, (1, 2, 3, 4))

    def test_a_killed_service_leaves_its_host(self):
        self.one.kill_service("b", COROSYNC)
        self.one.wait_members(["a", "w"])
        self.assertTrue(self.one.host("b").running())
        wait_until(lambda: self.one.host("b").exit_status(COROSYNC) == -signal.SIGKILL, 5, "its end")
        self.one.start_service("b", COROSYNC)

    def test_cut_takes_one_path_and_heal_returns_it(self):
        self.one.cut("a", "b")
        self.assertFalse(heard(self.one, "a", "b"))
        self.assertFalse(heard(self.one, "b", "a"))
        self.assertTrue(heard(self.one, "a", "w"))
        self.one.heal()
        self.assertTrue(heard(self.one, "a", "b"))

    def test_one_way_cut_lets_the_other_way_pass(self):
        # Addresses are resolved first: the cut takes ARP's answers too.
        self.assertTrue(heard(self.one, "b", "a"))
        self.one.cut("a", "b", one_way=True)
        self.assertFalse(heard(self.one, "a", "b"))
        self.assertTrue(heard(self.one, "b", "a"))

    def test_a_host_cut_from_all_loses_quorum_and_the_rest_keeps_it(self):
        self.one.cut("a")
        self.one.wait_members(["b", "w"])
        self.one.wait_members(["a"], quorate=False)

    def test_a_frozen_host_is_evicted_and_returns(self):
        self.one.freeze("b")
        self.assertEqual(self.one.status()["hosts"]["b"]["state"], "frozen")
        self.one.wait_members(["a", "w"])
        self.one.thaw("b")
        self.one.wait_members(["a", "b", "w"])

    def test_hosts_have_their_own_names_processes_and_files(self):
        for name in ("a", "b"):
            self.one.exec(name, ["sh", "-c", "hostname >/run/mark; hostname >/var/lib/mark; "
                                 "hostname >/dev/shm/mark"], check=True)
        for name in ("a", "b"):
            seen = self.one.exec(name, ["sh", "-c", "cat /run/mark /var/lib/mark /dev/shm/mark; ps -e"],
                                 capture_output=True, text=True).stdout
            self.assertEqual(seen.split()[:3], [name] * 3)
            self.assertEqual(seen.count("corosync"), 1)
        for path in ("/run/mark", "/var/lib/mark", "/dev/shm/mark"):
            self.assertFalse(Path(path).exists())

    def test_disk_outlives_a_host_and_memory_does_not(self):
        self.one.exec("a", ["sh", "-c", "echo kept >/var/lib/understudy/x; echo lost >/run/x"], check=True)
        self.one.kill("a")
        self.one.start("a")
        seen = self.one.exec("a", ["cat", "/var/lib/understudy/x", "/run/x"], capture_output=True,
                             text=True)
        self.assertEqual(seen.stdout, "kept\n")

    def test_the_rate_of_a_cable(self):
        self.one.shape("a", "20mbit")
        self.addCleanup(self.one.shape, "a", None)
        shown = self.one.exec("a", ["tc", "qdisc", "show", "dev", "cl0"], capture_output=True, text=True)
        self.assertIn("rate 20Mbit", shown.stdout)
        self.one.shape("a", None)
        shown = self.one.exec("a", ["tc", "qdisc", "show", "dev", "cl0"], capture_output=True, text=True)
        self.assertNotIn("tbf", shown.stdout)

    def test_trace_records_the_guest_network(self):
        file = Path(f"/tmp/{TAG}.pcap")
        self.addCleanup(file.unlink, missing_ok=True)
        self.one.exec("a", ["ip", "addr", "add", "10.78.0.1/24", "dev", "br0"], check=True)
        with self.one.trace(file) as capture:
            self.one.client([sys.executable, "-c",
                             "import socket; socket.socket(socket.AF_INET,socket.SOCK_DGRAM)"
                             ".sendto(b'hello',('10.78.0.1',4000))"], check=True)
            wait_until(lambda: b"hello" in file.read_bytes(), 5, "the packet in the file")
            capture.send_signal(signal.SIGINT)
        self.assertEqual(capture.returncode, 0)

    def test_errors_name_the_thing_and_the_remedy(self):
        name = self.one.name
        for words, expected in ((("kill", "z"), "no host 'z'"), (("cut", "a", "a"), "two different hosts"),
                                (("link", "a", "--rate", "fast"), "say it like 200mbit"),
                                (("frobnicate",), "lab help"), (("up", "--no-guest"), "up already"),
                                (("up", "--hosts", "1"), "2 to 9")):
            done = tool(name, *words)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn(expected, done.stderr)
        self.assertIn("not up", tool(f"{TAG}none", "status").stderr)

    def test_the_command_says_what_the_package_says(self):
        status = json.loads(tool(self.one.name, "status", "--json").stdout)
        self.assertEqual(status["hosts"]["w"]["members"], ["a", "b", "w"])
        self.assertEqual(tool(self.one.name, "exec", "a", "hostname").stdout, "a\n")
        self.assertEqual(tool(self.one.name, "exec", "a", "sh", "-c", "exit 7").returncode, 7)
        self.assertIn("starting up", tool(self.one.name, "logs", "a", "corosync").stdout)


@unittest.skipIf(os.geteuid() != 0, "needs root to make namespaces")
class Crash(unittest.TestCase):
    def test_down_cleans_up_after_a_tool_killed_at_any_moment(self):
        for step, delay in enumerate((0.15, 0.5, 0.9, 1.4)):
            name = f"{TAG}c{step}"
            self.addCleanup(Lab(name).down)
            take_down_at_exit(Lab(name))
            up = subprocess.Popen([sys.executable, str(LAB), "--name", name, "up", "--no-guest",
                                   "--no-daemon"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)  # the moment of the crash, not a wait for something to become true
            up.kill()
            up.wait()
            self.assertEqual(tool(name, "down").returncode, 0)
            self.assertEqual(traces_of(name), [])
            self.assertEqual(tool(name, "down").returncode, 0, "down is idempotent")

    def test_an_interrupted_up_undoes_itself(self):
        name = f"{TAG}i"
        self.addCleanup(Lab(name).down)
        take_down_at_exit(Lab(name))
        up = subprocess.Popen([sys.executable, str(LAB), "--name", name, "up", "--no-guest",
                               "--no-daemon"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with up:
            up.stdout.readline()
            up.send_signal(signal.SIGTERM)
        self.assertNotEqual(up.returncode, 0)
        self.assertEqual(traces_of(name), [])


if __name__ == "__main__":
    unittest.main()
