#!/bin/sh
# mosquitto_pub, mosquitto_sub and mosquitto_rr against the broker, as people use them.
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2016
srcdir=${srcdir:-$(dirname "$0")/../..}
command -v mosquitto_rr >/dev/null || {
    echo "1..0 # SKIP no mosquitto_rr here; it is in the package mosquitto-clients"
    exit 77
}
# shellcheck source=tests/interop/lib.sh
. "$srcdir/tests/interop/lib.sh"

pub() {
    mosquitto_pub -p "$port" "$@"
}

# sub FILE OPTION...: a subscriber in the background, subscribed when this returns. Messages go to FILE as
# topic|QoS|retained|payload.
sub() {
    out=$1
    shift
    : >"$out"
    : >"$out.debug"
    client sh -c 'out=$1; shift; exec stdbuf -oL mosquitto_sub "$@" >"$out" 2>"$out.err"' sub "$out.debug" \
        -d -p "$port" -F 'got %t|%q|%r|%p' "$@"
    until_true 10 has "$out.debug" "Subscribed (mid: "
}

# came FILE COUNT: waits for that many messages and prints what came.
came() {
    until_true 10 has "$1.debug" "got " "$2"
    sed -n 's/^got //p' "$1.debug"
}

# there OPTION...: what a subscriber gets within a second, in the same form.
there() {
    mosquitto_sub -p "$port" -F '%t|%q|%r|%p' -W 1 "$@" 2>/dev/null
}

every_version_and_qos() {
    for version in mqttv31 mqttv311 mqttv5; do
        sub "$work/live" -V "$version" -q 2 -t 'house/+/temp'
        ok "$version: subscribe"
        for qos in 0 1 2; do
            pub -V "$version" -q "$qos" -t "house/room$qos/temp" -m "21 °C at $qos"
            ok "$version: publish at QoS $qos"
        done
        is "$version: QoS 0, 1 and 2 arrive" "$(came "$work/live" 3)" "house/room0/temp|0|0|21 °C at 0
house/room1/temp|1|0|21 °C at 1
house/room2/temp|2|0|21 °C at 2"
        kill "$last"
    done
    sub "$work/low" -q 1 -t '#'
    pub -q 2 -t a -m high
    pub -q 0 -t a -m low
    is "the subscription's QoS is the highest" "$(came "$work/low" 2)" "a|1|0|high
a|0|0|low"
    kill "$last"
}

retained() {
    sub "$work/now" -q 1 -t 'kept/#'
    pub -r -q 1 -t kept/a -m first
    pub -r -q 1 -t kept/a -m second
    pub -r -q 2 -t kept/b -m other -V mqttv5
    is "retained: marked as live for those who are there" "$(came "$work/now" 3)" "kept/a|1|0|first
kept/a|1|0|second
kept/b|1|0|other"
    kill "$last"
    is "retained: marked for those who come later" "$(there -q 2 -C 2 -t 'kept/+' | sort)" "kept/a|1|1|second
kept/b|2|1|other"
    broker_end KILL
    broker_start
    is "retained: there after kill -9" "$(there -V mqttv5 -q 2 -C 2 -t 'kept/+' | sort)" "kept/a|1|1|second
kept/b|2|1|other"
    pub -r -n -t kept/a
    is "retained: an empty message removes it" "$(there -t 'kept/#')" "kept/b|0|1|other"
    mosquitto_sub -p "$port" --remove-retained -W 1 -t 'kept/#' >/dev/null 2>&1
    is "retained: mosquitto_sub --remove-retained" "$(there -t 'kept/#')" ""
    sub "$work/asis" -V mqttv5 --retain-as-published -q 1 -t 'kept/#'
    pub -r -q 1 -t kept/c -m flagged
    is "retained: retain as published" "$(came "$work/asis" 1)" "kept/c|1|1|flagged"
    kill "$last"
}

