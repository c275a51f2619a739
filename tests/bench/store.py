#!/usr/bin/python3
"""What the store costs: bytes written and CPU per message at steady rates, memory and start-up with long queues, and
how fast they drain; what others feel while the disk is slow; and the rows about the store of the table of targets, in
one round. See README.
SPDX-License-Identifier: GPL-2.0-or-later"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import bench
from brokers import Caddis, Disk, Failed, Mosquitto, note, scratch

QUICK = os.environ.get("QUICK", "") not in ("", "0")
RATES = (1, 10, 100, 1000)
INTERVALS = ("20ms", "100ms", "1s")
SECONDS = {rate: 3 if QUICK else 20 if rate == 1 else 10 for rate in RATES}
QUEUED = 50000 if QUICK else 1000000
TARGETS = ("durable", "queue1", "queue", "retain", "idle", "sleepers", "online10", "offline10", "offline10s", "crash")
# A neighbour on the same disk: writes 4 MiB and waits for them, again and again.
HOG = """
import os, sys
block, fd = os.urandom(1 << 22), os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
while True:
    os.pwrite(fd, block, 0)
    os.fsync(fd)
"""


def written(kind, folder, disk, rate, online, interval):
    """Bytes per message (charged to the process, and on the device where that can be told) and CPU in us."""
    broker = kind(folder, durable=True, each_change=True, commit_interval=interval)
    seconds = SECONDS[rate]
    # n = 1: the messages are spread over time, not over queues, which is the dear case.
    args = (["pairs", "--durable", f"--seconds={seconds}", "--warmup=1"] if online else
            ["offline", "--keep", f"--messages={max(rate * seconds, 1)}"])
    try:
        broker.start()
        before = disk.bytes_written()
        result = broker.load([*args, "--n=1", "--qos=1", f"--rate={rate}"])
        prefix = "" if online else "fill_"
        device = None
        if before is not None:
            time.sleep(3)       # what is written lazily counts too
            # Online, the second before the measurement is on the device as well.
            sent = result["messages"] + rate if online else result["fill_messages"]
            device = (disk.bytes_written() - before) / sent
        return result[prefix + "write_bytes"], device, result[prefix + "cpu_us"]
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def figure(value):
    return f"{'-' if value is None else format(value, ',.0f'):>12}"


def print_written(folder, disk):
    print(f"{'QoS 1, one durable subscriber':34} {'bytes/msg':>12} {'on device':>12} {'CPU us/msg':>12}")
    for online in (True, False):
        for rate in RATES:
            plans = [(Mosquitto, "each change")] + [(Caddis, i) for i in (INTERVALS[:1] if online else INTERVALS)]
            for kind, interval in plans:
                try:
                    figures = written(kind, os.path.join(folder, "broker"), disk, rate, online, interval)
                except Failed as why:
                    note(f"! {why}")
                    continue
                what = f"{'online' if online else 'offline'} {rate:>5}/s  {kind.name} {interval}"
                print(f"{what:34} {' '.join(figure(f) for f in figures)}", flush=True)


def memory_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as text:
        values = {line.split()[0]: line.split()[1] for line in text}
    return int(values["Rss:"]), int(values["Private_Dirty:"])


def long_queues(kind, folder):
    """Ten sessions, offline, with QUEUED messages between them; then a restart, then they come back."""
    broker = kind(folder, durable=True)
    plan = ["--qos=1", "--n=10", f"--messages={QUEUED}", "--inflight=100", "--window=100"]
    try:
        broker.start()
        empty = memory_kb(broker.process.pid)
        fill = broker.load(["offline", "--keep", *plan])
        full = memory_kb(broker.process.pid)
        begin = time.monotonic()
        broker.stop()
        stop_s = time.monotonic() - begin
        size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
        start_s = broker.start()
        again = memory_kb(broker.process.pid)
        drain = broker.load(["drain", *plan])
        return [("RSS / private, nothing queued", "KiB", empty), ("RSS / private, all queued", "KiB", full),
                ("RSS / private, after a restart", "KiB", again),
                ("CPU per message queued", "us", (fill["fill_cpu_us"],)),
                ("messages queued per second", "", (fill["fill_per_second"],)),
                ("store", "MB", (size / 1e6,)), ("time to stop", "ms", (stop_s * 1e3,)),
                ("time to start", "ms", (start_s * 1e3,)),
                ("CPU per message drained", "us", (drain["drain_cpu_us"],)),
                ("messages drained per second", "", (drain["drain_per_second"],)),
                ("p99 of another pair meanwhile", "us", (drain["probe_p99_us"],)),
                ("lost, repeated", "", (drain["lost"], drain["repeated"]))]
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def print_long_queues(folder):
    print(f"\n{QUEUED:,} messages of 64 bytes, QoS 1, for ten offline sessions")
    found = {}
    for kind in (Mosquitto, Caddis):
        try:
            found[kind.name] = long_queues(kind, os.path.join(folder, "broker"))
        except Failed as why:
            note(f"! {why}")
    if not found:
        sys.exit(1)
    print(f"{'':36} {'':>4} " + " ".join(f"{name:>20}" for name in found))
    for i, (text, unit, _) in enumerate(next(iter(found.values()))):
        cells = [" / ".join(format(v, ",.1f" if v < 100 else ",.0f") for v in rows[i][2]) for rows in found.values()]
        print(f"{text:36} {unit:>4} " + " ".join(f"{c:>20}" for c in cells))


def text(s):
    return struct.pack(">H", len(s)) + s.encode()


def packet(head, body):
    return bytes([head, len(body)]) + body


def connect(port, name):
    s = socket.create_connection(("127.0.0.1", port), 30)
    s.sendall(packet(0x10, text("MQTT") + b"\4\0\0\0" + text(name)))
    s.recv(4, socket.MSG_WAITALL)
    return s


def fill(port, enough):
    """QoS 1 for a client that is offline, twenty in flight; how many were acknowledged per second."""
    with connect(port, "sleeper") as s:
        s.sendall(packet(0x82, b"\0\1" + text("sleeper") + b"\1"))
        s.recv(5, socket.MSG_WAITALL)
        s.sendall(packet(0xE0, b""))
    done, begin = 0, time.monotonic()
    with connect(port, "filler") as s:
        while not enough.is_set():
            s.sendall(b"".join(packet(0x32, text("sleeper") + bytes([0, i + 1]) + 64 * b"x") for i in range(20)))
            s.recv(20 * 4, socket.MSG_WAITALL)
            done += 20
    return done / (time.monotonic() - begin)


def with_slow_disk(kind, folder):
    """Latency of a QoS 0 pair, which needs no disk, while queues are filled that do."""
    broker = kind(os.path.join(folder, "broker"), durable=True, each_change=True)
    hog = subprocess.Popen([sys.executable, "-c", HOG, os.path.join(folder, "hog")])
    enough = threading.Event()
    filled = []
    try:
        broker.start()
        other = threading.Thread(target=lambda: filled.append(fill(broker.port, enough)))
        other.start()
        try:
            probe = broker.load(["pairs", "--qos=0", "--n=1", "--rate=200", "--warmup=0.3",
                                 f"--seconds={2 if QUICK else 5}"])
        finally:
            enough.set()
            other.join()
        return probe["p50_us"] / 1e3, probe["p99_us"] / 1e3, filled[0] if filled else None
    finally:
        hog.kill()
        hog.wait()
        broker.stop()
        shutil.rmtree(broker.folder, ignore_errors=True)


def print_slow_disk(folder):
    print("\nA neighbour keeps the disk busy, a queue is filled by QoS 1; a QoS 0 pair besides, 200 messages a second")
    print(f"{'':34} {'p50 ms':>12} {'p99 ms':>12} {'queued/s':>12}")
    for kind in (Mosquitto, Caddis):
        try:
            p50, p99, rate = with_slow_disk(kind, folder)
        except Failed as why:
            note(f"! {why}")
            continue
        print(f"{kind.name:34} {p50:>12.2f} {p99:>12.2f} {figure(rate)}", flush=True)


def print_targets(folder):
    bench.ROUNDS, bench.ONLY = 1, TARGETS
    results = bench.run_all(folder)
    print("\nThe rows of `make bench` that are about the store; one round, so noisier than there")
    bench.print_table(bench.table(results), results)


def main():
    folder = scratch()
    disk = Disk(folder)
    try:
        if "--queues" not in sys.argv:
            print_written(folder, disk)
        print_long_queues(folder)
        if "--queues" not in sys.argv:
            print_slow_disk(folder)
            print_targets(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
