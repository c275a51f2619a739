"""Flow: readers that do not read, windows that never open, packets of the wrong size, acknowledgements of nothing.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import struct
import time

import mqtt
from scenes_conn import place


def until_full(c, raw, most):
    """Sends without reading until nobody takes it any more; bytes sent."""
    sent = 0
    c.s.settimeout(0.3)
    try:
        while sent < most:
            c.s.sendall(raw)
            sent += len(raw)
    except (TimeoutError, ConnectionError):
        pass
    c.s.settimeout(15)
    return sent


@place(settings="[limits]\nwrite_buffer = 64K\nmax_queued_messages = 100\n")
def never_reads(tap, a, long):
    """Subscribers at QoS 0, 1 and 2 that stop reading, or read a byte now and then, during a flood."""
    deaf = [a.client("deaf-%d" % i, receive_buffer=4096) for i in range(60 if long else 40)]
    for i, c in enumerate(deaf):
        c.join(["flood"], i % 3)
    pub = a.client("flood")
    for _ in range(2000):                   # more than the kernel holds for a connection
        pub.send(mqtt.publish("flood", b"x" * 8000))
    tap.ok(pub.alive() and "reason=slow-reader" in a.log(), "never reads: QoS 0 is dropped, and the log says for whom")
    for i in range(20000 if long else 900):
        pub.send(mqtt.publish("flood", b"x" * 8000, i % 3, i % 60000 + 1 if i % 3 else 0))
        if i % 3 == 1:
            pub.expect(mqtt.PUBACK)
        elif i % 3 == 2:
            pid = struct.unpack(">H", pub.expect(mqtt.PUBREC))[0]
            pub.send(mqtt.ack(mqtt.PUBREL, pid))
            pub.expect(mqtt.PUBCOMP)
        if i % 50 == 0:
            deaf[0].s.recv(1)
    tap.ok(pub.alive(), "never reads: the publisher goes on")
    a.finish(tap, "never reads", len(deaf) * 0.2 + 5)


@place()
def ping_flood(tap, a, long):
    """PINGREQ without end and without reading the answers: it is no longer read from."""
    crowd = [a.client("ping-%d" % i, receive_buffer=4096) for i in range(10 if long else 4)]
    sent = [until_full(c, b"\xc0\0" * 16384, 64 << 20) for c in crowd]
    tap.ok(max(sent) < 32 << 20, "ping flood: the flood ends", "%d MB were taken" % (max(sent) >> 20))
    drained, last = 0, time.monotonic()
    c = crowd[0]
    while drained < sent[0] // 2 and time.monotonic() - last < 5:
        try:
            drained += len(c.s.recv(1 << 18))
            last = time.monotonic()
        except TimeoutError:
            break
    tap.ok(drained >= sent[0] // 2, "ping flood: all answers come to who reads after all")
    a.finish(tap, "ping flood", 16)


@place(settings="[limits]\nmax_inflight_messages = 0\nmax_queued_messages = 2000\n")
def every_packet_id(tap, a, long):
    """65,535 messages in flight, in both directions, and nobody acknowledges any."""
    sub = a.client("hoard", clean=False)
    sub.join(["ids"], 1)
    pub = a.client("ids")
    for begin in range(0, 66000, 500):
        pub.send(b"".join(mqtt.publish("ids", b"", 1, i % 65535 + 1) for i in range(begin, begin + 500)))
        for _ in range(500):
            pub.expect(mqtt.PUBACK)
    held = set()
    while len(held) < 65535:
        head, body = sub.receive()
        if head >> 4 == mqtt.PUBLISH:
            held.add(struct.unpack(">H", body[5:7])[0])
    tap.same(len(held), 65535, "packet ids: each of them is in flight")
    for pid in (1, 65535):                  # one is given back: another comes under it
        sub.send(mqtt.ack(mqtt.PUBACK, pid))
        head, body = sub.receive()
        tap.same(struct.unpack(">H", body[5:7])[0], pid, "packet ids: %d is used again" % pid)
    twice = a.client("qos2", clean=False)
    for begin in range(0, 65535, 500):
        twice.send(b"".join(mqtt.publish("nobody", b"", 2, i + 1) for i in range(begin, min(begin + 500, 65535))))
    for _ in range(65535):
        twice.expect(mqtt.PUBREC)
    tap.ok(twice.alive(), "packet ids: 65,535 PUBRELs are missing, and nobody minds")
    a.finish(tap, "packet ids", 60, 2.0)


@place()
def same_id(tap, a, long):
    """QoS 2 under the same id again and again, never released."""
    c = a.client("again", v=5)
    sub = a.client("again-sub")
    sub.join(["again"], 2)
    n = 200000 if long else 20000
    for begin in range(0, n, 500):
        c.send(mqtt.publish("again", b"x" * 50, 2, 7, dup=begin > 0, v=5) * 500)
        for _ in range(500):
            c.expect(mqtt.PUBREC)
    tap.same(sub.message()[1], b"x" * 50, "same id: it is delivered")
    sub.send(mqtt.packet(0xC0))
    tap.same(sub.receive()[0] >> 4, mqtt.PINGRESP, "same id: once")
    a.finish(tap, "same id", 5)


@place()
def wrong_acks(tap, a, long):
    """Acknowledgements of nothing, twice, of the wrong kind, in the wrong order; more than Receive Maximum."""
    kinds = (mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP)
    c = a.client("acks", v=5, props=b"\x21\0\x02")           # Receive Maximum 2
    c.join(["acks"], 2)
    for _ in range(20):
        c.send(b"".join(mqtt.ack(k, pid) for k in kinds for pid in (1, 2, 300, 65535)))
    tap.ok(c.alive(), "wrong acks: of ids that were never sent")
    pub = a.client("acks-pub")
    for i in range(20):
        pub.send(mqtt.publish("acks", b"%d" % i, 2 - i % 2, i + 1))
    got = []
    while len(got) < 2:
        head, body = c.receive()
        if head >> 4 == mqtt.PUBLISH:
            got.append(struct.unpack(">H", body[6:8])[0])
    # What was acknowledged without having been sent must not have opened the window any further.
    c.send(mqtt.packet(0xC0))
    more = 0
    while True:
        head, body = c.receive()
        more += head >> 4 == mqtt.PUBLISH
        if head >> 4 == mqtt.PINGRESP:
            break
    tap.same(more, 0, "wrong acks: Receive Maximum holds")
    c.send(mqtt.ack(mqtt.PUBREC, got[0], 0x80) + mqtt.ack(mqtt.PUBREC, got[1], 0x80) + mqtt.ack(mqtt.PUBACK, got[0]))
    tap.ok(a.client("acks-2").alive(), "wrong acks: others go on")
    eager = a.client("eager", v=5)
    eager.send(b"".join(mqtt.publish("nobody", b"", 2, i + 1, v=5) for i in range(100)))
    said = b""
    try:
        while True:
            head, body = eager.receive()
            said = body if head >> 4 == mqtt.DISCONNECT else said
    except mqtt.Closed:
        pass
    tap.same(said[:1], b"\x93", "wrong acks: more than the broker's Receive Maximum ends the connection")
    a.finish(tap, "wrong acks", 5)


@place()
def sizes(tap, a, long):
    """Packets that announce too much, too little or nothing."""
    crowd = []
    for first in range(0, 256, 16):
        for tail in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80", b"\x80\0", b"\0"):
            c = a.client()
            c.send(bytes([first]) + tail)
            crowd.append((c, first, tail))
    tap.ok(all(c.closed() for c, first, tail in crowd if not (first == 0x10 and tail == b"\x80\x80\x80\x80")),
           "sizes: none of them is a CONNECT")
    huge = [a.client("huge-%d" % i) for i in range(50)]
    for c in huge:
        c.send(b"\x30\xff\xff\xff\x7f" + b"\0\1a" + b"x" * 1000)
    tap.ok(all(c.closed() for c in huge), "sizes: 256 MB are refused before they come")
    left = []
    for v in (4, 5):
        for first in [k << 4 | f for k in range(16) for f in (0, 2)]:
            c = a.client("zero-%d-%d" % (v, first), v=v)
            c.send(bytes([first, 0]))
            allowed = first == 0xC0 or first == 0xE0
            left.append((c, first, allowed))
    wrong = ["%02x" % first for c, first, allowed in left if first != 0xC0 and not c.closed()]
    tap.same(wrong, [], "sizes: empty packets are errors, PINGREQ and DISCONNECT excepted")
    c = a.client("empty", v=5, will=("w", b"", 0, True))
    c.join(["e"], 1)
    c.send(mqtt.publish("e", b"", 1, 1, True, v=5) + mqtt.packet(0x30, b"\0\1e\0"))
    tap.ok(c.alive(), "sizes: empty payloads are none")
    for bad in (mqtt.subscribe(2, [], 0, 5), mqtt.unsubscribe(2, [], 5), mqtt.subscribe(2, [""], 0, 5),
                mqtt.packet(0x30, b"\0\0\0"), mqtt.packet(0x30, b"\xff\xffabc"), mqtt.packet(0x32, b"\0\1a")):
        c = a.client("bad", v=5)
        c.send(bad)
        tap.ok(c.closed(), "sizes: %s ends the connection" % bad.hex())
    a.finish(tap, "sizes", 6)


@place()
def will_storm(tap, a, long):
    """Large wills of many clients that vanish in the same moment."""
    n = 1000 if long else 200
    watcher = a.client("mourner")
    watcher.join(["grave/#"], 1)
    crowd = [a.client("will-%d" % i, will=("grave/%d" % i, b"w" * 20000, 1, i % 2 == 0)) for i in range(n)]
    for c in crowd:
        c.reset()
    got = [watcher.message()[0] for _ in range(n)]
    tap.same(len(set(got)), n, "will storm: every will once")
    a.clients = [watcher]
    a.finish(tap, "will storm", n * 0.065 + 8, 2.0)


@place()
def properties(tap, a, long):
    """Thousands of user properties, aliases that are none, lengths that lie."""
    many = b"".join(b"\x26\0\1k\0\1%c" % (97 + i % 26) for i in range(20000))
    sub, pub = a.client("prop-sub", v=5), a.client("prop-pub", v=5)
    sub.join(["prop"], 0)
    cpu, rounds = a.cpu_s(), 200 if long else 30
    for _ in range(rounds):
        pub.send(mqtt.publish("prop", b"", 0, v=5, props=many))
        while True:
            head, body = sub.receive()
            if head >> 4 == mqtt.PUBLISH:
                break
    each = (a.cpu_s() - cpu) / rounds
    tap.ok(each < 0.1, "properties: 20,000 in a packet take no more time than they should", "%.0f ms" % (each * 1e3))
    tap.ok(len(body) > len(many), "properties: all of them travel on")
    wrong = {
        "alias 0": mqtt.publish("a", b"", v=5, props=b"\x23\0\0"),
        "alias above the maximum": mqtt.publish("a", b"", v=5, props=b"\x23\xff\xff"),
        "alias that was never set": mqtt.publish("", b"", v=5, props=b"\x23\0\1"),
        "twice": mqtt.publish("a", b"", v=5, props=b"\x01\0\x01\0"),
        "unknown": mqtt.publish("a", b"", v=5, props=b"\x7f\0"),
        "in the wrong packet": mqtt.publish("a", b"", v=5, props=b"\x21\0\1"),
        "longer than the packet": mqtt.packet(0x30, b"\0\1a\x7f\x26"),
        "length of five bytes": mqtt.packet(0x30, b"\0\1a\x80\x80\x80\x80\x01"),
        "Subscription Identifier from a client": mqtt.publish("a", b"", v=5, props=b"\x0b\1"),
        "Subscription Identifier 0": mqtt.subscribe(1, ["a"], 0, 5, b"\x0b\0"),
    }
    for name, raw in wrong.items():
        c = a.client("wrong", v=5)
        c.send(raw)
        tap.ok(c.closed(), "properties: %s" % name)
    for i in range(2000 if long else 300):                    # what a refused CONNECT had must not stay
        c = a.client()
        c.send(mqtt.connect("leak", 5, will=("w", b"x" * 5000, 1, False), props=b"\x26\0\1k" + mqtt.text(b"v" * 5000),
                            will_props=b"\x01\0\x01\0" if i % 2 else b"\x02\0\0"))
        c.closed()
        a.clients.remove(c)
        c.close()
    a.finish(tap, "properties", 12)


SCENES = [never_reads, ping_flood, every_packet_id, same_id, wrong_acks, sizes, will_storm, properties]
