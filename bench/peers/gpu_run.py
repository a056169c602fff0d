"""What the peers' scripts of tools/gpu.sh that drive one program of ours share: their arguments, the run over cases within a time budget, and the report."""
import argparse
import json
import sys
import tempfile
import time

import torch

from child import Child
from gpu_timing import gpu_facts
from machine_facts import command_output

WRONG = "wrong: "  # what an error begins with that is about an answer, not about a shape that a machine cannot do


def make_parser(description, program, repetitions, seconds):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=program)
    parser.add_argument("--output", required=True, help="JSON file to write")
    parser.add_argument("--device", default="cuda", help="ours")
    parser.add_argument("--torch-device", default="cuda", help="theirs: cpu for a check of this program")
    parser.add_argument("--scale", type=int, default=1, help="divides the numbers of a case: for a check of this program")
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--seconds", type=float, default=seconds, help="time budget of the whole run")
    return parser


def run_cases(name, arguments, cases, measure, what, peer, reserved=None):
    """measure(ours, folder, case) gives a case's entry; a RuntimeError leaves it out, and one that begins with WRONG fails the run. A case begins with its name;
    `reserved`: seconds that one needs. Writes the report; returns the exit code."""
    if arguments.torch_device == "cuda" and not torch.cuda.is_available():
        print(f"{name}_cuda_torch.py: PyTorch sees no GPU", file=sys.stderr)
        return 2
    end = time.monotonic() + arguments.seconds
    results, skipped, wrong = [], [], False
    ours = Child([arguments.program, f"--device={arguments.device}"])
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            if time.monotonic() > end - (reserved or {}).get(case[0], 0):
                skipped.append(f"{case[0]}: no time left")
                continue
            try:
                results.append(measure(ours, folder, case))
            except RuntimeError as error:
                wrong = wrong or str(error).startswith(WRONG)
                skipped.append(f"{case[0]}: {error}")
                print(f"{name} {case[0]}: FAILED: {error}", flush=True)
    report = {"what": what, "peer": peer, **gpu_facts(arguments.torch_device), "ours": ours.description,
              "commit": command_output("git", "rev-parse", "--short", "HEAD"), "date": time.strftime("%Y-%m-%d"), "repetitions": arguments.repetitions,
              "skipped": skipped, "results": results}
    with open(arguments.output, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    return 0 if results and not ours.ended() and not wrong else 1
