#!/usr/bin/python3
"""How CPU per message grows with what else the broker holds: a table, and a plot in bench-scale.svg. See README.
SPDX-License-Identifier: GPL-2.0-or-later"""

import math
import os
import shutil

from brokers import BUILD, Caddis, Failed, Forwarder, Mosquitto, note, scratch

QUICK = os.environ.get("QUICK", "") not in ("", "0")
FLOW = f"--qos=1 --seconds={0.5 if QUICK else 1.5}"
BIG = 100000 if QUICK else 1000000
ALL, FULL = (Mosquitto, Forwarder, Caddis), (Mosquitto, Caddis)
# title, brokers, [(x, arguments)]
SERIES = [
    ("idle connections besides 50 pairs", ALL,
     [(n, f"pairs --n=50 --idle={n}") for n in (10, 1000, 10000)]),
    ("connections, all of them busy", ALL,
     [(2 * n, f"pairs --n={n}") for n in (5, 500, 5000)]),
    ("subscriptions that match nothing, besides 50 pairs", FULL,
     [(n, f"pairs --n=50 --subs={n}") for n in (10, 10000, BIG)]),
    ("retained messages, besides 50 pairs", FULL,
     [(n, f"pairs --n=50 --retained={n}") for n in (10, 10000, BIG)]),
]
COLOURS = {"mosquitto": "#b3541e", "ceiling": "#888888", "caddis": "#1e6fb3"}


def measure(kind, folder, args):
    broker = kind(folder, durable=True)
    try:
        broker.start()
        result = broker.load((args + " " + FLOW).split())
    except Failed as why:
        note(f"! {why}")
        return None
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if result["lost"] or result["repeated"]:
        note(f"! {kind.name}, {args}: {result['lost']:.0f} lost, {result['repeated']:.0f} repeated")
    return result["cpu_us"], result["rss_kb"] / 1024


def run_all(folder):
    """[(title, {broker: [(x, us, MB), ...]})]"""
    found = []
    for title, brokers, points in SERIES:
        lines = {}
        for kind in brokers:
            for x, args in points:
                note(f"{title}: {x:,}, {kind.name}")
                figures = measure(kind, os.path.join(folder, "broker"), args)
                if figures is not None:
                    lines.setdefault(kind.name, []).append((x, *figures))
        found.append((title, lines))
    return found


def table(found):
    out = []
    for title, lines in found:
        xs = sorted({point[0] for points in lines.values() for point in points})
        out.append(f"{title:52}" + "".join(f"{x:>20,}" for x in xs))
        for name, points in lines.items():
            cells = {x: f"{us:.2f} us {mb:,.0f} MB" for x, us, mb in points}
            out.append(f"  {name:50}" + "".join(f"{cells.get(x, '-'):>20}" for x in xs))
    return "CPU per message (QoS 1) and resident memory\n" + "\n".join(out) + "\n"


WIDTH, HEIGHT, MARGIN = 420, 260, 48


def panel(title, lines, left, top):
    """One plot, both axes logarithmic: what grows shows, however cheap the broker."""
    xs = [x for points in lines.values() for x, _, _ in points]
    ys = [y for points in lines.values() for _, y, _ in points]
    if not xs:
        return []
    low, high = math.log10(min(xs)), math.log10(max(xs))
    least, most = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(x, y):
        return (left + MARGIN + width * (math.log10(x) - low) / ((high - low) or 1),
                top + MARGIN + height * (most - math.log10(y)) / ((most - least) or 1))

    out = [f'<text x="{left + MARGIN}" y="{top + 24}" font-weight="bold">{title}</text>',
           f'<path d="M{left + MARGIN} {top + MARGIN}v{height}h{width}" fill="none" stroke="black"/>']
    for x in sorted(set(xs)):
        px, py = place(x, 10 ** least)
        out.append(f'<text x="{px:.0f}" y="{py + 16:.0f}" text-anchor="middle">{x:,}</text>')
    for decade in range(least, most + 1):
        px, py = place(min(xs), 10 ** decade)
        out.append(f'<text x="{px - 6:.0f}" y="{py + 4:.0f}" text-anchor="end">{10 ** decade:g}</text>')
        out.append(f'<path d="M{left + MARGIN} {py:.0f}h{width}" stroke="#dddddd"/>')
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[name]
        at = [place(x, y) for x, y, _ in sorted(points)]
        out.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}" fill="none" '
                   f'stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
        out.append(f'<text x="{left + MARGIN + 8 + 90 * i}" y="{top + 42}" fill="{colour}">{name}</text>')
    return out


def plot(found):
    rows = (len(found) + 1) // 2
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{rows * HEIGHT + 20}" '
           'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for i, (title, lines) in enumerate(found):
        out += panel(title, lines, i % 2 * WIDTH, i // 2 * HEIGHT)
    out += [f'<text x="{MARGIN}" y="{rows * HEIGHT + 8}">CPU of the broker in us per delivered message, QoS 1</text>',
            "</svg>"]
    return "\n".join(out) + "\n"


def main():
    folder = scratch()
    try:
        found = run_all(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(found), end="")
    for name, text in (("bench-scale.txt", table(found)), ("bench-scale.svg", plot(found))):
        with open(os.path.join(BUILD, name), "w") as out:
            out.write(text)


if __name__ == "__main__":
    main()
