"""The machine that numbers were measured on."""

import os
import platform
import subprocess


def describe() -> dict:
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                          check=False).stdout.split("\n")[0]
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "qemu": qemu}


def line() -> str:
    here = describe()
    return f"{here['cpu']}, {here['cores']} cores, Linux {here['kernel']}, {here['qemu']}"
