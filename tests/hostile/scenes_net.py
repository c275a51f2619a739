"""Networks that break: peers that vanish without a word, read a byte now and then, or are cut off anywhere; and many
things at once, by holding the broker still meanwhile.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import ctypes
import os
import signal
import socket
import struct
import time

import mqtt
from broker import until
from scenes_conn import place

SO_ATTACH_FILTER = 26


def cut_cable(c):
    """From now on whatever comes for the client is thrown away unseen, and nobody tells the sender so."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    c.s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(drop_all)))


def watched_by_kernel(port, c):
    """Will the kernel ask the peer some day whether it is still there?"""
    mine = "%04X" % c.s.getsockname()[1]
    with open("/proc/net/tcp", encoding="ascii") as f:
        for part in (line.split() for line in f):
            if part[1].endswith(":%04X" % port) and part[2].endswith(":" + mine):
                return part[5].startswith("02:")
    return False


@place(settings="[limits]\nwrite_buffer = 64K\nmax_queued_messages = 300\n")
def half_open(tap, a, long):
    """Peers that have gone without FIN or RST, with and without keep alive, in the middle of a flood."""
    n = 200 if long else 30
    watcher = a.client("watcher")
    watcher.join(["lost/#"], 1)
    idle = a.client("idle")
    tap.ok(watched_by_kernel(a.port, idle), "half open: the kernel looks after silent connections")
    lost = [a.client("lost-%d" % i, keepalive=2, will=("lost/%d" % i, b"w", 1, False)) for i in range(n)]
    for i, c in enumerate(lost + [a.client("for-ever-%d" % i) for i in range(n)]):
        c.join(["flood"], i % 3)
        cut_cable(c)
    began = time.monotonic()
    pub = a.client("flood")
    for i in range(1200):                   # more than the kernel holds
        pub.send(mqtt.publish("flood", b"x" * 8000, i % 2, i + 1 if i % 2 else 0))
        if i % 2:
            pub.expect(mqtt.PUBACK)
    tap.ok(time.monotonic() - began < 20, "half open: the publisher goes on")
    got = sorted(watcher.message()[0] for _ in lost)
    tap.same(got, sorted("lost/%d" % i for i in range(n)), "half open: one will for each")
    tap.ok(until(lambda: a.log().count('reason="keep alive timeout"') == n, 5), "half open: keep alive finds them")
    tap.ok(pub.alive() and idle.alive(), "half open: others stay")
    busy = a.load(0.5)
    tap.ok(busy < 0.3, "half open: what can't be written takes no time", "%d %%" % (busy * 100))
    for c in a.clients:
        c.reset()
    a.clients = []
    a.finish(tap, "half open", 2 * n * 0.5 + 5)


@place(settings="[limits]\nwrite_buffer = 32K\nmax_queued_messages = 50\n")
def slow_readers(tap, a, long):
    """Many that read a byte now and then, for a long time. What they get is whole packets in the end."""
    crowd = [a.client("slow-%d" % i, receive_buffer=2048) for i in range(100 if long else 10)]
    for i, c in enumerate(crowd):
        c.join(["news"], i % 3)
    pub = a.client("news")
    for _ in range(1000):                   # more than the kernel holds for a connection
        pub.send(mqtt.publish("news", b"00000" + b"." * 16000))
    end, pace, n = time.monotonic() + (120 if long else 3), 1 if long else 0.1, 0
    while time.monotonic() < end:
        for _ in range(20):
            n += 1
            pub.send(mqtt.publish("news", b"%05d" % (n % 100000) + b"." * 16000, n % 3, 1 + n % 60000 if n % 3 else 0))
            if n % 3 == 2:
                pub.expect(mqtt.PUBREC)
                pub.send(mqtt.ack(mqtt.PUBREL, 1 + n % 60000))
            if n % 3:
                pub.expect(mqtt.PUBCOMP if n % 3 == 2 else mqtt.PUBACK)
        for c in crowd:
            c.buf += c.s.recv(1)            # there is always more by now
        time.sleep(pace)
    whole = 0
    for c in crowd[:10]:
        c.send(mqtt.packet(0xC0))
        while True:
            head, body = c.receive()
            if head >> 4 == mqtt.PINGRESP:
                break
            skip = 8 if head & 6 else 6     # topic, and packet id
            assert body[:6] == b"\0\4news" and body[skip + 5:] == b"." * 16000, body[:20].hex()
            whole += 1
    tap.ok(whole > 1000, "slow readers: all of them get whole packets", "%d packets" % whole)
    tap.ok("reason=slow-reader" in a.log(), "slow readers: the log says who")
    a.finish(tap, "slow readers", len(crowd) * 0.4 + 5)


class Cut(Exception):
    """That was the last byte this client may send."""


class Frail(mqtt.Client):
    """A client of a kept session whose connection is reset after so many bytes."""

    def __init__(self, port, cid, left=None):
        super().__init__(port)
        self.left = left
        self.send(mqtt.connect(cid, clean=False))
        self.expect(mqtt.CONNACK)

    def send(self, raw):
        if self.left is not None and len(raw) >= self.left:
            super().send(raw[:self.left])
            time.sleep(0.01 if len(raw) == self.left else 0)        # a whole packet is taken, its answer is lost
            self.reset()
            raise Cut()
        if self.left is not None:
            self.left -= len(raw)
        super().send(raw)


