"""WebSockets: requests and frames that nobody honest sends.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import struct

import mqtt
from broker import until
from scenes_conn import place


def opened(a):
    """A client behind the handshake."""
    c = mqtt.WebClient(a.port)
    a.clients.append(c)
    return c


def heard(c, size):
    """So many bytes that the broker sends, as they are."""
    got = b""
    while len(got) < size:
        more = c.s.recv(size - len(got))
        if not more:
            break
        got += more
    return got


@place(settings="[limits]\nconnect_timeout = 5s\n[listener web]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\n"
                "protocol = websockets\n")
def websocket(tap, a, long):
    """Requests without end, answers never fetched, frames of every wrong shape, and one honest client."""
    a.port = until(lambda: a.broker.port_of("web"))
    honest = opened(a)
    tap.same(honest.up("honest"), 0, "websocket: an honest client is let in")

    crowd = [a.client() for _ in range(400 if long else 100)]
    for c in crowd:
        c.send(b"GET / HTTP/1.1\r\nCookie: " + b"x" * 4000)
    for c in crowd[::2]:
        c.send(b"x" * 6000)
    tap.ok(all(c.closed(3) for c in crowd[::2]), "websocket: a request without end ends at 8 KiB")
    tap.ok(all(c.closed(8) for c in crowd[1::2]), "websocket: one that stops in the middle has its time")

    for name, request, answer in (
            ("no subprotocol", mqtt.UPGRADE + b"\r\n", b"HTTP/1.1 400"),
            ("a lying subprotocol", mqtt.UPGRADE + b"Sec-WebSocket-Protocol: mqttx, m\r\n\r\n", b"HTTP/1.1 400"),
            ("two keys", mqtt.UPGRADE + mqtt.UPGRADE.split(b"\r\n")[-2] + b"\r\n" + mqtt.SUBPROTOCOL + b"\r\n",
             b"HTTP/1.1 400"),
            ("a page", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426"),
            ("a proxy", b"CONNECT evil:25 HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 405"),
            ("a PROXY header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n", b"HTTP/1.1 400")):
        c = a.client()
        c.send(request)
        tap.ok(heard(c, 12) == answer and c.closed(), "websocket: %s is refused" % name)

    for name, raw, code in (
            ("no mask", b"\x82\x02\xC0\x00", 1002), ("64 bits of length", b"\x82\xFF" + b"\xFF" * 12, 1002),
            ("a ping in parts", b"\x09\x80\0\0\0\0", 1002), ("a reserved bit", b"\xF2\x80\0\0\0\0", 1002),
            ("a reserved opcode", b"\x8C\x80\0\0\0\0", 1002), ("text", mqtt.frame(b"hello", 0x81), 1003)):
        c = opened(a)
        c.send_raw(raw)
        tap.same(heard(c, 4), b"\x88\x02" + struct.pack(">H", code), "websocket: %s is answered with %d" % (name, code))

    huge = [opened(a) for _ in range(200)]
    for c in huge:                          # announced, never sent
        c.send_raw(b"\x82\xFF" + struct.pack(">Q", 1 << 62) + b"\0\0\0\0" + b"\x10")
    deaf = [opened(a) for _ in range(20)]
    pings = mqtt.frame(b"p" * 125, mqtt.PING) * 200
    for _ in range(40 if long else 8):
        for c in deaf:                      # they read none of the answers
            try:
                c.s.settimeout(0.05)
                c.send_raw(pings)
            except (mqtt.Closed, TimeoutError):
                pass
        tap.ok(honest.alive(), "websocket: the honest one goes on") if not long else None
    whole = mqtt.publish("crumbs", os.urandom(10000))
    crumbs = b"".join(mqtt.frame(whole[k:k + 1], (0x02 if k == 0 else 0x00) | (0x80 if k == len(whole) - 1 else 0x00))
                      for k in range(len(whole)))
    c = opened(a)
    c.up("crumbs")
    c.join(["crumbs"])
    c.send_raw(crumbs)
    tap.ok(len(c.message()[1]) == 10000, "websocket: a packet of ten thousand frames")
    tap.ok(honest.alive(), "websocket: the honest one is still there")
    a.finish(tap, "websocket", 8)


SCENES = [websocket]
