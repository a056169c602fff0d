#!/usr/bin/env python3
"""Writes the speed table of README.md, between its markers, from a result of bench/peers/resnet_torch.py.

  readme_table.py bench/results/<machine>/<file>.json
"""
import json
import pathlib
import re
import sys

BEGIN, END = "<!-- speed table: begin -->", "<!-- speed table: end -->"


def table(report):
    machine = report["machine"]
    lines = [
        f"ResNet forward pass, images to logits, f32, 224x224, {report['threads']} threads, beside PyTorch {report['torch']} eager in its faster memory "
        f"format; alternating runs, median of {report['repetitions']}, {report['date']}, {report['device']}, {machine['model']} (family {machine['family']}), "
        f"{machine['cores']} cores:", "",
        "| network | batch | here | PyTorch | ratio |", "|---|---|---|---|---|"]
    for entry in report["results"]:
        lines.append(f"| {entry['network']} | {entry['batch']} | {entry['ours_median_ms']:.1f} ms | {entry['torch_median_ms']:.1f} ms | "
                     f"{entry['ratio_of_medians']:.2f}x |")
    return "\n".join(lines)


def main():
    readme = pathlib.Path(__file__).resolve().parent.parent / "README.md"
    report = json.loads(pathlib.Path(sys.argv[1]).read_text())
    replaced, count = re.subn(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: f"{BEGIN}\n{table(report)}\n{END}", readme.read_text(), flags=re.S)
    if count != 1:
        sys.exit(f"{readme}: expected the markers once, found them {count} times")
    readme.write_text(replaced)


if __name__ == "__main__":
    main()
