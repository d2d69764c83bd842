"""Builds the guests of tests/lab/guests into build/guests/NAME/{vmlinuz,initrd}, some with a disk.img.

Without a disk the root file system is the initrd: it lives in guest RAM. A recipe's file `uses` names
others whose files it takes. The build runs in a mount and pid namespace of
its own, so an interrupted one leaves neither mounts nor processes, and is kept as long as the digest of
its recipe stays the same.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .plan import LabError

RECIPES = Path(__file__).resolve().parents[1] / "guests"
GUESTS = Path(__file__).resolve().parents[3] / "build/guests"
PROGRAMS = {"mmdebstrap": "mmdebstrap", "cpio": "cpio", "lz4": "lz4", "mke2fs": "e2fsprogs"}


def names() -> list[str]:
    return sorted(path.name for path in RECIPES.iterdir() if (path / "build").exists())


def digest(recipe: Path) -> str:
    sums = hashlib.sha256()
    for path in sorted(recipe.rglob("*")):
        if path.is_file():
            sums.update(f"{path.relative_to(recipe)}\0{os.access(path, os.X_OK)}\0".encode())
            sums.update(path.read_bytes())
    uses = recipe / "uses"
    for other in uses.read_text().split() if uses.exists() else []:
        sums.update(digest(RECIPES / other).encode())
    return sums.hexdigest()


def build(name: str, say=lambda _: None, force: bool = False) -> Path:
    """The directory with the guest's files, built now if the recipe has changed."""
    recipe = RECIPES / name
    if not (recipe / "build").exists():
        raise LabError(f"no guest {name!r}: there is {', '.join(names())}")
    target = GUESTS / name
    stamp = target / "recipe"
    wanted = digest(recipe)
    if not force and stamp.exists() and stamp.read_text() == wanted:
        return target
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if missing:
        raise LabError(f"missing packages: {' '.join(missing)}; run tests/install")
    if os.geteuid() != 0:
        raise LabError("building a guest needs root")
    GUESTS.mkdir(parents=True, exist_ok=True)
    with open(GUESTS / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not force and stamp.exists() and stamp.read_text() == wanted:
            return target  # built by the process that had the lock
        say(f"guest {name}: building (a minute or so, once)")
        # Built beside the old one and moved in place when whole.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=GUESTS) as work:
            _run_recipe(recipe, Path(work), say)
            fresh = Path(work) / "out"
            (fresh / "recipe").write_text(wanted)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    size = (target / "initrd").stat().st_size >> 20
    say(f"guest {name}: initrd of {size} MiB in {target}")
    return target


def _run_recipe(recipe: Path, work: Path, say) -> None:
    """Runs the recipe's `build OUT SCRATCH`; lines beginning with "== " are its progress."""
    (work / "out").mkdir()
    log = GUESTS / f"{recipe.name}.log"
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc",
               "--kill-child", str(recipe / "build"), str(work / "out"), str(work / "scratch")]
    with open(log, "w") as out, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", cwd="/") as process:
        try:
            for line in process.stdout:
                out.write(line)
                if line.startswith("== "):
                    say(f"guest {recipe.name}: {line[3:].strip()}")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        tail = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise LabError(f"guest {recipe.name} did not build: {tail} (whole log: {log})")
