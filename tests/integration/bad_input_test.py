"""Bad input gets a clear error that names thing and remedy, an exit code, and leaves nothing."""

import re
import shlex
import subprocess
import unittest

from lab_case import GUEST, LabCase

from labkit.host import COROSYNC
from labkit.plan import KEY_IN_HOST
from labkit.story import PYTHON

END_SECONDS = 15


class BadConfigurationTest(LabCase):
    """understudyd by hand on a host that has corosync and no daemon."""

    lab_options = {"daemon": False}

    def daemon(self, config: str, seconds: float = END_SECONDS, before: str = ""):
        """Exit code (None: it still ran after `seconds` and was stopped) and everything it said."""
        path = self.hosts.lab.host("a").directory / "lab/bad.conf"
        path.write_text(config)
        script = f"{before} exec timeout {seconds} understudyd --config /run/lab/bad.conf"
        done = self.hosts.run("a", ["sh", "-c", script], seconds + 10)
        return None if done.returncode == 124 else done.returncode, done.stdout + done.stderr

    def good_config(self) -> str:
        return self.hosts.lab.plan.understudy_conf("a")

    def assert_refused(self, config: str, *patterns: str, **options):
        code, said = self.daemon(config, **options)
        self.assertNotIn(code, (0, None), f"it went on: {said[-800:]}")
        self.assertGreaterEqual(code, 0, f"it died of a signal: {said[-800:]}")
        for pattern in patterns:
            self.assertRegex(said, pattern)
        left = self.hosts.run("a", ["sh", "-c", "test -S /run/understudy/control.sock"])
        self.assertNotEqual(left.returncode, 0, "it left its control socket behind")

    def test_an_unknown_field_is_named_with_file_and_line(self):
        lines = self.good_config().splitlines()
        lines.insert(1, "colour: 7")
        self.assert_refused("\n".join(lines), r"bad\.conf:2", "colour")

    def test_a_value_out_of_its_limits_is_named_with_file_and_line(self):
        config = self.good_config()
        wrong = re.sub(r"interval_ms: \d+", "interval_ms: 99999", config)
        self.assertNotEqual(wrong, config)
        line = 1 + next(n for n, text in enumerate(wrong.splitlines()) if "99999" in text)
        self.assert_refused(wrong, rf"bad\.conf:{line}\b", "interval_ms", "10000|10,000|10'000")

    def test_a_guest_name_twice(self):
        config = self.good_config()
        guest = config[config.index("guest {"):]
        self.assert_refused(config + guest, r"bad\.conf:\d+", re.escape(GUEST), "name")

    def test_a_file_that_is_not_there(self):
        done = self.hosts.run("a", ["understudyd", "--config", "/run/lab/none.conf"], 20)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/run/lab/none.conf", done.stdout + done.stderr)

    def test_not_a_configuration_at_all(self):
        self.assert_refused("\0\1\2 rubbish {{{", r"bad\.conf:1")

    def test_a_host_that_is_not_in_the_list(self):
        self.assert_refused(self.good_config().replace('this_host: "a"', 'this_host: "zebra"'),
                            "zebra", "this_host")

    def test_a_key_that_is_not_there(self):
        config = self.good_config().replace(KEY_IN_HOST, "/run/lab/none.key")
        self.assert_refused(config, "/run/lab/none.key", "no such file", r"head -c 32 /dev/urandom")

    def test_a_key_that_others_can_read(self):
        key = self.hosts.lab.host("a").directory / "lab/replication.key"
        key.chmod(0o640)
        try:
            self.assert_refused(self.good_config(), KEY_IN_HOST, f"chmod 600 {KEY_IN_HOST}")
        finally:
            key.chmod(0o600)

    def test_the_replication_port_in_use(self):
        listen = shlex.quote("import socket, time; s = socket.socket();"
                             " s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
                             " s.bind(('0.0.0.0', 7400)); s.listen(); time.sleep(25)")
        self.assert_refused(self.good_config(), "7400", "(?i)in use", before=(
            f"{PYTHON} -c {listen} >/dev/null 2>&1 & sleep 0.5;"))

    def test_no_corosync(self):
        """Waiting for it is right as well, if the log says for what."""
        lab = self.hosts.lab
        lab.stop_service("a", COROSYNC)
        try:
            code, said = self.daemon(self.good_config(), 4)
        finally:
            lab.start_service("a", COROSYNC)
            lab.wait_members(lab.hosts)
        self.assertNotEqual(code, 0)
        self.assertRegex(said.lower(), "corosync")


