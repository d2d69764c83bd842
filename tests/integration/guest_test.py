"""The guest pg by itself: under plain QEMU on a host of the lab, with each network card.

Needs nothing of Understudy, so a failure here is the guest's or the lab's.
"""

import os
import shutil
import sys
import time
import unittest

from lab_case import take_down_at_exit

from labkit import guest
from labkit.lab import Lab
from labkit.plan import GUEST_ADDRESS, GuestPlan
from labkit.shell import wait_until

READY = "understudy: guest ready"
BOOT_SECONDS = 90
# Run in the client's namespace: prints the counters of COUNT beacons.
LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9999))
s.settimeout(5)
for _ in range(int(sys.argv[1])):
    print(s.recv(100).split()[0].decode())
"""


@unittest.skipIf(os.geteuid() != 0, "needs root to make namespaces")
@unittest.skipIf(not shutil.which("mmdebstrap"), "needs mmdebstrap to build the guest")
class PgGuest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = guest.build("pg", lambda line: print(line, file=sys.stderr))
        cls.lab = Lab(f"g{os.getpid()}")
        cls.addClassCleanup(cls.lab.down)
        take_down_at_exit(cls.lab)
        cls.lab.up(guest_name=None, daemon=False)
        cls.lab.exec("a", ["sh", "-c", "ip tuntap add tap0 mode tap && ip link set tap0 master br0 up"],
                     check=True)
        cls.console = cls.lab.host("a").log("console")

    def boot(self, nic: str) -> float:
        """Boots to readiness; seconds it took. The guest ends with the test."""
        self.console.unlink(missing_ok=True)
        begin = time.monotonic()
        host = self.lab.host("a")
        host.start_service("qemu", [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "pc", "-cpu", "max", "-m", "1024",
            "-kernel", str(self.files / "vmlinuz"), "-initrd", str(self.files / "initrd"),
            "-append", GuestPlan(beacon_ms=5).command_line(), "-display", "none", "-monitor", "none",
            "-serial", "file:/var/log/console.log", "-no-reboot",
            "-nic", f"tap,ifname=tap0,script=no,downscript=no,model={nic}"])
        self.addCleanup(self.end)
        wait_until(lambda: self.console.exists() and READY in self.console.read_text(errors="replace"),
                   BOOT_SECONDS, f"the guest with {nic} to boot", interval=0.1)
        return time.monotonic() - begin

    def end(self):
        host = self.lab.host("a")
        if host.service_pid("qemu"):
            self.lab.stop_service("a", "qemu")

    def sql(self, *statements: str) -> str:
        words = [word for statement in statements for word in ("-c", statement)]
        return self.lab.client(["psql", "-h", GUEST_ADDRESS, "-U", "postgres", "-At", *words, "bench"],
                               capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def test_database_is_ready_and_beacon_counts(self):
        print(f"ready after {self.boot('virtio-net-pci'):.1f} s", file=sys.stderr)
        self.assertEqual(self.sql("select count(*) from pgbench_accounts"), "800000")
        self.assertEqual(self.sql("select extname from pg_extension where extname='amcheck'"), "amcheck")
        self.assertEqual(self.sql("show fsync"), "on")
        heard = self.lab.client([sys.executable, "-c", LISTEN, "20"], capture_output=True, text=True,
                                check=True).stdout.split()
        counters = [int(word) for word in heard]
        self.assertEqual(counters, list(range(counters[0], counters[0] + 20)))
        self.lab.client([sys.executable, "-c", "import socket; socket.socket(socket.AF_INET, "
                         f"socket.SOCK_DGRAM).sendto(b'0', ('{GUEST_ADDRESS}', 9998))"], check=True)
        silent = self.lab.client([sys.executable, "-c", LISTEN, "10000"], capture_output=True, text=True)
        self.assertIn("TimeoutError", silent.stderr)
        self.assert_keeps_time()

    def assert_keeps_time(self):
        """Within a tenth over two seconds: enough for time-outs, and calibration errors are larger."""
        clock = "select extract(epoch from clock_timestamp())"
        words = self.sql(clock, r"\! date +%s.%N", "select 'x' from pg_sleep(2)", clock, r"\! date +%s.%N")
        guest_begin, begin, _, guest_end, end = words.split()
        pace = (float(guest_end) - float(guest_begin)) / (float(end) - float(begin))
        self.assertAlmostEqual(pace, 1.0, delta=0.1)

    def test_other_network_cards(self):
        for nic in ("e1000", "rtl8139"):
            with self.subTest(nic=nic):
                self.boot(nic)
                self.assertEqual(self.sql("select 1"), "1")
                self.end()


if __name__ == "__main__":
    unittest.main()
