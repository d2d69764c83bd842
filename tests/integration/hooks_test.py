"""Hooks on real hosts: a web server behind TLS and a program hear of a failover; who refuses is told again,
who hangs delays nobody, and who cannot show a certificate that we trust is told nothing.
"""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from lab_case import LabCase, wait_for

from labkit import namespaces
from labkit.hosts import GUEST

SERVER = "10.77.0.3"  # the witness
TRUSTED, STRANGER = 8443, 8444
REFUSALS = 2
# Keeps what it is told, a line each with its answer: the first attempts are refused.
LISTEN = """
import http.server, json, ssl, sys
address, port, certificate, kept, refusals = sys.argv[1:]
class Hook(http.server.BaseHTTPRequestHandler):
    left = int(refusals)
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = 503 if Hook.left > 0 else 204
        Hook.left -= 1
        with open(kept, "a") as file:
            file.write(json.dumps({"status": status, "event": event}) + "\\n")
        self.send_response(status)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer((address, int(port)), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
"""


class HooksTest(LabCase):
    protected = True

    @classmethod
    def setUpClass(cls):
        cls.files = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="understudy-hooks-")))
        program = f'read event; echo "$HOST $EVENT $GUEST $event" >> {cls.files}/heard'
        cls.lab_options = {"extra": [
            f'hook {{ webhook {{ url: "https://{SERVER}:{TRUSTED}/told?by=us" ca_file: "{cls.certificate("trusted")}" }}'
            " on: [FAILED_OVER, PROTECTION_LOST] timeout_s: 5 }",
            f'hook {{ webhook {{ url: "https://{SERVER}:{STRANGER}/" }} on: [FAILED_OVER] timeout_s: 5 retries: 1 }}',
            'hook { exec { command: ["/bin/sleep", "1000"] } timeout_s: 2 retries: 0 }',
            f'hook {{ exec {{ command: ["/bin/sh", "-c", {json.dumps(program)}] }} }}']}
        cls.certificate("stranger")
        super().setUpClass()
        cls.listen("trusted", TRUSTED, REFUSALS)
        cls.listen("stranger", STRANGER, 0)

    @classmethod
    def certificate(cls, name: str) -> Path:
        """Of its own authority, for the server's address; with its key in one file."""
        path = cls.files / f"{name}.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{SERVER}",
                        "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
        path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
        return path

    @classmethod
    def listen(cls, name: str, port: int, refusals: int):
        net = namespaces.NETNS / cls.hosts.lab.plan.namespace("w")
        server = subprocess.Popen(["nsenter", f"--net={net}", "/usr/bin/python3", "-c", LISTEN, SERVER, str(port),
                                   str(cls.files / f"{name}.pem"), str(cls.files / name), str(refusals)],
                                  stdout=subprocess.PIPE)
        cls.addClassCleanup(server.communicate)
        cls.addClassCleanup(server.kill)
        server.stdout.readline()  # it listens

    def told(self, name: str) -> list[dict]:
        path = self.files / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def test_a_failover_is_told(self):
        killed_ns = self.hosts.kill("a")
        self.hosts.wait_promotion("b", killed_ns, 60)
        wait_for("the web server to accept a failover", lambda: any(
            one["status"] == 204 and one["event"]["event"] == "FAILED_OVER" for one in self.told("trusted")), 60)
        told = self.told("trusted")
        self.assertEqual([one["status"] for one in told[:REFUSALS + 1]], [503] * REFUSALS + [204])
        # All attempts are of one event, and say so.
        self.assertEqual(len({one["event"]["id"] for one in told[:REFUSALS + 1]}), 1, told)
        failover = next(one["event"] for one in told if one["event"]["event"] == "FAILED_OVER")
        self.assertEqual((failover["host"], failover["guest"], failover["cluster"]),
                         ("b", GUEST, self.hosts.lab.plan.name))

        heard = wait_for("the program to hear of it", lambda: [
            line for line in (self.files / "heard").read_text().splitlines()
            if line.startswith(f"b FAILED_OVER {GUEST} ")], 30)
        self.assertEqual([json.loads(line.split(" ", 3)[3])["id"] for line in heard], [failover["id"]])

        # The one that hangs is ended in time, and is the only one that is late.
        log = wait_for("the hook that hangs to be given up", lambda: next(
            (line for line in self.hosts.daemon_log("b").splitlines()
             if "hook.given_up" in line and "/bin/sleep" in line), ""), 30)
        self.assertIn("did not end in time", log)

        log = wait_for("the stranger to be given up", lambda: next(
            (line for line in self.hosts.daemon_log("b").splitlines()
             if "hook.given_up" in line and f":{STRANGER}/" in line), ""), 30)
        self.assertIn("certificate verify failed", log)
        self.assertEqual(self.told("stranger"), [])


if __name__ == "__main__":
    unittest.main()