# The dying client is killed, not asked: a client that says goodbye leaves no will.
wills() {
    for version in mqttv31 mqttv311 mqttv5; do
        sub "$work/watch" -V "$version" -q 2 -t 'status/#'
        watch=$last
        sub "$work/dying" -V "$version" -t other --will-topic status/one --will-payload gone --will-qos 2 --will-retain
        kill -9 "$last"
        is "$version: will of a client that dies" "$(came "$work/watch" 1)" "status/one|2|0|gone"
        pub -V "$version" -t other -m x --will-topic status/two --will-payload wrong
        pub -V "$version" -t status/end -m end
        is "$version: no will of one that says goodbye" "$(came "$work/watch" 2 | tail -n 1)" "status/end|0|0|end"
        is "$version: the will is retained" "$(there -q 2 -C 1 -t status/one)" "status/one|2|1|gone"
        pub -r -n -t status/one
        kill "$watch"
    done
}

sessions() {
    for version in mqttv31 mqttv311 mqttv5; do
        mosquitto_sub -p "$port" -V "$version" -i "away-$version" -c -q 2 -t 'mail/#' -E
        ok "$version: leave a session behind"
        for qos in 0 1 2; do
            pub -V "$version" -q "$qos" -t "mail/$qos" -m "letter $qos"
        done
        is "$version: QoS 1 and 2 have waited, 0 has not" \
            "$(there -V "$version" -i "away-$version" -c -q 2 -C 2 -t 'mail/#')" "mail/1|1|0|letter 1
mail/2|2|0|letter 2"
        pub -q 1 -t mail/3 -m late
        mosquitto_sub -p "$port" -V "$version" -i "away-$version" -q 2 -t other -E
        is "$version: a clean start forgets it" "$(there -V "$version" -i "away-$version" -c -q 2 -t 'mail/#')" ""
    done
    mosquitto_sub -p "$port" -V mqttv5 -i brief -c -x 1 -q 1 -t 'mail/#' -E
    pub -q 1 -t mail/brief -m expired
    sleep 2.2
    is "mqttv5: a session ends when its expiry interval is over" \
        "$(there -V mqttv5 -i brief -c -x 1 -q 1 -t 'mail/#')" ""
    mosquitto_sub -p "$port" -i leaver -c -q 1 -t mail/a -t mail/b -E
    mosquitto_sub -p "$port" -i leaver -c -q 1 -t mail/a -U mail/b -E
    pub -q 1 -t mail/b -m no
    pub -q 1 -t mail/a -m yes
    is "unsubscribe lasts" "$(there -i leaver -c -q 1 -t mail/a)" "mail/a|1|0|yes"
}

# The broker is stopped dead with 1,000 messages waiting; each was acknowledged, so each has to be there.
thousand() {
    mosquitto_sub -p "$port" -i board -c -q 2 -t 'sensors/#' -E
    seq 1 500 | pub -q 1 -t sensors/one -l
    ok "500 messages of QoS 1 for a client that is away"
    seq 501 1000 | pub -q 2 -t sensors/two -l
    ok "500 messages of QoS 2 for it"
    broker_end KILL
    broker_start
    mosquitto_sub -p "$port" -i board -c -q 2 -t 'sensors/#' -C 1000 -W 30 >"$work/thousand"
    seq 1 1000 | cmp -s - "$work/thousand"
    ok "after kill -9 all 1,000 come, in order, none twice"
    is "how many came" "$(wc -l <"$work/thousand" | tr -d ' ')" 1000
    is "and then nothing more" "$(there -i board -c -q 2 -t 'sensors/#')" ""
    broker_end TERM
    ok "the broker ends in order"
    broker_start
    is "nor after another restart" "$(there -i board -c -q 2 -t 'sensors/#')" ""
}

system_topics() {
    is "\$SYS/broker/version" "$(mosquitto_sub -p "$port" -W 5 -C 1 -t '$SYS/broker/version' | cut -d ' ' -f 1)" caddis
    mosquitto_sub -p "$port" -W 5 -C 1 -t '$SYS/broker/uptime' | grep -q '^[0-9]'
    ok "\$SYS/broker/uptime"
    mosquitto_sub -p "$port" -W 5 -C 1 -t '$SYS/broker/clients/connected' | grep -qx '[0-9][0-9]*'
    ok "\$SYS/broker/clients/connected"
    is "# does not match \$SYS" "$(there -t '#' | grep -c '^.SYS')" 0
}

