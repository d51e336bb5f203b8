"""The programs under test: one class each, one method per command.

A method returns (argv, cwd); `env()` is added to the environment. To add a tool,
write a class with the methods of Tool that it supports, and put it into TOOLS;
a method that it lacks is skipped by measure.py.
`place` says where things are (see Place in places.py): place.repo is a local
directory, or None when place.s3 is set; place.cache and place.home may be wiped
between steps; place.src is what is saved; place.n counts the backups made so far.
"""
import os

from places import PEERS, TOP


class Tool:
    s3 = True                                    # can store to S3

    def env(self, place): return {}
    # setup(place): list of (argv, cwd) that make an empty repository (not timed)
    # backup(place), restore(place, dst), inplace(place, dst), check(place),
    # prune(place): forget all but 5 and prune; ls(place): list the snapshots


class Restic(Tool):
    bin = f"{PEERS}/deb/usr/bin/restic"
    flags = []

    def env(self, p):
        url = f"s3:{p.s3.url}/{p.s3.bucket}/{p.prefix}" if p.s3 else p.repo
        return {"RESTIC_REPOSITORY": url, "RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": p.cache}

    def setup(self, p): return [([self.bin, "init", "-q"], None)]
    def backup(self, p): return [self.bin, "backup", "-q", "--host", "bench", *self.flags, "."], p.src
    def restore(self, p, dst): return [self.bin, "restore", "-q", "latest", "--target", dst], None
    def inplace(self, p, dst): return [self.bin, "restore", "-q", "latest", "--target", dst, "--overwrite", "if-changed"], None
    def check(self, p): return [self.bin, "check", "-q", "--read-data"], None
    def prune(self, p): return [self.bin, "forget", "-q", "--keep-last", "5", "--prune"], None
    def ls(self, p): return [self.bin, "snapshots", "-q"], None


class ResticOff(Restic):
    flags = ["--compression", "off"]


class ResticMax(Restic):
    flags = ["--compression", "max"]


class Volvault(Tool):
    """This program: $VOLVAULT, or the release build. Opened with a key file, as a pod does it."""
    bin = os.environ.get("VOLVAULT", f"{os.environ.get('CARGO_TARGET_DIR', TOP + '/target')}/release/volvault")

    def env(self, p):
        url = f"s3:{p.s3.url}/{p.s3.bucket}/{p.prefix}" if p.s3 else p.repo
        return {"VOLVAULT_REPOSITORY": url, "VOLVAULT_KEY_FILE": f"{p.home}/key", "VOLVAULT_CACHE_DIR": p.cache, "HOME": p.home}

    def setup(self, p):
        return [(["sh", "-c", f"umask 077; head -c 32 /dev/urandom > {p.home}/key"], None), ([self.bin, "init", "-q"], None)]

    def backup(self, p): return [self.bin, "backup", "-q", "--host", "bench", "."], p.src
    def restore(self, p, dst): return [self.bin, "restore", "-q", "latest", "--target", dst], None
    def inplace(self, p, dst): return [self.bin, "restore", "-q", "latest", "--target", dst, "--overwrite", "if-changed"], None
    def check(self, p): return [self.bin, "check", "-q", "--read-data"], None
    def prune(self, p): return [self.bin, "forget", "-q", "--keep-last", "5", "--prune"], None
    def ls(self, p): return [self.bin, "snapshots", "-q"], None


class Rustic(Tool):
    bin = f"{PEERS}/bin/rustic"

    def env(self, p):
        e = {"RUSTIC_PASSWORD": "secret", "RUSTIC_CACHE_DIR": p.cache, "RUSTIC_NO_PROGRESS": "true",
             "RUSTIC_LOG_LEVEL": "warn", "HOME": p.home}
        if p.s3:
            os.makedirs(p.home, exist_ok=True)
            with open(f"{p.home}/rustic.toml", "w") as f:
                f.write('[repository]\nrepository = "opendal:s3"\n[repository.options]\n'
                        f'bucket = "{p.s3.bucket}"\nroot = "/{p.prefix}"\nendpoint = "{p.s3.url}"\nregion = "{p.s3.region}"\n'
                        f'access_key_id = "{p.s3.key}"\nsecret_access_key = "{p.s3.secret}"\n')
            e["RUSTIC_USE_PROFILE"] = f"{p.home}/rustic"
        else:
            e["RUSTIC_REPOSITORY"] = p.repo
        return e

    def setup(self, p): return [([self.bin, "init"], None)]
    def backup(self, p): return [self.bin, "backup", "--host", "bench", "."], p.src
    def restore(self, p, dst): return [self.bin, "restore", "latest", dst], None
    inplace = restore                            # keeps files with the same size and mtime
    def check(self, p): return [self.bin, "check", "--read-data"], None
    def prune(self, p): return [self.bin, "forget", "--keep-last", "5", "--prune"], None
    def ls(self, p): return [self.bin, "snapshots"], None


class RusticInstant(Rustic):
    """Without the two-phase delete (rustic keeps unused packs for 23 h), as restic does it."""
    def prune(self, p): return [self.bin, "forget", "--keep-last", "5", "--prune", "--instant-delete"], None


class Borg(Tool):
    bin = f"{PEERS}/borg-venv/bin/borg"
    s3 = False

    def env(self, p):
        return {"BORG_REPO": p.repo, "BORG_PASSPHRASE": "secret", "BORG_BASE_DIR": p.cache,
                "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def setup(self, p): return [([self.bin, "init", "-e", "repokey-blake2"], None)]
    def backup(self, p): return [self.bin, "create", f"::a{p.n + 1:04d}", "."], p.src
    def restore(self, p, dst): return [self.bin, "extract", f"::a{p.n:04d}"], dst
    def check(self, p): return [self.bin, "check", "--verify-data"], None
    def prune(self, p): return ["sh", "-c", f"{self.bin} prune --keep-last 5 && {self.bin} compact"], None
    def ls(self, p): return [self.bin, "list"], None


class Bupstash(Tool):
    bin = f"{PEERS}/bin/bupstash"
    s3 = False

    def env(self, p):
        return {"BUPSTASH_REPOSITORY": p.repo, "BUPSTASH_KEY": f"{p.home}/key", "XDG_CACHE_HOME": p.cache, "HOME": p.home}

    def setup(self, p): return [(["mkdir", "-p", p.home], None), ([self.bin, "init"], None), (["sh", "-c", f"[ -e {p.home}/key ] || {self.bin} new-key -o {p.home}/key"], None)]
    def backup(self, p): return [self.bin, "put", "-q", f"n={p.n + 1}", "."], p.src
    def restore(self, p, dst): return [self.bin, "restore", "-q", "--into", dst, f"n={p.n}"], None
    inplace = restore
    def ls(self, p): return [self.bin, "list"], None
    def prune(self, p):
        old = " or ".join(f"n={i}" for i in range(1, p.n - 4))
        return ["sh", "-c", f"{self.bin} rm -q --allow-many {old} && {self.bin} gc -q"], None


TOOLS = {"restic": Restic(), "restic-off": ResticOff(), "restic-max": ResticMax(), "volvault": Volvault(), "rustic": Rustic(),
         "rustic-instant": RusticInstant(), "borg": Borg(), "bupstash": Bupstash()}
