#!/usr/bin/python3
"""What a running caddis takes: private memory at idle, and what each connection, session, subscription, retained
message and TLS connection adds. `make sizes` runs it; README says more.
SPDX-License-Identifier: GPL-2.0-or-later"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hostile"))
from brokers import Caddis, Failed, certificate, note, scratch, tls_context  # noqa: E402
import mqtt  # noqa: E402

EMULATED = os.environ.get("EMULATED", "") not in ("", "0")      # the process is an emulator's, its pages say nothing
CROWD, MANY, TLS = 2000, 20000, 100
SETTLE_S = 1.5                  # caddis has given back what it gives back


def filters(n):
    return [f"house/{i:05}/temperature" for i in range(n)]


def idle_connections(port, n):
    """Each with one subscription."""
    clients = []
    for i, topic in zip(range(n), filters(n)):
        clients.append(mqtt.Client(port))
        clients[-1].up(f"sensor-{i:05}", keepalive=600)
        clients[-1].join([topic])
    return clients


def offline_sessions(port, n):
    """In small groups, so that what connections need does not show beside what sessions need."""
    for i, topic in zip(range(n), filters(n)):
        c = mqtt.Client(port)
        c.up(f"sensor-{i:05}", clean=False)
        c.join([topic], qos=1)
        c.send(mqtt.packet(0xE0))
        c.closed()
        c.close()
    return []


def subscriptions(port, n):
    """Of one client."""
    c = mqtt.Client(port)
    c.up("collector")
    all_filters = filters(n)
    for i in range(0, n, 100):
        c.join(all_filters[i:i + 100])
    return [c]


def retained_messages(port, n):
    """32 bytes each."""
    c = mqtt.Client(port)
    c.up("sensor")
    for topic in filters(n):
        c.send(mqtt.publish(topic, b"x" * 32, retain=True))
    c.alive()
    return [c]


def tls_connections(port, n):
    context, clients = tls_context(), []
    for i, topic in zip(range(n), filters(n)):
        clients.append(mqtt.Client(port))
        clients[-1].s = context.wrap_socket(clients[-1].s)
        clients[-1].up(f"sensor-{i:05}", keepalive=600)
        clients[-1].join([topic])
    return clients


def web_connections(port, n):
    clients = []
    for i, topic in zip(range(n), filters(n)):
        clients.append(mqtt.WebClient(port))
        clients[-1].up(f"sensor-{i:05}", keepalive=600)
        clients[-1].join([topic])
    return clients


# what one of them is, who makes them, how many, how many before the first look (what is made once for all)
ROWS = [
    ("idle connection, one subscription", idle_connections, CROWD, 8),
    ("offline session, one subscription", offline_sessions, CROWD, 8),
    ("further subscription of a client", subscriptions, MANY, 0),
    ("retained message, 32 bytes", retained_messages, MANY, 0),
    ("idle WebSocket connection, one subscription", web_connections, CROWD, 8),
    ("idle TLS 1.3 connection, one subscription", tls_connections, TLS, 8),
]


def counted_bytes(broker):
    """What caddis itself knows of; 0 without a control socket."""
    run = subprocess.run([broker.program(), "status", "--json", "--socket", f"{broker.folder}/caddis.sock"],
                         capture_output=True, text=True)
    return json.loads(run.stdout)["memory"]["total_bytes"] if run.returncode == 0 else 0


def look(broker):
    time.sleep(SETTLE_S)
    return (0 if EMULATED else broker.private_kb() * 1024), counted_bytes(broker)


def started(folder, **settings):
    shutil.rmtree(folder, ignore_errors=True)
    broker = Caddis(folder, **settings)
    broker.start()
    return broker


def measure(folder, make, n, first):
    """(private, counted) bytes for each of n. None: this caddis has no TLS."""
    settings = {}
    if make is tls_connections:
        if "TLS        none" in subprocess.run([Caddis.program(), "--version"], capture_output=True, text=True).stdout:
            return None
        settings["tls"] = certificate(os.path.dirname(folder))
    settings["web"] = make is web_connections
    broker = started(folder, **settings)
    try:
        kept = make(broker.port, first) if first else []
        before = look(broker)
        kept += make(broker.port, n)
        after = look(broker)
        for c in kept:
            c.close()
    finally:
        broker.stop()
    return tuple((b - a) / n for a, b in zip(before, after))


def idle(folder):
    """(with the store, without), private KiB."""
    found = []
    for persistence in (True, False):
        broker = started(folder, persistence=persistence)
        try:
            found.append(look(broker)[0] // 1024)
        finally:
            broker.stop()
    return found


def cell(value):
    return f"{value:11,.0f}" if value else " " * 10 + "-"


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = scratch()
    place = os.path.join(folder, "broker")
    try:
        if not EMULATED:
            print(f"{'private memory at idle, KiB: store open / no store':52}{' / '.join(map(str, idle(place))):>11}\n")
        print(f"{'each, in bytes':41}{'private':>11}{'counted':>11}")
        for name, make, n, first in ROWS:
            note(f"{n:,} times: {name}")
            found = measure(place, make, n, first)
            if found:
                print(f"{name:41}{cell(found[0])}{cell(found[1])}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as why:
        sys.exit(f"sizes: {why}")
