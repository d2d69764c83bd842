"""The lab's wires: three bridges in the switch namespace, a cable per host and network.

Everything is done with `ip`, `nft`, `tc` and `ethtool` inside the lab's own namespaces. A cable is pulled
at the switch (the port goes down); a path between two hosts is cut in the switch, so whatever a host
sends with, sockets or raw frames, it is lost on the way.
"""

import re

from . import namespaces
from .plan import (CLIENT, CLIENT_ADDRESS, CLUSTER_BRIDGE, GUEST_BRIDGE, REPLICATION_BRIDGE,
                   REPLICATION_MTU, WITNESS, LabError, Plan)
from .shell import run

RATE = re.compile(r"[1-9][0-9]*(kbit|mbit|gbit)")
# Checkpoints travel on the cluster network or on their own: a cut of the first takes both.
PORTS = {"cluster": ("cl", "re"), "replication": ("re",), "guest": ("gu",),
         "all": ("cl", "re", "gu")}
INTRUDER = "intruder"


class Network:
    def __init__(self, plan: Plan):
        self.plan = plan
        self.switch = plan.namespace("switch")

    def build(self) -> None:
        namespaces.create(self.switch)
        for bridge in (CLUSTER_BRIDGE, GUEST_BRIDGE, REPLICATION_BRIDGE):
            self._ip("link", "add", bridge, "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
            self._ip("link", "set", bridge, "up")
        run("ip", "netns", "exec", self.switch, "nft",
            "add table bridge lab; "
            "add chain bridge lab cut { type filter hook forward priority 0; policy accept; }")
        for host in self.plan.hosts:
            self._wire_host(host)
        namespaces.create(self.plan.namespace(CLIENT))
        self._cable(f"gu-{CLIENT}", GUEST_BRIDGE, CLIENT, "eth0")
        self._inside(CLIENT, "addr", "add", f"{CLIENT_ADDRESS}/24", "dev", "eth0")
        self._inside(CLIENT, "link", "set", "eth0", "up")

    def cables(self, host: str, state: str) -> None:
        """Puts all cables of the host `up` or `down`, in one step."""
        run("ip", "-n", self.switch, "-batch", "-",
            text="".join(f"link set {kind}-{host} {state}\n" for kind in self._kinds(host)))

    def cables_up(self, host: str) -> bool:
        return all("state UP" in run("ip", "-n", self.switch, "-o", "link", "show", f"{kind}-{host}")
                   for kind in self._kinds(host))

    def cut(self, source: str, target: str, one_way: bool = False, network: str = "cluster") -> None:
        """Nothing from source reaches target any more and, unless one_way, the reverse."""
        if network not in PORTS:
            raise LabError(f"network {network!r}: one of {', '.join(PORTS)}")
        if source == target:
            raise LabError(f"cut {source} {target}: name two different hosts")
        pairs = [(source, target)] if one_way else [(source, target), (target, source)]
        rules = [f"add rule bridge lab cut iifname {port}-{x} oifname {port}-{y} counter drop"
                 for port in PORTS[network] for x, y in pairs]
        run("ip", "netns", "exec", self.switch, "nft", "; ".join(rules))

    def plug_in(self) -> str:
        """A stranger on the replication network, which is a hub from now on: he hears all. Returns the
        network namespace where he lives; it goes with the lab."""
        namespaces.create(self.plan.namespace(INTRUDER))
        self._cable(f"re-{INTRUDER}", REPLICATION_BRIDGE, INTRUDER, "eth0", REPLICATION_MTU)
        self._inside(INTRUDER, "link", "set", "eth0", "up")
        self._ip("link", "set", REPLICATION_BRIDGE, "type", "bridge", "ageing_time", "0")
        return self.plan.namespace(INTRUDER)

    def heal(self) -> None:
        """Takes back every cut. Cables of dead hosts stay down."""
        run("ip", "netns", "exec", self.switch, "nft", "flush chain bridge lab cut")

    def cuts(self) -> list[str]:
        """Like `cl-a -> cl-b`."""
        text = run("ip", "netns", "exec", self.switch, "nft", "list chain bridge lab cut", check=False)
        return [f"{x} -> {y}" for x, y in re.findall(r'iifname "([^"]+)" oifname "([^"]+)"', text)]

    def shape(self, host: str, rate: str | None) -> None:
        """Limits the host's cluster cable, both ways, by token bucket; None takes the limit away."""
        if rate is not None and not RATE.fullmatch(rate):
            raise LabError(f"rate {rate!r}: say it like 200mbit")
        for namespace, device in ((self.plan.namespace(host), "cl0"), (self.switch, f"cl-{host}")):
            tc = ("ip", "netns", "exec", namespace, "tc", "qdisc")
            run(*tc, "del", "dev", device, "root", check=False)
            if rate:
                run(*tc, "add", "dev", device, "root", "tbf", "rate", rate, "burst", "256kb",
                    "latency", "50ms")

    def narrow(self, source: str, target: str, rate: str | None) -> None:
        """Limits the checkpoints between two hosts, each way; None takes the limit away. Corosync keeps a class
        of its own, as one who builds a cluster over a narrow link must see to. Datagrams pass by the host's own
        queue (AF_PACKET), so theirs are shaped in the switch."""
        if self.plan.link == "dpdk":
            ends = [(self.switch, f"re-{target}"), (self.switch, f"re-{source}")]
        else:
            ends = [(self.plan.namespace(source), "cl0"), (self.switch, f"cl-{source}")]
        for namespace, device in ends:
            tc = ("ip", "netns", "exec", namespace, "tc")
            run(*tc, "qdisc", "del", "dev", device, "root", check=False)
            if not rate:
                continue
            run(*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "10")
            run(*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:10", "htb",
                "rate", rate, "burst", "64kb")
            run(*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:20", "htb",
                "rate", "1gbit")
            run(*tc, "filter", "add", "dev", device, "parent", "1:", "protocol", "ip", "u32",
                "match", "ip", "protocol", "17", "0xff", "flowid", "1:20")

    def _wire_host(self, host: str) -> None:
        namespaces.create(self.plan.namespace(host))
        self._cable(f"cl-{host}", CLUSTER_BRIDGE, host, "cl0")
        self._cable(f"gu-{host}", GUEST_BRIDGE, host, "up0")
        if host != WITNESS:
            self._cable(f"re-{host}", REPLICATION_BRIDGE, host, "repl0", REPLICATION_MTU)
            self._inside(host, "link", "set", "repl0", "up")
        self._inside(host, "addr", "add", f"{self.plan.address(host)}/24", "dev", "cl0")
        self._inside(host, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0",
                     "forward_delay", "0")
        self._inside(host, "link", "set", "up0", "master", "br0")
        for device in ("cl0", "up0", "br0"):
            self._inside(host, "link", "set", device, "up")

    @staticmethod
    def _kinds(host: str) -> tuple[str, ...]:
        return ("cl", "gu") if host == WITNESS else ("cl", "gu", "re")

    def _cable(self, port: str, bridge: str, place: str, device: str, mtu: int = 1500) -> None:
        """A bridge takes the smallest MTU of its ports."""
        namespace = self.plan.namespace(place)
        run("ip", "link", "add", port, "mtu", str(mtu), "netns", self.switch, "type", "veth", "peer",
            "name", device, "mtu", str(mtu), "netns", namespace)
        if bridge == GUEST_BRIDGE:
            # As on a real wire: whole checksums and no frame larger than the MTU. A veth leaves both to
            # a device that never comes, and a guest rightly drops such frames.
            run("ip", "netns", "exec", namespace, "ethtool", "-K", device, "tx", "off", "tso", "off",
                "gso", "off", "gro", "off")
        self._ip("link", "set", port, "master", bridge, "up")

    def _ip(self, *words: str) -> None:
        run("ip", "-n", self.switch, *words)

    def _inside(self, place: str, *words: str) -> None:
        run("ip", "-n", self.plan.namespace(place), *words)
