// MQTT.js against the broker, in 3.1.1 and 5.0. interop_mqttjs.sh installs the client and runs this; CADDIS names the
// broker.
// SPDX-License-Identifier: GPL-2.0-or-later
'use strict';
const { spawn } = require('child_process');
const { once } = require('events');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { isDeepStrictEqual } = require('util');
const mqtt = require('mqtt');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, limitMs = 10000) {
    const end = Date.now() + limitMs;
    while (!condition() && Date.now() < end)
        await sleep(10);
    return condition();
}

// ---- verdicts ----

let passed = 0, failed = 0;

function ok(condition, name, why) {
    if (condition)
        passed++;
    else
        failed++;
    console.log(`${condition ? 'ok' : 'not ok'} ${passed + failed} - ${name}`);
    if (!condition && why)
        console.log(`#   ${why}`);
}

function same(got, wanted, name) {
    ok(isDeepStrictEqual(got, wanted), name, `got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
}

// ---- the broker: on a port that the kernel picks, kept across restarts ----

const broker = {
    dir: fs.mkdtempSync(path.join(os.tmpdir(), 'caddis-interop-')),
    port: 0,
    webPort: 0,
    log: '',

    async start() {
        const file = path.join(this.dir, 'caddis.ini');
        const user = process.geteuid() === 0 ? 'user = root\n' : '';
        fs.writeFileSync(file, `[broker]\nenable_control = false\n${user}` +
            `[persistence]\npath = ${this.dir}/caddis.db\n` +
            `[listener default]\naddress = 127.0.0.1\nport = ${this.port}\nallow_anonymous = true\n` +
            `[listener web]\naddress = 127.0.0.1\nport = ${this.webPort}\nallow_anonymous = true\n` +
            'protocol = websockets\nwebsockets_origin = https://panel.example\n');
        const before = this.log.length;
        this.process = spawn(path.resolve(process.env.CADDIS || './caddis'), ['-c', file],
            { stdio: ['ignore', 'inherit', 'pipe'] });
        this.gone = once(this.process, 'exit');
        this.process.stderr.on('data', (data) => { this.log += data; });
        const listening = (name) => new RegExp(`listening name="${name}" on \\S*:(\\d+)`).exec(this.log.slice(before));
        if (!await until(() => listening('default') && listening('web'), 20000))
            throw new Error('the broker does not start');
        this.port = Number(listening('default')[1]);
        this.webPort = Number(listening('web')[1]);
    },

    async end(signal) {
        this.process.kill(signal);
        const [status] = await this.gone;
        this.process = null;
        return status;
    },
};

// ---- clients ----

// A connected client that notes what comes.
async function client(protocolVersion, clientId, options = {}) {
    const c = mqtt.connect(options.url || `mqtt://127.0.0.1:${broker.port}`,
        { protocolVersion, clientId, reconnectPeriod: 0, ...options });
    c.messages = [];
    c.connacks = [];
    c.byes = [];
    c.on('message', (topic, payload, packet) => c.messages.push({ topic, text: payload.toString(), packet }));
    c.on('connect', (packet) => c.connacks.push(packet));
    c.on('disconnect', (packet) => c.byes.push(packet));
    c.on('error', (error) => { c.failure = error; });
    if (!await until(() => c.connacks.length > 0 || c.failure) || c.failure)
        throw c.failure || new Error('no CONNACK');
    return c;
}

async function got(c, count) {
    await until(() => c.messages.length >= count);
    return c.messages.map((m) => [m.topic, m.packet.qos, m.packet.retain, m.text]);
}

const lasting = (version) => version === 5
    ? { clean: false, properties: { sessionExpiryInterval: 3600 } } : { clean: false };

// ---- tests of both versions ----

