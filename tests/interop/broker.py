"""A broker for the interop_*.py tests: on a port that the kernel picks, kept across restarts. And verdicts in TAP.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def until(condition, limit_s=10.0):
    """Waits for the condition; its last value."""
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


class Broker:
    """CADDIS names the program (./caddis). The directory with configuration, store and log goes at the end."""

    def __init__(self):
        self.program = os.path.abspath(os.environ.get("CADDIS", "./caddis"))
        self.dir = tempfile.mkdtemp(prefix="caddis-interop-")
        self.port = 0
        self.more = "allow_anonymous = true\n"   # of the listener's section
        self.listeners = ["default"]            # that start() waits for
        self.store = os.path.join(self.dir, "caddis.db")
        self.process = None
        self.starts = 0
        if not os.access(self.program, os.X_OK):
            shutil.rmtree(self.dir)
            sys.exit("there is no %s; CADDIS names the broker" % self.program)

    def start(self):
        self.starts += 1
        path = os.path.join(self.dir, "caddis.ini")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[broker]\nenable_control = false\n%s[persistence]\npath = %s\n"
                    "[listener default]\naddress = 127.0.0.1\nport = %d\n%s"
                    % ("user = root\n" if os.geteuid() == 0 else "", self.store, self.port, self.more))
        with open(os.path.join(self.dir, "log.%d" % self.starts), "wb") as out:
            self.process = self.spawn(out)
        if not until(lambda: all(map(self.port_of, self.listeners)), 20):
            raise RuntimeError("the broker does not start")
        self.port = self.port_of("default")

    def read_log(self):
        """Of the last start."""
        with open(os.path.join(self.dir, "log.%d" % self.starts), encoding="utf-8", errors="replace") as f:
            return f.read()

    def port_of(self, listener):
        """Where it listens; 0: not yet."""
        found = re.search(r'listening name="%s" on \S*:(\d+)' % listener, self.read_log())
        return int(found.group(1)) if found else 0

    def spawn(self, log, config="caddis.ini"):
        """Another process, with that file of its directory. log: None for a pipe."""
        return subprocess.Popen([self.program, "-c", os.path.join(self.dir, config)], stderr=log or subprocess.PIPE)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def finish(self, show_log):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for n in range(1, self.starts + 1 if show_log else 0):
            with open(os.path.join(self.dir, "log.%d" % n), encoding="utf-8", errors="replace") as f:
                print("".join("# %d %s" % (n, line) for line in f), end="")
        shutil.rmtree(self.dir)


class Tap:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def ok(self, condition, name, why=""):
        if condition:
            self.passed += 1
        else:
            self.failed += 1
        print("%s %d - %s" % ("ok" if condition else "not ok", self.passed + self.failed, name))
        if not condition and why:
            print("#   " + why)
        sys.stdout.flush()

    def same(self, got, wanted, name):
        self.ok(got == wanted, name, "got %r, wanted %r" % (got, wanted))

    def plan(self):
        """The exit status."""
        print("1..%d\n%d passed, %d failed" % (self.passed + self.failed, self.passed, self.failed))
        return 1 if self.failed or not self.passed else 0


def run(tests, configure=None):
    """Each test gets a running broker, which configure() has had before its start; an exception fails it and leaves the
    others alone."""
    tap = Tap()
    broker = Broker()
    try:
        if configure is not None:
            configure(broker)
        broker.start()
        for test in tests:
            try:
                test(tap, broker)
            except Exception as e:
                tap.ok(False, test.__name__, repr(e))
                if broker.process.poll() is not None:
                    broker.start()
        tap.same(broker.stop(), 0, "the broker ends in order")
    finally:
        broker.finish(tap.failed > 0)
    return tap.plan()