def send_exactly_once(port, payload, left, state):
    """QoS 2 from where the last attempt ended; `state` is what a careful client keeps."""
    c = Frail(port, "frail-pub", left)
    if state != "released":
        dup = state == "sent"
        yield "sent"
        c.send(mqtt.publish("frail", payload, 2, 1, dup=dup))
        c.expect(mqtt.PUBREC)
    yield "released"
    c.send(mqtt.ack(mqtt.PUBREL, 1))
    c.expect(mqtt.PUBCOMP)
    c.close()


def take_exactly_once(port, left, held, got):
    """Takes what waits; `held` are the packet ids that were received and not released."""
    c = Frail(port, "frail-sub", left)
    c.send(mqtt.packet(0xC0))
    while True:
        head, body = c.receive()
        if head >> 4 == mqtt.PUBLISH:
            pid = body[7:9]
            if pid not in held:
                got.append(body[9:])
                held.add(pid)
            c.send(mqtt.packet(0x50, pid))
        elif head >> 4 == mqtt.PUBREL:
            held.discard(body[:2])
            c.send(mqtt.packet(0x70, body[:2]))
        elif head >> 4 == mqtt.PINGRESP and got and not held:
            c.close()
            return
        elif head >> 4 == mqtt.PINGRESP:
            c.send(mqtt.packet(0xC0))       # the message may still be on its way


@place(settings="[persistence]\ncommit_interval = 0\n")
def resets(tap, a, long):
    """RST after every byte that publisher and subscriber send at QoS 2: in the end each message is there, once."""
    sub = Frail(a.port, "frail-sub")
    sub.send(mqtt.subscribe(1, ["frail"], 2))
    sub.expect(mqtt.SUBACK)
    sub.close()
    wrong = []
    connect = len(mqtt.connect("frail-sub"))
    for left in range(1, connect + 13 + 4 + 1):
        payload, state, tries = b"p%03d" % left, "", left
        while True:
            try:
                for state in send_exactly_once(a.port, payload, tries, state):
                    pass
                break
            except Cut:
                tries = None
        held, got, tries = set(), [], left
        while True:
            try:
                take_exactly_once(a.port, tries, held, got)
                break
            except Cut:
                tries = None
        if got != [payload]:
            wrong.append((left, got))
    tap.same(wrong, [], "resets: exactly once, wherever the connection broke")
    a.finish(tap, "resets", 5)


def frozen(a, what):
    """Everything that happens meanwhile comes to the broker in one turn."""
    os.kill(a.pid, signal.SIGSTOP)
    try:
        what()
    finally:
        os.kill(a.pid, signal.SIGCONT)


@place()
def one_turn(tap, a, long):
    """Take-overs of one session within one turn: while it drains, while a commit is due, while its will waits."""
    kept, delayed = b"\x11\0\0\x0e\x10", b"\x18\0\0\0\x3c"      # session for an hour, will after a minute
    watcher, pub = a.client("watcher"), a.client("feeder")
    watcher.join(["gone/#"], 1)
    wrong = []
    for turn in range(40 if long else 6):
        first = a.client("prize", v=5, clean=False, props=kept, will=("gone/late", b"", 1, False), will_props=delayed)
        first.join(["prize/#"], 1)
        first.close()
        sent = [b"%d-%d" % (turn, i) for i in range(300)]
        for i, payload in enumerate(sent[:-1]):
            pub.send(mqtt.publish("prize/x", payload, 1, i + 1))
        for _ in sent[:-1]:
            pub.expect(mqtt.PUBACK)
        crowd = [a.client() for _ in range(30)]

        def rush(crowd=crowd, sent=sent):
            pub.send(mqtt.publish("prize/x", sent[-1], 1, 300))
            for i, c in enumerate(crowd):
                c.send(mqtt.connect("prize", 5, False, 0, ("gone/late", b"", 1, False), kept, delayed) +
                       mqtt.subscribe(1, ["prize/#"], 1, 5) + mqtt.publish("other", b"x", 2, 1, v=5))
                c.reset() if i % 6 == 5 else None
        frozen(a, rush)
        pub.expect(mqtt.PUBACK)
        until(lambda: a.figure("clients/connected") <= 6)       # watcher, pair, feeder, the last one, and who asks
        last = a.client("prize", v=5, clean=False, props=kept, will=("gone/late", b"", 1, False), will_props=delayed)
        got = []
        try:
            while got[-1:] != sent[-1:]:
                got += [p for p in [last.message()[1]] if p not in got]
        except TimeoutError:
            pass
        wrong += [turn] if got != sent else []
        last.send(mqtt.packet(0xE0))
        tap.ok(last.closed(), "one turn: the last one ends in order") if turn == 0 else None
        for c in crowd:
            c.close()
    tap.same(wrong, [], "one turn: nothing is lost or out of order, whoever took over")
    watcher.send(mqtt.packet(0xC0))
    tap.same(watcher.receive()[0] >> 4, mqtt.PINGRESP, "one turn: no will, as the session went on every time")
    heirs = [a.client() for _ in range(30)]
    raw = [mqtt.connect("heir", will=("gone/now", b"%d" % i, 1, False)) for i in range(30)]
    frozen(a, lambda: [c.send(r) for c, r in zip(heirs, raw)])
    got = [watcher.message()[1] for _ in range(29)]
    tap.same(len(set(got)), 29, "one turn: a will for each session that a clean one replaced")
    tap.same(sum(c.closed(0.05) for c in heirs), 29, "one turn: one of them is left")
    a.finish(tap, "one turn", 12)


SCENES = [half_open, slow_readers, resets, one_turn]
