#!/usr/bin/python3
"""How CPU per message grows with what else the broker holds: a table, and a plot in bench-scale.svg. See README.
SPDX-License-Identifier: GPL-2.0-or-later"""

import math
import os
import resource
import shutil
import signal
import sys

from brokers import BUILD, Caddis, Failed, Forwarder, Mosquitto, note, scratch

QUICK = os.environ.get("QUICK", "") not in ("", "0")
ONLY = [r for r in os.environ.get("RUNS", "").split(",") if r]
BROKERS = [b for b in os.environ.get("BROKERS", "").split(",") if b]
FLOW = f"--qos=1 --seconds={0.5 if QUICK else 1.5}"
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]       # a broker can't have more open than this
CROWD = min(5000 if QUICK else 50000, FILES - 200)
BIG = 100000 if QUICK else 1000000
ALL, FULL = (Mosquitto, Forwarder, Caddis), (Mosquitto, Caddis)


class Series:
    """One curve for each broker. `key`: which figure of the load generator is plotted."""

    def __init__(self, title, args, xs, brokers=FULL, key="cpu_us"):
        self.title, self.args, self.xs, self.brokers, self.key = title, args, xs, brokers, key

    def arguments(self, x):
        return [*(self.args(x) if callable(self.args) else self.args.format(x)).split(), *FLOW.split()]


def deep(levels):
    return "pairs --n=50 --topic=" + "l/" * (levels - 1) + "%u"


SERIES = {
    "idle": Series("idle connections, besides 50 pairs", "pairs --n=50 --idle={}", (10, 1000, CROWD), ALL),
    "busy": Series("connections, all of them busy", lambda x: f"pairs --n={x // 2}",
                   (10, 1000, min(10000, CROWD)), ALL),
    "subs": Series("subscriptions that match nothing", "pairs --n=50 --subs={}", (10, 10000, BIG)),
    "wide": Series("siblings of the topics, one level with all", "pairs --n=50 --subs={} --away=flow/x%u",
                   (10, 10000, BIG)),
    "wild": Series("wildcard filters +/N/# that match nothing", "pairs --n=50 --subs={} --away=+/x%u/#",
                   (10, 10000, BIG)),
    "deep": Series("levels of the topic", deep, (2, 8, 32)),
    "tangle": Series("wildcard filters that fail at the last level",
                     "pairs --n=50 --subs={} --topic=x/x/x/x/x/x/x/x/x/x/%u --away=%w/no", (1, 32, 1024)),
    "retained": Series("retained messages, besides 50 pairs", "pairs --n=50 --retained={}", (10, 10000, BIG)),
    "retain": Series("setting a retained message, of so many",
                     "retain --n=10 --inflight=100 --window=100 --messages={}", (100, 10000, BIG), key="set_cpu_us"),
}
COLOURS = {"mosquitto": "#b3541e", "ceiling": "#888888", "caddis": "#1e6fb3"}


def measure(kind, folder, series, x):
    broker = kind(folder, durable=True)
    try:
        broker.start()
        result = broker.load(series.arguments(x))
    except Failed as why:
        note(f"! {why}")
        return None
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if result.get("lost") or result.get("repeated"):
        note(f"! {kind.name}, {series.title}: {result['lost']:.0f} lost, {result['repeated']:.0f} repeated")
    return result[series.key], result.get("rss_kb", 0) / 1024


def run_all(folder):
    """[(title, {broker: [(x, us, MB), ...]})]"""
    found = []
    for name, series in SERIES.items():
        if ONLY and name not in ONLY:
            continue
        lines = {}
        for kind in (b for b in series.brokers if not BROKERS or b.name in BROKERS):
            for x in series.xs:
                note(f"{series.title}: {x:,}, {kind.name}")
                figures = measure(kind, os.path.join(folder, "broker"), series, x)
                if figures is not None:
                    lines.setdefault(kind.name, []).append((x, *figures))
        found.append((series.title, lines))
        print(table(found[-1:]), end="", flush=True)
    return found


def table(found):
    out = []
    for title, lines in found:
        xs = sorted({point[0] for points in lines.values() for point in points})
        out.append(f"{title:52}" + "".join(f"{x:>20,}" for x in xs))
        for name, points in lines.items():
            cells = {x: f"{us:.2f} us" + (f" {mb:,.0f} MB" if mb else "") for x, us, mb in points}
            out.append(f"  {name:50}" + "".join(f"{cells.get(x, '-'):>20}" for x in xs))
    return "\n".join(out) + "\n"


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
    out += [f'<text x="{MARGIN}" y="{rows * HEIGHT + 8}">CPU of the broker in us per message, QoS 1; '
            'both axes are logarithmic</text>',
            "</svg>"]
    return "\n".join(out) + "\n"


def main():
    strangers = set(BROKERS) - {kind.name for kind in ALL}
    if strangers:
        sys.exit(f"BROKERS: no {', '.join(sorted(strangers))}; there are {', '.join(kind.name for kind in ALL)}")
    unknown = set(ONLY) - set(SERIES)
    if unknown:
        sys.exit(f"RUNS: no {', '.join(sorted(unknown))}; there are {', '.join(SERIES)}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))     # the broker goes too
    folder = scratch()
    print("CPU per message (QoS 1) and resident memory")
    try:
        found = run_all(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, text in (("bench-scale.txt", table(found)), ("bench-scale.svg", plot(found))):
        with open(os.path.join(BUILD, name), "w") as out:
            out.write(text)


if __name__ == "__main__":
    main()
