"""A long life: signals at any moment, memory and descriptors that run out, a store that somebody else works on.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import glob
import os
import random
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import time

import mqtt
from broker import until
from scenes_conn import each, place


def end(a):
    """SIGTERM; the exit status, and how long it took."""
    began = time.monotonic()
    os.kill(a.pid, signal.SIGTERM)
    status = a.broker.process.wait(20)
    return status, time.monotonic() - began


@place(settings="[limits]\nmax_queued_messages = 100000\n", pair=False)
def sigterm(tap, a, long):
    """SIGTERM while commits are under way, while a queue drains, while it starts: what was acknowledged is there."""
    rounds, limit_s = 60 if long else 6, 3 if a.slow else 1
    wrong, promised, got, slowest = [], set(), set(), 0
    sub = mqtt.Client(a.port)
    sub.up("keeper", clean=False)
    sub.join(["keep"], 1)
    sub.close()
    for n in range(rounds):
        pub = mqtt.Client(a.port)
        pub.up("feeder")
        pub.send(b"".join(mqtt.publish("keep", b"%d-%d" % (n, i), 1, i + 1) for i in range(1000)))
        for i in range(100 + 80 * (n % 10)):
            pub.expect(mqtt.PUBACK)
            promised.add(b"%d-%d" % (n, i))
        os.kill(a.pid, signal.SIGTERM)
        began = time.monotonic()
        wrong += ["commits: %d" % status for status in [a.broker.process.wait(20)] if status]
        slowest = max(slowest, time.monotonic() - began)
        try:
            while True:
                promised.add(b"%d-%d" % (n, struct.unpack(">H", pub.expect(mqtt.PUBACK)[:2])[0] - 1))
        except (mqtt.Closed, TimeoutError, OSError):
            pub.close()
        a.again()
        sub = mqtt.Client(a.port)               # reads for a while, then the broker ends in the middle of it
        sub.up("keeper", clean=False)
        for _ in range(1 + n % 5 * 20):
            got.add(sub.message()[1])
        status, took = end(a)
        slowest = max(slowest, took)
        wrong += ["drain: %d" % status] if status else []
        try:
            while True:
                got.add(sub.message()[1])
        except (mqtt.Closed, TimeoutError, OSError):
            sub.close()
        if n % 2:                               # ends before it is there, if it is quick enough
            a.broker.starts += 1
            with open(os.path.join(a.broker.dir, "log.%d" % a.broker.starts), "wb") as log:
                p = a.broker.spawn(log)
            time.sleep(random.uniform(0, 0.08 if a.slow else 0.02))
            p.send_signal(signal.SIGTERM)
            status = p.wait(20)
            wrong += ["start: %d" % status] if status not in (0, -signal.SIGTERM) else []
        a.again()
    sub = mqtt.Client(a.port)
    sub.up("keeper", clean=False)
    sub.s.settimeout(3)
    try:
        while not promised <= got:
            got.add(sub.message()[1])
    except TimeoutError:
        pass
    sub.close()
    tap.same(wrong, [], "sigterm: it ends in order")
    tap.ok(slowest < limit_s, "sigterm: and at once", "%.1f s" % slowest)
    tap.ok(len(promised) > 100 * rounds, "sigterm: in the middle of the work", "%d messages" % len(promised))
    tap.same(sorted(promised - got), [], "sigterm: what was acknowledged is delivered")
    a.finish(tap, "sigterm", 15)


def answers(pub, acked, wanted, limit_s):
    """Counts PUBACKs on, until all are there or none comes for a while."""
    pub.s.settimeout(limit_s)
    try:
        while acked < wanted:
            pub.expect(mqtt.PUBACK)
            acked += 1
    except TimeoutError:
        pass
    return acked


def no_mounts():
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        return "this user may not mount anything (unshare -rm)"
    return None


def press(a):
    """Who publishes for a subscriber that is away."""
    c = a.client("away", clean=False)
    c.join(["paper"], 1)
    c.close()
    return a.client("press")


def page(i):
    return mqtt.publish("paper", b"%04d" % i + b"." * 5000, 1, i + 1)


def read_pages(tap, a, n, name):
    """The subscriber is back."""
    c = a.client("away", clean=False)
    tap.same([c.message()[1][:4] for _ in range(n)], [b"%04d" % i for i in range(n)], name)


@place(settings="[limits]\nmax_queued_messages = 100000\n", store="small/caddis.db", unless=no_mounts,
       wrapper='[ -n "$SMALL" ] || SMALL=1 exec unshare -rm "$0" "$@"\nmount -t tmpfs -o size=2m none $DIR/small')
def small_disk(tap, a, long):
    """A file system that is full, and grows."""
    pub, n, acked = press(a), 600, 0
    for begin in range(0, n, 50):
        for i in range(begin, begin + 50):
            pub.send(page(i))
        acked = answers(pub, acked, begin + 50, 1)
        if acked < begin + 50:
            break
    tap.ok(0 < acked < 400, "small disk: what has no room is not acknowledged", "%d were" % acked)
    tap.ok(a.load(0.5) < 0.3, "small disk: no spin")
    tap.ok("full" in a.log(), "small disk: the log says so")
    subprocess.run(["nsenter", "-U", "-m", "-t", str(a.pid), "mount", "-o", "remount,size=50m",
                    os.path.dirname(a.broker.store)], check=True)
    for i in range(begin + 50, n):
        pub.send(page(i))
    tap.same(answers(pub, acked, n, 10), n, "small disk: there is room again")
    read_pages(tap, a, n, "small disk: nothing is lost, all is in order")
    a.finish(tap, "small disk", 20, 5.0)        # who publishes at QoS 1 waits while the store does


@place(settings="[limits]\nmax_queued_messages = 100000\n")
def disk(tap, a, long):
    """No byte can be written any more, and then it can: nothing is acknowledged meanwhile that is not stored."""
    pub = press(a)
    sizes = resource.prlimit(a.pid, resource.RLIMIT_FSIZE)
    largest = max(os.path.getsize(f) for f in glob.glob(a.broker.dir + "/*"))
    resource.prlimit(a.pid, resource.RLIMIT_FSIZE, (largest + 100000, sizes[1]))
    n = 400
    for i in range(n):
        pub.send(page(i))
    acked = answers(pub, 0, n, 1)
    tap.ok(acked < n / 2, "disk: what can't be stored is not acknowledged", "%d were" % acked)
    tap.ok(a.load(1.0) < 0.3, "disk: no spin")
    tap.ok("store" in a.log() and "error" in a.log(), "disk: the log says so")
    resource.prlimit(a.pid, resource.RLIMIT_FSIZE, sizes)
    tap.same(answers(pub, acked, n, 10), n, "disk: it can be written again")
    read_pages(tap, a, n, "disk: all is well again, in order")
    a.finish(tap, "disk", 20, 4.0)              # who publishes at QoS 1 waits while the store does


@place(settings="[limits]\nmax_queued_messages = 100000\n")
def store(tap, a, long):
    """The store is locked by somebody else for a while, in the long form deleted too; what was promised is kept."""
    path = os.path.join(a.broker.dir, "caddis.db")
    pub = press(a)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pub.send(mqtt.publish("paper", b"locked", 1, 1))
    pub.s.settimeout(0.7)
    try:
        pub.expect(mqtt.PUBACK)
        tap.ok(False, "store: nothing is acknowledged while somebody holds the lock")
    except TimeoutError:
        tap.ok(True, "store: nothing is acknowledged while somebody holds the lock")
    tap.ok(a.load(0.5) < 0.3, "store: no spin")
    other.execute("ROLLBACK")
    other.close()
    pub.s.settimeout(15)
    pub.expect(mqtt.PUBACK)
    sent = [b"locked"]
    for f in glob.glob(path + "*") if long else []:
        os.unlink(f)
    while not os.path.exists(path) and len(sent) < 100:     # it looks every ten seconds, if there is work
        sent.append(b"%d" % len(sent))
        pub.send(mqtt.publish("paper", sent[-1], 1, len(sent)))
        pub.expect(mqtt.PUBACK)
        time.sleep(0.3)
    tap.ok(os.path.exists(path), "store: a deleted one is written anew") if long else None
    public = [f for f in glob.glob(path + "*") if os.stat(f).st_mode & 0o007]
    tap.same(public, [], "store: it is nobody else's business")
    a.judge_pair(tap, "store", 2.0)
    a.broker.kill()
    a.again()
    c = a.client("away", clean=False)
    tap.same([c.message()[1] for _ in sent], sent, "store: everything is in it")
    a.finish(tap, "store", 20)


@place(wrapper="ulimit -n 64", files={"acl": "topic readwrite bystander\ntopic write told\n"},
       settings="acl_file = $DIR/acl\n")
def reload_without_descriptors(tap, a, long):
    """SIGHUP while no file can be opened: the rules that are there stay."""
    crowd = [a.client() for _ in range(150)]
    for c in crowd:
        c.send(mqtt.connect())
    tap.ok(until(lambda: "connections must wait" in a.log()), "reload without descriptors: none are left")
    a.write("acl", "topic readwrite #\n")
    for n in range(10):
        os.kill(a.pid, signal.SIGHUP)
        time.sleep(0.02)
    tap.ok(until(lambda: "not reloaded" in a.log()), "reload without descriptors: the log says that it can't be done")
    a.leave()
    c = mqtt.Client(a.port)
    tap.same(c.up("after", v=5), 0, "reload without descriptors: service resumes")
    c.send(mqtt.publish("secret", b"x", 1, 1, v=5))
    tap.same(c.expect(mqtt.PUBACK)[2:3], b"\x87", "reload without descriptors: the old rules hold")
    os.kill(a.pid, signal.SIGHUP)
    until(lambda: "configuration reloaded" in a.log())
    c.send(mqtt.publish("secret", b"x", 1, 1, v=5))
    tap.ok(c.expect(mqtt.PUBACK)[2:3] != b"\x87", "reload without descriptors: and now the new ones")
    c.close()
    a.finish(tap, "reload without descriptors", 5)


@place(pair=False)
def ports(tap, a, long):
    """A port that somebody else has is tried again; when it is the only one the broker says so and ends."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    end(a)
    a.broker.more += "[listener second]\naddress = 127.0.0.1\nport = %d\nallow_anonymous = true\n" % port
    a.again()
    tap.ok("can't listen name=\"second\"" in a.log(), "ports: the log says which one is taken")
    tap.same(a.client().up("first"), 0, "ports: the other one works")
    time.sleep(5 if long else 0)                # it has been tried in vain by then
    taken.close()
    tap.ok(until(lambda: a.log().count("listening name=") == 2, 10), "ports: it is tried again")
    c = mqtt.Client(port)
    tap.same(c.up("second"), 0, "ports: and works")
    c.close()
    a.fds_before += 1
    with open(os.path.join(a.broker.dir, "other.ini"), "w", encoding="utf-8") as f:
        f.write("[broker]\nenable_control = false\n[persistence]\nenabled = false\n"
                "[listener only]\naddress = 127.0.0.1\nport = %d\n" % a.port)
    p = a.broker.spawn(None, "other.ini")
    said = p.stderr.read().decode()
    tap.ok(p.wait(20) == 1 and "not one listener could be opened" in said, "ports: none at all ends it", said[-300:])
    a.finish(tap, "ports", 5)


