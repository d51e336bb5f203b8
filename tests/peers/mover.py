"""The restic mover on rclone's S3 server, and what strace sees of the end of a restore.

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
    log = f"{scratch.new('trace')}/log"
    calls = "openat,write,pwrite64,writev,ftruncate,rename,renameat,renameat2,linkat,mkdirat,symlinkat,fchmod,fchown,utimensat,unlinkat,syncfs"
    pod("restore", before=["strace", "-f", "-y", "-e", f"trace={calls}", "-e", "signal=none", "-o", log])
    with open(log, errors="backslashreplace") as file:
        lines = file.read().splitlines()
    synced = [n for n, line in enumerate(lines) if "syncfs(" in line and f"<{pod.data}>" in line]
    assert synced, "the file system of the volume was not synced"
    task = lines[synced[-1]].split()[0]
    answer = next(line for line in lines[synced[-1]:] if line.startswith(f"{task} ") and "syncfs" in line and "unfinished" not in line)
    assert answer.endswith("= 0"), answer
    late = [line for line in lines[synced[-1] + 1:] if pod.data in line and not line.endswith("(No such file or directory)")]
    assert late == [], "\n".join(late)


if __name__ == "__main__":
    peers.main([a_volume_is_saved_pruned_and_restored_on_rclones_server, a_restore_is_on_the_disk_when_it_ends])
