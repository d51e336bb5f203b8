"""The movers on rclone's S3 server, with real rclone, getfacl and setfacl on the other side of a mirror as VolSync's script calls them, and what strace sees
of the end of a restore and of a pull.

VolSync takes a snapshot of the volume as soon as the mover has ended: what is not on the disk by then is not in it."""

import os
import re
import subprocess

import peers
import trees

KEY = "key32:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Pod:
    """Called as VolSync's operator calls its mover."""

    def __init__(self, scratch, repository, env=None):
        self.program, self.data = f"{scratch.new('image')}/entry.sh", scratch.new("data")
        os.symlink(f"{scratch.top}/volvault", self.program)
        self.env = {
            "DATA_DIR": self.data, "RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": KEY, "RESTIC_CACHE_DIR": "/cache",
            "PRIVILEGED_MOVER": "1", "FORGET_OPTIONS": "--keep-last 2", "SELECT_PREVIOUS": "0", "RESTORE_AS_OF": "",
            "RESTORE_OPTIONS": "--delete", **(env or {}),
        }

    def __call__(self, *actions, before=()):
        done = subprocess.run([*before, self.program, *actions], env=self.env, capture_output=True, text=True, timeout=peers.TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^Restic completed in \d+s$", done.stdout.splitlines()[-1]), done.stdout
        return done.stdout


class Mirror:
    """A mirror at rclone's server, and movers of both kinds for it: ours, and what VolSync's active.sh does."""

    def __init__(self, scratch, server):
        self.server = server
        self.program, self.config = f"{scratch.new('image')}/active.sh", f"{scratch.new('config')}/rclone.conf"
        os.symlink(f"{scratch.top}/volvault", self.program)
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"[bucket]\ntype = s3\nprovider = Rclone\nendpoint = {server.url}\naccess_key_id = {server.key}\nsecret_access_key = {server.secret}\nregion = us-east-1\n")
        self.env = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "RCLONE_CONFIG": self.config, "RCLONE_CONFIG_SECTION": "bucket", "RCLONE_DEST_PATH": "bucket/app", "PRIVILEGED_MOVER": "1"}

    def ours(self, direction, data, before=()):
        done = subprocess.run([*before, self.program], env={**self.env, "DIRECTION": direction, "MOUNT_PATH": data}, capture_output=True, text=True, timeout=peers.TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^Rclone completed in \d+s$", done.stdout.splitlines()[-1]), done.stdout
        return done.stdout

    def theirs(self, direction, data):
        """`data` is a directory of the name `data`: the names in permissions.facl begin with it."""
        above, facl = os.path.dirname(data), f"{os.path.dirname(data)}/permissions.facl"
        flags = '--checksum --one-file-system --create-empty-src-dirs --exclude "lost+found/**"'
        place = "bucket:bucket/app"
        script = {
            "source": f"""find data -path data/lost+found -prune -o ! -type l -print | getfacl -P - > {facl}
                {peers.RCLONE} sync {flags} {data} {place}
                {peers.RCLONE} copy --checksum --include permissions.facl {above} {place} --max-depth 1""",
            "destination": f"""{peers.RCLONE} sync {flags} --exclude permissions.facl {place} {data}
                {peers.RCLONE} copy --include permissions.facl {place} {above} --max-depth 1
                stat {facl} >/dev/null
                setfacl --restore={facl} || true""",
        }[direction]
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=above, env=self.env, capture_output=True, text=True, timeout=peers.TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr


def described(top):
    """Kind, mode, owner and content of everything below, links aside: what all movers carry."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            stat = os.lstat(path)
            # To rclone without `--links` the object of a link is a file.
            if os.path.islink(path) or name.endswith(".rclonelink"):
                continue
            content = None if os.path.isdir(path) else open(path, "rb").read()
            found[os.path.relpath(path, top)] = (stat.st_mode, stat.st_uid, stat.st_gid, content)
    return found


def same(left, right):
    left, right = described(left), described(right)
    wrong = [f"{path}: {left.get(path, ())[:3]} and {right.get(path, ())[:3]}" for path in sorted(left.keys() | right.keys()) if left.get(path) != right.get(path)]
    assert not wrong, "\n".join(wrong)


def volume(scratch, name):
    """A volume as a pod sees it."""
    path = f"{scratch.new(name)}/data"
    os.mkdir(path)
    return path


def movers_of_both_kinds_stand_on_either_side(scratch):
    with peers.S3(scratch.new("s3")) as server:
        os.mkdir(f"{server.directory}/bucket")
        mirror = Mirror(scratch, server)
        source, old, new = (volume(scratch, name) for name in ("source", "old", "new"))
        os.makedirs(f"{source}/dir/deeper")
        for number, (name, mode, owner) in enumerate([("plain", 0o644, 0), ("dir/secret", 0o600, 1234), ("dir/deeper/tool", 0o755, 0), ("dir/sp ace ö", 0o640, 4321)]):
            with open(f"{source}/{name}", "w", encoding="ascii") as file:
                file.write(f"content {number}")
            os.chmod(f"{source}/{name}", mode)
            os.chown(f"{source}/{name}", owner, owner)
        os.chmod(f"{source}/dir/deeper", 0o2750)
        os.makedirs(f"{source}/lost+found")
        os.symlink("plain", f"{source}/link")

        def both_pull(says):
            assert says in mirror.ours("destination", new)
            mirror.theirs("destination", old)
            for target in (old, new):
                os.makedirs(f"{target}/lost+found", exist_ok=True)
                same(source, target)

        mirror.theirs("source", source)
        both_pull("rclone has pushed there last")
        assert "unchanged, no generation" in mirror.ours("destination", new)
        mirror.ours("source", source)
        with open(f"{source}/plain", "w", encoding="ascii") as file:
            file.write("changed")
        os.remove(f"{source}/dir/secret")
        mirror.ours("source", source)
        # Where the server keeps no metadata of objects, each push and pull looks twice.
        mirror.ours("destination", new)
        mirror.theirs("destination", old)
        for target in (old, new):
            same(source, target)
        with open(f"{source}/plain", "w", encoding="ascii") as file:
            file.write("changed by rclone's push")
        mirror.theirs("source", source)
        both_pull("rclone has pushed there last")
        mirror.ours("source", source)
        mirror.ours("destination", new)
        mirror.theirs("destination", old)
        for target in (old, new):
            same(source, target)


def a_volume_is_saved_pruned_and_restored_on_rclones_server(scratch):
    with peers.S3(scratch.new("s3")) as server:
        pod = Pod(scratch, f"s3:{server.url}/bucket/app", server.env)
        trees.plain_tree(pod.data)
        assert "created volvault repository" in pod("backup")
        saved = scratch.new("saved")
        subprocess.run(["cp", "-a", f"{pod.data}/.", saved], check=True)
        with open(f"{pod.data}/extra", "w", encoding="ascii") as file:
            file.write("saved, forgotten and pruned")
        pod("unlock", "backup", "prune")
        os.remove(f"{pod.data}/extra")
        for _ in range(3):
            log = pod("unlock", "backup", "prune")
        assert "successfully removed 1 snapshots, 2 kept" in log and "successfully pruned" in log, log
        subprocess.run(f"rm -rf {pod.data}/*; mkdir {pod.data}/lost+found; touch {pod.data}/gone", shell=True, check=True)
        pod("restore")
        assert os.path.isdir(f"{pod.data}/lost+found"), "lost+found is the file system's"
        os.rmdir(f"{pod.data}/lost+found")
        found = [line for line in trees.differences(saved, pod.data) if not line.endswith(" ./")]
        assert found == [], "\n".join(found)


def a_restore_is_on_the_disk_when_it_ends(scratch):
    pod = Pod(scratch, f"{scratch.new('repository')}/repo")
    trees.plain_tree(pod.data)
    pod("backup")
    subprocess.run(f"rm -rf {pod.data}/*", shell=True, check=True)
    nothing_is_late(scratch, pod.data, lambda before: pod("restore", before=before))


def a_pull_is_on_the_disk_when_it_ends(scratch):
    with peers.S3(scratch.new("s3")) as server:
        mirror, source, target = Mirror(scratch, server), volume(scratch, "source"), volume(scratch, "target")
        for n in range(100):
            os.makedirs(f"{source}/{n % 7}", exist_ok=True)
            with open(f"{source}/{n % 7}/{n}", "w", encoding="ascii") as file:
                file.write(f"{n}\n" * n)
        mirror.ours("source", source)
        nothing_is_late(scratch, target, lambda before: mirror.ours("destination", target, before))


def nothing_is_late(scratch, data, work):
    """Nothing is written below `data` after it was synced."""
    log = f"{scratch.new('trace')}/log"
    calls = "openat,write,pwrite64,writev,ftruncate,rename,renameat,renameat2,linkat,mkdirat,symlinkat,fchmod,fchown,utimensat,unlinkat,syncfs"
    work(["strace", "-f", "-y", "-e", f"trace={calls}", "-e", "signal=none", "-o", log])
    with open(log, errors="backslashreplace") as file:
        lines = file.read().splitlines()
    synced = [n for n, line in enumerate(lines) if "syncfs(" in line and f"<{data}>" in line]
    assert synced, "the file system of the volume was not synced"
    task = lines[synced[-1]].split()[0]
    answer = next(line for line in lines[synced[-1]:] if line.startswith(f"{task} ") and "syncfs" in line and "unfinished" not in line)
    assert answer.endswith("= 0"), answer
    late = [line for line in lines[synced[-1] + 1:] if data in line and not line.endswith("(No such file or directory)")]
    assert late == [], "\n".join(late)


if __name__ == "__main__":
    peers.main([a_volume_is_saved_pruned_and_restored_on_rclones_server, a_restore_is_on_the_disk_when_it_ends, movers_of_both_kinds_stand_on_either_side,
                a_pull_is_on_the_disk_when_it_ends])
