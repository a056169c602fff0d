"""What a result says about where it was measured; for scripts that need nothing but Python."""
import os
import platform
import re
import subprocess


def command_output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor_facts():
    info = open("/proc/cpuinfo").read()
    field = lambda name: (re.search(rf"^{name}\s*:\s*(.*)$", info, re.M) or [None, ""])[1]
    return {"model": field("model name"), "family": field("cpu family"), "model_number": field("model"),
            "cores": os.cpu_count(), "system": platform.platform()}
