#!/usr/bin/python3
"""caddis against mosquitto and against a bare forwarder: the table of targets, in one run. See README.
SPDX-License-Identifier: GPL-2.0-or-later"""

import json
import os
import platform
import shutil
import signal
import socket
import statistics
import struct
import sys
import time

from brokers import Caddis, Disk, Failed, Forwarder, Mosquitto, certificate, note, scratch, tls_context

QUICK = os.environ.get("QUICK", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
ONLY = [r for r in os.environ.get("RUNS", "").split(",") if r]
SECONDS = 0.5 if QUICK else 1
SLOW = 3 if QUICK else 20       # seconds at ten messages each
CROWD = 2000 if QUICK else 10000
ALL = (Mosquitto, Forwarder, Caddis)
FULL = (Mosquitto, Caddis)


class Run:
    """One broker, fresh, one scene of the load generator. `once`: the figure is no matter of luck."""

    def __init__(self, args, brokers=ALL, once=False, method="scene", **settings):
        self.args, self.brokers, self.once, self.settings = args.split(), brokers, once, settings
        self.method = method

    def scene(self, broker, disk):
        broker.start()
        before = disk.bytes_written()
        args = self.args + (["--keep"] if isinstance(broker, Forwarder) else [])
        result = broker.load(args)
        if before is not None:
            time.sleep(3)       # what is written lazily counts too
            messages = result.get("fill_messages") or result.get("messages") or 1
            result["device_bytes"] = (disk.bytes_written() - before) / messages
        return result

    def crash(self, broker, disk):
        """kill -9 in the middle of a burst, then: is everything there that was acknowledged?"""
        acked = os.path.join(broker.folder, "acked")
        broker.start()
        broker.load(self.args + [f"--acked={acked}", "--keep"])
        broker.stop(signal.SIGKILL)
        broker.start()
        args = [a for a in self.args if not a.startswith("--kill-after")]
        return broker.load(["drain", *args[1:], f"--acked={acked}"])

    def tls(self, broker, disk):
        """Memory of idle TLS 1.3 connections, each with one subscription."""
        n = int(self.args[0])
        broker.settings["tls"] = certificate(os.path.dirname(broker.folder))
        broker.start()
        connections = [tls_client(broker.port, i) for i in range(8)]    # what the library sets up once
        before = broker.private_kb()
        connections += [tls_client(broker.port, i) for i in range(8, n + 8)]
        time.sleep(1.5)
        after = broker.private_kb()
        for c in connections:
            c.close()
        return {"private_bytes": (after - before) * 1024 / n}


def tls_client(port, number):
    c = tls_context().wrap_socket(socket.create_connection(("127.0.0.1", port), 10))

    def text(s):
        return struct.pack(">H", len(s)) + s.encode()

    def packet(head, body):
        return bytes([head, len(body)]) + body

    def expect(kind, length):
        got = b""
        while len(got) < length:
            more = c.recv(length - len(got))
            if not more:
                break
            got += more
        if len(got) < length or got[0] != kind or got[-1] >= 0x80:
            raise Failed(f"TLS client {number}: {got.hex()}")

    c.sendall(packet(0x10, text("MQTT") + bytes([4, 2]) + struct.pack(">H", 600) + text(f"tls-{number}")))
    expect(0x20, 4)
    c.sendall(packet(0x82, struct.pack(">H", 1) + text(f"house/{number}/state") + b"\0"))
    expect(0x90, 5)
    return c


def flow(args, **more):
    return Run(f"{args} --seconds={SECONDS} --warmup={0.2 if QUICK else 0.3}", **more)


BURST = 20000 if QUICK else 100000
RUNS = {
    "pairs0": flow("pairs --qos=0"),
    "pairs1": flow("pairs --qos=1"),
    "pairs2": flow("pairs --qos=2"),
    "fanout0": flow("fanout --qos=0"),
    "fanout1": flow("fanout --qos=1"),
    "fanin": flow("fanin --qos=0"),
    "single": flow("pairs --qos=0 --window=1"),
    "large": flow("pairs --qos=0 --n=20 --window=4 --size=65536"),
    "durable": flow("pairs --qos=1 --durable", durable=True),
    "queue1": Run(f"offline --qos=1 --n=1 --messages={1000 if QUICK else 5000}", durable=True),
    "queue": Run(f"offline --qos=1 --n=10 --inflight=100 --window=100 --messages={BURST}", brokers=FULL, durable=True),
    "retain": Run("retain --qos=1 --n=10 --inflight=100 --window=100 --messages=10000", brokers=FULL, durable=True),
    "storm": Run("storm --n=5000"),
    "latency": Run(f"pairs --qos=1 --rate=2000 --spin --seconds={2 * SECONDS}"),
    "slow": Run(f"pairs --qos=1 --rate=200 --spin --seconds={4 * SECONDS}", nodelay=True),
    "idle": Run(f"idle --n={CROWD} --seconds=5", brokers=FULL, once=True),
    "sleepers": Run(f"sleepers --n={CROWD}", brokers=FULL, once=True, durable=True),
    "tls": Run("200", brokers=FULL, once=True, method="tls"),
    "online10": Run(f"pairs --n=1 --qos=1 --durable --rate=10 --seconds={SLOW}", brokers=FULL, once=True,
                    durable=True, each_change=True),
    "offline10": Run(f"offline --n=1 --qos=1 --rate=10 --messages={SLOW * 10} --keep", brokers=FULL, once=True,
                     durable=True, each_change=True),
    "offline10s": Run(f"offline --n=1 --qos=1 --rate=10 --messages={SLOW * 10} --keep", brokers=FULL, once=True,
                      durable=True, each_change=True, commit_interval="1s"),
    "crash": Run(f"offline --qos=1 --n=10 --inflight=100 --window=100 --messages={2 * BURST} --kill-after={BURST}",
                 brokers=FULL, once=True, method="crash", durable=True),
}


class Row:
    """One line of the table. Limits: `of_mosquitto`, `of_ceiling`, `at_most`, `at_least`. `derived` says the same as
    of_mosquitto in terms of the ceiling, from a run with mosquitto 2.1.2: an older mosquitto is slower, and to be
    faster than that proves less. Of several rounds the median counts; with `best` the lowest value."""

    def __init__(self, text, run, key, unit="us", scale=1, best=False, **limits):
        self.text, self.run, self.key, self.unit, self.scale, self.limits = text, run, key, unit, scale, limits
        self.middle = min if best else statistics.median


ROWS = [
    Row("CPU per message, 100 pairs, QoS 0", "pairs0", "cpu_us", of_mosquitto=0.25, derived=2.5),
    Row("CPU per message, 100 pairs, QoS 1", "pairs1", "cpu_us", of_mosquitto=0.25, derived=2.6),
    Row("CPU per message, 100 pairs, QoS 2", "pairs2", "cpu_us", of_mosquitto=0.25, derived=2.3),
    Row("fan-out 1 -> 100, QoS 0", "fanout0", "cpu_us", of_mosquitto=0.3, derived=1.9),
    Row("fan-out 1 -> 100, QoS 1", "fanout1", "cpu_us", of_mosquitto=0.3, derived=2.5),
    Row("fan-in 100 -> 1, QoS 0", "fanin", "cpu_us", of_mosquitto=0.25, derived=2.2),
    Row("one message at a time, QoS 0", "single", "cpu_us", of_mosquitto=0.85, derived=1.18),
    Row("64 KiB payloads, QoS 0", "large", "cpu_us", of_mosquitto=0.8, derived=1.23),
    Row("durable subscribers online, QoS 1", "durable", "cpu_us", of_mosquitto=0.15, derived=4.8),
    Row("queueing for offline sessions, QoS 1", "queue", "fill_cpu_us", of_mosquitto=0.4),
    Row("  one publisher, 20 in flight", "queue1", "fill_cpu_us"),
    Row("draining those queues", "queue", "drain_cpu_us", of_mosquitto=3),
    Row("  p99 of another pair meanwhile", "queue", "probe_p99_us", unit="ms", scale=1e-3, at_most=20),
    Row("retained: 10,000 topics set", "retain", "set_cpu_us", of_mosquitto=0.4),
    Row("retained: to a new subscriber", "retain", "get_cpu_us", of_mosquitto=0.4),
    Row("system calls per message, QoS 0", "pairs0", "syscalls", unit="", of_ceiling=2),
    Row("system calls per message, QoS 1", "pairs1", "syscalls", unit="", of_ceiling=2),
    Row("system calls per message, QoS 2", "pairs2", "syscalls", unit="", of_ceiling=2),
    Row("connect + subscribe", "storm", "cpu_us", of_mosquitto=0.8, derived=1.2),
    Row("latency p50, 2,000 msg/s, QoS 1", "latency", "p50_us", best=True, of_mosquitto=0.85, derived=1.31),
    Row("latency p99, 200 msg/s, QoS 1 (nodelay)", "slow", "p99_us", best=True, of_mosquitto=1),
    Row("heap per idle connection", "idle", "private_bytes", unit="B", at_most=700),
    Row("heap per offline durable session", "sleepers", "private_bytes", unit="B", at_most=400),
    Row("memory per idle TLS 1.3 connection", "tls", "private_bytes", unit="KB", scale=1e-3, at_most=25),
    Row("RAM per message queued offline", "queue", "queued_bytes", unit="B", at_most=4),
    Row("private memory at idle, store open", "idle", "before_kb", unit="KiB", at_most=600),
    Row("given back after the clients left", "idle", "given_back", unit="%", scale=100, at_least=95),
    Row("written per message, online, 10 msg/s", "online10", "written", unit="B", at_most=50),
    Row("written per message, offline, 20 ms", "offline10", "written", unit="B", at_most=14500),
    Row("written per message, offline, 1 s", "offline10s", "written", unit="B", at_most=5000),
    Row("acknowledged, lost after kill -9", "crash", "acked_lost", unit="", at_most=0),
    Row("wake-ups per second, idle", "idle", "wakeups_per_second", unit="", at_most=0),
    Row("bytes written per hour, idle", "idle", "writes_per_hour", unit="", at_most=0),
]


def measure(run, kind, folder, disk):
    broker = kind(folder, **run.settings)
    try:
        result = getattr(run, run.method)(broker, disk)
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if "device_bytes" in result:
        result["written"] = result["device_bytes"]
    else:
        result["written"] = result.get("fill_write_bytes", result.get("write_bytes", 0))
    if run.method == "scene":
        wrong = [f"{result[what]:.0f} {what}" for what in ("lost", "repeated", "unacked") if result.get(what)]
        if wrong:
            result["wrong"] = ", ".join(wrong)
    return result


def run_all(folder):
    """{run: {broker: [result, ...]}}; a failed run leaves its text."""
    results, disk = {}, Disk(folder)
    for turn in range(ROUNDS):
        for name, run in RUNS.items():
            if (ONLY and name not in ONLY) or (run.once and turn > 0):
                continue
            for kind in run.brokers:
                note(f"round {turn + 1} of {ROUNDS}: {name}, {kind.name}")
                try:
                    result = measure(run, kind, os.path.join(folder, "broker"), disk)
                except Failed as why:
                    result = {"failed": str(why)}
                results.setdefault(name, {}).setdefault(kind.name, []).append(result)
    return results


def figure(row, results, broker):
    values = [r[row.key] * row.scale for r in results.get(row.run, {}).get(broker, []) if row.key in r]
    return row.middle(values) if values else None


def limits_of(row, old_mosquitto, mosquitto, ceiling):
    """[(text, bound, is it a lowest value)]; the bound is None when what it refers to was not measured."""
    kinds = [("of_mosquitto", "m", mosquitto), ("of_ceiling", "c", ceiling)]
    if old_mosquitto:
        kinds.append(("derived", "c", ceiling))
    found = [(f"<= {row.limits[name]:g} {letter}", None if of is None else row.limits[name] * of, False)
             for name, letter, of in kinds if name in row.limits]
    if "at_most" in row.limits:
        found.append((f"<= {row.limits['at_most']:,g}", row.limits["at_most"], False))
    if "at_least" in row.limits:
        found.append((f">= {row.limits['at_least']:g}", row.limits["at_least"], True))
    return found


def keeps(value, limits):
    """None: cannot be said."""
    if value is None or not limits or any(bound is None for _, bound, _ in limits):
        return None
    return all(value >= bound if lowest else value <= bound for _, bound, lowest in limits)


def table(results):
    """Rows as dictionaries: text, unit, the three figures, ratios, target, reached."""
    old_mosquitto = Mosquitto.version().startswith("2.0")
    for row in ROWS:
        if row.run not in results:
            continue
        m, c, x = (figure(row, results, kind.name) for kind in ALL)
        if row.unit == "" and row.key == "syscalls" and not any((m, c, x)):
            m = c = x = None    # nobody let us count
        limits = limits_of(row, old_mosquitto, m, c)
        yield {"row": row.text, "unit": row.unit, "mosquitto": m, "ceiling": c, "caddis": x,
               "of_mosquitto": x / m if x is not None and m and m > 0 else None,
               "of_ceiling": x / c if x is not None and c else None,
               "target": ", ".join(text for text, _, _ in limits), "reached": keeps(x, limits),
               "ceiling_reaches": keeps(c, limits)}


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else "0"


def print_table(rows, results):
    print(f"\n{'':40} {'unit':>4} {'mosquitto':>10} {'ceiling':>9} {'caddis':>9} {'of m':>6} {'of c':>6}  "
          f"{'target':18} reached")
    for r in rows:
        reached = {True: "yes", False: "NO", None: "-"}[r["reached"]]
        if r["reached"] is False and r["ceiling_reaches"] is False:
            reached += " (nor does the ceiling)"
        print(f"{r['row']:40} {r['unit']:>4} {number(r['mosquitto']):>10} {number(r['ceiling']):>9} "
              f"{number(r['caddis']):>9} {number(r['of_mosquitto']):>6} {number(r['of_ceiling']):>6}  "
              f"{r['target']:18} {reached}")
    for name, by_broker in results.items():
        for broker, tries in by_broker.items():
            for text in sorted({t.get("failed") or t.get("wrong") for t in tries} - {None}):
                print(f"! {name}, {broker}: {text}")


def versions():
    found = {}
    for kind in ALL:
        try:
            found[kind.name] = kind.version()
        except (Failed, TypeError, OSError) as why:
            found[kind.name] = str(why)
    with open("/proc/cpuinfo") as text:
        model = next((line.split(":")[1].strip() for line in text if line.startswith("model name")), platform.machine())
    return found, f"{os.cpu_count()} x {model}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"


def main():
    unknown = set(ONLY) - set(RUNS)
    if unknown:
        sys.exit(f"RUNS: no {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    found, machine = versions()
    folder = scratch()
    try:
        results = run_all(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = list(table(results))
    if "--json" in sys.argv:
        json.dump({"versions": found, "machine": machine, "rounds": ROUNDS, "rows": rows, "runs": results},
                  sys.stdout, indent=1)
        return
    print(f"caddis: {found['caddis']}; mosquitto: {found['mosquitto']}\n{machine}; medians of {ROUNDS}")
    print("m: of mosquitto, c: of the ceiling (a bare forwarder)")
    print_table(rows, results)


if __name__ == "__main__":
    main()
