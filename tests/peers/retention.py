"""restic as the oracle of retention: generated histories and policies, the same for both programs; the kept snapshots, the removed ones
and the reasons must be the same.

Ours are made by `backup --time`. So is one history of restic's; all others are written into restic's repository as records in its own
format, sealed with its own key, because restic takes most of a second for each backup. What restic then says of them is restic's own.
A failure names the seed of the run (RETENTION_SEED repeats it)."""

import base64
import datetime
import hashlib
import json
import os
import random
import re
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

import peers

SEED = int(os.environ.get("RETENTION_SEED") or secrets.randbelow(1 << 32))
HISTORIES, POLICIES = 40, 240
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati",
                                     "Pacific/Pago_Pago", "Australia/Lord_Howe", "Africa/Casablanca")]
TAGS = [[], [], [], ["a"], ["b"], ["a", "b"], ["a", "b", "c"]]
UTC = datetime.timezone.utc
HOUR, DAY = 3600, 86400


# ---------------------------------------------------------------- histories

def moments(chance):
    """Points in time, as seconds since 1970, newest first or not."""
    def at(text):
        return int(datetime.datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    count = chance.choice([1, 2, 3, 8, 20, 40, 60])
    start = at(chance.choice(["2024-02-27T20:00", "2020-02-28T10:00", "2024-03-30T12:00", "2024-10-26T12:00", "2024-12-27T00:00", "2020-12-26T23:59",
                              "2015-12-30T05:00", "2023-03-30T23:00", "2024-05-31T22:00", "1999-12-31T12:00", "2025-07-01T00:00"]))
    kind = chance.choice(["hourly", "daily", "twice a day", "half hours", "irregular", "years", "bursts", "month ends", "future"])
    step = {"hourly": HOUR, "daily": DAY, "twice a day": DAY // 2, "half hours": HOUR // 2}.get(kind)
    if step:
        return [start + n * step + chance.choice([0, 0, 0, chance.randrange(600)]) for n in range(count)]
    if kind == "irregular":
        return [start + chance.randrange(400 * DAY) for _ in range(count)]
    if kind == "years":
        return [start + chance.randrange(12 * 365 * DAY) for _ in range(count)]
    if kind == "month ends":
        return [at(f"{year}-{month:02}-{day:02}T{chance.choice(['00:00', '12:00', '23:59'])}") for year in (2019, 2020, 2023, 2024) for month, day in
                ((1, 31), (2, 28), (3, 1), (3, 31), (4, 30), (12, 31))][:count]
    if kind == "future":
        return [start + chance.randrange(30 * DAY) for _ in range(count)] + [at("2090-01-01T00:00") + chance.randrange(90 * DAY) for _ in range(chance.randrange(1, 5))]
    # Many in the same hour and second, some at exactly the same time.
    return [start + n // 7 * 5 * HOUR + chance.choice([0, 0, 1, 59, 3599]) for n in range(count)]


def history(chance, number, folders):
    """Snapshots of one host: (time with offset, host, tags, folder). No two hosts have a snapshot at the same nanosecond, and those of one
    host that have are alike: which of them counts as the newest is for each program to choose."""
    host, made = f"host-{number:02}", {}
    zones = chance.choice([[chance.choice(ZONES)], [chance.choice(ZONES)], ZONES])
    paths = chance.choice([folders[:1], folders])
    for moment in moments(chance):
        zone, tags, folder = chance.choice(zones), chance.choice(TAGS), chance.choice(paths)
        zone, tags, folder = made.setdefault(moment, (zone, tags, folder))
        yield datetime.datetime.fromtimestamp(moment, UTC).replace(microsecond=number).astimezone(zone).isoformat(), host, tags, folder


# ---------------------------------------------------------------- policies

def duration(chance):
    parts = [(chance.choice([1, 1, 2, 5, 11, 30, 100]), unit) for unit in chance.sample("ymdwh", chance.choice([1, 1, 2, 3]))]
    return "".join(f"{n}{unit}" for n, unit in parts)


def policy(chance, folders):
    """Options of one forget."""
    counted = [f"--keep-{kind}" for kind in ("last", "hourly", "daily", "weekly", "monthly", "yearly")]
    windows = [f"--keep-within{kind}" for kind in ("", "-hourly", "-daily", "-weekly", "-monthly", "-yearly")]
    words = []
    for option in chance.sample(counted + windows, chance.choice([1, 1, 2, 3, 5, 12])):
        words += [option, duration(chance) if option in windows else chance.choice(["1", "2", "3", "5", "10", "100", "unlimited"])]
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        words += ["--keep-tag", chance.choice(["a", "b", "a,b", "b, a", "c", "", "zz"])]
    if chance.random() < 0.03:
        words = ["--keep-tag", chance.choice(["a", "b", "zz", ""])]
    if chance.random() < 0.4:
        words += ["--group-by", chance.choice(["host", "", "tags", "host,tags", "paths", "host,paths,tags"])]
    if chance.random() < 0.15:
        words += ["--tag", chance.choice(["a", "b", "a,b", ""])]
    if chance.random() < 0.1:
        words += ["--path", chance.choice(folders)]
    for _ in range(chance.choice([0] * 6 + [1, 3])):
        words += ["--host", f"host-{chance.randrange(HISTORIES):02}"]
    return words


def in_days(text):
    """A duration as restic knows it: without weeks."""
    parts = {unit: int(number) for number, unit in re.findall(r"(\d+)([ymwdh])", text)}
    parts["d"] = parts.get("d", 0) + 7 * parts.pop("w", 0)
    return "".join(f"{parts[unit]}{unit}" for unit in "ymdh" if parts.get(unit))


# ---------------------------------------------------------------- restic's repository, from outside

class Records:
    """Writes snapshots into a restic repository. https://restic.readthedocs.io/en/stable/100_references.html"""

    def __init__(self, restic, folder):
        self.restic = restic
        restic("backup", "--host", "template", folder)
        self.template = json.loads(restic("cat", "snapshot", restic.json("snapshots")[0][0]["id"]))
        self.master = json.loads(restic("cat", "masterkey"))
        restic("forget", "latest")
        self.cheapen_the_password()

    def seal(self, encrypt, mac, plain):
        nonce = os.urandom(16)
        stream = Cipher(algorithms.AES(encrypt), modes.CTR(nonce)).encryptor()
        sealed = stream.update(plain) + stream.finalize()
        block = Cipher(algorithms.AES(mac[:16]), modes.ECB()).encryptor()
        return nonce + sealed + Poly1305.generate_tag(mac[16:] + block.update(nonce), sealed)

    def cheapen_the_password(self):
        """Puts a key in the place of restic's that costs a millisecond to derive, not half a second for each of hundreds of calls."""
        salt, cost = os.urandom(64), {"N": 16, "r": 8, "p": 1}
        derived = hashlib.scrypt(peers.PASSWORD.encode(), salt=salt, n=cost["N"], r=cost["r"], p=cost["p"], dklen=64)
        data = self.seal(derived[:32], derived[32:], json.dumps(self.master).encode())
        record = {"created": self.template["time"], "username": "", "hostname": "", "kdf": "scrypt", **cost,
                  "salt": base64.b64encode(salt).decode(), "data": base64.b64encode(data).decode()}
        self.put("keys", json.dumps(record).encode(), replace=True)

    def put(self, kind, data, replace=False):
        folder = f"{self.restic.repo}/{kind}"
        for name in os.listdir(folder) if replace else []:
            os.chmod(f"{folder}/{name}", 0o600)
            os.remove(f"{folder}/{name}")
        with open(f"{folder}/{hashlib.sha256(data).hexdigest()}", "wb") as file:
            file.write(data)

    def add(self, time, host, tags, folder):
        snapshot = {**self.template, "time": time, "hostname": host, "paths": [folder], "tags": tags}
        if not tags:
            del snapshot["tags"]
        key = {name: base64.b64decode(self.master["mac"][name]) for name in "kr"}
        self.put("snapshots", self.seal(base64.b64decode(self.master["encrypt"]), key["k"] + key["r"], json.dumps(snapshot).encode()))


# ---------------------------------------------------------------- judgement

def judged(program, words):
    """What a forget would do: exit code, and for each group the kept snapshots with their reasons and the removed ones, newest first."""
    text = program("forget", "--dry-run", "--json", *words, code=None, env={"TZ": "UTC"})
    def shown(snapshot):
        time = datetime.datetime.fromisoformat(snapshot["time"])
        return str(time), snapshot["hostname"], tuple(snapshot.get("tags") or ()), tuple(snapshot["paths"])
    groups = {}
    for group in json.loads(text) if text.strip() else []:
        key = group["host"], tuple(group["paths"] or ()), tuple(group["tags"] or ())
        reasons = [(shown(reason["snapshot"]), [without_weeks(match) for match in reason["matches"]]) for reason in group["reasons"] or []]
        kept = [shown(snapshot) for snapshot in group["keep"] or []]
        assert kept == [snapshot for snapshot, _ in reasons], f"{program.name} {words}: reasons are not in the order of what is kept"
        assert key not in groups, f"{program.name} {words}: {key} twice"
        groups[key] = reasons, [shown(snapshot) for snapshot in group["remove"] or []]
    return program.code, groups


def without_weeks(reason):
    head, within, span = reason.rpartition("within ")
    return f"{head}{within}{in_days(span)}" if within else reason


def for_restic(words):
    return [in_days(word) if option.startswith("--keep-within") else word for option, word in zip([""] + words, words)]


def compare(programs, policies):
    """Puts every policy to both; returns how many groups were judged, and what differs."""
    ours, restic = programs
    with ThreadPoolExecutor(2) as pool:
        mine = pool.map(lambda words: judged(peers_copy(ours), words), policies)
        theirs = pool.map(lambda words: judged(peers_copy(restic), for_restic(words) + ["--no-lock", "--no-cache"]), policies)
        pairs, refused, wrong, seen = 0, 0, [], Counter()
        for words, my, their in zip(policies, mine, theirs):
            pairs += len(their[1])
            refused += their[0] != 0
            seen.update(re.sub("within .*|tags .*", "…", match) for kept, _ in their[1].values() for _, matches in kept for match in matches)
            if my != their:
                keys = [key for key in {**my[1], **their[1]} if my[1].get(key) != their[1].get(key)]
                first = f"\n  ours   {my[1].get(keys[0])}\n  restic {their[1].get(keys[0])}" if keys else ""
                wrong.append(f"{words}: exit codes {my[0]} and {their[0]}, {len(keys)} groups differ: {keys[:1]}{first}"[:3000])
    return pairs, refused, wrong, seen


def peers_copy(program):
    """Threads must not share the exit code."""
    copy = object.__new__(peers.Program)
    copy.__dict__.update(program.__dict__)
    return copy


def ours_with_key_file(scratch):
    """volvault opens with a key file, so that hundreds of calls cost no password hash."""
    key = f"{scratch.new('key')}/key"
    with open(key, "wb") as file:
        file.write(os.urandom(32))
    ours = peers.Program(scratch, "volvault", env={"VOLVAULT_KEY_FILE": key})
    del ours.env["VOLVAULT_PASSWORD"]
    ours("init")
    return ours


def folders_of(scratch):
    base = scratch.new("source")
    for name in ("one", "two"):
        os.mkdir(f"{base}/{name}")
    return [f"{base}/one", f"{base}/two"]


def generated_histories_are_judged_as_restic_judges_them(scratch):
    print(f"RETENTION_SEED={SEED}")
    chance, folders = random.Random(SEED), folders_of(scratch)
    ours, restic = ours_with_key_file(scratch), peers.Program(scratch, "restic")
    restic("init")
    records = Records(restic, folders[0])
    snapshots = [snapshot for number in range(HISTORIES) for snapshot in history(chance, number, folders)]
    chance.shuffle(snapshots)

    def save(snapshot):
        time, host, tags, folder = snapshot
        ours("backup", "--quiet", "--time", time, "--host", host, *[word for tag in tags for word in ("--tag", tag)], folder)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(save, snapshots))
    for snapshot in snapshots:
        records.add(*snapshot)
    policies = [policy(chance, folders) for _ in range(POLICIES)]
    pairs, refused, wrong, seen = compare((ours, restic), policies)
    print(f"{len(snapshots)} snapshots of {HISTORIES} hosts, {len(policies)} policies, {pairs} groups judged, {refused} policies refused; reasons: {dict(seen)}")
    assert not wrong, f"RETENTION_SEED={SEED}: {len(wrong)} of {len(policies)} policies differ:\n" + "\n".join(wrong[:20])
    assert pairs >= 3000 and refused > 0, "too little was compared"


def snapshots_of_both_programs_are_judged_alike(scratch):
    """Both make their snapshots themselves, on a machine whose time zone changes its clock."""
    folders = folders_of(scratch)
    programs = ours_with_key_file(scratch), peers.Program(scratch, "restic")
    programs[1]("init")
    times = ["2024-03-30 12:00:00", "2024-03-31 01:59:59", "2024-03-31 03:00:00", "2024-03-31 23:30:00", "2024-04-01 00:30:00", "2024-10-26 23:00:00",
             "2024-10-27 01:30:00", "2024-10-27 04:10:00", "2024-12-29 12:00:00", "2024-12-30 12:00:00", "2025-01-01 12:00:00", "2023-02-28 12:00:00"]

    def save(program):
        for n, time in enumerate(times):
            zone = ["Europe/Berlin", "America/New_York"][n % 3 == 2]
            program("backup", "--time", time, "--host", "host-00", *(["--tag", "a,b"] if n % 4 == 0 else []), folders[0], env={"TZ": zone})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, programs))
    chance = random.Random(SEED)
    policies = [["--keep-hourly", "9", "--keep-within-monthly", "1y1m"], ["--keep-daily", "unlimited"], ["--keep-weekly", "3"], ["--keep-tag", "b,a"], ["--keep-tag", "zz"],
                ["--keep-within", "9m2d1h"], *[policy(chance, folders) for _ in range(14)]]
    _, _, wrong, _ = compare(programs, policies)
    assert not wrong, f"RETENTION_SEED={SEED}:\n" + "\n".join(wrong)


