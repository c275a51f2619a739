#!/bin/bash
# TLS as other programs see it: mosquitto's clients and openssl s_client against the broker; and our own tools.
# ONLY="turning tools" runs these groups alone.
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2016
srcdir=${srcdir:-$(dirname "$0")/../..}
for program in openssl mosquitto_pub mosquitto_sub; do
    command -v $program >/dev/null || { echo "1..0 # SKIP no $program here (packages openssl, mosquitto-clients)"; exit 77; }
done
"${CADDIS:-./caddis}" --version | grep -q '^TLS *none' && { echo "1..0 # SKIP this caddis was built without TLS"; exit 77; }
# shellcheck source=tests/interop/lib.sh
. "$srcdir/tests/interop/lib.sh"
certs=$work/certs
mkdir "$certs"
"$srcdir/tests/tls/certs" "$certs" || { echo "Bail out! tests/tls/certs failed"; exit 99; }
chmod 600 "$certs"/*.key
cp "$certs/server.crt" "$certs/now.crt"
cp "$certs/server.key" "$certs/now.key"
mkdir "$certs/ca.d"
cp "$certs/ca.crt" "$certs/ca.d/"
turns=
printf 'sensor-1:00112233445566778899aabbccddeeff\n' >"$certs/psk"
chmod 600 "$certs/psk"

# listener NAME LINE...: on a port that the kernel picks, everybody allowed.
listener() {
    printf '[listener %s]\naddress = 127.0.0.1\nport = %s\nallow_anonymous = true\n' "$1" "$(port_of "$1" 0)"
    shift
    printf '%s\n' "$@"
}

# port_of NAME [OTHERWISE]
port_of() {
    found=$(sed -n "s/.*listening name=\"$1\" on [^ ]*:\([0-9]*\).*/\1/p" "$log" 2>/dev/null | head -n 1)
    echo "${found:-$2}"
}

configure() {
    own="certfile = $certs/now.crt
keyfile = $certs/now.key"
    {
        printf '[broker]\nenable_control = false\n'
        [ "$(id -u)" -ne 0 ] || echo "user = root"
        printf '[persistence]\nenabled = false\n[limits]\nconnect_timeout = 2s\n[auth]\npsk_file = %s\n' "$certs/psk"
        listener plain
        listener tls "$own"
        listener new "$own" "tls_version = tlsv1.3"
        listener certs "$own" "cafile = $certs/ca.crt" "crlfile = $certs/ca.crl" "require_certificate = true" \
            "use_identity_as_username = true"
        listener subject "$own" "cafile = $certs/ca.crt" "require_certificate = true" "use_subject_as_username = true"
        listener keys "psk_hint = here" "use_identity_as_username = true"
        listener rsa "certfile = $certs/server-rsa.crt" "keyfile = $certs/server-rsa.key" "dhparamfile = $certs/dh.pem"
        listener rsa-dhe "certfile = $certs/server-rsa.crt" "keyfile = $certs/server-rsa.key" \
            "dhparamfile = $certs/dh.pem" "ciphers = DHE-RSA-AES256-GCM-SHA384"
        listener chacha "$own" "ciphers_tls1.3 = TLS_CHACHA20_POLY1305_SHA256" "ciphers = ECDHE-ECDSA-AES256-GCM-SHA384"
        listener directory "$own" "capath = $certs/ca.d" "require_certificate = true"
        listener turns "$turns"
        listener last
    } >"$work/tls.ini"
}

# A new broker, with a log of its own: what peers cause is logged in bounded numbers.
begin() {
    [ -z "$broker" ] || broker_end TERM || ok "the broker ends in order"
    starts=$((starts + 1))
    log=$work/broker.log.$starts
    configure
    "$caddis" -c "$work/tls.ini" 2>"$log" &
    broker=$!
    until_true 20 has "$log" 'listening name="last"' && return
    echo "Bail out! the broker does not start"
    failed=1
    exit 99
}

# pub LISTENER OPTION...
pub() {
    to=$1
    shift
    timeout 10 mosquitto_pub -p "$(port_of "$to")" -t t -m m -q 1 "$@" >/dev/null 2>&1
}
with() { echo "--cafile $certs/ca.crt --cert $certs/$1.crt --key $certs/$1.key"; }
last_says() { grep -aE 'connection closed|client refused' "$log" | tail -n 1 | grep -qF "$1"; }
# refused NAME TEXT: the command before must have failed, and the log's last word be why.
refused() {
    status=$?
    [ "$status" -ne 0 ] && until_true 5 last_says "$2"
    ok "$1"
}
# OpenSSL's programs offer this version at most: mosquitto's own option sets the lowest.
printf 'openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n' >"$work/old.cnf"
most() {
    unset OPENSSL_CONF
    [ "$1" != tlsv1.2 ] || export OPENSSL_CONF="$work/old.cnf"
}
ssl() {
    to=$1
    shift
    timeout 10 openssl s_client -connect "127.0.0.1:$(port_of "$to")" -CAfile "$certs/ca.crt" "$@" 2>&1
}

