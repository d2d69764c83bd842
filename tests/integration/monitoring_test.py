"""What is shown of a cluster: metrics that a real Prometheus takes, rules, dashboard, page, accounts."""

import json
import re
import shutil
import subprocess
import unittest
import urllib.parse
from pathlib import Path

from lab_case import LOGS, REPOSITORY, LabCase, wait_for

from labkit import namespaces
from labkit.hosts import GUEST
from labkit.plan import HTTP_PORT
from labkit.story import PYTHON

RULES = REPOSITORY / "config/prometheus/understudy.rules.yml"
DASHBOARD = REPOSITORY / "config/grafana/understudy.json"
PROMETHEUS_PORT = 9090
FETCH = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.headers["Content-Type"])
sys.stdout.write(answer.read().decode())
"""
# The metric names of an expression of PromQL.
NAMES = re.compile(r"\bunderstudy_[a-z_]+\b")


def promtool(*words: str, stdin: str | None = None) -> str:
    """What `promtool` says when it is content."""
    done = subprocess.run(["promtool", *words], input=stdin, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"promtool {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def expressions() -> list[str]:
    """All of the dashboard's."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return panels + [one["expr"] for one in dashboard["annotations"]["list"]]


class RulesTest(unittest.TestCase):
    def setUp(self):
        if not shutil.which("promtool"):
            self.skipTest("no promtool: tests/install installs prometheus")

    def test_rules_are_good_and_raise_what_they_are_for(self):
        promtool("check", "rules", "--lint=all", str(RULES))
        promtool("test", "rules", str(Path(__file__).parent / "prometheus/rules_test.yml"))

    def test_the_dashboard_asks_what_can_be_asked(self):
        rules = [{"record": f"panel:{number}", "expr": expression.replace("$guest", ".*")}
                 for number, expression in enumerate(expressions())]
        path = Path("/dev/stdin")
        promtool("check", "rules", str(path),
                 stdin=json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))


