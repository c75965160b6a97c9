"""A directory with one byte flipped, or one file cut: `tallyctl store check` finds it, and what `store repair` keeps was there before.

    damage.py TALLYCTL DIRECTORY EVERY [REPAIR_EVERY]

Looks at every EVERYth byte of each file, from a random one on, and repairs every REPAIR_EVERYth of those.  The directory has been
stopped cleanly, so that nothing may be missing at the end of the log either.
"""

import os
import random
import re
import shutil
import subprocess
import sys

from tally import check, fail, note

tallyctl, directory, every, repair_every = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
seed = int(os.environ.get("TALLY_SEED") or random.randrange(1 << 32))
chance = random.Random(seed)
note(f"seed {seed}")


def run(*words):
    done = subprocess.run([tallyctl, "store", *words], capture_output=True, timeout=60)
    check(f"store {words} ends with {done.returncode}: {done.stderr}", done.returncode in (0, 1))
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def dots():
    status, out = run("dump", "damaged")
    check(f"dump: {out}", status == 0)
    return set(out.splitlines())


def put(name, data):
    shutil.rmtree("damaged", ignore_errors=True)
    shutil.copytree(directory, "damaged")
    with open(os.path.join("damaged", name), "wb") as file:
        file.write(data)


def repair(what, name, whole):
    status, out = run("repair", "damaged")
    said = re.search(r"(\d+) of \d+ bytes lost", out)
    check(f"repair of {what}: {out}", status == 0 and said is not None and (said[1] != "0" or "its end is gone" in out))
    check(f"{what}: the damaged file is kept", os.path.exists(os.path.join("damaged", "damaged-" + name)))
    status, out = run("check", "damaged")
    check(f"check after the repair of {what}: {out}", status == 0)
    kept = dots()
    check(f"{what}: {kept - whole} was never written", kept <= whole)
    return len(whole) - len(kept)


put("LOCK", b"")
whole = dots()
check("there is something to lose", len(whole) >= 6)
found = repaired = lost = 0
names = sorted(name for name in os.listdir(directory) if name.endswith(".tly") or name == "MANIFEST")
check(f"three files: {names}", len(names) == 3)
for name in names:
    with open(os.path.join(directory, name), "rb") as file:
        data = file.read()
    for at in range(chance.randrange(every), len(data), every):
        bit = 1 << chance.randrange(8)
        for what, bytes_ in (
            (f"{name} with bit {bit} of byte {at} flipped", data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]),
            (f"{name} cut to {at} bytes", data[:at]),
        ):
            put(name, bytes_)
            status, out = run("check", "damaged")
            if status != 1 or name not in out:
                fail(f"{what}: {status}, {out}")
            found += 1
            if name == "MANIFEST" or found % repair_every != 0:
                continue
            lost += repair(what, name, whole)
            repaired += 1
check("some were repaired, and some of those had lost something", repaired > 0 and lost > 0)
note(f"{found} of {found} ways of damaging {len(names)} files were found; {repaired} repairs lost {lost} of {repaired * len(whole)} dots")
