"""What `understudy status --json` says, in Python's types. Pure.

Protocol Buffers' JSON writes 64-bit numbers as text and may leave out what has its default; here
every field is there with its type.
"""

import json

GUEST = {"name": "", "state": "STOPPED", "active_host": "", "backup_host": "", "term": 0,
         "epoch": 0, "commit_age_us": 0, "held_packets": 0, "held_bytes": 0, "pages_per_epoch": 0.0,
         "bytes_per_epoch": 0.0, "sync_fraction": 0.0, "link": "", "throttled": False, "detail": "",
         "report_age_us": 0, "epochs_per_second_milli": 0, "accelerator": "",
         "hold_limit_bytes": 0, "hold_full": 0, "ingress_cut": 0, "egress_dropped": 0}
QUANTILES = {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0, "last": 0.0}
OUTAGE = {"decision_unix_us": 0, "running_unix_us": 0, "promote_us": 0, "lost_view_unix_us": 0}
QUORUM = {"corosync_connected": False, "quorate": False, "ring": "", "voter": False}


def filled(values: dict, defaults: dict) -> dict:
    """Unknown fields stay; known ones get their default's type."""
    known = {name: type(default)(values.get(name, default)) for name, default in defaults.items()}
    return {**values, **known}


def parse(text: str) -> dict:
    """ValueError if it is no status."""
    status = json.loads(text)
    if not isinstance(status, dict) or "host" not in status:
        raise ValueError("no status: it has no field `host`")
    status["quorum"] = filled(status.get("quorum", {}), QUORUM)
    status["guest"] = [guest(one) for one in status.get("guest", [])]
    return status


def guest(values: dict) -> dict:
    whole = filled(values, GUEST)
    for name in ("pause_us", "commit_latency_us", "hold_us"):
        whole[name] = filled(values.get(name, {}), QUANTILES)
    whole["last_failover"] = filled(values.get("last_failover", {}), OUTAGE)
    return whole


def find_guest(status: dict, name: str) -> dict:
    """Empty if the host does not know it."""
    return next((one for one in status["guest"] if one["name"] == name), {})