class MonitoringTest(LabCase):
    protected = True

    def inside(self, host: str, command: list[str]) -> list[str]:
        """A command in the host's network, with this machine's files."""
        network = namespaces.NETNS / self.hosts.lab.plan.namespace(host)
        return ["nsenter", f"--net={network}", *command]

    def fetch(self, url: str, seen_from: str = "w") -> tuple[str, str]:
        """Status and type in one line, and the body."""
        done = subprocess.run(self.inside(seen_from, [PYTHON, "-c", FETCH, url]), capture_output=True,
                              text=True, timeout=20)
        head, _, body = done.stdout.partition("\n")
        return head, body

    def url(self, host: str, path: str) -> str:
        return f"http://{self.hosts.lab.plan.address(host)}:{HTTP_PORT}{path}"

    def metrics(self, host: str) -> str:
        return self.fetch(self.url(host, "/metrics"))[1]

    def sla(self, host: str) -> dict:
        return json.loads(self.hosts.order(host, "sla", GUEST, "--json"))

    def ask(self, query: str) -> list[dict]:
        """What Prometheus knows: labels and value of each series."""
        question = urllib.parse.urlencode({"query": query})
        body = self.fetch(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?{question}")[1]
        if not body:
            return []
        return [{**one["metric"], "value": float(one["value"][1])} for one in json.loads(body)["data"]["result"]]

    def start_prometheus(self):
        targets = [f"{self.hosts.lab.plan.address(host)}:{HTTP_PORT}" for host in "abw"]
        config = self.directory / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "understudy", "static_configs": [{"targets": targets}]}]}))
        log = open(self.directory / "prometheus.log", "w")  # noqa: SIM115
        process = subprocess.Popen(
            self.inside("w", ["prometheus", f"--config.file={config}", "--log.level=warn",
                              f"--storage.tsdb.path={self.directory / 'tsdb'}",
                              f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(log.close)
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)

    def test_1_metrics_keep_prometheus_conventions(self):
        text = self.metrics("a")
        promtool("check", "metrics", stdin=text)
        for name in (name for expression in expressions() for name in NAMES.findall(expression)):
            if "failover" not in name and "error_budget" not in name:  # no failover yet, no objective
                self.assertIn(f"\n{name}", text)
        self.assertRegex(text, rf'understudy_guest_protected{{guest="{GUEST}"}} 1\n')
        protected = f'understudy_guest_state{{guest="{GUEST}",state="protected"}} 1\n'
        wait_for("b to tell of the guest", lambda: protected in self.metrics("b"), 10)
        self.assertRegex(self.metrics("w"), rf'understudy_guest_active{{guest="{GUEST}",host="a"}} 1\n')

    def test_2_the_page_is_whole_and_nothing_else_is_served(self):
        head, page = self.fetch(self.url("b", "/"))
        self.assertEqual(head, "200 text/html; charset=utf-8")
        self.assertTrue(page.rstrip().endswith("</html>"))
        self.assertNotRegex(page.replace("http://www.w3.org/2000/svg", ""), r"https?://|src=")
        head, body = self.fetch(self.url("b", "/api/status"))
        self.assertEqual(head, "200 application/json")
        self.assertEqual(json.loads(body)["guest"][0]["active_host"], "a")
        access = json.loads(self.fetch(self.url("b", "/api/access"))[1])
        self.assertFalse(access["orders"])
        self.assertIn("http_token_file", access["obstacle"])
        self.assertTrue(self.fetch(self.url("w", "/healthz"))[0].startswith("200"))
        self.assertTrue(self.fetch(self.url("a", "/../etc/passwd"))[0].startswith("404"))

    def test_3_a_failover_is_seen_and_accounted(self):
        """Prometheus sees where the guest went; the account of the month goes over with the guest."""
        self.start_prometheus()
        wait_for("Prometheus to see the guest protected",
                 lambda: any(one["value"] == 1 for one in self.ask("understudy_guest_protected")), 60)
        before = self.sla("b")
        self.assertEqual(before["down_us"], 0, before)
        killed_ns = self.hosts.kill("a")
        self.hosts.wait_promotion("b", killed_ns, 30)
        wait_for("Prometheus to see the guest on b", lambda: [
            one for one in self.ask("understudy_guest_active == 1")
            if one["host"] == "b" and one["instance"].startswith(self.hosts.lab.plan.address("b"))], 30)
        self.assertEqual([one["value"] for one in self.ask("max by (guest) (understudy_guest_serving)")], [1])
        wait_for("the alert for a guest without replica", lambda: self.ask(
            'ALERTS{alertname="UnderstudyGuestUnprotected"}') or self.ask("understudy_guest_protected == 1"), 30)
        after = self.sla("b")
        self.assertEqual((after["failovers"], after["outages"]), (1, 1), after)
        outage_s = after["down_us"] / 1e6
        self.assertTrue(0.1 < outage_s < 10, f"{outage_s} s of outage")
        self.assertGreater(after["protected_us"], before["protected_us"])
        self.assertLess(after["availability"], 1)

    def test_4_the_account_survives_a_restart_of_the_daemon(self):
        known = self.sla("b")
        stored = self.hosts.lab.plan.directory("b") / "lib/understudy/state/availability"
        wait_for("the account on the disk", stored.exists, 30)
        self.hosts.lab.stop_service("b")
        self.hosts.lab.start_service("b")
        wait_for("b to answer", lambda: self.hosts.understudy("b", "status").returncode == 0, 30)
        again = json.loads(self.hosts.order("b", "sla", GUEST, "--json"))
        self.assertEqual(again["failovers"], known["failovers"])
        report = self.hosts.run("b", ["sh", "-c", f"understudy sla {GUEST} --html /tmp/sla.html && cat /tmp/sla.html"])
        self.assertIn("<th scope=\"row\">availability</th>", report.stdout)

    def keep_logs(self):
        super().keep_logs()
        log = self.directory / "prometheus.log"
        if log.exists():
            shutil.copy(log, LOGS)


if __name__ == "__main__":
    unittest.main()
