"""Topics: bombs of subscriptions, floods of retained messages, names that begin with a dollar.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import itertools

import mqtt
from broker import until
from scenes_conn import place


def retained_is(a, want):
    return until(lambda: a.figure("retained messages/count") == want, 30)


@place()
def subscription_bomb(tap, a, long):
    """50,000 filters of one client; filters that match in many ways; deep ones; all given back."""
    c = a.client("bomb", clean=False)
    n, step = 50000, 5000
    for begin in range(0, n, step):
        codes = c.join(["b/%d/+/#" % i for i in range(begin, begin + step)], 1)
        assert set(codes) == {1}, "SUBACK"
    ways = ["/".join(levels) for levels in itertools.product("x+", repeat=11)]
    tap.same(set(c.join(ways, 0)), {0}, "subscription bomb: 2,048 filters for one topic")
    pub = a.client("bomber")
    for _ in range(50):
        pub.send(mqtt.publish("/".join("x" * 11), b"boom"))
    got = 0
    while got < 50:
        got += c.receive()[0] >> 4 == mqtt.PUBLISH
    c.send(mqtt.packet(0xC0))
    tap.same(c.receive()[0] >> 4, mqtt.PINGRESP, "subscription bomb: each message once")
    deep = ["/".join("+" * 200), "/".join("+" * 199) + "/#", "/".join("a" * 200)]
    tap.same(list(c.join(deep, 0)), [0, 0, 0], "subscription bomb: 200 levels")
    beyond = ["/".join("+" * 201), "/" * 65535, "+/" * 30000 + "#", "a/#/b", "a#", "+a", ""[:0] + "#/"]
    tap.same(set(c.join(beyond, 0)), {0x80}, "subscription bomb: 201 levels, 65,535 slashes, wrong wildcards")
    pub.send(mqtt.publish("/".join("a" * 200), b"deep"))
    tap.same(c.message()[1], b"deep", "subscription bomb: a message at 200 levels")
    for begin in range(0, n, step):
        c.send(mqtt.unsubscribe(2, ["b/%d/+/#" % i for i in range(begin, begin + step)]))
        c.expect(mqtt.UNSUBACK)
    slashes = a.client("slashes")
    slashes.send(mqtt.publish("/" * 65000, b""))
    tap.ok(slashes.closed(), "subscription bomb: a topic of 65,000 levels")
    a.finish(tap, "subscription bomb", 45, 2.0)


@place()
def hash_crowd(tap, a, long):
    """`#` of many, some leaving in the middle of a fan-out, some unsubscribing while they are delivered to."""
    crowd = [a.client("crowd-%d" % i) for i in range(1000 if long else 150)]
    for c in crowd:
        c.join(["#"], 1)
    pub = a.client("crowd-pub")
    for i in range(40):
        pub.send(mqtt.publish("c/%d" % i, b"x" * 100, 1, i + 1))
        if i % 4 == 0:
            crowd[i].reset()
        elif i % 4 == 1:
            crowd[i].send(mqtt.unsubscribe(2, ["#"]) + mqtt.packet(0xE0))
    tap.ok(all(c.alive() for c in crowd[40:]), "hash crowd: the others go on")
    for i in range(40):
        pub.expect(mqtt.PUBACK)
    a.finish(tap, "hash crowd", len(crowd) * 0.05 + 8, 2.0)


@place()
def retained_flood(tap, a, long):
    """Many retained topics, then `#` by several; then all are cleared, and what they took is free again."""
    n = 1000000 if long else 20000
    pub = a.client("retain")
    before = a.figure("heap/current")
    for begin in range(0, n, 500):
        pub.send(b"".join(mqtt.publish("r/%d/%d" % (i % 100, i), b"v" * 20, retain=True)
                          for i in range(begin, begin + 500)))
    tap.ok(retained_is(a, n), "retained flood: all of them are kept")
    full = a.figure("heap/current") - before
    readers = [a.client("reader-%d" % i) for i in range(1 if long else 3)]
    for i, c in enumerate(readers):
        c.send(mqtt.subscribe(1, ["r/#"], i % 2))
    for c in readers:
        topics = set()
        while len(topics) < n:
            topics.add(c.message()[0])
    tap.ok(True, "retained flood: every subscriber gets every one")
    for c in readers:
        c.close()
    for begin in range(0, n, 500):
        pub.send(b"".join(mqtt.publish("r/%d/%d" % (i % 100, i), b"", retain=True) for i in range(begin, begin + 500)))
    tap.ok(retained_is(a, 0), "retained flood: all of them are cleared")
    for begin in range(0, n, 500):          # set and cleared at once on fresh topics
        pub.send(b"".join(mqtt.publish("f/%d" % (i // 2), b"v" if i % 2 == 0 else b"", retain=True)
                          for i in range(begin, begin + 500)))
    tap.ok(retained_is(a, 0), "retained flood: set and cleared")
    tap.ok(until(lambda: a.figure("heap/current") - before < full / 50),
           "retained flood: none of them leaves anything behind",
           "%d bytes of %d" % (a.figure("heap/current") - before, full))
    a.finish(tap, "retained flood", n * 0.0005 + 12, 2.0)


@place()
def same_topic(tap, a, long):
    """One retained topic at full rate, at all three QoS."""
    pub = a.client("rate")
    sub = a.client("rate-sub")
    sub.join(["rate"], 0)
    n = 50000 if long else 5000
    for begin in range(0, n, 100):
        pub.send(b"".join(mqtt.publish("rate", b"%d" % i, retain=True) for i in range(begin, begin + 100)))
    while sub.message()[1] != b"%d" % (n - 1):
        pass
    late = a.client("rate-late")
    late.join(["rate"])
    tap.same(late.message()[1], b"%d" % (n - 1), "same topic: the last one is kept")
    a.finish(tap, "same topic", 8)


@place()
def dollar(tap, a, long):
    """Topics that begin with a dollar, shared groups that are none, members that come and go."""
    everything = a.client("all")
    everything.join(["#", "$SYS/#", "$share/g/#"], 1)
    c = a.client("dollar")
    for topic in ("$SYS/broker/uptime", "$SYS", "$made/up", "$share/g/x", "$", "$CONTROL/x", "$share"):
        c.send(mqtt.publish(topic, b"forged", 1, 1, True))
    tap.ok(a.client("after").alive(), "dollar: the broker goes on")
    wrong = ["$share//x", "$share/g/", "$share/", "$share/g", "$share/g+/x", "$share/#/x"]
    asks = a.client("wrong")
    tap.same(set(asks.join(wrong, 1)), {0x80}, "dollar: wrong shared subscriptions are refused")
    pub = a.client("pub")
    for i in range(150 if long else 60):
        m = a.client("member-%d" % (i % 7), clean=i % 2 == 0)
        m.send(mqtt.subscribe(1, ["$share/h/work/+"], 1))
        pub.send(mqtt.publish("work/%d" % i, b"x", 1, i + 1))
        if i % 3 == 0:
            m.send(mqtt.unsubscribe(2, ["$share/h/work/+"]))
        elif i % 3 == 1:
            m.reset()
            a.clients.remove(m)
    tap.ok(pub.alive(), "dollar: members come and go")
    for i in range(100):
        c = a.client("clean\nid=\"x\" \x1b[2J%d" % i)
    tap.ok("\x1b" not in a.log() and "\nid=" not in a.log(), "dollar: names can't write lines of the log")
    a.finish(tap, "dollar", 8)


SCENES = [subscription_bomb, hash_crowd, retained_flood, same_topic, dollar]
