#!/usr/bin/env python3
"""Pictures of the grid of knn_peers.py, as SVG: a roofline plot, and queries per second over the size of the gallery.

  knn_figures.py bench/results/<machine>/<date>-<commit>-knn-grid.json --output docs/images

Roofline: GFLOP/s of the direct algorithm (2 nq nb d operations) over operations per byte of f32 vectors read once (4 d (nq + nb)). The roof is
the measured FMA peak and the measured speed of reading memory, both in f32: our points may lie above it, because 8-bit products discard most
pairs.
"""
import argparse
import json
import math
import os
import re

OURS, FAISS = "#1f5fa8", "#c0392b"
QUERY_COUNTS = {1: "2,3", 16: "7,4", 1024: ""}  # nq and its dashes


class Panel:
    """Axes in powers of ten."""

    def __init__(self, left, top, width, height, x_range, y_range):
        self.left, self.top, self.width, self.height = left, top, width, height
        self.x_log, self.y_log = [[f(math.log10(v)) for f, v in zip((math.floor, math.ceil), r)] for r in (x_range, y_range)]

    def x(self, value):
        return self.left + self.width * (math.log10(value) - self.x_log[0]) / (self.x_log[1] - self.x_log[0])

    def y(self, value):
        return self.top + self.height * (self.y_log[1] - math.log10(value)) / (self.y_log[1] - self.y_log[0])

    def axes(self, title, x_name, y_name):
        parts = [f'<text x="{self.left}" y="{self.top - 10}" font-weight="bold">{title}</text>',
                 f'<text x="{self.left + self.width / 2}" y="{self.top + self.height + 34}" text-anchor="middle">{x_name}</text>',
                 f'<text x="6" y="{self.top - 24}">{y_name}</text>' if y_name else ""]
        for e in range(self.x_log[0], self.x_log[1] + 1):
            x = self.x(10.0**e)
            parts.append(f'<path d="M{x:.1f} {self.top}v{self.height}" stroke="#dddddd"/><text x="{x:.1f}" y="{self.top + self.height + 16}" text-anchor="middle">{power(e)}</text>')
        for e in range(self.y_log[0], self.y_log[1] + 1):
            y = self.y(10.0**e)
            parts.append(f'<path d="M{self.left} {y:.1f}h{self.width}" stroke="#dddddd"/><text x="{self.left - 5}" y="{y + 4:.1f}" text-anchor="end">{power(e)}</text>')
        return parts

    def line(self, points, colour, dashes=""):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'

    def point(self, x, y, colour, title):
        return f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3" fill="{colour}" fill-opacity="0.6"><title>{title}</title></circle>'


def power(exponent):
    return str(10**exponent) if 0 <= exponent <= 3 else f'10<tspan dy="-4" font-size="8">{exponent}</tspan>'


def document(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *[p for p in parts if p], "</svg>"]) + "\n"


def caption(report):
    clock = "processor time" if report["clock"] == "cpu" else "wall time"
    return f'{report["machine"]["model"]}, threads: {report["threads"]}, {clock}, minima; faiss-cpu {report["faiss"]}; {report["date"]}'


def speeds(entry):
    """(colour, who, measurement) of ours and of faiss."""
    return [(FAISS, "faiss", entry["peers"]["faiss"])] + [(OURS, "here", ours) for ours in entry["ours"].values()]


def roofline(report):
    peak = float(re.search(r"([\d.]+) GFLOP/s", report["device"])[1])
    bandwidth = report["read_gbytes_per_second"]
    intensity = lambda e: e["flop"] / (4.0 * e["d"] * (e["nq"] + e["nb"]))
    entries = report["results"]
    xs = [intensity(e) for e in entries]
    ys = [m["gflops"] for e in entries for _, _, m in speeds(e)]
    panel = Panel(70, 40, 560, 340, (min(xs) * 0.9, max(xs)), (min(ys), max(*ys, peak)))
    parts = panel.axes("Exact k nearest neighbours and the f32 roofline", "operations per byte of f32 vectors", "GFLOP/s")
    first, last = 10.0**panel.x_log[0], 10.0**panel.x_log[1]
    parts.append(panel.line([(first, first * bandwidth), (peak / bandwidth, peak), (last, peak)], "#555555"))
    parts.append(f'<text x="{panel.left + panel.width - 6}" y="{panel.y(peak) - 6:.1f}" text-anchor="end">FMA peak {peak:.0f} GFLOP/s; memory {bandwidth:.1f} GB/s</text>')
    for e in entries:
        for colour, who, m in speeds(e):
            parts.append(panel.point(intensity(e), m["gflops"], colour, f'{who}: nb={e["nb"]} nq={e["nq"]} d={e["d"]} k={e["k"]}, {m["gflops"]:.0f} GFLOP/s'))
    for i, (colour, who) in enumerate([(OURS, "here"), (FAISS, "faiss IndexFlatL2")]):
        parts.append(f'<circle cx="{80 + 90 * i}" cy="440" r="4" fill="{colour}"/><text x="{88 + 90 * i}" y="444">{who}</text>')
    parts.append(f'<text x="70" y="464">{caption(report)}</text>')
    return document(660, 476, parts)


def throughput(report, k):
    entries = [e for e in report["results"] if e["k"] == k]
    dimensions = sorted({e["d"] for e in entries})
    ys = [m["queries_per_second"] for e in entries for _, _, m in speeds(e)]
    parts = []
    for i, d in enumerate(dimensions):
        mine = [e for e in entries if e["d"] == d]
        panel = Panel(70 + 270 * i, 40, 210, 300, (min(e["nb"] for e in entries), max(e["nb"] for e in entries)), (min(ys), max(ys)))
        parts += panel.axes(f"d = {d}, k = {k}", "gallery vectors", "queries/s" if i == 0 else "")
        for nq, dashes in QUERY_COUNTS.items():
            curves = {}
            for e in sorted(mine, key=lambda e: e["nb"]):
                if e["asked_nq"] == nq:
                    for colour, _, m in speeds(e):
                        curves.setdefault(colour, []).append((e["nb"], m["queries_per_second"]))
            parts += [panel.line(points, colour, dashes) for colour, points in curves.items()]
    for i, (colour, who) in enumerate([(OURS, "here"), (FAISS, "faiss IndexFlatL2")]):
        parts.append(f'<path d="M{70 + 110 * i} 400h24" stroke="{colour}" stroke-width="2"/><text x="{100 + 110 * i}" y="404">{who}</text>')
    for i, (nq, dashes) in enumerate(QUERY_COUNTS.items()):
        parts.append(f'<path d="M{330 + 130 * i} 400h34" stroke="#555555" stroke-width="2" stroke-dasharray="{dashes}"/><text x="{370 + 130 * i}" y="404">nq = {nq}</text>')
    parts.append(f'<text x="70" y="424">{caption(report)}</text>')
    return document(70 + 270 * len(dimensions), 436, parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid")
    parser.add_argument("--output", required=True, help="a folder")
    parser.add_argument("--k", type=int, default=10, help="of the curves")
    arguments = parser.parse_args()
    os.makedirs(arguments.output, exist_ok=True)
    with open(arguments.grid) as file:
        report = json.load(file)
    for name, picture in (("knn_roofline", roofline(report)), ("knn_throughput", throughput(report, arguments.k))):
        with open(os.path.join(arguments.output, name + ".svg"), "w") as file:
            file.write(picture)


if __name__ == "__main__":
    main()
