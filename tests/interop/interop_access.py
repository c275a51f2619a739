#!/usr/bin/python3
"""Where the broker can be reached and as whom it runs, seen from outside: addresses, interfaces and Unix sockets, also
those that come late; the account it drops to and the modes of what it creates; and what `caddis check` says about it.

As root it runs in a network of its own, if the system allows that, and can take addresses away and give them back.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from broker import until  # noqa: E402
from interop_service import CADDIS, Manager, knock, run  # noqa: E402

ROOT = os.geteuid() == 0
OWN_NETWORK = "--own-network" in sys.argv
ANYBODY = "allow_anonymous = true\n"


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def ip(*words):
    return subprocess.run(("ip",) + words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


# ---- where ----

def addresses(tap, m):
    path = m.dir + "/mqtt.sock"
    m.start("[listener four]\naddress = 127.0.0.1\nport = 0\n" + ANYBODY +
            "[listener six]\naddress = ::1\nport = 0\n" + ANYBODY +
            "[listener name]\naddress = localhost\nport = 0\n" + ANYBODY +
            "[listener all4]\nport = 0\nsocket_domain = ipv4\n" + ANYBODY +
            "[listener all6]\nport = 0\nsocket_domain = ipv6\n" + ANYBODY +
            "[listener local]\naddress = %s\n" % path + ANYBODY)
    m.hears("READY=1")
    tap.ok(knock(("127.0.0.1", m.port("four"))), "an IPv4 address", m.log())
    tap.ok(not knock(("127.0.0.2", m.port("four"))), "not another one")
    tap.ok(knock(("::1", m.port("six")), socket.AF_INET6), "an IPv6 address")
    tap.ok(knock(("localhost", m.port("name"))), "a name")
    tap.ok(knock(("127.0.0.2", m.port("all4"))), "all of IPv4")
    tap.ok(not knock(("::1", m.port("all4")), socket.AF_INET6), "which is not IPv6")
    tap.ok(knock(("::1", m.port("all6")), socket.AF_INET6), "all of IPv6")
    tap.ok(not knock(("127.0.0.1", m.port("all6"))), "which is not IPv4")
    tap.ok(knock(path, socket.AF_UNIX), "a Unix socket")
    tap.same(stat.S_IMODE(os.stat(path).st_mode), 0o770, "that the broker's group may open")
    if shutil.which("mosquitto_pub"):
        tap.same(subprocess.run(["mosquitto_pub", "--unix", path, "-t", "a", "-m", "b", "-q", "1"],
                                check=False, timeout=20).returncode, 0, "mosquitto_pub finds it too")
    m.stop()
    tap.ok(not os.path.exists(path), "it is gone with the broker")


def left_behind(tap, m):
    path = m.dir + "/mqtt.sock"
    config = "[listener local]\naddress = %s\n" % path + ANYBODY
    m.start(config)
    m.hears("READY=1")
    m.process.kill()
    m.process.wait()
    tap.ok(os.path.exists(path), "a killed broker leaves its socket")
    m.start(config)
    tap.ok(m.hears("READY=1") and knock(path, socket.AF_UNIX), "the next one takes its place", m.log())
    m.stop()
    write(path, "precious")
    m.start(config)
    tap.same(m.process.wait(20), 1, "a file of that name is an error")
    with open(path, encoding="utf-8") as f:
        tap.same(f.read(), "precious", "and stays")


def late_port(tap, m):
    """An address that somebody else has at the start."""
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen(1)
    port = other.getsockname()[1]
    m.start("[listener here]\naddress = 127.0.0.1\nport = 0\n" + ANYBODY +
            "[listener late]\naddress = 127.0.0.1\nport = %d\n" % port + ANYBODY)
    tap.ok(m.hears("READY=1") and knock(("127.0.0.1", m.port("here"))), "the others serve meanwhile", m.log())
    tap.ok("can't listen name=\"late\" address=\"127.0.0.1\" port=%d error=\"Address already in use\"; it is "
           "tried again" % port in m.log(), "the log says who waits for what", m.log())
    other.close()
    tap.ok(until(lambda: knock(("127.0.0.1", port)), 10), "it is there once it can be", m.log())
    tap.same(m.log().count("can't listen"), 1, "what has not changed is said once")
    m.stop()
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen(1)
    m.start("[listener only]\naddress = 127.0.0.1\nport = %d\n" % other.getsockname()[1] + ANYBODY)
    tap.same(m.process.wait(20), 1, "with no address at all it does not start")
    tap.ok("is another broker running?" in m.log(), "and says what it may be")
    other.close()


def late_address(tap, m):
    if not OWN_NETWORK:
        return
    m.start("[listener here]\naddress = 127.0.0.1\nport = 0\n" + ANYBODY +
            "[listener four]\naddress = 192.0.2.7\nport = 18830\n" + ANYBODY +
            "[listener six]\naddress = 2001:db8::7\nport = 18830\n" + ANYBODY)
    tap.ok(m.hears("READY=1") and knock(("127.0.0.1", m.port("here"))), "addresses that are not there yet", m.log())
    tap.ok(ip("addr", "add", "192.0.2.7/32", "dev", "lo") and ip("-6", "addr", "add", "2001:db8::7/128", "dev", "lo"),
           "they come")
    tap.ok(until(lambda: knock(("192.0.2.7", 18830)), 10), "IPv4", m.log())
    tap.ok(until(lambda: knock(("2001:db8::7", 18830), socket.AF_INET6), 10), "IPv6", m.log())
    m.stop()


def defaults(tap, m):
    """Without a listener: whoever is on this machine, and nobody else."""
    if not OWN_NETWORK:
        return
    ip("addr", "add", "203.0.113.5/32", "dev", "lo")
    m.start("")
    tap.ok(m.hears("READY=1") and knock(("127.0.0.1", 1883)), "the built-in listener is on loopback", m.log())
    tap.ok(not knock(("203.0.113.5", 1883)), "and nowhere else")
    m.stop()


def interface(tap, m):
    """One veth end is the broker's; what comes in through lo is not for it."""
    if not OWN_NETWORK or not ip("link", "add", "in0", "type", "veth", "peer", "name", "out0"):
        return
    ip("addr", "add", "198.51.100.1/24", "dev", "in0")
    for end in ("in0", "out0"):
        ip("link", "set", end, "up")
    m.start("[listener lo]\ninterface = lo\nport = 18831\nsocket_domain = ipv4\n" + ANYBODY +
            "[listener in]\ninterface = in0\nport = 18832\nsocket_domain = ipv4\n" + ANYBODY)
    tap.ok(m.hears("READY=1"), "listeners on interfaces", m.log())
    tap.ok(knock(("127.0.0.1", 18831)), "what comes in through it")
    tap.ok(not knock(("127.0.0.1", 18832)), "not what comes in through another")
    m.stop()


