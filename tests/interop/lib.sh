# Sourced by the interop_*.sh tests: a broker of their own, verdicts in TAP, and waiting without sleeping longer than
# needed. CADDIS names the program (./caddis). Everything lives in $work and goes at the end; after a failure the
# broker's log is printed.
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh disable=SC2034
caddis=${CADDIS:-./caddis}
case $caddis in /*) ;; *) caddis=$PWD/$caddis ;; esac
passed=0
failed=0
broker=
port=0
starts=0
clients=

# skip TEXT: this test can't run here.
skip() {
    echo "1..0 # SKIP $*"
    exit 77
}

[ -x "$caddis" ] || { echo "Bail out! there is no $caddis; CADDIS names the broker"; exit 99; }
work=$(mktemp -d "${TMPDIR:-/tmp}/caddis-interop-XXXXXX") || exit 99

# client COMMAND...: in the background; ended at the end if it is still there.
client() {
    "$@" &
    last=$!
    clients="$clients $last"
}

finish() {
    trap - EXIT INT TERM
    for pid in $clients; do
        kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    if [ -n "$broker" ]; then
        kill -9 "$broker" 2>/dev/null
        wait "$broker" 2>/dev/null
    fi
    if [ "$failed" -gt 0 ] || [ "${1:-0}" -gt 1 ]; then
        for log in "$work"/broker.log.*; do
            sed "s|^|# ${log##*.} |" "$log"
        done
    fi
    rm -rf "$work"
}
trap 'finish 99; exit 99' INT TERM
trap 'finish $?' EXIT

# ok NAME: by the status of the command before it.
ok() {
    # shellcheck disable=SC2181,SC2319
    if [ $? -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $((passed + failed)) - $1"
    else
        failed=$((failed + 1))
        echo "not ok $((passed + failed)) - $1"
    fi
}

# is NAME GOT WANTED
is() {
    [ "$2" = "$3" ]
    ok "$1"
    [ "$2" = "$3" ] || printf '%s\n' "got:" "$2" "wanted:" "$3" | sed 's/^/#   /' | head -n 40
}

plan() {
    echo "1..$((passed + failed))"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

# until_true SECONDS COMMAND...
until_true() {
    tries=$(($1 * 50))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.02
    done
}

# has FILE TEXT [COUNT]: the text stands in COUNT lines or more (1).
has() {
    [ -e "$1" ] && [ "$(grep -acF -- "$2" "$1")" -ge "${3:-1}" ]
}

# broker_start: on the port it had before, or one that the kernel picks.
broker_start() {
    starts=$((starts + 1))
    log=$work/broker.log.$starts
    {
        echo "[broker]"
        [ "$(id -u)" -ne 0 ] || echo "user = root"
        printf '%s\n' "enable_control = false" "sys_interval = 1" "[persistence]" "path = $work/caddis.db" \
            "[listener default]" "address = 127.0.0.1" "port = $port" "allow_anonymous = true"
    } >"$work/caddis.ini"
    "$caddis" -c "$work/caddis.ini" 2>"$log" &
    broker=$!
    if ! until_true 20 has "$log" 'listening name="default" on '; then
        echo "Bail out! the broker does not start"
        failed=$((failed + 1))
        exit 99
    fi
    port=$(sed -n 's/.*listening name="default" on [^ ]*:\([0-9]*\).*/\1/p' "$log" | head -n 1)
}

# broker_end SIGNAL: the status it ends with.
broker_end() {
    kill "-$1" "$broker"
    wait "$broker" 2>/dev/null
    status=$?
    broker=
    return "$status"
}