# A server as a shell would write it: the request says where the answer goes.
request_response() {
    client sh -c 'exec stdbuf -oL mosquitto_sub -d -p "$1" -V mqttv5 -C 1 -t ask -F "%R|%D|%p" >"$2"' sub "$port" \
        "$work/request"
    until_true 10 has "$work/request" "Subscribed (mid: "
    client sh -c 'exec mosquitto_rr -p "$1" -W 10 -t ask -e answer/here -m question \
        -D publish correlation-data c0ffee >"$2"' rr "$port" "$work/response"
    until_true 10 has "$work/request" question
    is "mosquitto_rr: request with response topic and correlation data" "$(grep question "$work/request")" \
        "answer/here|c0ffee|question"
    pub -V mqttv5 -t answer/here -m reply -D publish correlation-data c0ffee
    until_true 10 has "$work/response" reply
    ok "mosquitto_rr: gets its answer"
}

properties() {
    mosquitto_sub -p "$port" -V mqttv5 -i typed -c -q 1 -t typed -D subscribe subscription-identifier 42 -E
    pub -V mqttv5 -q 1 -t typed -m '{"t":21}' -D publish content-type application/json \
        -D publish payload-format-indicator 1 -D publish response-topic back/here -D publish correlation-data id-7 \
        -D publish user-property unit °C -D publish user-property place cellar -D publish message-expiry-interval 600
    broker_end KILL
    broker_start
    line=$(mosquitto_sub -p "$port" -V mqttv5 -i typed -c -q 1 -t typed -C 1 -W 5 \
        -F '%C|%F|%R|%D|%P|%S|%p|%E')
    is "properties come through a queue and kill -9" "${line%|*}" \
        'application/json|1|back/here|id-7|unit:°C place:cellar|42|{"t":21}'
    [ "${line##*|}" -le 600 ] 2>/dev/null && [ "${line##*|}" -ge 580 ]
    ok "the message expiry interval is what is left of it"
    mosquitto_sub -p "$port" -V mqttv5 -i typed -c -q 1 -t typed -E
    pub -V mqttv5 -q 1 -t typed -m stale -D publish message-expiry-interval 1
    sleep 2.2
    is "an expired message is not delivered" "$(there -V mqttv5 -i typed -c -q 1 -t typed)" ""
    seq 1 20 | pub -V mqttv5 -t alias/none -l -q 1 -D publish topic-alias 3
    ok "topic alias"
}

shared() {
    sub "$work/a" -V mqttv5 -q 1 -t "\$share/crew/work/#"
    a=$last
    sub "$work/b" -V mqttv311 -q 1 -t "\$share/crew/work/#"
    b=$last
    sub "$work/all" -q 1 -t 'work/#'
    seq 1 40 | pub -q 1 -t work/item -l
    came "$work/all" 40 >"$work/whole"
    until_true 10 sh -c "[ \$(cat $work/a.debug $work/b.debug | grep -c '^got ') -ge 40 ]"
    is "shared: the crew gets each message once" "$(cat "$work/a.debug" "$work/b.debug" | sed -n 's/^got //p' |
        sort)" "$(sort "$work/whole")"
    has "$work/a.debug" "got " && has "$work/b.debug" "got "
    ok "shared: both have work"
    kill "$a" "$b" "$last"
}

large() {
    head -c 1500000 /dev/urandom >"$work/big"
    client sh -c 'exec stdbuf -oL mosquitto_sub -d -p "$1" -q 2 -t big -N -C 1 -W 20 >"$2"' sub "$port" "$work/big.out"
    big=$last
    until_true 10 has "$work/big.out" "Subscribed (mid: "
    pub -q 2 -t big -f "$work/big"
    until_true 20 sh -c "! kill -0 $big 2>/dev/null"
    [ "$(grep -aobF 'big'"'"', ... (1500000 bytes)' "$work/big.out" | wc -l)" -ge 1 ] &&
        [ "$(wc -c <"$work/big.out")" -gt 1500000 ]
    ok "1.5 MB in one message"
}

broker_start
every_version_and_qos
retained
wills
sessions
thousand
system_topics
request_response
properties
shared
large
broker_end TERM
ok "the broker ends in order"
plan