def the_same_snapshots_go_and_refusals_are_the_same(scratch):
    """Not a dry run: what is left afterwards, exit codes, and what is said."""
    folders, left = folders_of(scratch), {}
    programs = ours_with_key_file(scratch), peers.Program(scratch, "restic")
    programs[1]("init")
    for program in programs:
        seen = left[program.name] = []
        for day in range(1, 9):
            program("backup", "--time", f"2024-03-0{day} 10:00:00", "--host", "ab"[day % 2], *(["--tag", "x"] if day == 1 else []), folders[0])
        for words in ([], ["--keep-last", "0"], ["--keep-last", "-1"], ["--keep-last", "x"], ["--keep-within", "1"], ["--keep-within", "-1d"], ["--keep-tag", "x"],
                      ["--unsafe-allow-remove-all"], ["ffffffff"], ["--keep-last", "1", "--host", "nobody"], ["--keep-last", "1", "--group-by", "user"],
                      ["--keep-last", "3", "--host", "a"], ["--keep-tag", "x", "--keep-daily", "2"], ["latest"], ["latest", "--host", "a"],
                      ["--unsafe-allow-remove-all", "--tag", "x"], ["-l", "1", "-g", "", "-c"]):
            program("forget", *words, code=None)
            code = program.code
            listed = program.json("snapshots")[0]
            seen.append((words, code, sorted((snapshot["time"][:10], snapshot["hostname"]) for snapshot in listed)))
    differing = [pair for pair in zip(left["volvault"], left["restic"]) if pair[0] != pair[1]]
    assert not differing, "\n".join(f"{a}\n{b}" for a, b in differing)


if __name__ == "__main__":
    peers.main([the_same_snapshots_go_and_refusals_are_the_same, snapshots_of_both_programs_are_judged_alike, generated_histories_are_judged_as_restic_judges_them])