async function everyQos(v, name) {
    const sub = await client(v, `sub${v}`);
    const grants = await sub.subscribeAsync({ 'home/+': { qos: 2 }, 'low/#': { qos: 0 } });
    same(grants.map((g) => [g.topic, g.qos]), [['home/+', 2], ['low/#', 0]], `${name}: subscribe`);
    const pub = await client(v, `pub${v}`);
    for (const qos of [0, 1, 2])
        await pub.publishAsync(`home/${qos}`, `21.${qos} °C`, { qos });
    await pub.publishAsync('low/x', 'low', { qos: 2 });
    // QoS 0 waits for no handshake: it may overtake what is under way at QoS 2, so order is no matter here.
    same((await got(sub, 4)).sort(), [['home/0', 0, false, '21.0 °C'], ['home/1', 1, false, '21.1 °C'],
        ['home/2', 2, false, '21.2 °C'], ['low/x', 0, false, 'low']], `${name}: QoS 0, 1 and 2`);
    await sub.unsubscribeAsync('home/+');
    await pub.publishAsync('home/1', 'late', { qos: 1 });
    await pub.publishAsync('low/x', 'end', { qos: 1 });
    same((await got(sub, 5)).slice(4), [['low/x', 0, false, 'end']], `${name}: unsubscribe`);
    await pub.endAsync();
    await sub.endAsync();
}

async function retained(v, name) {
    const c = await client(v, `retained${v}`);
    await c.publishAsync('kept/a', 'A', { qos: 1, retain: true });
    await c.publishAsync('kept/b', 'B', { qos: 2, retain: true });
    await c.publishAsync('kept/b', '', { qos: 2, retain: true });
    await c.subscribeAsync('kept/#', { qos: 2 });
    await c.publishAsync('kept/end', 'end', { qos: 1 });
    same(await got(c, 2), [['kept/a', 1, true, 'A'], ['kept/end', 1, false, 'end']], `${name}: retained messages`);
    await c.publishAsync('kept/a', '', { qos: 1, retain: true });
    await c.endAsync();
}

async function wills(v, name) {
    const watch = await client(v, `watch${v}`);
    await watch.subscribeAsync('status/#', { qos: 2 });
    const will = { topic: `status/${v}`, payload: Buffer.from('gone'), qos: 2, retain: true };
    const mortal = await client(v, `mortal${v}`, { will });
    mortal.stream.destroy();
    same(await got(watch, 1), [[`status/${v}`, 2, false, 'gone']], `${name}: will when the connection breaks`);
    const polite = await client(v, `polite${v}`, { will: { ...will, payload: Buffer.from('wrong') } });
    await polite.endAsync();
    await watch.publishAsync('status/end', 'end', { qos: 1 });
    same((await got(watch, 2))[1], ['status/end', 1, false, 'end'], `${name}: none after end()`);
    await watch.publishAsync(`status/${v}`, '', { retain: true });
    await watch.endAsync();
}

async function sessions(v, name) {
    let c = await client(v, `keeper${v}`, lasting(v));
    same(c.connacks[0].sessionPresent, false, `${name}: a new session is not present`);
    await c.subscribeAsync('mail/#', { qos: 2 });
    await c.endAsync();
    const pub = await client(v, `writer${v}`);
    for (let i = 0; i < 60; i++)
        await pub.publishAsync('mail/box', String(i), { qos: i < 30 ? 1 : 2 });
    await broker.end('SIGKILL');
    pub.end(true);
    await broker.start();
    c = await client(v, `keeper${v}`, lasting(v));
    same(c.connacks[0].sessionPresent, true, `${name}: after kill -9 the session is present`);
    same((await got(c, 60)).map((m) => m[3]), [...Array(60).keys()].map(String), `${name}: 60 messages have waited`);
    await sleep(200);
    same(c.messages.length, 60, `${name}: none twice`);
    await c.endAsync();
    c = await client(v, `keeper${v}`, { clean: true });
    same(c.connacks[0].sessionPresent, false, `${name}: a clean start drops it`);
    await c.endAsync();
}

// Both come back by themselves; what was under way at QoS 2 arrives once.
async function reconnection(v, name) {
    const options = { ...lasting(v), reconnectPeriod: 100 };
    const sub = await client(v, `steady${v}`, options);
    await sub.subscribeAsync('flow/#', { qos: 2 });
    const pub = await client(v, `source${v}`, options);
    const done = [];
    for (let i = 0; i < 40; i++)
        done.push(pub.publishAsync('flow/a', String(i), { qos: 2 }));
    await broker.end('SIGKILL');
    for (let i = 40; i < 60; i++)
        done.push(pub.publishAsync('flow/a', String(i), { qos: 2 }));
    await broker.start();
    await Promise.race([Promise.all(done), sleep(20000)]);
    await got(sub, 60);
    await sleep(200);
    same(sub.messages.map((m) => Number(m.text)).sort((a, b) => a - b), [...Array(60).keys()],
        `${name}: each QoS 2 message came once`);
    ok(sub.connacks.length > 1 && sub.connacks[1].sessionPresent, `${name}: the session was resumed`);
    await pub.endAsync();
    await sub.endAsync();
}