# ---- as whom ----

def modes(m, names):
    return {n: oct(stat.S_IMODE(os.stat(os.path.join(m.dir, n)).st_mode)) for n in names}


def start_files(m, more=""):
    """Like Manager.start(), with a directory for each file that a broker makes."""
    config = ("[log]\ndest = file %s/caddis.log\n[listener a]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\n"
              "[listener u]\naddress = %s/mqtt\nallow_anonymous = true\n" % (m.dir, m.dir)) + more
    m.start(config)
    return m.hears("READY=1")


def file_modes(tap, m):
    os.umask(0)
    tap.ok(start_files(m), "a start with umask 0", m.log())
    want = {"caddis.db": "0o640", "caddis.db-wal": "0o640", "caddis.db-shm": "0o640", "caddis.db.lock": "0o640",
            "caddis.log": "0o640", "ctl": "0o660", "mqtt": "0o770"}
    tap.same(modes(m, want), want, "no file is anybody's")
    with open("/proc/%d/status" % m.process.pid, encoding="utf-8") as f:
        tap.ok("Umask:\t0027" in f.read(), "the umask is the broker's own")
    subprocess.run([CADDIS, "backup", "--socket", m.dir + "/ctl", m.dir + "/copy.db"], check=False, timeout=30,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([CADDIS, "passwd", "-b", "-c", m.dir + "/new", "ann", "x"], check=False, timeout=30)
    tap.same(modes(m, ["copy.db", "new"]), {"copy.db": "0o640", "new": "0o600"}, "nor those of the tools")
    m.stop()
    os.umask(0o022)


def dropped(tap, m):
    """From root to another account, which can then read less."""
    if not ROOT:
        return
    who = pwd.getpwnam("daemon")
    os.chmod(m.dir, 0o755)
    for d in ("state", "run"):
        os.mkdir(m.dir + "/" + d)
        os.chown(m.dir + "/" + d, who.pw_uid, who.pw_gid)
    os.chmod(m.dir + "/notify", 0o666)
    acl = write(m.dir + "/acl", "topic readwrite #\n", 0o600)
    write(m.dir + "/caddis.ini", "[broker]\nuser = daemon\npid_file = %(d)s/run/pid\ncontrol_socket = %(d)s/run/ctl\n"
          "[log]\ndest = stderr\ndest = file %(d)s/run/log\n[persistence]\npath = %(d)s/state/caddis.db\n"
          "[listener a]\naddress = 127.0.0.1\nport = 0\nallow_anonymous = true\nacl_file = %(d)s/acl\n"
          "[listener u]\naddress = %(d)s/run/mqtt\nallow_anonymous = true\n" % {"d": m.dir})
    with open(m.log_path, "wb") as out:
        m.process = subprocess.Popen([CADDIS, "-c", m.dir + "/caddis.ini"], stderr=out)
    tap.ok(m.port("a") > 0, "started as root", m.log())
    with open("/proc/%d/status" % m.process.pid, encoding="utf-8") as f:
        status = f.read()
    tap.ok("Uid:\t%d\t%d\t%d\t%d" % ((who.pw_uid,) * 4) in status and "CapEff:\t0000000000000000" in status,
           "it is somebody else, without rights", status)
    owners = {n: os.stat(m.dir + n).st_uid
              for n in ("/run/pid", "/run/log", "/run/ctl", "/run/mqtt", "/state/caddis.db")}
    tap.same(set(owners.values()), {who.pw_uid}, "who owns its files and sockets")
    tap.same(os.stat(m.dir + "/run/mqtt").st_gid, who.pw_gid, "and its group may open the Unix socket")
    tap.ok("a reload will fail: user=\"daemon\" can't read file=\"%s\"" % acl in m.log(),
           "the log names what it can't read", m.log())

    def reload():
        return subprocess.run([CADDIS, "reload", "--socket", m.dir + "/run/ctl"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20, check=False)
    said = reload()
    tap.ok(said.returncode != 0 and b"%s: can't be read: Permission denied; user daemon has to be able to"
           % acl.encode() in said.stdout, "so does a reload", repr(said.stdout))
    tap.ok(knock(("127.0.0.1", m.port("a"))), "the old rules stay")
    os.chown(acl, 0, who.pw_gid)
    os.chmod(acl, 0o640)
    tap.same(reload().returncode, 0, "with the right mode it is read again")
    os.rename(m.dir + "/run/log", m.dir + "/run/log.1")
    m.process.send_signal(signal.SIGHUP)
    tap.ok(until(lambda: os.path.exists(m.dir + "/run/log"), 10), "the log can be opened again")
    tap.same(m.stop(), 0, "it ends in order")
    tap.same([n for n in ("pid", "ctl", "mqtt") if os.path.exists(m.dir + "/run/" + n)], [], "and cleans up")


# ---- with which password ----

def passwords(tap, m):
    """One file, written by mosquitto_passwd and by caddis passwd in turn."""
    if not shutil.which("mosquitto_passwd") or not shutil.which("mosquitto_pub"):
        return
    path = m.dir + "/accounts"

    def theirs(*words):
        return subprocess.run(("mosquitto_passwd",) + words, check=False, timeout=30, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def ours(*words):
        return subprocess.run((CADDIS, "passwd") + words, check=False, timeout=30).returncode == 0

    def comes_in(user, password):
        return subprocess.run(["mosquitto_pub", "-p", str(m.port("a")), "-u", user, "-P", password, "-t", "t", "-m",
                               "x", "-q", "1"], check=False, timeout=20, stderr=subprocess.DEVNULL).returncode == 0

    tap.ok(theirs("-c", "-b", path, "ann", "one"), "mosquitto_passwd makes a file")
    old = write(m.dir + "/plain", "cas:three\n", 0o600)
    tap.ok(theirs("-H", "sha512", "-U", old), "and one with the old hash")
    with open(old, encoding="utf-8") as f, open(path, "a", encoding="utf-8") as to:
        line = f.read()
        tap.ok(":$6$" in line, "which is $6$", line)
        to.write(line)
    tap.ok(theirs("-b", "-I", "5000", path, "dot", "four") or theirs("-b", path, "dot", "four"), "with more iterations")
    os.chmod(path, 0o600)
    tap.ok(ours("-b", path, "bob", "two"), "caddis passwd adds to it")
    m.start("[listener a]\naddress = 127.0.0.1\nport = 0\npassword_file = %s\n" % path)
    m.hears("READY=1")
    for user, password in (("ann", "one"), ("bob", "two"), ("cas", "three"), ("dot", "four")):
        tap.ok(comes_in(user, password), "%s comes in" % user, m.log())
    for user, password in (("ann", "two"), ("cas", "one"), ("eve", "one")):
        tap.ok(not comes_in(user, password), "not %s with %s" % (user, password))
    tap.ok(theirs("-D", path, "bob") and ours("-D", path, "cas") and ours("-b", path, "ann", "new"),
           "each takes accounts of the other out, or changes them")
    tap.same(m.reload().returncode, 0, "a reload")
    tap.ok(not comes_in("bob", "two") and not comes_in("cas", "three"), "who is gone")
    tap.ok(not comes_in("ann", "one") and comes_in("ann", "new"), "and who has another password", m.log())
    m.stop()


def pacing(tap, m):
    """Guessing gets slow for who guesses, and for nobody else."""
    write(m.dir + "/none", "", 0o600)
    subprocess.run([CADDIS, "passwd", "-b", m.dir + "/none", "ann", "right"], check=True, timeout=30)
    m.start("[listener a]\nport = 0\nsocket_domain = ipv4\npassword_file = %s/none\n" % m.dir)
    m.hears("READY=1")

    def answer(where, password):
        body = b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x00\x00\x03ann" + len(password).to_bytes(2, "big") + password
        with socket.socket() as s:
            s.bind((where, 0))
            s.settimeout(20)
            s.connect(("127.0.0.1", m.port("a")))
            s.sendall(b"\x10" + bytes([len(body)]) + body)
            return s.recv(4)[3]

    tap.same(answer("127.0.0.2", b"right"), 0, "the right password")
    answers = [answer("127.0.0.2", b"wrong") for _ in range(40)]
    tap.ok(answers[0] == 4 and answers[-1] == 3, "after too many wrong ones none is looked at", repr(answers))
    tap.ok("login refused peer=127.0.0.2" in m.log() and "too many failures from there" in m.log(), "the log says so")
    tap.same(answer("127.0.0.2", b"right"), 0, "who is known is let in all the same")
    tap.same(answer("127.0.0.3", b"right"), 0, "and so is everybody else")
    m.stop()


# ---- caddis check ----

def check(m, config):
    path = write(m.dir + "/check.ini", "[persistence]\npath = %s/caddis.db\n[broker]\ncontrol_socket = %s/ctl\n"
                 % (m.dir, m.dir) + config)
    done = subprocess.run([CADDIS, "check", "-c", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                          check=False)
    return done.returncode, done.stdout.decode().replace(m.dir, "DIR")


def checking(tap, m):
    bad = {"passwd": "ann:plain\nbob\n", "acl": "topic wrte a\nrubbish\n", "psk": "a:zz\nb\n"}
    for name, text in bad.items():
        write(m.dir + "/" + name, text, 0o600)
    status, said = check(m, "[auth]\n" + "".join("%s_file = %s/%s\n" % ("password" if n == "passwd" else n, m.dir, n)
                                                for n in bad) +
                         "[listener a]\n[listener b]\nport = 1884\nacl_file = %s/none\n" % m.dir)
    tap.same(status, 3, "check finds errors")
    for name, lines in (("passwd", 2), ("acl", 2), ("psk", 2)):
        tap.same(sum(said.count("DIR/%s:%d: " % (name, n)) for n in (1, 2)), lines, "each of %s once" % name)
    tap.ok("DIR/none: can't be read: No such file or directory" in said, "and the file that is not there", said)
    for config, words in (
            ("", "listener \"default\": localhost, port 1883, MQTT 3.1, 3.1.1, 5.0: everybody on this machine, without "
                 "a password\n"),
            ("[listener a]\n", "listener \"a\": all addresses, port 1883, MQTT 3.1, 3.1.1, 5.0: nobody: set [auth] "
                               "password_file"),
            ("[listener a]\naccept_protocol_versions = 4\nallow_anonymous = true\nsocket_domain = ipv6\n",
             "all addresses, port 1883 (IPv6 only), MQTT 3.1.1: everybody who can reach it, without a password\n"),
            ("[auth]\npassword_file = DIR/good\nclientid_prefixes = a, b\n[listener u]\naddress = DIR/s\n",
             "Unix socket \"DIR/s\", MQTT 3.1, 3.1.1, 5.0: everybody on this machine who may open the socket with an "
             "account in password_file; client ids that start with \"a\", \"b\"\n"),
            ("[listener p]\naddress = 127.0.0.1\nport = 8883\npsk_hint = x\npsk_file = DIR/keys\n"
             "use_identity_as_username = true\n",
             "127.0.0.1, port 8883, TLS 1.2 and 1.3, MQTT 3.1, 3.1.1, 5.0: everybody on this machine with a key "
             "that psk_file has\n"),
            ("[listener p]\nport = 8883\npsk_hint = x\npsk_file = DIR/keys\npassword_file = DIR/good\n",
             "everybody who can reach it with an account in password_file and a key that psk_file has\n")):
        write(m.dir + "/good", "", 0o600)
        write(m.dir + "/keys", "a:00112233\n", 0o600)
        if "psk" in config and b"TLS        none" in subprocess.run([CADDIS, "--version"], stdout=subprocess.PIPE,
                                                                    check=True).stdout:
            continue
        status, said = check(m, config.replace("DIR", m.dir))
        tap.ok(status == 0 and words in said, "check says who can come in: " + words.strip(), said)
    for later in ("[listener a]\nprotocol = http\n", "[listener a]\nhttp_dir = /srv\n",
                  "[listener a]\nproxy_protocol = 1\n", "[bridge b]\naddress = c\n", "[plugin p]\npath = /p\n"):
        status, said = check(m, later)
        tap.ok(status == 3 and "check.ini:" in said, "not done, and not taken: " + later.split("\n")[-2], said)
    write(m.dir + "/caddis.db", "this is no database" * 100)
    status, said = check(m, "")
    tap.ok(status == 3 and "path: " in said, "a store that is none", said)


def nobody_comes_in(tap, m):
    """A listener and nothing about who may come in."""
    m.start("[listener a]\naddress = 127.0.0.1\nport = 0\n")
    m.hears("READY=1")
    tap.ok(not knock(("127.0.0.1", m.port("a"))), "a listener without accounts lets nobody in")
    tap.ok("access listener=\"a\": nobody: set [auth] password_file (caddis passwd -c FILE USER makes one), or "
           "allow_anonymous = true" in m.log(), "and one line says how to let them in", m.log())
    m.stop()


def main():
    if ROOT and not OWN_NETWORK and shutil.which("unshare") and shutil.which("ip") and \
            subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], check=False,
                           stderr=subprocess.DEVNULL).returncode == 0:
        os.execvp("unshare", ["unshare", "-n", sys.executable, os.path.abspath(__file__), "--own-network"])
    if OWN_NETWORK:
        ip("link", "set", "lo", "up")
    return run([addresses, left_behind, late_port, late_address, defaults, interface, file_modes, dropped, passwords,
                pacing, checking, nobody_comes_in])


if __name__ == "__main__":
    sys.exit(main())