versions() {
    for v in tlsv1.2 tlsv1.3; do
        most $v
        pub tls --cafile "$certs/ca.crt" -i "client-$v"
        ok "mosquitto_pub, $v"
    done
    grep -a 'up id="client-tlsv1.2"' "$log" | grep -q 'tls="TLSv1.2 ECDHE-ECDSA'
    ok "the log names version and cipher of 1.2"
    pub new --cafile "$certs/ca.crt"
    ok "1.3 where 1.3 is the lowest"
    ssl new -tls1_2 </dev/null | grep -q 'Cipher is (NONE)'
    ok "1.2 is refused where 1.3 is the lowest"
    ssl tls -tls1_1 -cipher 'DEFAULT@SECLEVEL=0' </dev/null | grep -q 'Cipher is (NONE)'
    ok "1.1 is refused"
    pub rsa --cafile "$certs/ca.crt"
    ok "RSA certificate"
    ssl rsa-dhe -tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384 </dev/null | grep -q 'Cipher is DHE-RSA-AES256-GCM-SHA384'
    ok "DHE with dhparamfile"
    ssl chacha -tls1_3 </dev/null | grep -q 'Cipher is TLS_CHACHA20_POLY1305_SHA256'
    ok "ciphers_tls1.3"
    ssl chacha -tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256 </dev/null | grep -q 'Cipher is (NONE)'
    ok "and no other"
    ssl chacha -tls1_2 </dev/null | grep -q 'Cipher is ECDHE-ECDSA-AES256-GCM-SHA384'
    ok "ciphers"
    ssl chacha -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256 </dev/null | grep -q 'Cipher is (NONE)'
    ok "and no other, 1.2"
    for cipher in aNULL eNULL RC4 3DES AES128-SHA PSK; do
        ssl tls -tls1_2 -cipher "$cipher@SECLEVEL=0" </dev/null | grep -qE 'Cipher is \(NONE\)|no cipher match|no ciphers avail'
        ok "no $cipher"
    done
}

strangers() {
    pub tls --cafile "$certs/foreign.crt"
    refused "a client that does not trust us" "issued by nobody it trusts"
    pub tls
    refused "MQTT without TLS" "an MQTT client without TLS, on a port for TLS"
    pub plain --cafile "$certs/ca.crt"
    refused "TLS on a plain port" "a TLS client, on a port without TLS"
    printf 'GET / HTTP/1.0\r\n\r\n' | timeout 5 openssl s_client -connect 127.0.0.1:1 >/dev/null 2>&1
    exec 9<>"/dev/tcp/127.0.0.1/$(port_of tls)"
    printf 'GET / HTTP/1.0\r\n\r\n' >&9
    timeout 5 cat <&9 >/dev/null
    exec 9>&-
    until_true 5 has "$log" "does not speak TLS (first byte 0x47)"
    ok "HTTP on a TLS port"
    exec 9<>"/dev/tcp/127.0.0.1/$(port_of tls)"
    timeout 5 cat <&9 >/dev/null
    status=$?
    exec 9>&-
    is "who says nothing is closed in time" "$status" 0
    printf '\026\003\001\002\000\001\000' | timeout 5 bash -c "exec 9<>/dev/tcp/127.0.0.1/$(port_of tls); cat >&9; cat <&9 >/dev/null"
    ok "who stops in the middle of the handshake is closed in time"
}

certificates() {
    # shellcheck disable=SC2046
    for v in tlsv1.2 tlsv1.3; do
        most $v
        pub certs $(with client) -i "good-$v"
        ok "certificate, $v"
        grep -a "up id=\"good-$v\"" "$log" | grep -q 'user="device-1"'
        ok "its common name is the user, $v"
        pub certs --cafile "$certs/ca.crt"
        refused "none, $v" "no certificate was shown"
        pub certs $(with client-expired)
        refused "expired, $v" "the certificate has expired"
        pub certs $(with client-revoked)
        refused "revoked, $v" "the certificate has been revoked"
        pub certs $(with client-foreign)
        refused "of another authority, $v" "issued by nobody we trust"
        pub certs $(with client-wrong)
        refused "for servers, $v" "the certificate is for another purpose"
        pub certs $(with client-nul)
        refused "with a NUL in its name, $v" "common name of the client's certificate is not plain text"
    done
    # shellcheck disable=SC2046
    pub directory $(with client)
    ok "an authority in capath"
    pub directory $(with client-foreign)
    refused "of an authority that is not in capath" "issued by nobody we trust"
    # shellcheck disable=SC2046
    pub subject $(with client) -i whole
    ok "a list of revoked certificates is not needed"
    grep -a 'up id="whole"' "$log" | grep -qF 'user="CN=device-1,OU=sensors,O=Acme\\, Inc.,C=NL"'
    ok "the subject is the user"
}

