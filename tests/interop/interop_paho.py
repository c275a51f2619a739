#!/usr/bin/python3
"""The Paho client for Python against the broker, used as its tutorials use it.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from broker import run, until  # noqa: E402

try:
    import paho.mqtt.client as mqtt
    import paho.mqtt.publish
    import paho.mqtt.subscribe
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError:
    print("1..0 # SKIP no Paho here; it is in the package python3-paho-mqtt")
    sys.exit(77)

VERSIONS = ((mqtt.MQTTv31, "3.1"), (mqtt.MQTTv311, "3.1.1"), (mqtt.MQTTv5, "5.0"))


class Client(mqtt.Client):
    """A client that notes what happens to it."""

    def __init__(self, broker, client_id="", version=mqtt.MQTTv311, **options):
        # Paho 2 wants to know which callbacks are meant.
        if hasattr(mqtt, "CallbackAPIVersion"):
            super().__init__(mqtt.CallbackAPIVersion.VERSION1, client_id, protocol=version, **options)
        else:
            super().__init__(client_id, protocol=version, **options)
        self.broker = broker
        self.v5 = version == mqtt.MQTTv5
        self.messages = []
        self.connects = []      # session present
        self.codes = []         # of CONNACK
        self.grants = []
        self.byes = []
        self.connack = None
        self.topics = []
        self.on_message = lambda c, userdata, m: self.messages.append(m)
        self.on_connect = self.note_connect
        self.on_subscribe = lambda c, userdata, mid, granted, *more: self.grants.append(granted)
        self.removals = 0
        self.on_disconnect = self.note_disconnect
        self.on_unsubscribe = self.note_unsubscribe
        self.stay_away = False

    def note_connect(self, client, userdata, flags, code, properties=None):
        self.codes.append(int(code) if not hasattr(code, "value") else code.value)
        self.connack = properties
        for topic, qos in self.topics:
            self.subscribe(topic, qos)
        self.connects.append(flags["session present"])

    def note_disconnect(self, client, userdata, code, *more):
        self.byes.append(code)
        if self.stay_away:
            self._thread_terminate = True

    def note_unsubscribe(self, *what):
        self.removals += 1

    def begin(self, *topics, **options):
        """Connects, subscribes in on_connect, returns when both are acknowledged."""
        self.topics = topics
        self.connect("127.0.0.1", self.broker.port, 60, **options)
        self.loop_start()
        until(lambda: self.connects and len(self.grants) >= len(topics))
        return self

    def say(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish()
        return info

    def got(self, count):
        until(lambda: len(self.messages) >= count)
        return [(m.topic, m.qos, m.retain, m.payload.decode()) for m in self.messages]

    def end(self):
        self.disconnect()
        until(lambda: self.byes)
        self.loop_stop()

    def die(self):
        """The network goes, without a goodbye and without coming back."""
        self.stay_away = True
        self.socket().shutdown(socket.SHUT_RDWR)


def props(kind, **values):
    p = Properties(kind)
    for name, value in values.items():
        setattr(p, name, value)
    return p


def every_version_and_qos(tap, broker):
    for version, name in VERSIONS:
        sub = Client(broker, "sub" + name, version).begin(("home/#", 2))
        pub = Client(broker, "pub" + name, version).begin()
        tap.same(pub.codes, [0], name + ": connect")
        for qos in (0, 1, 2):
            pub.say("home/%d" % qos, "21.%d °C" % qos, qos)
        tap.same(sub.got(3), [("home/%d" % q, q, 0, "21.%d °C" % q) for q in (0, 1, 2)], name + ": QoS 0, 1 and 2")
        sub.unsubscribe("home/#")
        until(lambda: sub.removals)
        pub.say("home/1", "late", 1)
        sub.subscribe("other")
        until(lambda: len(sub.grants) == 2)
        pub.say("other", "end")
        tap.same(sub.got(4)[3:], [("other", 0, 0, "end")], name + ": nothing comes after unsubscribe")
        pub.end()
        sub.end()


def impatient(tap, broker):
    """connect(), publish(), subscribe() in one go: none waits for CONNACK."""
    for version, name in VERSIONS:
        c = Client(broker, "", version) if version != mqtt.MQTTv31 else Client(broker, "impatient", version)
        c.connect("127.0.0.1", broker.port)
        c.subscribe("quick/+", 1)
        c.publish("quick/one", "1", 1)
        c.loop_start()
        tap.same(c.got(1), [("quick/one", 1, 0, "1")], name + ": publish before CONNACK")
        c.end()


def helpers(tap, broker):
    """paho.mqtt.publish and paho.mqtt.subscribe."""
    messages = [{"topic": "help/a", "payload": "A", "qos": 2, "retain": True}, ("help/b", "B", 1, True)]
    paho.mqtt.publish.multiple(messages, "127.0.0.1", broker.port)
    paho.mqtt.publish.single("help/c", "C", 0, True, "127.0.0.1", broker.port)
    got = paho.mqtt.subscribe.simple("help/#", 2, 3, True, "127.0.0.1", broker.port)
    tap.same(sorted((m.topic, m.qos, m.retain, m.payload) for m in got),
             [("help/a", 2, 1, b"A"), ("help/b", 1, 1, b"B"), ("help/c", 0, 1, b"C")], "publish and subscribe helpers")


def wills(tap, broker):
    watch = Client(broker, "watch").begin(("status/#", 2))
    count = 0
    for version, name in VERSIONS:
        c = Client(broker, "mortal" + name, version)
        c.will_set("status/" + name, "offline", 1, True)
        c.begin()
        c.say("status/" + name, "online", 1, True)
        c.die()
        count += 2
        tap.same(watch.got(count)[-2:], [("status/" + name, 1, 0, "online"), ("status/" + name, 1, 0, "offline")],
                 name + ": will when the connection breaks")
        c = Client(broker, "polite" + name, version)
        c.will_set("status/" + name, "wrong", 1)
        c.begin()
        c.end()
        paho.mqtt.publish.single("status/end", "end", 1, hostname="127.0.0.1", port=broker.port)
        count += 1
        tap.same(watch.got(count)[-1], ("status/end", 1, 0, "end"), name + ": none after disconnect()")
    watch.end()


def sessions(tap, broker):
    for version, name in VERSIONS:
        v5 = version == mqtt.MQTTv5
        options = {} if v5 else {"clean_session": False}
        how = {"clean_start": False, "properties": props(PacketTypes.CONNECT, SessionExpiryInterval=3600)} if v5 else {}
        c = Client(broker, "keeper" + name, version, **options).begin(("mail/#", 2), **how)
        tap.same(c.connects, [0], name + ": a new session is not present")
        c.end()
        pub = Client(broker, "writer" + name, version).begin()
        for i in range(100):
            pub.say("mail/%d" % (i % 3), str(i), 1 + i % 2)
        pub.end()
        broker.kill()
        broker.start()
        c = Client(broker, "keeper" + name, version, **options).begin(**how)
        if version != mqtt.MQTTv31:
            tap.same(c.connects, [1], name + ": after kill -9 the session is present")
        # Paho hands QoS 2 over at PUBREL, so the two overtake each other in the client.
        c.got(100)
        tap.same([[int(m.payload) for m in c.messages if m.qos == q] for q in (1, 2)],
                 [list(range(0, 100, 2)), list(range(1, 100, 2))], name + ": 100 messages have waited, in order")
        time.sleep(0.2)
        tap.same(len(c.messages), 100, name + ": none twice")
        c.end()
        c = Client(broker, "keeper" + name, version).begin()
        tap.same(c.connects, [0], name + ": a clean start drops it")
        c.end()


def reconnection(tap, broker):
    """The broker dies under clients that publish; they come back by themselves and nothing is lost or doubled."""
    for version, name in VERSIONS:
        v5 = version == mqtt.MQTTv5
        options = {} if v5 else {"clean_session": False}
        # clean_start False holds for every connect of Paho's, its first and its own later ones.
        how = {"clean_start": False, "properties": props(PacketTypes.CONNECT, SessionExpiryInterval=600)} if v5 else {}
        sub = Client(broker, "steady" + name, version, **options)
        pub = Client(broker, "source" + name, version, **options)
        for c in (sub, pub):
            c.reconnect_delay_set(1, 1)
        sub.begin(("flow/#", 2), **how)
        pub.begin(**how)
        infos = [pub.publish("flow/a", str(i), 2) for i in range(30)]
        broker.kill()
        infos += [pub.publish("flow/a", str(i), 2) for i in range(30, 60)]
        broker.start()
        until(lambda: all(i.is_published() for i in infos), 20)
        tap.ok(all(i.is_published() for i in infos), name + ": everything published is acknowledged after kill -9")
        sub.got(60)
        time.sleep(0.2)
        tap.same(sorted(int(m.payload) for m in sub.messages), list(range(60)), name + ": each QoS 2 message came once")
        if version != mqtt.MQTTv31:
            tap.same(sub.connects[-1], 1, name + ": the session was resumed")
        sub.end()
        pub.end()


def takeover(tap, broker):
    first = Client(broker, "same", mqtt.MQTTv5).begin()
    first.stay_away = True
    second = Client(broker, "same", mqtt.MQTTv5).begin(("x", 0))
    until(lambda: first.byes)
    tap.same([getattr(b, "value", b) for b in first.byes[:1]], [0x8E], "5.0: DISCONNECT says session taken over")
    second.say("x", "mine")
    tap.same(second.got(1), [("x", 0, 0, "mine")], "5.0: the second has the session")
    second.end()


def properties(tap, broker):
    sub = Client(broker, "typed", mqtt.MQTTv5).begin(
        clean_start=True, properties=props(PacketTypes.CONNECT, SessionExpiryInterval=600, ReceiveMaximum=5))
    tap.ok(getattr(sub.connack, "TopicAliasMaximum", 0) > 0, "CONNACK: topic aliases may be used")
    sub.subscribe("typed/#", options=SubscribeOptions(qos=2),
                  properties=props(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=268435455))
    until(lambda: sub.grants)
    tap.same([c.value for c in sub.grants[0]], [2], "SUBACK: granted QoS 2")
    pub = Client(broker, "typist", mqtt.MQTTv5).begin()
    sent = props(PacketTypes.PUBLISH, ContentType="text/plain", ResponseTopic="back", CorrelationData=b"\0\1\2",
                 PayloadFormatIndicator=1, MessageExpiryInterval=60, UserProperty=[("a", "1"), ("a", "2"), ("ä", "")])
    pub.say("typed/one", "text", 1, properties=sent)
    sub.got(1)
    got = sub.messages[0].properties
    tap.same((got.ContentType, got.ResponseTopic, got.CorrelationData, got.PayloadFormatIndicator,
              got.UserProperty, got.SubscriptionIdentifier),
             ("text/plain", "back", b"\0\1\2", 1, [("a", "1"), ("a", "2"), ("ä", "")], [268435455]),
             "PUBLISH: properties arrive as they were sent")
    tap.ok(59 <= got.MessageExpiryInterval <= 60, "PUBLISH: message expiry interval")
    pub.say("typed/alias", "1", 1, properties=props(PacketTypes.PUBLISH, TopicAlias=1))
    pub.say("", "2", 1, properties=props(PacketTypes.PUBLISH, TopicAlias=1))
    tap.same(sub.got(3)[1:], [("typed/alias", 1, 0, "1"), ("typed/alias", 1, 0, "2")], "PUBLISH: topic alias")
    for i in range(50):
        pub.publish("typed/many", str(i), 2)
    tap.same([m[3] for m in sub.got(53)[3:]], [str(i) for i in range(50)], "Receive Maximum 5: all 50 come, in order")
    pub.end()
    sub.end()


def expiry(tap, broker):
    c = Client(broker, "late", mqtt.MQTTv5).begin(
        ("news/#", 1), clean_start=True, properties=props(PacketTypes.CONNECT, SessionExpiryInterval=600))
    c.end()
    pub = Client(broker, "editor", mqtt.MQTTv5).begin()
    pub.say("news/old", "old", 1, properties=props(PacketTypes.PUBLISH, MessageExpiryInterval=1))
    pub.say("news/new", "new", 1, properties=props(PacketTypes.PUBLISH, MessageExpiryInterval=100))
    time.sleep(2.1)
    c = Client(broker, "late", mqtt.MQTTv5).begin(
        clean_start=False, properties=props(PacketTypes.CONNECT, SessionExpiryInterval=600))
    tap.same(c.got(1), [("news/new", 1, 0, "new")], "message expiry: only what is fresh is delivered")
    tap.ok(90 <= c.messages[0].properties.MessageExpiryInterval <= 98,
           "message expiry: the time it waited is taken off")
    c.end()
    watch = Client(broker, "watch5", mqtt.MQTTv5).begin(("will/#", 1))
    c = Client(broker, "delayed", mqtt.MQTTv5)
    c.will_set("will/delayed", "gone", 1, properties=props(
        PacketTypes.WILLMESSAGE, WillDelayInterval=1, ContentType="text/will", UserProperty=("k", "v")))
    c.begin(clean_start=True, properties=props(PacketTypes.CONNECT, SessionExpiryInterval=600))
    c.die()
    died = time.monotonic()
    tap.same(watch.got(1), [("will/delayed", 1, 0, "gone")], "will delay: the will comes")
    tap.ok(0.9 <= time.monotonic() - died <= 4, "will delay: a second later")
    got = watch.messages[0].properties
    tap.same((got.ContentType, got.UserProperty), ("text/will", [("k", "v")]), "will properties arrive")
    c = Client(broker, "farewell", mqtt.MQTTv5)
    c.will_set("will/asked", "asked for", 1)
    c.begin()
    c.disconnect(mqtt.ReasonCodes(PacketTypes.DISCONNECT, "Disconnect with will message"))
    tap.same(watch.got(2)[1:], [("will/asked", 1, 0, "asked for")], "DISCONNECT 0x04 asks for the will")
    c.loop_stop()
    pub.end()
    watch.end()


def options(tap, broker):
    c = Client(broker, "chooser", mqtt.MQTTv5).begin()
    c.say("opt/kept", "kept", 1, True)
    c.subscribe("opt/#", options=SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True,
                                                 retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND))
    until(lambda: len(c.grants) == 1)
    c.say("opt/own", "own", 1)
    other = Client(broker, "other", mqtt.MQTTv5).begin()
    other.say("opt/kept", "again", 1, True)
    tap.same(c.got(1), [("opt/kept", 1, True, "again")],
             "no local, retain as published, retain handling 2: just the message that is due")
    c.subscribe("opt/#", options=SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB))
    c.subscribe("opt/+", options=SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB))
    tap.same(c.got(2)[1:], [("opt/kept", 0, True, "again")], "retain handling 1: for a new subscription only")
    codes = []
    c.on_unsubscribe = lambda client, userdata, mid, properties, reasons: codes.extend(
        r.value for r in (reasons if isinstance(reasons, list) else [reasons]))
    c.unsubscribe(["opt/#", "never/there"])
    until(lambda: codes)
    tap.same(codes, [0, 0x11], "UNSUBACK: success, no subscription existed")
    c.end()
    other.end()


def request_response(tap, broker):
    server = Client(broker, "server", mqtt.MQTTv5)

    def answer(client, userdata, m):
        server.publish(m.properties.ResponseTopic, m.payload[::-1], 1, properties=props(
            PacketTypes.PUBLISH, CorrelationData=m.properties.CorrelationData))

    server.begin(("ask/reverse", 1))
    server.on_message = answer
    c = Client(broker, "asker", mqtt.MQTTv5).begin(("reply/asker", 1))
    for i in range(3):
        c.say("ask/reverse", "abc%d" % i, 1, properties=props(
            PacketTypes.PUBLISH, ResponseTopic="reply/asker", CorrelationData=bytes([i])))
    c.got(3)
    tap.same([(m.payload, m.properties.CorrelationData) for m in c.messages],
             [(b"%dcba" % i, bytes([i])) for i in range(3)], "request and response")
    c.end()
    server.end()


def shared(tap, broker):
    crew = [Client(broker, "crew%d" % i, v).begin(("$share/crew/job/+", 1))
            for i, v in enumerate((mqtt.MQTTv311, mqtt.MQTTv5, mqtt.MQTTv5))]
    pub = Client(broker, "boss").begin()
    for i in range(60):
        pub.say("job/x", str(i), 1)
    until(lambda: sum(len(c.messages) for c in crew) >= 60)
    tap.same(sorted(int(m.payload) for c in crew for m in c.messages), list(range(60)),
             "shared subscription: each message to one of three")
    tap.ok(all(c.messages for c in crew), "shared subscription: all have work")
    for c in crew + [pub]:
        c.end()


def refused(tap, broker):
    """What goes wrong is said in the words of the version."""
    c = Client(broker, "wild", mqtt.MQTTv5).begin(("$share//a", 0))
    tap.same([getattr(r, "value", r) for r in c.grants[0]], [0x8F], "5.0: SUBACK for an invalid filter")
    c.end()
    c = Client(broker, "wild3").begin(("$share//a", 0))
    tap.same(c.grants, [(0x80,)], "3.1.1: SUBACK for an invalid filter")
    c.end()


if __name__ == "__main__":
    sys.exit(run([every_version_and_qos, impatient, helpers, wills, sessions, reconnection, takeover, properties,
                  expiry, options, request_response, shared, refused]))
