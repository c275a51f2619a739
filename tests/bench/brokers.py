"""Starts and stops the brokers that are compared, with comparable settings, and runs the load generator against them.
SPDX-License-Identifier: GPL-2.0-or-later"""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("BUILD", ".")
CPUS = sorted(os.sched_getaffinity(0))
BROKER_CPU, LOAD_CPU = {CPUS[0]}, {CPUS[-1]}


class Failed(Exception):
    """A run that gives no figure: the broker is missing, does not start, or refuses what is asked."""


def on_cpu(cpus):
    return lambda: os.sched_setaffinity(0, cpus)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate(folder):
    """A self-signed EC certificate, made once for all brokers of a run."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
    return cert, key


def tls_context(version=ssl.TLSVersion.TLSv1_3):
    """Of a client that takes any certificate."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.minimum_version = c.maximum_version = version
    return c


class Broker:
    """One process. Settings: durable (queues must survive a restart), commit_interval, each_change (mosquitto: save
    after each change), nodelay, tls."""
    name = ""

    def __init__(self, folder, **settings):
        self.folder, self.settings, self.process = folder, settings, None

    def command(self):
        raise NotImplementedError

    def ready(self, said):
        """The port, once the broker has said or shown that it listens."""
        found = re.search(r"listening name=\"\w+\" on 127\.0\.0\.1:(\d+)", said)
        return int(found[1]) if found else None

    def start(self):
        """Returns the seconds until it listened."""
        os.makedirs(self.folder, exist_ok=True)
        said = os.path.join(self.folder, "stderr")
        begin = time.monotonic()
        with open(said, "w") as out:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            preexec_fn=on_cpu(BROKER_CPU))
        while True:
            with open(said) as text:
                self.port = self.ready(text.read())
            if self.port:
                break
            if self.process.poll() is not None or time.monotonic() - begin > 120:
                self.stop()
                with open(said) as text:
                    raise Failed(f"{self.name} does not start: {text.read().strip()[-300:]}")
            time.sleep(0.005)
        return time.monotonic() - begin

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def private_kb(self):
        """Memory that is the process's own, code and libraries left out."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as text:
            return sum(int(line.split()[1]) for line in text if line.startswith("Private_Dirty:"))

    def load(self, args, timeout=600):
        command = [os.path.join(BUILD, "tests/bench/load"), f"--port={self.port}", f"--pid={self.process.pid}", *args]
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, preexec_fn=on_cpu(LOAD_CPU))
        if run.returncode != 0:
            raise Failed(f"{self.name}: {run.stderr.strip()}")
        return json.loads(run.stdout)


class Forwarder(Broker):
    name = "ceiling"

    def command(self):
        return [os.path.join(BUILD, "tests/bench/forward"), "0"]

    @staticmethod
    def version():
        return "bare forwarder"


class Mosquitto(Broker):
    name = "mosquitto"

    @staticmethod
    def program():
        found = os.environ.get("MOSQUITTO") or shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        if not found:
            raise Failed("no mosquitto: apt-get install mosquitto, or MOSQUITTO=path")
        return found

    @classmethod
    def version(cls):
        run = subprocess.run([cls.program(), "-h"], capture_output=True, text=True)
        return re.search(r"version (\S+)", run.stdout)[1]

    def command(self):
        s, self.fixed_port = self.settings, free_port()
        lines = [f"listener {self.fixed_port} 127.0.0.1", "allow_anonymous true", "max_inflight_messages 20",
                 "max_queued_messages 0", "log_type error", "log_type warning"]
        if s.get("tls"):
            lines += ["certfile " + s["tls"][0], "keyfile " + s["tls"][1]]
        if os.geteuid() == 0:
            lines.insert(0, "user root")
        if s.get("nodelay"):
            lines.insert(0, "set_tcp_nodelay true")
        if s.get("durable"):
            lines += ["persistence true", f"persistence_location {self.folder}/"]
        if s.get("each_change"):
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        config = os.path.join(self.folder, "mosquitto.conf")
        with open(config, "w") as out:
            out.write("\n".join(lines) + "\n")
        return [self.program(), "-c", config]

    def ready(self, said):
        try:
            socket.create_connection(("127.0.0.1", self.fixed_port), 1).close()
        except OSError:
            return None
        time.sleep(0.1)         # let it forget that connection
        return self.fixed_port


class Caddis(Broker):
    name = "caddis"

    @staticmethod
    def program():
        found = os.environ.get("CADDIS") or os.path.join(BUILD, "caddis")
        if not os.access(found, os.X_OK):
            raise Failed(f"no {found}: make caddis, or CADDIS=path")
        return found

    @classmethod
    def version(cls):
        run = subprocess.run([cls.program(), "--version"], capture_output=True, text=True)
        return (run.stdout + run.stderr).strip().split("\n")[0]

    def command(self):
        s = self.settings
        lines = ["[broker]", f"control_socket = {self.folder}/caddis.sock"]
        if os.geteuid() == 0:
            lines.append("user = root")
        lines += ["[log]", "connections = false",
                  "[persistence]", f"enabled = {'true' if s.get('persistence', True) else 'false'}",
                  f"path = {self.folder}/caddis.db",
                  f"durability = {s.get('durability', 'power')}",
                  f"commit_interval = {s.get('commit_interval', '20ms')}",
                  "[limits]", "max_inflight_messages = 20", "max_queued_messages = 0",
                  "[auth]", "allow_anonymous = true",
                  "[listener default]", "address = 127.0.0.1", "port = 0"]
        if s.get("tls"):
            lines += ["certfile = " + s["tls"][0], "keyfile = " + s["tls"][1]]
        if s.get("web"):
            lines.append("protocol = websockets")
        config = os.path.join(self.folder, "caddis.ini")
        with open(config, "w") as out:
            out.write("\n".join(lines) + "\n")
        return [self.program(), "-c", config]


def scratch():
    """A folder for stores: on a disk, since a file system in memory would flatter whoever writes much."""
    return tempfile.mkdtemp(prefix="caddis-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp"))


class Disk:
    """Counts what reaches the device of a folder, if that is a device of its own (a loop device: scripts/bench-disk);
    else None, and the bytes that the kernel charges to the broker have to do."""

    def __init__(self, folder):
        device = os.stat(folder).st_dev
        self.path = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat"
        self.private = os.major(device) == 7 and os.path.exists(self.path)

    def bytes_written(self):
        if not self.private:
            return None
        os.sync()
        with open(self.path) as stat:
            return int(stat.read().split()[6]) * 512


def note(text):
    print(text, file=sys.stderr, flush=True)