keys() {
    good=00112233445566778899AABBCCDDEEFF
    for v in tlsv1.2 tlsv1.3; do
        most $v
        pub keys --psk $good --psk-identity sensor-1 -i "key-$v"
        ok "key, $v"
        grep -a "up id=\"key-$v\"" "$log" | grep -q 'user="sensor-1"'
        ok "its identity is the user, $v"
        pub keys --psk ${good%F}0 --psk-identity sensor-1
        refused "wrong key, $v" "handshake: "
        most $v
        pub keys --psk $good --psk-identity sensor-2
        refused "unknown identity, $v" "no PSK identity that we know"
    done
    pub keys --cafile "$certs/ca.crt"
    refused "certificates where keys are wanted" "no PSK identity that we know, or no cipher in common"
    ssl keys -psk $good -psk_identity sensor-1 -tls1_2 </dev/null | grep -q 'PSK identity hint: here'
    ok "the hint of 1.2"
}

protocol() {
    ssl tls -alpn h2,mqtt </dev/null | grep -q 'ALPN protocol: mqtt'
    ok "ALPN mqtt"
    ssl tls -servername anything.example </dev/null | grep -q 'Verification: OK'
    ok "any SNI"
    ssl tls </dev/null | grep -q 'No ALPN negotiated'
    ok "no ALPN where none is asked for"
    for v in -tls1_2 -tls1_3; do
        (sleep 1; echo Q) | ssl tls $v -sess_out "$work/session$v" >/dev/null
        (sleep 1; echo Q) | ssl tls $v -sess_in "$work/session$v" | grep -q '^Reused'
        ok "a session is resumed, $v"
        (sleep 1; echo Q) | ssl certs $v -cert "$certs/client.crt" -key "$certs/client.key" -sess_out "$work/session$v" >/dev/null
        [ ! -s "$work/session$v" ] || ! (sleep 1; echo Q) | ssl certs $v -cert "$certs/client.crt" \
            -key "$certs/client.key" -sess_in "$work/session$v" | grep -q '^Reused'
        ok "not where a certificate is required, $v"
        rm -f "$work/session$v"
    done
    # CONNECT, and PINGREQ after new keys (K, which counts only when it comes alone): PINGRESP must come.
    : >"$work/update"
    (printf '\020\014\000\004MQTT\004\002\000\074\000\000'
     until_true 10 env LC_ALL=C grep -qaP '\x20\x02' "$work/update"
     printf 'K\n'; sleep 1; printf '\300\000'; until_true 5 env LC_ALL=C grep -qaP '\xd0\x00' "$work/update") |
        ssl tls -tls1_3 >"$work/update" &
    until_true 20 env LC_ALL=C grep -qaP '\xd0\x00' "$work/update"
    ok "new keys (KeyUpdate)"
    (sleep 0.5; printf 'R\n'; sleep 1) | ssl tls -tls1_2 >/dev/null
    until_true 5 has "$log" "reading: "
    ok "renegotiation ends the connection"
}

# Bytes in both directions, as many as make the sockets stop and go.
amounts() {
    head -c 1900000 /dev/urandom >"$work/large"
    for v in tlsv1.2 tlsv1.3; do
        most $v
        client timeout 30 sh -c 'exec mosquitto_sub -p "$1" --cafile "$2" -q 1 -t "large/#" -C 20 -N \
            -i "reader-$3" >"$4"' sub "$(port_of tls)" "$certs/ca.crt" $v "$work/large.$v"
        until_true 5 has "$log" "id=\"reader-$v\""
        sleep 0.3
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            timeout 20 mosquitto_pub -p "$(port_of tls)" --cafile "$certs/ca.crt" -q 1 -t "large/$i" \
                -f "$work/large" || break
        done
        wait "$last"
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat "$work/large"; done | cmp -s - "$work/large.$v"
        ok "20 messages of 1.9 MB there and back, $v"
    done
}

serial() { ssl tls </dev/null | openssl x509 -noout -serial 2>/dev/null; }