// ---- tests of 5.0 ----

async function properties() {
    const sub = await client(5, 'typed', { properties: { receiveMaximum: 5, topicAliasMaximum: 10 } });
    ok(sub.connacks[0].properties.topicAliasMaximum > 0, '5.0: CONNACK says how many topic aliases may be used');
    await sub.subscribeAsync('typed/#',
        { qos: 2, properties: { subscriptionIdentifier: 7, userProperties: { u: 'v' } } });
    const pub = await client(5, 'typist', { autoUseTopicAlias: true, autoAssignTopicAlias: true });
    const sent = { payloadFormatIndicator: true, messageExpiryInterval: 60, contentType: 'text/plain',
        responseTopic: 'back', correlationData: Buffer.from([0, 1, 2]), userProperties: { a: ['1', '2'], ä: '' } };
    await pub.publishAsync('typed/one', 'text', { qos: 1, properties: { ...sent } });
    await got(sub, 1);
    const p = { ...sub.messages[0].packet.properties };
    same([p.contentType, p.responseTopic, p.correlationData, p.payloadFormatIndicator, { ...p.userProperties },
        p.subscriptionIdentifier], ['text/plain', 'back', sent.correlationData, true, { a: ['1', '2'], ä: '' }, 7],
    '5.0: properties arrive as they were sent');
    ok(p.messageExpiryInterval >= 59 && p.messageExpiryInterval <= 60, '5.0: message expiry interval');
    // QoS 1: MQTT.js 5.16 forgets what an alias stands for when it hands a QoS 2 message over.
    for (let i = 0; i < 50; i++)
        await pub.publishAsync('typed/many', String(i), { qos: 1 });
    same((await got(sub, 51)).slice(1).map((m) => [m[0], m[3]]),
        [...Array(50).keys()].map((i) => ['typed/many', `${i}`]), '5.0: 50 messages by topic alias both ways');
    const aliases = sub.messages.slice(2).map((m) => m.packet.properties.topicAlias);
    ok(aliases.every((alias) => alias > 0), '5.0: the broker uses aliases too', aliases.join());
    await pub.endAsync();
    await sub.endAsync();
}

async function willProperties() {
    const watch = await client(5, 'watcher');
    await watch.subscribeAsync('will/#', { qos: 1 });
    const mortal = await client(5, 'delayed', {
        properties: { sessionExpiryInterval: 100 },
        will: { topic: 'will/delayed', payload: Buffer.from('gone'), qos: 1, retain: false, properties: {
            willDelayInterval: 1, contentType: 'text/will', userProperties: { k: 'v' } } },
    });
    mortal.stream.destroy();
    const died = Date.now();
    same(await got(watch, 1), [['will/delayed', 1, false, 'gone']], '5.0: the will comes');
    ok(Date.now() - died >= 900, '5.0: after its delay');
    const p = watch.messages[0].packet.properties;
    same([p.contentType, { ...p.userProperties }], ['text/will', { k: 'v' }], '5.0: with its properties');
    await watch.endAsync();
}

async function options() {
    const c = await client(5, 'chooser');
    await c.publishAsync('opt/kept', 'kept', { qos: 1, retain: true });
    await c.subscribeAsync('opt/#', { qos: 1, nl: true, rap: true, rh: 2 });
    await c.publishAsync('opt/own', 'own', { qos: 1 });
    const other = await client(5, 'other');
    await other.publishAsync('opt/kept', 'again', { qos: 1, retain: true });
    same(await got(c, 1), [['opt/kept', 1, true, 'again']], '5.0: no local, retain as published, retain handling');
    await other.publishAsync('opt/kept', '', { qos: 1, retain: true });
    await other.endAsync();
    await c.endAsync();
}

async function takeover() {
    const first = await client(5, 'same');
    const second = await client(5, 'same');
    await until(() => first.byes.length > 0);
    same(first.byes.map((p) => p.reasonCode), [0x8E], '5.0: DISCONNECT says session taken over');
    first.end(true);
    await second.endAsync();
}

