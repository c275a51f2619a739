"""Packets and a plain client for the hostile tests: whatever is asked for is sent, however wrong it is.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import socket
import struct
import time

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, \
    PINGRESP, DISCONNECT, AUTH = range(1, 16)


def varint(n):
    out = b""
    while True:
        n, low = n >> 7, n & 127
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(raw)) + raw


def packet(head, body=b""):
    return bytes([head]) + varint(len(body)) + body


def block(props, v):
    return varint(len(props)) + props if v == 5 else b""


def connect(cid="", v=4, clean=True, keepalive=0, will=None, props=b"", will_props=b""):
    """will: (topic, payload, qos, retain)"""
    flags = 2 if clean else 0
    rest = text(cid)
    if will:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | (32 if retain else 0)
        rest += block(will_props, v) + text(topic) + text(payload)
    name = text("MQIsdp" if v == 3 else "MQTT")
    return packet(0x10, name + bytes([v, flags]) + struct.pack(">H", keepalive) + block(props, v) + rest)


def publish(topic, payload=b"", qos=0, pid=0, retain=False, dup=False, v=4, props=b""):
    ident = struct.pack(">H", pid) if qos else b""
    head = 0x30 | qos << 1 | retain | (8 if dup else 0)
    return packet(head, text(topic) + ident + block(props, v) + payload)


def subscribe(pid, filters, qos=0, v=4, props=b""):
    body = b"".join(text(f) + bytes([qos]) for f in filters)
    return packet(0x82, struct.pack(">H", pid) + block(props, v) + body)


def unsubscribe(pid, filters, v=4):
    return packet(0xA2, struct.pack(">H", pid) + block(b"", v) + b"".join(text(f) for f in filters))


def ack(kind, pid, reason=None):
    head = kind << 4 | (2 if kind == PUBREL else 0)
    return packet(head, struct.pack(">H", pid) + (b"" if reason is None else bytes([reason])))


class Closed(Exception):
    """The broker has closed the connection."""


class Client:
    """Blocking, with a limit: whatever does not come within that many seconds raises TimeoutError."""

    def __init__(self, port, limit_s=15.0, receive_buffer=0):
        self.s = socket.socket()
        if receive_buffer:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.s.settimeout(limit_s)
        self.s.connect(("127.0.0.1", port))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""
        self.at = 0
        self.v = 4

    def send(self, raw):
        try:
            self.s.sendall(raw)
        except (ConnectionError, BrokenPipeError) as e:
            raise Closed() from e

    def receive(self):
        """(first byte, body) of the next packet."""
        while True:
            whole = self._cut()
            if whole:
                return whole
            more = self._more()
            if not more:
                raise Closed()
            self.buf = self.buf[self.at:] + more
            self.at = 0

    def _more(self):
        """What comes next; nothing: it is closed."""
        try:
            return self.s.recv(1 << 18)
        except ConnectionError as e:
            raise Closed() from e

    def _cut(self):
        n = shift = 0
        for k in range(self.at + 1, min(self.at + 5, len(self.buf))):
            n |= (self.buf[k] & 127) << shift
            shift += 7
            if self.buf[k] < 128:
                end = k + 1 + n
                if end > len(self.buf):
                    return None
                whole = self.buf[self.at], self.buf[k + 1:end]
                self.at = end
                return whole
        return None

    def expect(self, kind):
        head, body = self.receive()
        if head >> 4 != kind:
            raise AssertionError("got packet type %d %s, wanted %d" % (head >> 4, body[:40].hex(), kind))
        return body

    def up(self, cid="", **how):
        """Connects; the CONNACK's reason code."""
        self.v = how.get("v", 4)
        self.send(connect(cid, **how))
        return self.expect(CONNACK)[1]

    def join(self, filters, qos=0, pid=1):
        """Subscribes; the reason codes."""
        self.send(subscribe(pid, filters, qos, self.v))
        return self.expect(SUBACK)[3 if self.v == 5 else 2:]

    def message(self):
        """The next PUBLISH: (topic, payload, qos, pid). QoS 1 is acknowledged."""
        while True:
            head, body = self.receive()
            if head >> 4 != PUBLISH:
                continue
            qos = head >> 1 & 3
            n = struct.unpack_from(">H", body)[0]
            topic, rest = body[2:2 + n], body[2 + n:]
            pid = 0
            if qos:
                pid, rest = struct.unpack_from(">H", rest)[0], rest[2:]
            if qos == 1:
                self.send(ack(PUBACK, pid))
            if self.v == 5:
                rest = rest[1 + rest[0]:]       # blocks below 128 bytes are all that is asked for
            return topic.decode(), rest, qos, pid

    def closed(self, limit_s=5.0):
        """Does the broker close the connection in time? What it says before does not matter."""
        end = time.monotonic() + limit_s
        try:
            while time.monotonic() < end:
                self.s.settimeout(max(end - time.monotonic(), 0.01))
                if not self.s.recv(65536):
                    return True
        except ConnectionError:
            return True
        except TimeoutError:
            pass
        return False

    def alive(self):
        """An answer to PINGREQ, whatever comes before."""
        try:
            self.send(packet(0xC0))
            while self.receive()[0] >> 4 != PINGRESP:
                pass
            return True
        except (Closed, TimeoutError):
            return False

    def reset(self):
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.s.close()

    def close(self):
        self.s.close()


# ---- WebSocket ----

UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
SUBPROTOCOL = b"Sec-WebSocket-Protocol: mqtt\r\n"
BINARY, PING = 0x82, 0x89


def frame(payload, first=BINARY, mask=b"\x11\x22\x33\x44"):
    n = len(payload)
    size = bytes([0x80 | n]) if n < 126 else struct.pack(">BH", 0xFE, n) if n < 65536 else struct.pack(">BQ", 0xFF, n)
    return bytes([first]) + size + mask + bytes(b ^ mask[k % 4] for k, b in enumerate(payload))


class WebClient(Client):
    """The same through a WebSocket. send_raw() goes past it."""

    def __init__(self, port, **how):
        super().__init__(port, **how)
        self.send_raw(UPGRADE + SUBPROTOCOL + b"\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += super()._more()
        head, self.frames = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def send_raw(self, raw):
        super().send(raw)

    def send(self, raw):
        self.send_raw(frame(raw))

    def _more(self):
        while True:
            if len(self.frames) >= 2:
                n, at = self.frames[1], 2
                if n > 125:
                    at = 4 if n == 126 else 10
                    n = int.from_bytes(self.frames[2:at], "big")
                if len(self.frames) >= at + n:
                    first, payload = self.frames[0], self.frames[at:at + n]
                    self.frames = self.frames[at + n:]
                    if first == BINARY:
                        return payload
                    continue
            more = super()._more()
            if not more:
                return b""
            self.frames += more
