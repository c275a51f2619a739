"""Connections: silent, slow, too many, too often, broken off.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import signal
import struct
import time

import mqtt
from broker import until


def place(**how):
    """What kind of broker the scene wants."""
    def mark(scene):
        scene.place = how
        return scene
    return mark


def each(n):
    """1 at a time would be dull: ranges of 50."""
    for begin in range(0, n, 50):
        yield range(begin, min(begin + 50, n))


@place(settings="[limits]\nconnect_timeout = 1s\n")
def silent(tap, a, long):
    """Connections that say nothing, half a CONNECT, or one byte of it now and then."""
    begun = [b"", b"\x10", mqtt.connect("silent")[:9], b"\x10\x7f" + b"\x00\x04MQTT\x04"]
    many = [a.client() for _ in range(400 if long else 100)]
    slow = a.client()
    for i, c in enumerate(many):
        c.send(begun[i % len(begun)])
    whole, began = mqtt.connect("slow"), time.monotonic()
    for k in range(len(whole)):
        try:
            slow.send(whole[k:k + 1])
        except mqtt.Closed:
            break
        time.sleep(0.2)
    tap.ok(slow.closed(1) and time.monotonic() - began < 5, "silent: activity does not extend the time for CONNECT")
    tap.ok(all(c.closed(3) for c in many), "silent: whoever says nothing is sent away")
    a.finish(tap, "silent", 5)


@place(settings="[limits]\nconnect_timeout = 30s\n")
def dripping(tap, a, long):
    """A byte a segment: the packet arrives all the same, and nobody waits for it."""
    sub, pub = a.client("drip-sub"), a.client()
    sub.join(["drip"], 1)
    raw = mqtt.connect("drip-pub") + mqtt.publish("drip", b"x" * 200, 1, 1)
    for k in range(len(raw)):
        pub.send(raw[k:k + 1])
        time.sleep(1 if long and k < 60 else 0.001)
    tap.same(sub.message()[1], b"x" * 200, "dripping: the packet is whole in the end")
    announced = [a.client("huge-%d" % i) for i in range(100)]
    for c in announced:                     # large packets, announced at once by many, never sent
        c.send(b"\x30" + mqtt.varint(1900000) + b"\x00\x04drip")
    tap.ok(sub.alive(), "dripping: others go on")
    a.finish(tap, "dripping", 6)


@place()
def connect_storm(tap, a, long):
    """Many come and go at once, some by RST, some in the middle of CONNECT."""
    refused = 0
    for batch in each(100000 if long else 1000):
        crowd = [a.client() for _ in batch]
        for i, c in zip(batch, crowd):
            raw = mqtt.connect("storm-%d" % i, v=(3, 4, 5)[i % 3])
            c.send(raw if i % 5 else raw[:len(raw) // 2])
        for i, c in zip(batch, crowd):
            if i % 5:
                refused += c.expect(mqtt.CONNACK)[1] != 0
            if i % 3:
                c.reset()
        a.leave()
    tap.same(refused, 0, "connect storm: everybody was let in")
    a.finish(tap, "connect storm", 12)


@place()
def takeover_storm(tap, a, long):
    """One client id, again and again, also many times in one turn, with a session that has something to lose."""
    props = b"\x11" + struct.pack(">I", 3600)
    other = a.client("watcher")
    other.join(["gone"])
    last = None
    for batch in each(5000 if long else 500):
        crowd = [a.client() for _ in batch]
        for i, c in zip(batch, crowd):
            raw = mqtt.connect("the-one", v=5, clean=i % 7 == 0, will=("gone", b"", 1, False), props=props)
            c.send(raw + mqtt.subscribe(1, ["one/#"], 1, 5) + mqtt.publish("one/x", b"x", 2, 1, v=5))
        last = a.client()
        last.up("the-one", v=5, clean=False, props=props)
        tap.ok(all(c.closed() for c in crowd), "take-over: the old ones are gone") if batch[0] == 0 else None
        for c in crowd:
            c.close()
    tap.ok(last.alive(), "take-over: the last one stays")
    tap.ok(other.alive(), "take-over: others stay")
    a.finish(tap, "take-over storm", 15)


@place()
def keep_alive(tap, a, long):
    """Half a packet is no sign of life; whoever asks for none is left alone."""
    watcher = a.client("watcher")
    watcher.join(["dead/#"], 1)
    quiet = [a.client("q-%d" % i, keepalive=k) for i, k in enumerate((0, 65535))]
    dying = [a.client("d-%d" % i, keepalive=1, will=("dead/%d" % i, b"w", 1, False)) for i in range(20)]
    began = time.monotonic()
    while time.monotonic() - began < 1.2:
        for c in dying:                     # one byte of a long packet
            c.send(b"\x30\xff\x01" if time.monotonic() - began < 0.2 else b"x")
        time.sleep(0.3)
    got = sorted(watcher.message()[0] for _ in dying)
    took = time.monotonic() - began
    tap.same(got, sorted("dead/%d" % i for i in range(20)), "keep alive: one will for each")
    tap.ok(1.3 < took < 4, "keep alive: after one and a half times", "%.1f s" % took)
    tap.ok(all(c.alive() for c in quiet), "keep alive: 0 and 65535 are left alone")
    a.finish(tap, "keep alive", 5)


@place()
def broken_off(tap, a, long):
    """RST after every byte of a whole exchange."""
    whole = (mqtt.connect("cut", v=5, will=("cut/will", b"x" * 30, 2, True), will_props=b"\x26\0\1a\0\1b") +
             mqtt.subscribe(1, ["cut/#", "$share/g/cut/+"], 2, 5) + mqtt.publish("cut/1", b"y" * 20, 2, 1, v=5) +
             mqtt.publish("cut/2", b"z", 1, 2, True, v=5) + mqtt.ack(mqtt.PUBREL, 1) +
             mqtt.unsubscribe(3, ["cut/#"], 5))
    for k in range(1, len(whole) + 1):
        c = a.client()
        c.send(whole[:k])
        if k % 4 == 0:
            time.sleep(0.001)
        c.reset() if k % 2 else c.close()
        a.clients.clear()
    tap.ok(a.client("after").alive(), "broken off: the broker goes on")
    a.finish(tap, "broken off", 6)


@place(wrapper="ulimit -n 64")
def descriptors(tap, a, long):
    """None are left: it does not spin, it says so, and goes on when there are some."""
    crowd = [a.client() for _ in range(150)]         # the kernel takes the others into its queue
    for c in crowd:
        c.send(mqtt.connect())
    time.sleep(0.5)
    busy = a.load(1.0)
    tap.ok(busy < 0.35, "descriptors: no spin", "it takes %d %%" % (busy * 100))
    tap.ok("connections must wait" in a.log(), "descriptors: the log says so")
    a.leave()
    tap.same(a.client().up("late"), 0, "descriptors: service resumes")
    tap.ok(a.log().count("connections must wait") < 20, "descriptors: the log is not flooded")
    a.finish(tap, "descriptors", 5)


@place()
def reload_storm(tap, a, long):
    """SIGHUP again and again while everybody works."""
    sub, pub = a.client("hup-sub"), a.client("hup-pub")
    sub.join(["hup"], 1)
    for i in range(1000 if long else 100):
        os.kill(a.pid, signal.SIGHUP)
        pub.send(mqtt.publish("hup", b"%d" % i, 1, i + 1))
        tap.ok(False, "reload storm: message %d" % i) if sub.message()[1] != b"%d" % i else None
    tap.ok(until(lambda: "configuration reloaded" in a.log()), "reload storm: it was reloaded")
    a.finish(tap, "reload storm", 5)


SCENES = [silent, dripping, connect_storm, takeover_storm, keep_alive, broken_off, descriptors, reload_storm]