async function requestResponse() {
    const server = await client(5, 'server');
    await server.subscribeAsync('ask/#', { qos: 1 });
    server.on('message', (topic, payload, packet) => server.publish(packet.properties.responseTopic,
        payload.toString().toUpperCase(), { qos: 1, properties: {
            correlationData: packet.properties.correlationData } }));
    const c = await client(5, 'asker');
    await c.subscribeAsync('reply/asker', { qos: 1 });
    await c.publishAsync('ask/upper', 'question', { qos: 1, properties: {
        responseTopic: 'reply/asker', correlationData: Buffer.from('id-7') } });
    same(await got(c, 1), [['reply/asker', 1, false, 'QUESTION']], '5.0: request and response');
    same(c.messages[0].packet.properties.correlationData.toString(), 'id-7', '5.0: correlation data');
    await c.endAsync();
    await server.endAsync();
}

async function shared() {
    const crew = [await client(4, 'crew4'), await client(5, 'crew5')];
    for (const c of crew)
        await c.subscribeAsync('$share/crew/job/#', { qos: 1 });
    const boss = await client(5, 'boss');
    for (let i = 0; i < 40; i++)
        await boss.publishAsync('job/x', String(i), { qos: 1 });
    await until(() => crew[0].messages.length + crew[1].messages.length >= 40);
    same(crew.flatMap((c) => c.messages.map((m) => Number(m.text))).sort((a, b) => a - b), [...Array(40).keys()],
        'shared subscription: each message to one of two');
    ok(crew.every((c) => c.messages.length > 0), 'shared subscription: both have work');
    for (const c of [...crew, boss])
        await c.endAsync();
}

async function webSocket() {
    const url = `ws://127.0.0.1:${broker.webPort}/mqtt`;
    const page = (origin) => ({ url, wsOptions: { origin } });
    for (const [v, name] of [[4, '3.1.1'], [5, '5.0']]) {
        const c = await client(v, `web${v}`, page('https://panel.example'));
        await c.subscribeAsync('web/#', { qos: 2 });
        for (const qos of [0, 1, 2])
            await c.publishAsync(`web/${qos}`, 'x'.repeat(70000 * qos), { qos });
        same((await got(c, 3)).map(([topic, qos, , text]) => [topic, qos, text.length]).sort(),
            [['web/0', 0, 0], ['web/1', 1, 70000], ['web/2', 2, 140000]], `${name}: through a WebSocket`);
        await c.endAsync();
    }
    const evil = mqtt.connect(url, { clientId: 'evil', reconnectPeriod: 0, ...page('https://evil.example') });
    let events = [];
    for (const event of ['connect', 'error', 'close'])
        evil.on(event, () => events.push(event));
    await until(() => events.includes('close'));
    ok(!events.includes('connect') && broker.log.includes('this Origin is none of websockets_origin'),
        'a page of another origin is refused', String(events));
    evil.end(true);
}

// ---- all of them ----

async function attempt(name, test) {
    try {
        await test();
    } catch (error) {
        ok(false, name, String(error));
        if (broker.process === null)
            await broker.start();
    }
}

async function main() {
    await broker.start();
    for (const [v, name] of [[4, '3.1.1'], [5, '5.0']])
        for (const test of [everyQos, retained, wills, sessions, reconnection])
            await attempt(`${name}: ${test.name}`, () => test(v, name));
    for (const test of [properties, willProperties, options, takeover, requestResponse, shared, webSocket])
        await attempt(test.name, test);
    same(await broker.end('SIGTERM'), 0, 'the broker ends in order');
}

process.on('exit', () => {
    if (broker.process)
        broker.process.kill('SIGKILL');
    fs.rmSync(broker.dir, { recursive: true, force: true });
});
setTimeout(() => {
    ok(false, 'the test ends in time');
    process.exit(1);
}, 120000).unref();
main().catch((error) => ok(false, 'the test itself', String(error))).finally(() => {
    if (failed > 0)
        console.log(broker.log.replace(/^/gm, '# '));
    console.log(`1..${passed + failed}\n${passed} passed, ${failed} failed`);
    process.exit(failed > 0 || passed === 0 ? 1 : 0);
});
