"""Where the hostile scenes take place: a broker of their own, a pair of clients that must not notice anything, and
somebody who watches the broker's memory, descriptors and processor time.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import subprocess
import sys
import time

import mqtt
from broker import Broker, until

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


def bystander(port):
    """Publishes at QoS 1, waits for its own message, and so on until standard input ends. Prints what it saw."""
    sub, pub = mqtt.Client(port), mqtt.Client(port)
    sub.up("bystander-sub")
    sub.join(["bystander"], 1)
    pub.up("bystander-pub")
    os.set_blocking(0, False)
    seen, lost, n = [], 0, 0
    print("ready", flush=True)
    while True:
        n += 1
        began = time.monotonic()
        payload = str(n).encode()
        try:
            pub.send(mqtt.publish("bystander", payload, 1, n % 65535 + 1))
            lost += sub.message()[1] != payload
            pub.expect(mqtt.PUBACK)
        except (mqtt.Closed, TimeoutError, AssertionError) as e:
            print(json.dumps({"error": repr(e), "lost": lost + 1, "latency": seen}))
            return
        seen.append(time.monotonic() - began)
        time.sleep(0.01)
        if os.read(0, 1) if _readable() else False:
            break
    print(json.dumps({"lost": lost, "latency": seen}))


def _readable():
    import select
    return bool(select.select([0], [], [], 0)[0])


class Arena:
    """slow: the program has sanitizers; its memory and times are looked at with that in mind."""

    def __init__(self, settings="", wrapper=None, pair=True, files=None, store=None):
        os.environ.setdefault("ASAN_OPTIONS", "")
        with open(os.environ.get("CADDIS", "./caddis"), "rb") as f:
            self.slow = b"__asan_init" in f.read()
        if self.slow and "quarantine" not in os.environ["ASAN_OPTIONS"]:
            os.environ["ASAN_OPTIONS"] += ":quarantine_size_mb=2:thread_local_quarantine_size_kb=64"
        self.broker = Broker()
        for name, text in (files or {}).items():
            self.write(name, text)
        if store:
            self.broker.store = os.path.join(self.broker.dir, store)
            os.mkdir(os.path.dirname(self.broker.store))
        self.broker.more += settings.replace("$DIR", self.broker.dir)
        if wrapper:
            path = os.path.join(self.broker.dir, "wrapper")
            with open(path, "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\n%s\nexec %s \"$@\"\n" % (wrapper.replace("$DIR", self.broker.dir),
                                                      self.broker.program))
            os.chmod(path, 0o755)
            self.broker.program = path
        self.broker.start()
        self.port = self.broker.port
        self.pid = self.broker.process.pid
        self.clients = []
        self.began = time.monotonic()
        self.pair = self._start_pair() if pair else None
        self.pair_says = ""
        self.observer = self._start_observer()
        self.rss_before = self.rss()
        self.fds_before = self.fds()

    def _start_pair(self):
        p = subprocess.Popen([sys.executable, os.path.join(HERE, "hostile.py"), "--bystander", str(self.port)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        p.stdout.readline()
        return p

    def write(self, name, text):
        """A file in the broker's directory."""
        with open(os.path.join(self.broker.dir, name), "w", encoding="utf-8") as f:
            f.write(text)

    def again(self):
        """The broker has ended, and is started once more: on the same port, with the same store."""
        self.broker.start()
        self.pid = self.broker.process.pid
        self.observer.close()
        self.observer = self._start_observer()
        self.fds_before = self.fds()

    # ---- the broker as it sees itself ----

    def _start_observer(self):
        c = mqtt.Client(self.port)
        c.up("observer")
        c.join(["$SYS/#"])
        return c

    def figure(self, name):
        """Of $SYS, as it is now: everything that was sent before has been taken then."""
        self.observer.send(mqtt.subscribe(1, ["$SYS/#"]))
        head = 0
        while head >> 4 != mqtt.SUBACK:
            head, _ = self.observer.receive()
        while True:
            topic, value, _, _ = self.observer.message()
            if topic == "$SYS/broker/" + name:
                return int(value)

    # ---- the broker as the system sees it ----

    def rss(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))

    def peak(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def cpu_s(self):
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as f:
            part = f.read().rsplit(")", 1)[1].split()
        return (int(part[11]) + int(part[12])) / TICK

    def wanted_s(self):
        """Time that it had a processor, or waited for one that others had."""
        try:
            with open("/proc/%d/schedstat" % self.pid, encoding="ascii") as f:
                return sum(int(ns) for ns in f.read().split()[:2]) / 1e9
        except OSError:
            return self.cpu_s()

    def load(self, seconds):
        """Share of the time in which it has something to do, however busy the machine is."""
        began, wanted = time.monotonic(), self.wanted_s()
        time.sleep(seconds)
        return (self.wanted_s() - wanted) / (time.monotonic() - began)

    def log(self):
        with open(os.path.join(self.broker.dir, "log.%d" % self.broker.starts), encoding="utf-8",
                  errors="replace") as f:
            return f.read()

    # ---- clients ----

    def client(self, cid=None, **how):
        buffer = how.pop("receive_buffer", 0)
        c = mqtt.Client(self.port, receive_buffer=buffer)
        self.clients.append(c)
        if cid is not None:
            rc = c.up(cid, **how)
            assert rc == 0, "CONNACK %d for %s" % (rc, cid)
        return c

    def leave(self):
        for c in self.clients:
            c.close()
        self.clients = []

    # ---- verdicts ----

    def finish(self, tap, name, grow_mb, latency_s=1.0):
        """Everybody leaves; nothing may be left of them."""
        self.leave()
        self.observer.close()
        self.fds_before -= 1
        gave_back = until(lambda: self.fds() <= self.fds_before)
        tap.ok(gave_back, "%s: descriptors are back to normal" % name, "%d, were %d" % (self.fds(), self.fds_before))
        grown = (self.peak() - self.rss_before) / 1e6
        limit = grow_mb * (4 if self.slow else 1)
        tap.ok(grown <= limit, "%s: memory bounded" % name, "grew by %.1f MB, %.1f are allowed" % (grown, limit))
        if self.pair:
            self.judge_pair(tap, name, latency_s)
        tap.ok(until(lambda: self.load(0.2) < 0.3, 2), "%s: at rest afterwards" % name,
               "it takes %d %%" % (self.load(0.2) * 100))
        tap.ok(self.broker.process.poll() is None and self.broker.stop() == 0, "%s: the broker ends in order" % name)
        complaints = sum(" warning " in line or " error " in line for line in self.log().splitlines())
        windows = 1 + int(time.monotonic() - self.began) // 10
        tap.ok(complaints <= 60 * windows, "%s: the log is not flooded" % name, "%d complaints" % complaints)
        tap.note("%s: %.1f MB more%s" % (name, grown, self.pair_says))

    def judge_pair(self, tap, name, latency_s=1.0):
        """Ends the bystanders' work, before the scene's end if the broker is going to be restarted."""
        latency_s *= 3 if self.slow else 1
        out, _ = self.pair.communicate("x", timeout=60)
        self.pair = None
        saw = json.loads(out)
        late = sorted(saw["latency"]) or [99.0]
        self.pair_says = ", bystanders %d messages, median %.1f ms, worst %.0f ms" % (
            len(late), late[len(late) // 2] * 1e3, late[-1] * 1e3)
        tap.ok(saw["lost"] == 0 and "error" not in saw, "%s: bystanders get everything" % name,
               str(saw.get("error", saw["lost"])))
        tap.ok(late[-1] <= latency_s, "%s: bystanders wait no longer than %.1f s" % (name, latency_s),
               "%.2f s" % late[-1])

    def end(self, failed):
        """In any case, in the end."""
        self.leave()
        self.observer.close()
        if self.pair and self.pair.poll() is None:
            self.pair.kill()
            self.pair.wait()
        self.broker.finish(failed)