@place(settings="[limits]\npersistent_client_expiration = 3s\n")
def idle_sessions(tap, a, long):
    """Clients that ask for a session to be kept, under a new name every time, and never come back."""
    n = 50000 if long else 1000
    before = a.figure("heap/current")
    for batch in each(n):
        crowd = [a.client() for _ in batch]
        for i, c in zip(batch, crowd):
            cid = "idle-%d-%x" % (i, random.getrandbits(64))
            c.send(mqtt.connect(cid, clean=False) + mqtt.subscribe(1, ["idle/+"], 1))
        for c in crowd:
            c.expect(mqtt.CONNACK)
        a.leave()
    full = a.figure("heap/current") - before
    tap.ok(a.figure("clients/maximum") > 500, "idle sessions: they are there")
    tap.ok(full < n * 600, "idle sessions: each takes little", "%d bytes" % (full / n))
    tap.ok(until(lambda: a.figure("clients/total") <= 3, 30), "idle sessions: they are forgotten in time")
    tap.ok(until(lambda: a.figure("heap/current") - before < max(full / 20, 100000)),
           "idle sessions: nothing is left of them", "%d bytes of %d" % (a.figure("heap/current") - before, full))
    a.finish(tap, "idle sessions", n * 0.0012 + 8)


@place(settings="[limits]\nmemory_limit = 16M\nmax_queued_messages = 1000000\n[persistence]\nmemory = 1M\n")
def memory_limit(tap, a, long):
    """Everything that takes memory, all at once, until nothing is taken any more; then it is given back."""
    limit, held = 16 << 20, 0

    def attempt(attack):
        nonlocal held
        for i in range(100000 if long else 4000):
            if not attack(i):
                held += 1
                return

    def wills(i):
        c = mqtt.Client(a.port)
        rc = c.up("will-%d" % i, will=("w", b"x" * 50000, 1, True))
        a.clients.append(c)
        return rc == 0

    def sessions(i):
        c = mqtt.Client(a.port)
        rc = c.up("session-%d" % i, clean=False, v=5, props=b"\x11\xff\xff\xff\xff")
        c.close()
        return rc == 0
    halves = [a.client("half-%d" % i) for i in range(40)]
    pub = a.client("attack-pub", v=5)
    sub = a.client("attack-sub", v=5)
    deaf = a.client("attack-deaf", receive_buffer=4096)
    deaf.join(["flood"], 1)

    def retained(i):
        pub.send(mqtt.publish("r/%d" % i, b"x" * 10000, 1, 1, True, v=5))
        return pub.expect(mqtt.PUBACK)[2:3] in (b"", b"\x10", b"\0")

    def subscriptions(i):
        return sub.join(["%s/%d/%d" % ("s" * 30000, i, k) for k in range(10)], 1)[0] < 0x80

    def queued(i):
        pub.send(mqtt.publish("flood", b"x" * 10000, 1, 1, v=5))
        pub.expect(mqtt.PUBACK)
        return i < 3000
    for attack in (wills, retained, subscriptions, sessions, queued):
        attempt(attack)
    tap.ok(mqtt.Client(a.port).closed(2), "memory limit: no more connections then")
    taken = 0
    for c in halves:                            # announced together, sent in part: they must not fill memory up
        try:
            c.s.settimeout(2)
            c.send(b"\x30" + mqtt.varint(1900000) + b"\0\4half" + b"x" * 1500000)
            taken += not c.closed(0.05)
        except (mqtt.Closed, TimeoutError):
            pass
    most = a.figure("heap/maximum")
    tap.ok(held == 5 and taken < 40, "memory limit: everything is refused in the end", "%d, %d" % (held, taken))
    tap.ok("memory_limit:" in a.log(), "memory limit: the log says so")
    tap.ok(most < limit * 1.15, "memory limit: it holds", "%.1f MB" % (most / 1e6))
    tap.ok(sub.alive() and pub.alive(), "memory limit: who is there goes on")
    a.leave()
    tap.ok(until(lambda: a.client().up("newcomer") == 0, 20), "memory limit: there is room again")
    a.finish(tap, "memory limit", 30, 2.0)


SCENES = [sigterm, disk, small_disk, store, reload_without_descriptors, ports, idle_sessions, memory_limit]
