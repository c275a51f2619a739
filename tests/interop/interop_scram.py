#!/usr/bin/python3
"""SCRAM-SHA-256 over MQTT 5 AUTH, with a client side written from RFC 5802 and Python's own hashes.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import base64
import hashlib
import hmac
import os
import re
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from broker import Tap, Broker, until  # noqa: E402

METHOD = b"SCRAM-SHA-256"
CONNACK, DISCONNECT, AUTH = 2, 14, 15
CONTINUE, AGAIN = 0x18, 0x19


def text(b):
    return struct.pack(">H", len(b)) + b


def packet(head, body):
    n, length = len(body), b""
    while True:
        n, digit = divmod(n, 128)
        length += bytes([digit | (0x80 if n else 0)])
        if not n:
            return bytes([head]) + length + body


def auth_props(method, data):
    p = b"\x15" + text(method) + (b"\x16" + text(data) if data is not None else b"")
    return bytes([len(p)]) + p


class Client:
    def __init__(self, broker):
        self.s = socket.create_connection(("127.0.0.1", broker.port), 10)
        self.s.settimeout(10)

    def read(self, n):
        got = b""
        while len(got) < n:
            more = self.s.recv(n - len(got))
            if not more:
                raise EOFError
            got += more
        return got

    def packet(self):
        """Type and body; (None, b"") when the broker has closed."""
        try:
            head, n, shift = self.read(1)[0], 0, 0
            while True:
                digit = self.read(1)[0]
                n |= (digit & 127) << shift
                shift += 7
                if digit < 128:
                    break
            return head >> 4, self.read(n)
        except (EOFError, ConnectionResetError):
            return None, b""

    def connect(self, method, data, claimed=None):
        """claimed: the user name of CONNECT itself, which proves nothing."""
        flags = b"\x02" if claimed is None else b"\x82"
        self.s.sendall(packet(0x10, text(b"MQTT") + b"\x05" + flags + b"\x00\x3c" + auth_props(method, data) +
                              text(b"scram") + (text(claimed) if claimed is not None else b"")))

    def auth(self, reason, data, method=METHOD):
        self.s.sendall(packet(0xF0, bytes([reason]) + auth_props(method, data)))


def auth_data(body):
    """The Authentication Data in a property block that has a method and data."""
    m = re.search(b"\x16(..)", body[body.index(METHOD) + len(METHOD):], re.S)
    at = body.index(METHOD) + len(METHOD) + m.end()
    return body[at:at + struct.unpack(">H", m.group(1))[0]]


def h(key, msg):
    return hmac.new(key, msg, hashlib.sha256).digest()


class Scram:
    def __init__(self, user, password):
        self.password = password
        self.bare = b"n=" + user + b",r=" + base64.b64encode(os.urandom(18))

    def first(self):
        return b"n,," + self.bare

    def final(self, server_first):
        fields = dict(f.split(b"=", 1) for f in server_first.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
        bare = b"c=biws,r=" + fields[b"r"]
        message = b",".join((self.bare, server_first, bare))
        key = h(salted, b"Client Key")
        proof = bytes(a ^ b for a, b in zip(key, h(hashlib.sha256(key).digest(), message)))
        self.signature = b"v=" + base64.b64encode(h(h(salted, b"Server Key"), message))
        return bare + b",p=" + base64.b64encode(proof)


def login(broker, user, password, claimed=None):
    """The last packet and the exchange."""
    c, s = Client(broker), Scram(user, password)
    c.connect(METHOD, s.first(), claimed)
    kind, body = c.packet()
    if kind != AUTH or body[0] != CONTINUE:
        return c, s, kind, body
    c.auth(CONTINUE, s.final(auth_data(body)))
    return (c, s) + c.packet()


def exchange_again(c, user, password):
    s = Scram(user, password)
    c.auth(AGAIN, s.first())
    kind, body = c.packet()
    if kind != AUTH or body[0] != CONTINUE:
        return s, kind, body
    c.auth(CONTINUE, s.final(auth_data(body)))
    return (s,) + c.packet()


def tests(tap, broker):
    c, s, kind, body = login(broker, b"ann", b"right")
    tap.same((kind, body[1]), (CONNACK, 0), "the right password comes in")
    tap.same(auth_data(body), s.signature, "the broker proves that it knows the account too")
    s, kind, body = exchange_again(c, b"ann", b"right")
    tap.same((kind, body[0] if body else 0), (AUTH, 0), "it authenticates again while it is connected")
    s, kind, body = exchange_again(c, b"bob", b"bobs")
    tap.same((kind, body[0]), (DISCONNECT, 0x87), "another account than before ends the connection")

    c, s, kind, body = login(broker, b"ann", b"wrong")
    tap.same((kind, body[1]), (CONNACK, 0x86), "a wrong password does not come in")
    c, s, kind, body = login(broker, b"nobody", b"x")
    tap.same((kind, body[1]), (CONNACK, 0x86), "a user without an account learns nothing else")
    c = Client(broker)
    c.connect(b"GS2-KRB5", b"x")
    kind, body = c.packet()
    tap.same((kind, body[1]), (CONNACK, 0x8C), "an unknown method is refused [MQTT5-4.12.0-1]")
    c = Client(broker)
    c.connect(METHOD, b"rubbish")
    kind, body = c.packet()
    tap.ok(kind == CONNACK and body[1] >= 0x80, "rubbish is refused")
    c, s, kind, body = login(broker, b"ann", b"right")
    c.auth(CONTINUE, b"x")
    kind, body = c.packet()
    tap.same((kind, body[0]), (DISCONNECT, 0x82), "AUTH out of turn ends the connection")


class Named:
    """The listener where the user name is the client id."""

    def __init__(self, broker):
        with open(os.path.join(broker.dir, "log.1"), encoding="utf-8") as f:
            self.port = int(re.search(r'listening name="named" on \S*:(\d+)', f.read()).group(1))


def user_name_as_id(tap, broker):
    named = Named(broker)

    def log():
        with open(os.path.join(broker.dir, "log.1"), encoding="utf-8") as f:
            return f.read()

    bob, _, kind, body = login(named, b"bob", b"bobs")
    tap.same((kind, body[1]), (CONNACK, 0), "the name that was proven is the client id")
    tap.ok(until(lambda: 'client up id="bob"' in log()), "also for a client that gives CONNECT none", log())
    _, _, kind, body = login(named, b"ann", b"right", claimed=b"bob")
    tap.same((kind, body[1]), (CONNACK, 0), "a client that claims another name")
    tap.ok(until(lambda: 'client up id="ann"' in log()), "has the id of the name it proved", log())
    bob.s.sendall(b"\xc0\x00")
    tap.same(bob.packet()[0], 13, "and does not take the other's session")


def main():
    tap, broker = Tap(), Broker()
    accounts = os.path.join(broker.dir, "accounts")
    try:
        for user, password in ((b"ann", b"right"), (b"bob", b"bobs")):
            subprocess.run([broker.program, "passwd", "-b", "-H", "scram-sha-256"] +
                           ([] if os.path.exists(accounts) else ["-c"]) + [accounts, user, password], check=True)
        broker.more = "allow_anonymous = false\npassword_file = %s\n[listener named]\naddress = 127.0.0.1\nport = 0\n" \
            "allow_anonymous = false\npassword_file = %s\nuse_username_as_clientid = true\n" % (accounts, accounts)
        broker.start()
        tests(tap, broker)
        user_name_as_id(tap, broker)
        tap.same(broker.stop(), 0, "the broker ends in order")
    finally:
        broker.finish(tap.failed > 0)
    return tap.plan()


if __name__ == "__main__":
    sys.exit(main())
