"""What a lab consists of: names, addresses and configuration files. Pure: nothing is touched here.

    cluster network 10.77.0.0/24   Corosync and checkpoints; host number N has 10.77.0.N on `cl0`
    guest network   10.78.0.0/24   each host's bridge `br0`, uplinked by `up0`; the client is 10.78.0.100,
                                   the guests pg, pg2 ... are 10.78.0.10, 10.78.0.11 ...
    replication     no addresses, MTU 65535: frames between the hosts' `repl0`, the witness excepted
    switch          a namespace with a bridge per network; ports `cl-X`, `gu-X`, `re-X` lead to host X

The addresses exist only inside the lab's namespaces, so labs with different names do not meet.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

PREFIX = "us-"
CLUSTER_BRIDGE, GUEST_BRIDGE, REPLICATION_BRIDGE = "br-cluster", "br-guest", "br-repl"
REPLICATION_MTU = 65535
UPLINKS = ("tap", "dpdk")
LINKS = ("tcp", "dpdk")
CLIENT, CLIENT_ADDRESS = "client", "10.78.0.100"
GUEST, GUEST_ADDRESS = "pg", "10.78.0.10"  # the first
GUESTS_MAX = 8
PORTS = {"postgresql": 5432, "mariadb": 3306}  # of the guests' databases
REPLICATION_PORT = 7400
HTTP_PORT = 9177
WITNESS = "w"
HOSTS_MIN, HOSTS_MAX = 2, 9
STATE_ROOT = Path("/run/understudy-lab")
CONFIG_IN_HOST = "/run/lab/understudy.conf"  # where a host finds its own directory's files
KEY_IN_HOST = "/run/lab/replication.key"
HTTP_FILES = ("http.token", "http.crt", "http.key")  # beside the configuration, where there is a token
DISK_IN_HOST = f"/var/lib/understudy/{GUEST}.img"  # the first guest's first


def disk_in_host(number: int, guest: str = GUEST) -> str:
    return f"/var/lib/understudy/{guest}{f'-{number}' if number else ''}.img"


def another_guest(number: int) -> dict:
    """What is different about the guest beside the first, from number 2 on."""
    if not 2 <= number <= GUESTS_MAX:
        raise LabError(f"a lab has at most {GUESTS_MAX} guests")
    network, _, host = GUEST_ADDRESS.rpartition(".")
    return {"name": f"{GUEST}{number}", "address": f"{network}.{int(host) + number - 1}"}


NAME = re.compile(r"[a-z][a-z0-9]{0,15}")


class LabError(Exception):
    """A message for the person at the keyboard: what is wrong and what to do."""


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise LabError(f"lab name {name!r}: use up to 16 lower-case letters and digits, a letter first")
    return name


def host_names(count: int) -> list[str]:
    """a, b, ... and the witness last: `count` in all. Two hosts have no witness."""
    if not HOSTS_MIN <= count <= HOSTS_MAX:
        raise LabError(f"--hosts {count}: a lab has {HOSTS_MIN} to {HOSTS_MAX} hosts, the witness included")
    if count == 2:
        return ["a", "b"]
    return [chr(ord("a") + i) for i in range(count - 1)] + [WITNESS]


def model_conf(model: str) -> str:
    return f'model: "{model}" ' if model else ""


@dataclass
class GuestPlan:
    """A guest that every host but the witness can run."""

    name: str = GUEST
    address: str = GUEST_ADDRESS
    kernel: str = ""
    initrd: str = ""
    # Images that one host, the first or `home`, has of its disks; the others' are empty.
    home: str = ""
    disks: list[str] = field(default_factory=list)
    disk_models: list[str] = field(default_factory=lambda: [""])  # "": the daemon's default
    disk_settings: str = ""  # more of each disk's configuration
    database: str = "postgresql"  # or mariadb
    display: str = "NONE"
    boot_words: str = ""
    memory_mib: int = 1024
    vcpus: int = 1
    nic: str = ""
    uplink: str = "tap"  # or dpdk
    backend: str = "socket"  # or vhost_user
    interval_ms: int = 25
    min_interval_ms: int = 0  # 0: the daemon's default
    hold_limit_kib: int = 0  # of held output; 0: the daemon's default
    sync_rate_mib: int = 0  # 0: no limit
    drill_settings: str = ""  # more of its drill's configuration
    history_s: int = 0  # kept by its backup; 0: none
    beacon_ms: int = 5  # the guest's UDP beacon; 0 is off (see guests/pg/beacon)

    def command_line(self) -> str:
        # The HPET counts QEMU's virtual time: it stands still while the guest is paused and goes on the
        # same on another host. The TSC must be calibrated at boot, which an emulated CPU on a busy
        # machine gets wrong by as much as a factor of three.
        return ("console=ttyS0 quiet edd=off nokaslr clocksource=hpet no_timer_check mitigations=off "
                f"audit=0 address={self.address} beacon={self.beacon_ms} {self.boot_words}".rstrip())

    def disk_lines(self) -> list[str]:
        return [f'  disk {{ path: "{disk_in_host(i, self.name)}" {model_conf(model)}{self.disk_settings}}}'
                for i, (_, model) in enumerate(zip(self.disks, self.disk_models))]

    def conf(self) -> list[str]:
        """Its part of an understudyd configuration."""
        return ["guest {", f'  name: "{self.name}"', f"  memory_mib: {self.memory_mib}",
                f"  vcpus: {self.vcpus}", "  boot {", f'    kernel: "{self.kernel}"',
                f'    initrd: "{self.initrd}"', f'    command_line: "{self.command_line()}"', "  }",
                f'  nic {{ {model_conf(self.nic)}bridge: "br0" uplink: {self.uplink.upper()} '
                f'backend: {self.backend.upper()} }}',
                *self.disk_lines(), f"  display: {self.display}",
                f'  console_log: "/var/log/{self.name}.console"',
                f"  protection {{ interval_ms: {self.interval_ms}"
                + (f" min_interval_ms: {self.min_interval_ms}" if self.min_interval_ms else "")
                + (f" hold_limit_kib: {self.hold_limit_kib}" if self.hold_limit_kib else "")
                + (f" sync_rate_mib: {self.sync_rate_mib}" if self.sync_rate_mib else "") + " }",
                f'  drill {{ address: "{self.address}/24" tcp_port: {PORTS[self.database]} '
                f'{self.drill_settings}}}',
                *([f"  history {{ depth_s: {self.history_s} }}"] if self.history_s else []),
                "}"]


@dataclass
class Plan:
    name: str
    hosts: list[str]
    binaries: str
    daemon: bool = True
    guest: GuestPlan | None = None
    others: list[GuestPlan] = field(default_factory=list)  # guests beside the first
    token_ms: int = 200
    consensus_ms: int = 240
    link: str = "tcp"  # or dpdk: by what checkpoints travel
    # Of two hosts: the delay (ms) before each is fenced, by name; empty: no fencing.
    fencing: dict[str, int] = field(default_factory=dict)
    fence_agent: str = ""
    fence_options: list[str] = field(default_factory=list)  # {host} stands for whom it switches off
    clocks: bool = False  # each host's wall clock can be set: Lab.set_clock
    key: str = ""  # of the replication links, in hex; empty: in clear text
    token: str = ""  # of the pages, which are served over TLS then; empty: they only show
    pages: dict[str, str] = field(default_factory=dict)  # where browsers find a host's page, if not at its address
    # Lines added to every understudyd configuration: for tests that need a setting of their own.
    extra: list[str] = field(default_factory=list)

    def namespace(self, place: str) -> str:
        """The network namespace of a host, of `client` or of `switch`."""
        return f"{PREFIX}{self.name}-{place}"

    @property
    def state(self) -> Path:
        return STATE_ROOT / self.name

    def directory(self, host: str) -> Path:
        return self.state / "hosts" / host

    def number(self, host: str) -> int:
        return self.hosts.index(host) + 1

    def address(self, host: str) -> str:
        return f"10.77.0.{self.number(host)}"

    def page(self, host: str) -> str:
        own = f"{'https' if self.token else 'http'}://{self.address(host)}:{HTTP_PORT}/"
        return self.pages.get(host, own)

    def hypervisors(self) -> list[str]:
        return [host for host in self.hosts if host != WITNESS]

    def guests(self) -> list[GuestPlan]:
        return [self.guest, *self.others] if self.guest else []

    def find_guest(self, name: str) -> GuestPlan:
        for guest in self.guests():
            if guest.name == name:
                return guest
        raise LabError(f"no guest {name!r}: there is {', '.join(one.name for one in self.guests()) or 'none'}")

    def check_host(self, host: str) -> str:
        if host not in self.hosts:
            raise LabError(f"no host {host!r} in lab {self.name!r}: it has {', '.join(self.hosts)}")
        return host

    def corosync_conf(self) -> str:
        """knet's heartbeat ticks every 200 ms whatever the token is: its defaults, derived from a short
        token, would call a healthy link down. token_coefficient would add 650 ms per further host."""
        nodes = "".join(f"  node {{\n    nodeid: {self.number(host)}\n    name: {host}\n"
                        f"    ring0_addr: {self.address(host)}\n  }}\n" for host in self.hosts)
        return (f"totem {{\n  version: 2\n  cluster_name: {self.name}\n  transport: knet\n"
                f"  token: {self.token_ms}\n  token_coefficient: 0\n  consensus: {self.consensus_ms}\n"
                "  crypto_cipher: none\n  crypto_hash: none\n"
                "  interface {\n    linknumber: 0\n    knet_ping_interval: 200\n"
                "    knet_ping_timeout: 800\n    knet_pong_count: 2\n  }\n}\n"
                f"nodelist {{\n{nodes}}}\n"
                "quorum {\n  provider: corosync_votequorum\n"
                f"{'  two_node: 1' + chr(10) if len(self.hosts) == 2 else ''}}}\n"
                "logging {\n  to_stderr: no\n  to_syslog: no\n  to_logfile: yes\n"
                "  logfile: /var/log/corosync/corosync.log\n  timestamp: hires\n}\n")

    def understudy_conf(self, host: str) -> str:
        lines = [f'this_host: "{host}"', f'cluster: "{self.name}"',
                 f'http_address: "{self.address(host)}:{HTTP_PORT}"']
        for peer in self.hosts:
            address = "" if peer == WITNESS else \
                f' replication_address: "{self.address(peer)}:{REPLICATION_PORT}"'
            lines.append(f'host {{ name: "{peer}" node_id: {self.number(peer)}{address} page_url: "{self.page(peer)}"'
                         f'{self.fencing_conf(peer)} }}')
        if self.token:
            token, certificate, key = (f'"/run/lab/{name}"' for name in HTTP_FILES)
            lines += [f"http_token_file: {token}", f"http_tls {{ certificate_file: {certificate} key_file: {key} }}"]
        if self.key:
            lines.append(f'security {{ psk_file: "{KEY_IN_HOST}" }}')
        if host != WITNESS:
            lines.append('dpdk { replication_device: "repl0" }')
            lines.append(f"link: {self.link.upper()}")
            for guest in self.guests():
                lines += guest.conf()
        return "\n".join(lines + self.extra) + "\n"

    def fencing_conf(self, host: str) -> str:
        if host not in self.fencing:
            return ""
        options = ", ".join(f'"{option.format(host=host)}"' for option in self.fence_options)
        return (f' fencing {{ agent: "{self.fence_agent}" option: [{options}]'
                f' timeout_s: 15 retries: 1 delay_ms: {self.fencing[host]} }}')

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Plan":
        values = json.loads(text)
        guest, others = values.pop("guest"), values.pop("others")
        return Plan(**values, guest=GuestPlan(**guest) if guest else None,
                    others=[GuestPlan(**other) for other in others])