class BadOrderTest(LabCase):
    """The CLI against healthy daemons."""

    def refused(self, *words: str, host: str = "a") -> str:
        done = self.hosts.understudy(host, *words)
        self.assertNotEqual(done.returncode, 0, f"it did: {done.stdout}")
        self.assertTrue(done.stderr.strip(), "it failed without a word")
        self.assertLess(len(done.stderr.splitlines()), 12, "a clear error is short")
        return done.stderr

    def test_an_unknown_guest(self):
        self.assertIn("nosuch", self.refused("start", "nosuch"))

    def test_protecting_a_guest_that_does_not_run(self):
        self.assertIn(GUEST, self.refused("protect", GUEST, "--backup", "b"))

    def test_an_unknown_backup(self):
        self.assertIn("zebra", self.refused("protect", GUEST, "--backup", "zebra"))

    def test_no_backup_named(self):
        self.assertIn("backup", self.refused("protect", GUEST))

    def test_a_link_to_nowhere(self):
        for host in ("a", "w", "zebra"):  # itself, a witness, a stranger
            self.assertIn(host, self.refused("link", "test", host))

    def test_an_unknown_command(self):
        self.assertTrue(self.refused("frobnicate"))

    def test_a_daemon_that_does_not_run(self):
        lab = self.hosts.lab
        lab.stop_service("w")
        try:
            self.assertIn("understudyd", self.refused("status", host="w"))
        finally:
            lab.start_service("w")

    def test_a_missing_qemu(self):
        lab = self.hosts.lab
        lab.stop_service("b")
        host = lab.host("b")
        binary = f"{lab.plan.binaries}/understudyd"
        try:
            with subprocess.Popen(host.enter(["env", "PATH=/nonexistent", binary, "--config",
                                              "/run/lab/understudy.conf"]),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True) as daemon:
                try:
                    # Refusing to start and refusing the guest are both clear.
                    if lab.understudy("b", "status").returncode != 0:
                        self.wait_served(lab, daemon)
                    said = (daemon.stdout.read() if daemon.poll() is not None
                            else self.refused("start", GUEST, host="b"))
                finally:
                    daemon.terminate()
                    daemon.wait(10)
            self.assertIn("qemu", said.lower())
        finally:
            lab.start_service("b")

    def wait_served(self, lab, daemon):
        from lab_case import wait_for

        wait_for("understudyd to serve or to end", lambda: daemon.poll() is not None
                 or lab.understudy("b", "status").returncode == 0, END_SECONDS)


class BadProtectionTest(LabCase):
    """Orders about a guest that runs."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hosts.order("a", "start", GUEST)
        cls.hosts.wait_state("a", "UNPROTECTED", 30)

    def refused(self, *words: str) -> str:
        done = self.hosts.understudy("a", *words)
        self.assertNotEqual(done.returncode, 0, f"it did: {done.stdout}")
        self.assertEqual(self.guest("a")["state"], "UNPROTECTED", "something half-made was left")
        return done.stderr

    def test_to_itself(self):
        self.assertRegex(self.refused("protect", GUEST, "--backup", "a"), "itself|a\\b")

    def test_to_the_witness(self):
        self.assertRegex(self.refused("protect", GUEST, "--backup", "w"), "witness")

    def test_to_an_unknown_host(self):
        self.assertRegex(self.refused("protect", GUEST, "--backup", "zebra"), "zebra")

    def test_to_a_host_that_is_down(self):
        lab = self.hosts.lab
        lab.kill("b")
        try:
            lab.wait_members(["a", "w"])
            self.assertRegex(self.refused("protect", GUEST, "--backup", "b"), "not in the cluster")
        finally:
            lab.start("b")

    def test_starting_it_twice(self):
        self.assertRegex(self.refused("start", GUEST), GUEST)


if __name__ == "__main__":
    unittest.main()
