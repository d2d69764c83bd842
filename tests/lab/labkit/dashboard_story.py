"""The lab is left running, with a protected guest under load, for someone who looks at its pages."""

import time

from . import story
from .gateway import Gateway
from .plan import HTTP_PORT

LOAD_SECONDS = 600  # then it begins anew
PAUSE_SECONDS = 2   # after a load that failed at once, its guest being stopped or on the move


def pages(hosts: list[str]) -> dict[str, str]:
    """Where each host's page is found on this machine."""
    return {host: f"https://localhost:{HTTP_PORT + number}/" for number, host in enumerate(hosts)}


def tell(hosts, directory, token: str, say):
    """Until ^C."""
    plan = hosts.lab.plan
    gates = [Gateway(HTTP_PORT + number, plan.namespace(host), (plan.address(host), HTTP_PORT))
             for number, host in enumerate(plan.hosts)]
    say("")
    for host in plan.hosts:
        say(f"  host {host}   {plan.page(host)}")
    say(f"  token    {token}")
    forwards = " ".join(f"-L {HTTP_PORT + number}:localhost:{HTTP_PORT + number}" for number in range(len(gates)))
    say(f"\n  The certificates are the lab's own: the browser asks. From another machine: ssh {forwards} ...")
    say(f"  `tests/lab/lab --name {plan.name} kill a` kills a host. ^C ends it all.\n")
    try:
        while True:
            with story.Background(hosts, hosts.database.load_command(LOAD_SECONDS), directory / "load.log") as load:
                while load.running:
                    time.sleep(PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)
    finally:
        for gate in gates:
            gate.close()
