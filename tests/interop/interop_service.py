#!/usr/bin/python3
"""The broker under a service manager: what it says to NOTIFY_SOCKET and when, which sockets it takes from LISTEN_FDS,
and how fast it lets clients in.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import fcntl
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from broker import Tap, until  # noqa: E402

CADDIS = os.path.abspath(os.environ.get("CADDIS", "./caddis"))
CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
CONNACK = b"\x20\x02\x00\x00"


class Manager:
    """Starts the broker as systemd would: NOTIFY_SOCKET, descriptors from 3 on, and variables for this process."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="caddis-service-")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.dir + "/notify")
        self.heard = []                    # (when, text)
        self.process = None
        self.log_path = self.dir + "/log"

    def start(self, config, sockets=(), names=None, env=None, pid="$$"):
        with open(self.dir + "/caddis.ini", "w", encoding="utf-8") as f:
            f.write("[broker]\n%scontrol_socket = %s/ctl\n[persistence]\npath = %s/caddis.db\n%s"
                    % ("user = root\n" if os.geteuid() == 0 else "", self.dir, self.dir, config))
        vars_ = {"NOTIFY_SOCKET": self.dir + "/notify"}
        if sockets:
            vars_["LISTEN_FDS"] = str(len(sockets))
            vars_["LISTEN_PID"] = pid
        if names:
            vars_["LISTEN_FDNAMES"] = names
        vars_.update(env or {})
        self.listen_to(0.01)               # what the one before said last
        self.heard = []
        high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in sockets]

        def pass_on():
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)

        exports = "".join('export %s="%s"; ' % v for v in vars_.items())
        with open(self.log_path, "wb") as out:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", exports + 'exec "$0" -c "$1"', CADDIS, self.dir + "/caddis.ini"],
                stderr=out, preexec_fn=pass_on, close_fds=False)
        for fd in high:
            os.close(fd)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def listen_to(self, seconds):
        """Collects what is said in that time."""
        end = time.monotonic() + seconds
        while True:
            self.notify.settimeout(max(end - time.monotonic(), 0.001))
            try:
                self.heard.append((time.monotonic(), self.notify.recv(4096).decode()))
            except OSError:
                if time.monotonic() >= end:
                    return

    def hears(self, text, seconds=20):
        def found():
            self.listen_to(0.02)
            return any(text in said for _, said in self.heard)
        return until(found, seconds)

    def said(self, text):
        return [when for when, said in self.heard if text in said]

    def port(self, name):
        found = until(lambda: re.search(r'listening name="%s" on \S*:(\d+)' % name, self.log()), 20)
        return int(found.group(1))

    def reload(self, more=""):
        with open(self.dir + "/caddis.ini", "a", encoding="utf-8") as f:
            f.write(more)
        return subprocess.run([CADDIS, "reload", "--socket", self.dir + "/ctl"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def finish(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notify.close()
        shutil.rmtree(self.dir)


def opened(address=("127.0.0.1", 0), family=socket.AF_INET, kind=socket.SOCK_STREAM):
    s = socket.socket(family, kind)
    s.bind(address)
    if kind == socket.SOCK_STREAM:
        s.listen(16)
    return s


def knock(address, family=socket.AF_INET):
    """Is an MQTT client let in there?"""
    with socket.socket(family) as s:
        s.settimeout(5)
        try:
            s.connect(address)
            s.sendall(CONNECT)
            return s.recv(4) == CONNACK
        except OSError:
            return False


OPEN = "[listener a]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\n"


# ---- words for the manager ----

def start_reload_stop(tap, m):
    m.start(OPEN)
    tap.ok(m.hears("READY=1"), "READY=1")
    m.listen_to(1.5)
    tap.same([said for _, said in m.heard if "READY=1" not in said], [], "an idle broker says nothing more")
    before = time.monotonic_ns() // 1000
    m.heard = []
    tap.same(m.reload().returncode, 0, "a reload")
    tap.ok(m.hears("READY=1"), "ends with READY=1")
    said = "\n".join(text for _, text in m.heard)
    when = re.search(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", said)
    tap.ok(when and before <= int(when.group(1)) <= time.monotonic_ns() // 1000,
           "and begins with RELOADING=1 and the time", said)
    m.heard = []
    tap.ok(m.reload("[limits]\nmax_packet_size = much\n").returncode != 0, "a reload with errors fails")
    tap.ok(m.hears("READY=1\nSTATUS=serving with the old configuration"), "STATUS says so", repr(m.heard))
    tap.same(m.stop(), 0, "the broker ends in order")
    tap.ok(m.hears("STOPPING=1", 1), "STOPPING=1")


def watchdog(tap, m):
    m.start(OPEN, env={"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "$$"})
    tap.ok(m.hears("READY=1"), "the broker starts")
    m.listen_to(2.2)
    times = m.said("WATCHDOG=1")
    gaps = [b - a for a, b in zip(times, times[1:])]
    tap.ok(4 <= len(times) <= 6 and max(gaps, default=9) < 0.95, "WATCHDOG=1 at half the interval", repr(gaps))
    m.process.send_signal(signal.SIGSTOP)
    m.listen_to(0.1)
    m.heard = []
    m.listen_to(1.5)
    tap.same(m.heard, [], "a broker that hangs gives no sign of life")
    m.process.send_signal(signal.SIGCONT)
    tap.ok(m.hears("WATCHDOG=1", 5), "and one that goes on does")
    m.stop()
    for name, env in (("for another process", {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}),
                      ("that is no number", {"WATCHDOG_USEC": "soon"}), ("of 0", {"WATCHDOG_USEC": "0"})):
        m.start(OPEN, env=env)
        m.hears("READY=1")
        m.listen_to(0.6)
        tap.same(m.said("WATCHDOG=1"), [], "no sign of life for a watchdog " + name)
        m.stop()


def hung_loop(tap, m):
    """The process runs and its loop does not: it opens a log file that is a pipe which nobody reads."""
    m.start(OPEN, env={"WATCHDOG_USEC": "400000"})
    tap.ok(m.hears("WATCHDOG=1"), "signs of life")
    os.mkfifo(m.dir + "/pipe")
    with open(m.dir + "/caddis.ini", "a", encoding="utf-8") as f:
        f.write("[log]\ndest = file %s/pipe\n" % m.dir)
    m.process.send_signal(signal.SIGHUP)
    tap.ok(m.hears("RELOADING=1"), "a reload that does not end")
    m.heard = []
    m.listen_to(1)
    tap.same(m.heard, [], "no sign of life meanwhile")
    reader = os.open(m.dir + "/pipe", os.O_RDONLY | os.O_NONBLOCK)
    tap.ok(m.hears("WATCHDOG=1"), "and again afterwards")
    m.stop()
    os.close(reader)


def large_store(tap, m):
    m.start(OPEN)
    m.hears("READY=1")
    m.stop()
    with sqlite3.connect(m.dir + "/caddis.db") as db:
        db.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
                   "INSERT INTO retained (received_at, qos, topic, payload) SELECT 1, 0, 't/' || i, x'61' FROM n")
    db.close()
    m.start(OPEN)
    tap.ok(m.hears("READY=1"), "a start with a large store", m.log())
    tap.ok("retained=10000" in m.log(), "that is read", m.log())
    tap.same([text.split("(")[0] for _, text in m.heard][:1],
             ["EXTEND_TIMEOUT_USEC=60000000\nSTATUS=starting: reading the store, rows "],
             "asks for patience before READY=1")
    m.stop()


# ---- sockets that were opened before ----

def by_name(tap, m):
    one, two = opened(), opened()
    m.start("[listener a]\nallow_anonymous = true\n[listener b]\nport = %d\nallow_anonymous = true\n"
            "[listener c]\naddress = 127.0.0.1\nport = 0\n" % one.getsockname()[1], [one, two], names="b:a")
    tap.ok(m.hears("READY=1"), "two sockets that have the names of listeners", m.log())
    tap.ok('listening name="b" on 127.0.0.1:%d' % one.getsockname()[1] in m.log(), "the first")
    tap.ok('listening name="a" on 127.0.0.1:%d' % two.getsockname()[1] in m.log(), "the second")
    tap.ok(m.port("c") not in (0, 1883), "a listener without one opens its own")
    tap.ok(knock(one.getsockname()) and knock(two.getsockname()), "clients come in by both")
    tap.same(m.stop(), 0, "the broker ends in order")
    tap.ok(not knock_refused(one), "the sockets stay open for the next one")


def knock_refused(s):
    with socket.socket(s.family) as c:
        try:
            c.connect(s.getsockname())
            return False
        except OSError:
            return True


def by_address(tap, m):
    four = opened()
    port = four.getsockname()[1]
    path = m.dir + "/mqtt.sock"
    unix = opened(path, socket.AF_UNIX)
    m.start("[listener four]\naddress = 127.0.0.1\nport = %d\nallow_anonymous = true\n"
            "[listener local]\naddress = %s\nallow_anonymous = true\n" % (port, path), [four, unix],
            names="caddis.socket:caddis.socket")
    tap.ok(m.hears("READY=1"), "sockets without a name of ours are found by address and port", m.log())
    tap.ok(knock(("127.0.0.1", port)), "IPv4")
    tap.ok(knock(path, socket.AF_UNIX), "Unix")
    m.stop()
    tap.ok(os.path.exists(path), "a Unix socket that was passed is not removed")
    if socket.has_ipv6:
        try:
            six = opened(("::1", 0), socket.AF_INET6)
        except OSError:
            return
        m.start("[listener six]\naddress = ::1\nport = %d\nallow_anonymous = true\n" % six.getsockname()[1], [six])
        tap.ok(m.hears("READY=1") and knock(six.getsockname()[:2], socket.AF_INET6), "IPv6", m.log())
        m.stop()


def waiting_client(tap, m):
    """Who came while nobody served is served now."""
    s = opened()
    early = socket.create_connection(s.getsockname())
    early.sendall(CONNECT)
    m.start("[listener a]\nallow_anonymous = true\n", [s], names="a")
    early.settimeout(20)
    tap.same(early.recv(4), CONNACK, "a client that came before the broker")
    early.close()
    m.stop()


def refused(tap, m, name, config, sockets, names, words, **more):
    m.start(config, sockets, names, **more)
    try:
        tap.same(m.process.wait(20), 1, "%s: not started" % name)
    except subprocess.TimeoutExpired:
        tap.ok(False, "%s: not started" % name)
        m.stop()
    for w in words:
        tap.ok(w in m.log(), "%s: the log says %s" % (name, w), m.log())


def strangers(tap, m):
    s = opened()
    here = "127.0.0.1:%d" % s.getsockname()[1]
    refused(tap, m, "a socket for nobody", OPEN, [s], "caddis.socket",
            ["the socket %s with the name" % here, "FileDescriptorName=NAME", "[listener a]"])
    refused(tap, m, "a name for the built-in listener", "", [s], "default", ["the configuration has none"])
    refused(tap, m, "a listener that says it is elsewhere", "[listener a]\naddress = 127.0.0.2\n", [s], "a",
            ["for [listener a], which has another address or port"])
    refused(tap, m, "a datagram socket", OPEN, [opened(kind=socket.SOCK_DGRAM)], "a", ["ListenStream= and Accept=no"])
    refused(tap, m, "a connected socket", OPEN, [socket.create_connection(s.getsockname())], "a", ["Accept=no"])
    refused(tap, m, "a descriptor that is not there", OPEN, [s], "a:b", ["descriptor 4, passed by"],
            env={"LISTEN_FDS": "2"})
    m.start(OPEN, [s], "nobody", pid="1")
    tap.ok(m.hears("READY=1"), "sockets for another process are not ours")
    m.stop()


# ---- how fast ----

class Knocks:
    """Connects at once with n clients; when each gets its CONNACK."""

    def __init__(self, port, n):
        self.began = time.monotonic()
        self.clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(n)]
        for c in self.clients:
            c.sendall(CONNECT)
            c.setblocking(False)
        self.times = []

    def wait(self, n, limit_s):
        def in_now():
            for c in self.clients:
                try:
                    if c.recv(4) == CONNACK:
                        self.times.append(time.monotonic() - self.began)
                except BlockingIOError:
                    pass
            return len(self.times) >= n
        return until(in_now, limit_s)

    def close(self):
        for c in self.clients:
            c.close()


def accept_rate(tap, m):
    m.start(OPEN + "[listener slow]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\nmax_connection_rate = 5\n")
    m.hears("READY=1")
    slow = Knocks(m.port("slow"), 15)
    tap.ok(slow.wait(5, 5), "a first burst")
    tap.ok(slow.times[4] < 1.0, "is let in at once", repr(slow.times))
    begin = time.monotonic()
    tap.ok(all(knock(("127.0.0.1", m.port("a"))) for _ in range(20)), "another listener has no such limit")
    tap.ok(time.monotonic() - begin < 1.0, "and does not wait")
    tap.ok(slow.wait(15, 10), "in the end everybody is in")
    tap.ok(1.8 <= slow.times[14] <= 4.0, "ten more, five a second", repr(slow.times))
    tap.ok("new connections must wait listener=\"slow\" reason=\"max_connection_rate\"" in m.log(), "the log says so")
    slow.close()
    m.reload("[limits]\nmax_connection_rate = 4\n")
    both = Knocks(m.port("a"), 8)
    tap.ok(both.wait(8, 10) and 0.8 <= both.times[7] <= 3.0, "a limit for all listeners, by a reload", repr(both.times))
    both.close()
    m.stop()


# ---- what a reload says ----

def reload_tells(tap, m):
    for name, text in (("acl", "topic write #\n"), ("passwd", "")):
        with open(m.dir + "/" + name, "w", encoding="utf-8") as f:
            f.write(text)
    os.chmod(m.dir + "/passwd", 0o600)
    m.start(OPEN + "acl_file = %s/acl\npassword_file = %s/passwd\n" % (m.dir, m.dir))
    m.hears("READY=1")
    with open(m.dir + "/acl", "w", encoding="utf-8") as f:
        f.write("topic write #\nrubbish\n")
    with open(m.dir + "/passwd", "w", encoding="utf-8") as f:
        f.write("anna\n")
    done = m.reload()
    said = done.stdout.decode()
    tap.ok(done.returncode != 0 and m.dir + "/acl:2: " in said and m.dir + "/passwd:1: " in said,
           "caddis reload prints what is wrong in which file", said)
    os.unlink(m.dir + "/acl")
    said = m.reload().stdout.decode()
    tap.ok("/acl" in said and "No such file" in said, "and which file is missing", said)
    m.stop()


def run(tests):
    """Each test gets a manager; an exception fails it and leaves the others alone."""
    tap = Tap()
    for test in tests:
        m = Manager()
        try:
            test(tap, m)
        except Exception as e:  # pylint: disable=broad-except
            tap.ok(False, test.__name__, repr(e))
            if m.process is not None:
                print("# " + m.log().replace("\n", "\n# "))
        finally:
            m.finish()
    return tap.plan()


if __name__ == "__main__":
    sys.exit(run([start_reload_stop, watchdog, hung_loop, large_store, by_name, by_address, waiting_client, strangers,
                  accept_rate, reload_tells]))
