"""The pure parts of the lab: names, addresses, configuration files, Corosync's log."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from labkit.membership import Membership, parse  # noqa: E402
from labkit.plan import (KEY_IN_HOST, GuestPlan, LabError, Plan, another_guest, check_name,  # noqa: E402
                         host_names)

LOG = """\
Nov 21 12:47:01 [11] a corosync notice  [MAIN  ] Corosync Cluster Engine  starting up
Nov 21 12:47:01 [11] a corosync notice  [QUORUM] Members[1]: 1
Nov 21 12:47:02 [11] a corosync notice  [QUORUM] This node is within the primary component and will provide service.
Nov 21 12:47:02 [11] a corosync notice  [QUORUM] Members[3]: 1 2 3
"""
LOST = """\
Nov 21 12:48:02 [11] a corosync notice  [QUORUM] This node is within the non-primary component and will NOT provide any service.
Nov 21 12:48:02 [11] a corosync notice  [QUORUM] Members[1]: 1
"""


class Names(unittest.TestCase):
    def test_the_witness_is_last(self):
        self.assertEqual(host_names(3), ["a", "b", "w"])
        self.assertEqual(host_names(2), ["a", "b"])
        self.assertEqual(host_names(5), ["a", "b", "c", "d", "w"])

    def test_limits(self):
        for count in (0, 1, 10):
            with self.assertRaisesRegex(LabError, "2 to 9"):
                host_names(count)
        # A dash would make lab `x` own the namespaces of lab `x-y`.
        for name in ("", "A", "x-y", "1x", "a" * 17, "../x"):
            with self.assertRaises(LabError):
                check_name(name)


class Files(unittest.TestCase):
    def setUp(self):
        self.plan = Plan("demo", host_names(3), "/bin", guest=GuestPlan(kernel="/k", initrd="/i", nic="e1000"))

    def test_plan_survives_its_file(self):
        self.assertEqual(Plan.from_json(self.plan.to_json()), self.plan)
        bare = Plan("demo", host_names(4), "/bin")
        self.assertEqual(Plan.from_json(bare.to_json()), bare)

    def test_every_host_is_in_every_file(self):
        for host in self.plan.hosts:
            self.assertIn(f"ring0_addr: {self.plan.address(host)}", self.plan.corosync_conf())
            self.assertIn(f'name: "{host}" node_id: {self.plan.number(host)}',
                          self.plan.understudy_conf("a"))

    def test_pages_with_a_token_are_served_over_tls(self):
        self.assertNotIn("http_tls", self.plan.understudy_conf("a"))
        self.plan.token, self.plan.pages = "secret", {"b": "https://localhost:9178/"}
        text = self.plan.understudy_conf("w")
        self.assertIn("http_tls {", text)
        self.assertNotIn("secret", text)
        self.assertIn('page_url: "https://10.77.0.1:9177/"', text)
        self.assertIn('page_url: "https://localhost:9178/"', text)

    def test_the_witness_keeps_no_guests(self):
        witness = self.plan.understudy_conf("w")
        self.assertIn('host { name: "w" node_id: 3 page_url: "http://10.77.0.3:9177/" }', witness)
        self.assertNotIn("guest", witness)
        self.assertIn('model: "e1000"', self.plan.understudy_conf("b"))

    def test_with_a_key_every_host_is_told_where_it_is(self):
        self.assertNotIn("security", self.plan.understudy_conf("a"))
        self.plan.key = "00" * 32
        for host in self.plan.hosts:
            self.assertIn(f'security {{ psk_file: "{KEY_IN_HOST}" }}', self.plan.understudy_conf(host))
        self.assertNotIn(self.plan.key, self.plan.understudy_conf("a"))

    def test_the_uplink_is_the_guests(self):
        self.assertIn("uplink: TAP", self.plan.understudy_conf("a"))
        self.plan.guest.uplink = "dpdk"
        self.assertIn("uplink: DPDK", self.plan.understudy_conf("b"))

    def test_the_backend_is_the_guests(self):
        self.assertIn("backend: SOCKET", self.plan.understudy_conf("a"))
        self.plan.guest.backend = "vhost_user"
        self.assertIn("backend: VHOST_USER", self.plan.understudy_conf("b"))

    def test_each_guest_has_a_name_an_address_and_disks_of_its_own(self):
        self.plan.guest.disks = ["/disk.img"]
        self.plan.others = [GuestPlan(**another_guest(2), disks=["/disk.img"]),
                            GuestPlan(**another_guest(3), disks=["/disk.img"])]
        self.assertEqual(Plan.from_json(self.plan.to_json()), self.plan)
        text = self.plan.understudy_conf("a")
        for name, address in (("pg", "10.78.0.10"), ("pg2", "10.78.0.11"), ("pg3", "10.78.0.12")):
            self.assertEqual(text.count(f'name: "{name}"\n'), 1)
            self.assertEqual(text.count(f"address={address} "), 1)
            self.assertEqual(text.count(f'path: "/var/lib/understudy/{name}.img"'), 1)
        self.assertEqual(self.plan.find_guest("pg2").address, "10.78.0.11")
        with self.assertRaisesRegex(LabError, "there is pg, pg2, pg3"):
            self.plan.find_guest("pg4")
        with self.assertRaisesRegex(LabError, "at most 8"):
            another_guest(9)

    def test_corosync_wants_one_key_per_line(self):
        for line in self.plan.corosync_conf().splitlines():
            self.assertLessEqual(line.count(":"), 1, line)


class Log(unittest.TestCase):
    def test_newest_state_counts(self):
        self.assertEqual(parse(LOG), Membership((1, 2, 3), True))
        self.assertEqual(parse(LOG + LOST), Membership((1,), False))

    def test_an_earlier_run_does_not_count(self):
        self.assertEqual(parse(LOG + LOG.splitlines()[0]), Membership((), False))
        self.assertEqual(parse(""), Membership())


if __name__ == "__main__":
    unittest.main()
