#!/usr/bin/python3
"""Hostile clients and broken networks against a real broker, while a pair of bystanders goes on with its work. Each
scene ends with the same questions: did the bystanders get everything, in time; how much memory did it take; are all
descriptors back; does the broker rest. README says which scene covers what.

Usage: hostile.py [--long] [SCENE...]; CADDIS names the program.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "interop"))
import arena  # noqa: E402
import scenes_conn  # noqa: E402
import scenes_flow  # noqa: E402
import scenes_life  # noqa: E402
import scenes_net  # noqa: E402
import scenes_topic  # noqa: E402
import scenes_web  # noqa: E402
from broker import Tap  # noqa: E402


class Notes(Tap):
    def note(self, line):
        print("# " + line)


def main(args):
    if args[:1] == ["--bystander"]:
        arena.bystander(int(args[1]))
        return 0
    long = "--long" in args or os.environ.get("HOSTILE") == "long"
    wanted = [a for a in args if not a.startswith("--")]
    tap = Notes()
    scenes = [s for m in (scenes_conn, scenes_flow, scenes_life, scenes_net, scenes_topic, scenes_web) for s in m.SCENES]
    for scene in scenes:
        if wanted and scene.__name__ not in wanted:
            continue
        began = time.monotonic()
        how = dict(getattr(scene, "place", {}))
        without = how.pop("unless", lambda: None)()
        if without:
            tap.note("%s is left out: %s" % (scene.__name__, without))
            continue
        place = arena.Arena(**how)
        failed = tap.failed
        try:
            scene(tap, place, long)
        except Exception:
            tap.ok(False, scene.__name__, traceback.format_exc().replace("\n", "\n#   "))
        finally:
            place.end(tap.failed > failed)
        tap.note("%s took %.1f s" % (scene.__name__, time.monotonic() - began))
    return tap.plan()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