reloads() {
    client timeout 60 sh -c 'exec mosquitto_sub -p "$1" --cafile "$2" -q 1 -t after -C 1 -i stays >"$3"' sub "$(port_of tls)" \
        "$certs/ca.crt" "$work/stays"
    stays=$last
    until_true 5 has "$log" 'up id="stays"'
    first=$(serial)
    cp "$certs/server2.crt" "$certs/now.crt"
    kill -HUP "$broker"
    until_true 5 has "$log" "not reloaded"
    ok "a certificate without its key is not taken"
    has "$log" "the private key is not this certificate's"
    ok "the log says why"
    is "the old one stays" "$(serial)" "$first"
    cp "$certs/server2.key" "$certs/now.key"
    kill -HUP "$broker"
    until_true 5 has "$log" "configuration reloaded"
    ok "both are taken"
    [ -n "$first" ] && [ "$(serial)" != "$first" ]
    ok "new connections get the new one"
    mosquitto_pub -p "$(port_of tls)" --cafile "$certs/ca.crt" -q 1 -t after -m still
    wait "$stays"
    is "an old connection goes on" "$(cat "$work/stays")" still
    # shellcheck disable=SC2046
    pub certs $(with client-utf8) -i before
    ok "a certificate that will be revoked"
    (cd "$certs" && openssl ca -config ext -name own -revoke client-utf8.crt -cert ca.crt -keyfile ca.key &&
        openssl ca -config ext -name own -gencrl -cert ca.crt -keyfile ca.key -out ca.crl) 2>/dev/null
    kill -HUP "$broker"
    until_true 5 has "$log" "configuration reloaded" 2
    # shellcheck disable=SC2046
    ! pub certs $(with client-utf8) -i after
    ok "is refused after a reload of the list"
}

# What is not the certificates' fault must not let half of a reload through.
all_or_nothing() {
    cp "$certs/server.crt" "$certs/now.crt"
    cp "$certs/server.key" "$certs/now.key"
    kill -HUP "$broker"
    until_true 5 has "$log" "configuration reloaded"
    first=$(serial)
    cp "$certs/server2.crt" "$certs/now.crt"
    cp "$certs/server2.key" "$certs/now.key"
    printf 'rubbish\n' >"$certs/acl"
    echo "acl_file = $certs/acl" >>"$work/tls.ini"
    kill -HUP "$broker"
    until_true 5 has "$log" "not reloaded"
    [ -n "$first" ] && [ "$(serial)" = "$first" ]
    ok "a good certificate beside a bad ACL file is not taken"
    configure
    kill -HUP "$broker"
    until_true 5 has "$log" "configuration reloaded" 2
    [ "$(serial)" != "$first" ]
    ok "and is without it"
}

# A listener that gets TLS, and loses it again.
turning() {
    pub turns
    ok "a plain listener"
    client timeout 60 sh -c 'exec mosquitto_sub -p "$1" -q 1 -t turned -C 1 -i plain >"$2"' sub "$(port_of turns)" \
        "$work/plain"
    reader=$last
    until_true 5 has "$log" 'up id="plain"'
    turns=$own
    configure
    kill -HUP "$broker"
    until_true 5 has "$log" 'listener="turns": from now on new connections must speak TLS'
    ok "the log says that it has TLS now"
    pub turns --cafile "$certs/ca.crt"
    ok "TLS after a reload"
    pub turns
    refused "and nothing else" "an MQTT client without TLS, on a port for TLS"
    mosquitto_pub -p "$(port_of plain)" -t turned -m still -q 1
    wait "$reader"
    is "who was there stays" "$(cat "$work/plain")" still
    turns=
    configure
    kill -HUP "$broker"
    until_true 5 has "$log" 'listener="turns": from now on new connections speak plain MQTT, without TLS'
    ok "the log says that it has no TLS any more"
    pub turns
    ok "plain after another one"
}

# Nobody sends a signal.
changed_files() {
    cp "$certs/server.crt" "$certs/now.crt"
    cp "$certs/server.key" "$certs/now.key"
    kill -HUP "$broker"
    until_true 5 has "$log" "configuration reloaded"
    before=$(serial)
    cp "$certs/server2.crt" "$certs/now.crt"
    cp "$certs/server2.key" "$certs/now.key"
    tries=30
    while [ "$(serial)" = "$before" ] && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.5
    done
    [ $tries -gt 0 ] && has "$log" "certificates reloaded"
    ok "a renewed certificate is noticed without a signal"
}

