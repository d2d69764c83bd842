"""Builds the guests of tests/lab/guests into build/guests/NAME/{vmlinuz,initrd}, some with a disk.img and a
disk1.img.

Without a disk the root file system is the initrd: it lives in guest RAM. A recipe's file `uses` names
others whose files it takes; its `machine.json`, if any, says what is different from a pg on virtio: see
Machine. The build runs in a mount and pid namespace of
its own, so an interrupted one leaves neither mounts nor processes, and is kept as long as the digest of
its recipe stays the same.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .plan import LabError

RECIPES = Path(__file__).resolve().parents[1] / "guests"
GUESTS = Path(__file__).resolve().parents[3] / "build/guests"
PROGRAMS = {"mmdebstrap": "mmdebstrap", "cpio": "cpio", "lz4": "lz4", "mke2fs": "e2fsprogs"}


@dataclass(frozen=True)
class Machine:
    """A recipe's machine.json: what the guest's files are to run on."""

    image: str = ""  # the recipe whose files it takes, or that its build begins with; "": none
    database: str = "postgresql"
    disk_models: tuple[str, ...] = ("",)  # "": the daemon's default
    nic: str = ""
    display: str = "NONE"
    boot_words: str = ""  # added to the kernel's command line


def names() -> list[str]:
    return sorted(path.name for path in RECIPES.iterdir())


def machine(name: str) -> Machine:
    if name not in names():
        raise LabError(f"no guest {name!r}: there is {', '.join(names())}")
    file = RECIPES / name / "machine.json"
    return Machine(**json.loads(file.read_text())) if file.exists() else Machine()


def images(files: Path) -> list[Path]:
    """The images of the guest's disks, among what `build` returned."""
    return [path for path in (files / "disk.img", files / "disk1.img") if path.exists()]


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
    image = machine(name).image
    base = build(image, say, force) if image else None
    if not (recipe / "build").exists():
        return base
    target = GUESTS / name
    stamp = target / "recipe"
    wanted = digest(recipe) + (digest(RECIPES / image) if image else "")
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
            _run_recipe(recipe, Path(work), base, say)
            fresh = Path(work) / "out"
            (fresh / "recipe").write_text(wanted)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    size = (target / "initrd").stat().st_size >> 20
    say(f"guest {name}: initrd of {size} MiB in {target}")
    return target


def _run_recipe(recipe: Path, work: Path, base: Path | None, say) -> None:
    """Runs the recipe's `build OUT SCRATCH [BASE]`; lines beginning with "== " are its progress."""
    (work / "out").mkdir()
    log = GUESTS / f"{recipe.name}.log"
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc",
               "--kill-child", str(recipe / "build"), str(work / "out"), str(work / "scratch"),
               *([str(base)] if base else [])]
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
