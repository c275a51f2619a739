#!/bin/sh
# caddis pub, sub and show against the broker: what the README promises in five minutes, and the options people use.
# A client over a stream transport [MQTT311-7.1.2-1].
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2016
srcdir=${srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/interop/lib.sh
. "$srcdir/tests/interop/lib.sh"

pub() {
    "$caddis" pub -p "$port" "$@"
}

# sub OPTION...: prints topic|QoS|retained|payload, no longer than 20 s.
sub() {
    "$caddis" sub -p "$port" -W 20 -F '%t|%q|%r|%p' "$@"
}

# watch FILE OPTION...: in the background, subscribed when this returns.
watch() {
    out=$1
    shift
    rm -f "$out.trace"              # an earlier one would say SUBACK, too
    client sh -c 'out=$1; shift; exec "$@" >"$out" 2>"$out.trace"' watch "$out" "$caddis" sub -p "$port" -W 60 -d \
        -F '%t|%q|%r|%p' "$@"
    until_true 10 has "$out.trace" "<- SUBACK"
}

five_minutes() {
    "$caddis" sub -p "$port" -i logger -c -q 1 -t 'meter/#' -E
    ok "README: a session that stays"
    pub -t meter/kitchen -m 21.5 -q 1 && pub -t meter/cellar -m 12.0 -q 1 -r
    ok "README: two messages"
    broker_end KILL
    broker_start
    is "README: what waits, in the store" "$("$caddis" show queue --store "$work/caddis.db" --json |
        grep -o '"topic": *"[^"]*"' | tr -d ' ')" '"topic":"meter/kitchen"
"topic":"meter/cellar"'
    is "README: the client gets both" "$("$caddis" sub -p "$port" -i logger -c -q 1 -t 'meter/#' -v -C 2)" \
        "meter/kitchen 21.5
meter/cellar 12.0"
    pub -t meter/cellar -n -r
}

every_version_and_qos() {
    for version in 31 311 5; do
        watch "$work/live" -V "$version" -i "live$version" -q 2 -t 'house/+' -C 3
        for qos in 0 1 2; do
            pub -V "$version" -i "pub$version" -q "$qos" -t "house/$qos" -m "21 °C"
            ok "$version: publish at QoS $qos"
        done
        wait "$last"
        is "$version: QoS 0, 1 and 2 arrive" "$(cat "$work/live")" "house/0|0|0|21 °C
house/1|1|0|21 °C
house/2|2|0|21 °C"
    done
}

# Client and broker keep a session each side of the broker's death, and both sides' QoS 2 handshakes.
lines() {
    "$caddis" sub -p "$port" -i board -c -q 2 -t 'sensors/#' -E
    seq 1 500 | pub -q 2 -t sensors/one -l
    ok "500 lines at QoS 2"
    broker_end KILL
    broker_start
    "$caddis" sub -p "$port" -i board -c -q 2 -t 'sensors/#' -C 500 -W 30 >"$work/lines"
    seq 1 500 | cmp -s - "$work/lines"
    ok "after kill -9 all 500 come, in order, none twice"
    "$caddis" sub -p "$port" -i board -c -q 2 -t 'sensors/#' -W 1 >"$work/more"
    is "time is up: exit status" "$?" 27
    is "nothing more came" "$(cat "$work/more")" ""
}

wills_and_retained() {
    watch "$work/watch" -q 1 -t 'status/#' -C 1
    watcher=$last
    watch "$work/dying" -t x --will-topic status/pump --will-payload gone --will-qos 1 --will-retain
    kill -9 "$last"
    wait "$watcher"
    is "will" "$(cat "$work/watch")" "status/pump|1|0|gone"
    is "retained will" "$(sub -q 1 -t 'status/#' -C 1)" "status/pump|1|1|gone"
    pub -t status/pump -n -r
    pub -t status/end -m end -r
    is "an empty message removes it" "$(sub -t 'status/#' -C 1)" "status/end|0|1|end"
}

properties() {
    "$caddis" sub -p "$port" -V 5 -i typed -c -q 1 -t typed -D subscribe subscription-identifier 7 -E
    pub -V 5 -q 1 -t typed -m text -D publish content-type text/plain -D publish response-topic back \
        -D publish correlation-data id-7 -D publish user-property k v -D publish payload-format-indicator 1
    is "properties, both ways" "$("$caddis" sub -p "$port" -V 5 -i typed -c -q 1 -t typed -C 1 -W 20 \
        -F '%C|%R|%D|%P|%F|%S|%p')" "text/plain|back|id-7|k:v|1|7|text"
}

large() {
    head -c 1500000 /dev/urandom >"$work/big"
    "$caddis" sub -p "$port" -i big -c -q 2 -t big -E
    pub -q 2 -t big -f "$work/big"
    "$caddis" sub -p "$port" -i big -c -q 2 -t big -N -C 1 -W 20 >"$work/big.out"
    cmp -s "$work/big" "$work/big.out"
    ok "1.5 MB in one message"
}

broker_start
five_minutes
every_version_and_qos
lines
wills_and_retained
properties
large
broker_end TERM
ok "the broker ends in order"
plan