# Reloads of everything while messages pass; nobody is dropped and nothing is lost. With sanitizers on a busy machine a
# reload of so many certificates takes seconds: for a handshake, and for the queue of what came meanwhile, there is room.
under_load() {
    sed 's/^connect_timeout = .*/connect_timeout = 30s\nmax_queued_messages = 3000/' "$work/tls.ini" >"$work/roomy.ini"
    mv "$work/roomy.ini" "$work/tls.ini"
    kill -HUP "$broker"
    until_true 20 has "$log" "configuration reloaded"
    client timeout 60 sh -c 'exec mosquitto_sub -p "$1" --cafile "$2" -q 1 -t load -C 2000 -i reader >"$3"' sub \
        "$(port_of tls)" "$certs/ca.crt" "$work/load"
    reader=$last
    until_true 5 has "$log" 'up id="reader"'
    sleep 0.3
    client timeout 60 sh -c 'seq 1 2000 | while read -r n; do echo "$n"; [ $((n % 100)) -ne 0 ] || sleep 0.1; done |
        mosquitto_pub -p "$1" --cafile "$2" -q 1 -t load -l -i writer' pub "$(port_of tls)" "$certs/ca.crt"
    writer=$last
    for i in 1 2 3 4 5 6 7 8 9 10; do
        if [ $((i % 2)) -eq 0 ]; then from=server; else from=server2; fi
        cp "$certs/$from.crt" "$certs/now.crt"
        cp "$certs/$from.key" "$certs/now.key"
        printf 'sensor-%s:00112233445566778899aabbccddeeff\n' "$i" >"$certs/psk"
        kill -HUP "$broker"
        until_true 20 has "$log" "configuration reloaded" $((i + 1))
        sleep 0.1
    done
    wait "$writer"
    wait "$reader"
    seq 1 2000 | cmp -s - "$work/load"
    ok "2000 messages, in order, during ten reloads"
    is "of a reader and a writer that were never dropped" "$(grep -acE 'client up id="(reader|writer)"' "$log")" 2
}

tools() {
    say() { timeout 10 "$caddis" "$@" 2>&1; }
    is "caddis pub and sub" "$(say pub -p "$(port_of tls)" --cafile "$certs/ca.crt" -t tool -m hello -r -q 1
        say sub -p "$(port_of tls)" --cafile "$certs/ca.crt" -t tool -C 1 -q 1)" hello
    for v in tlsv1.2 tlsv1.3; do
        is "with a certificate, $v" "$(say pub -p "$(port_of certs)" --cafile "$certs/ca.crt" --cert "$certs/client.crt" \
            --key "$certs/client.key" --tls-version $v -t tool -m x -q 1; echo $?)" 0
        is "with a key, $v" "$(say pub -p "$(port_of keys)" --psk 00112233445566778899aabbccddeeff --psk-identity sensor-1 \
            --tls-version $v -t tool -m x -q 1; echo $?)" 0
    done
    is "an authority that we do not know" "$(say pub -p "$(port_of tls)" --cafile "$certs/foreign.crt" -t a -m x)" \
        "caddis pub: TLS: handshake: the certificate was issued by nobody we trust (cafile)"
    is "the system's authorities" "$(say pub -p "$(port_of tls)" --tls-use-os-certs -t a -m x)" \
        "caddis pub: TLS: handshake: the certificate was issued by nobody we trust (cafile)"
    is "another name" "$(say pub -h 127.0.0.2 -p "$(port_of tls)" --cafile "$certs/ca.crt" -t a -m x | grep -c 'connect to\|another')" 1
    is "a revoked certificate" "$(say pub -p "$(port_of certs)" --cafile "$certs/ca.crt" --cert "$certs/client-revoked.crt" \
        --key "$certs/client-revoked.key" -t a -m x -q 1 | grep -c 'the other side')" 1
    is "a plain port" "$(say pub -p "$(port_of plain)" --cafile "$certs/ca.crt" -t a -m x | grep -c '^caddis pub: TLS: ')" 1
    head -c 700000 /dev/urandom | tr '\000\n' 'ab' >"$work/one"
    say sub -p "$(port_of tls)" --cafile "$certs/ca.crt" -t one -C 1 -q 1 >"$work/one.out" &
    reader=$!
    until_true 10 sh -c "'$caddis' pub -p $(port_of tls) --cafile '$certs/ca.crt' -t one -f '$work/one' -q 1; [ -s '$work/one.out' ]"
    wait $reader
    { cat "$work/one"; echo; } | cmp -s - "$work/one.out"
    ok "700 KB through the tools"
}

all="versions strangers certificates keys protocol amounts tools reloads"
all="$all all_or_nothing turning changed_files under_load"
for group in ${ONLY:-$all}; do
    begin
    unset OPENSSL_CONF
    $group
done
broker_end TERM
ok "the broker ends in order"
plan
