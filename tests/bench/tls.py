#!/usr/bin/env python3
"""What TLS costs a broker: memory of an idle connection, CPU of a handshake, CPU of bulk data. caddis against mosquitto,
turn by turn, with the same certificate and the same client (Python's ssl module, that is OpenSSL).
SPDX-License-Identifier: GPL-2.0-or-later"""

import os
import shutil
import socket
import ssl
import statistics
import struct
import sys

import brokers

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
IDLE = 100 if QUICK else 400
SHAKES = 100 if QUICK else 400
BULK_MB = 20 if QUICK else 60
VERSIONS = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}


def string(text):
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def packet(head, body):
    size, length = b"", len(body)
    while True:
        length, digit = divmod(length, 128)
        size += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([head]) + size + body


def connect_packet(name):
    return packet(0x10, string("MQTT") + b"\x04\x02\x00\x00" + string(name))


def exactly(s, n):
    data = b""
    while len(data) < n:
        piece = s.recv(n - len(data))
        if not piece:
            raise brokers.Failed("the broker has closed the connection")
        data += piece
    return data


def client(broker, tls, name, session=None):
    """Connected: CONNACK has come."""
    raw = socket.create_connection(("127.0.0.1", broker.port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s = tls.wrap_socket(raw, session=session)
    s.sendall(connect_packet(name))
    if exactly(s, 4) != b"\x20\x02\x00\x00":
        raise brokers.Failed("no CONNACK")
    return s


def leave(s):
    s.sendall(b"\xe0\x00")
    s.close()


def cpu_us(broker):
    total = 0
    folder = f"/proc/{broker.process.pid}/task"
    for task in os.listdir(folder):
        with open(f"{folder}/{task}/schedstat") as text:
            total += int(text.read().split()[0])
    return total / 1000


def idle(broker, version):
    tls = brokers.tls_context(VERSIONS[version])
    for i in range(8):              # what the library sets up once
        leave(client(broker, tls, f"first-{i}"))
    before = broker.private_kb()
    clients = []
    for i in range(IDLE):
        s = client(broker, tls, f"idle-{i}")
        s.sendall(packet(0x82, b"\x00\x01" + string(f"idle/{i}") + b"\x00"))
        exactly(s, 5)
        clients.append(s)
    used = broker.private_kb() - before
    for s in clients:
        leave(s)
    return used * 1024 / IDLE


def handshakes(broker, version, resumed):
    tls, session = brokers.tls_context(VERSIONS[version]), None
    for i in range(5):              # tables, caches, and a ticket
        s = client(broker, tls, f"warm-{i}")
        session = s.session
        leave(s)
    before, reused = cpu_us(broker), 0
    for i in range(SHAKES):
        s = client(broker, tls, f"shake-{i}", session if resumed else None)
        reused += s.session_reused
        if resumed:
            session = s.session     # 1.3: one ticket, one use
        leave(s)
    if resumed and reused < SHAKES * 0.9:
        raise brokers.Failed(f"{broker.name} does not resume sessions")
    return (cpu_us(broker) - before) / SHAKES


def bulk(broker, version):
    """A megabyte in and out again."""
    tls, size = brokers.tls_context(VERSIONS[version]), 65536
    reader, writer = client(broker, tls, "reader"), client(broker, tls, "writer")
    reader.sendall(packet(0x82, b"\x00\x01" + string("bulk") + b"\x00"))
    exactly(reader, 5)
    message = packet(0x30, string("bulk") + bytes(size))
    buffer = memoryview(bytearray(1 << 20))
    before = cpu_us(broker)
    for _ in range(BULK_MB * 16):
        writer.sendall(message)
        left = len(message)
        while left:
            got = reader.recv_into(buffer[:left])
            if not got:
                raise brokers.Failed("the broker has closed the connection")
            left -= got
    used = cpu_us(broker) - before
    leave(reader)
    leave(writer)
    return used / BULK_MB


ROWS = [("heap per idle connection, one subscription", f"TLS {v}", "B", lambda b, v=v: idle(b, v)) for v in VERSIONS]
ROWS += [("CPU per full handshake, CONNECT to DISCONNECT", f"TLS {v}", "us", lambda b, v=v: handshakes(b, v, False))
         for v in VERSIONS]
ROWS += [("CPU per resumed handshake", f"TLS {v}", "us", lambda b, v=v: handshakes(b, v, True)) for v in VERSIONS]
ROWS += [("CPU per MB in and out", f"TLS {v}", "us", lambda b, v=v: bulk(b, v)) for v in VERSIONS]


def measure(kind, row, folder):
    broker = kind(os.path.join(folder, kind.name), tls=brokers.certificate(folder))
    shutil.rmtree(broker.folder, ignore_errors=True)
    broker.start()
    try:
        return row[3](broker)
    finally:
        broker.stop()


def main():
    folder = brokers.scratch()
    kinds = [brokers.Caddis, brokers.Mosquitto]
    os.sched_setaffinity(0, brokers.LOAD_CPU)
    print(f"{brokers.Caddis.version()}, mosquitto {brokers.Mosquitto.version()}; EC certificate, {ROUNDS} round(s)\n")
    print(f"{'':48}{'':9}{'caddis':>12}{'mosquitto':>12}{'ratio':>8}")
    worst = 0
    try:
        for row in ROWS:
            figures = {kind: [] for kind in kinds}
            try:
                for _ in range(ROUNDS):
                    for kind in kinds:
                        figures[kind].append(measure(kind, row, folder))
            except (brokers.Failed, OSError) as why:
                print(f"{row[0]:48}{row[1]:9}! {why}")
                worst = 1
                continue
            ours, theirs = (statistics.median(figures[kind]) for kind in kinds)
            print(f"{row[0]:48}{row[1]:9}{ours:10.0f} {row[2]}{theirs:9.0f} {row[2]}{ours / theirs:8.2f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
