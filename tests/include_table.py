#!/usr/bin/python3
"""Holds the include table of the modules: who may include whose headers.

    config        knows nobody
    hypervisor, replication, netbuffer      know config, and not each other
    checkpointer  knows those three
    failover      is where it all comes together
    tests         are free
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAY_INCLUDE = {
    "config": set(),
    "hypervisor": {"config"},
    "replication": {"config"},
    "netbuffer": {"config"},
    "checkpointer": {"config", "hypervisor", "replication", "netbuffer"},
    "failover": {"config", "hypervisor", "replication", "netbuffer", "checkpointer"},
}
SOURCES = {".hpp", ".cpp", ".h", ".c", ".proto"}
INCLUDE = re.compile(r'^\s*(?:#\s*include\s*[<"]|import\s+(?:public\s+)?")([^/">]+)/[^">]*[">]')


def violations(module: str, path: Path) -> list[str]:
    found = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match and match[1] in {*MAY_INCLUDE, "tests"} - MAY_INCLUDE[module] - {module}:
            found.append(f"{path.relative_to(ROOT)}:{number}: {module}/ must not include {match[1]}/")
    return found


def main() -> int:
    files = [(module, path) for module in MAY_INCLUDE for path in sorted((ROOT / module).rglob("*"))
             if path.suffix in SOURCES]
    found = [violation for module, path in files for violation in violations(module, path)]
    print("\n".join(found) if found else f"{len(files)} files keep the include table")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
