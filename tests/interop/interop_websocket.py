#!/usr/bin/python3
"""The Paho client for Python through WebSockets, with and without TLS, and HTTP clients that stray here.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from broker import run, until  # noqa: E402

try:
    import paho.mqtt.client as mqtt
except ImportError:
    print("1..0 # SKIP no Paho here; it is in the package python3-paho-mqtt")
    sys.exit(77)

CERTS = tempfile.TemporaryDirectory(prefix="caddis-interop-")
LISTENER = "[listener %s]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\nprotocol = websockets\n"


class Client(mqtt.Client):
    def __init__(self, broker, listener, client_id, version=mqtt.MQTTv311, **options):
        if hasattr(mqtt, "CallbackAPIVersion"):
            super().__init__(mqtt.CallbackAPIVersion.VERSION1, client_id, protocol=version, transport="websockets",
                             **options)
        else:
            super().__init__(client_id, protocol=version, transport="websockets", **options)
        self.got = []
        self.present = []
        self.granted = 0
        self.on_connect = lambda c, userdata, flags, *more: self.present.append(flags["session present"])
        self.on_message = lambda c, userdata, m: self.got.append((m.topic, m.qos, bytes(m.payload)))
        self.on_subscribe = self.note_subscribe
        self.ws_set_options(path="/mqtt")
        if listener == "secure":
            self.tls_set(os.path.join(CERTS.name, "ca.crt"), cert_reqs=ssl.CERT_NONE)
            self.tls_insecure_set(True)
        self.connect("127.0.0.1", broker.port_of(listener), 60)
        self.loop_start()
        until(lambda: self.present)

    def note_subscribe(self, *what):
        self.granted += 1

    def listen(self, topic, qos):
        self.subscribe(topic, qos)
        until(lambda: self.granted)

    def end(self):
        self.disconnect()
        self.loop_stop()


def there_and_back(tap, broker):
    for listener in ("web", "secure") if broker.tls else ("web",):
        for version, name in ((mqtt.MQTTv31, "3.1"), (mqtt.MQTTv311, "3.1.1"), (mqtt.MQTTv5, "5.0")):
            sub = Client(broker, listener, "sub", version)
            pub = Client(broker, listener, "pub", version)
            sub.listen("t/#", 2)
            sent = []
            for n, size in enumerate((0, 1, 100, 125, 126, 127, 4096, 65535, 65536, 300000)):
                payload = os.urandom(size)
                pub.publish("t/%d" % size, payload, n % 3).wait_for_publish()
                sent.append(("t/%d" % size, n % 3, payload))
            until(lambda: len(sub.got) == len(sent))
            tap.ok(sorted(sub.got) == sorted(sent), "%s, %s: messages of every QoS and size" % (listener, name),
                   "%d of %d" % (len(sub.got), len(sent)))
            pub.end()
            sub.end()


def a_session_waits(tap, broker):
    first = Client(broker, "web", "keeper", clean_session=False)
    first.listen("k/#", 1)
    first.end()
    pub = Client(broker, "web", "pub")
    for n in range(200):
        pub.publish("k/%d" % n, "x" * n, 1).wait_for_publish()
    broker.kill()
    broker.start()
    pub.loop_stop()
    again = Client(broker, "web", "keeper", clean_session=False)
    until(lambda: len(again.got) == 200)
    tap.same(again.present, [1], "kill -9, and the session is there")
    tap.same([t for t, _, _ in again.got], ["k/%d" % n for n in range(200)], "with all that it was owed, in order")
    again.end()


def strays(tap, broker):
    h = http.client.HTTPConnection("127.0.0.1", broker.port_of("web"), timeout=10)
    h.request("GET", "/index.html")
    r = h.getresponse()
    text = r.read().decode()
    tap.ok(r.status == 426 and r.getheader("Sec-WebSocket-Version") == "13" and "MQTT" in text,
           "a browser's address line is told what this is", "%d %r" % (r.status, text))
    h = http.client.HTTPConnection("127.0.0.1", broker.port_of("web"), timeout=10)
    h.request("POST", "/", body=b"x" * 100000)
    tap.same(h.getresponse().status, 405, "a POST with a body is refused, and the answer arrives")
    with socket.create_connection(("127.0.0.1", broker.port_of("web")), 10) as s:
        s.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        tap.same(s.recv(100), b"", "MQTT without WebSocket is closed at once")
    log = broker.read_log()
    tap.ok('reason="WebSocket failure" detail="an MQTT client that does not use WebSocket"' in log, "and the log says why")
    tap.ok('transport=websocket' in log, "the log says who came through a WebSocket")


def configure(broker):
    about = subprocess.run([broker.program, "--version"], stdout=subprocess.PIPE, check=True, universal_newlines=True)
    broker.tls = re.search(r"^TLS +none", about.stdout, re.MULTILINE) is None
    broker.more += LISTENER % "web"
    broker.listeners.append("web")
    if broker.tls:
        srcdir = os.environ.get("srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
        subprocess.run([os.path.join(srcdir, "tests/tls/certs"), CERTS.name], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        os.chmod(os.path.join(CERTS.name, "server.key"), 0o600)
        broker.listeners.append("secure")
        broker.more += LISTENER % "secure" + "certfile = %s/server.crt\nkeyfile = %s/server.key\n" % (CERTS.name, CERTS.name)


if __name__ == "__main__":
    sys.exit(run((there_and_back, a_session_waits, strays), configure))
