"""One tree with every kind of file, pushed to a mirror and pulled from it: judged by rsync and by lstat; and pulls that are killed."""

import os
import random
import signal
import subprocess
import time

import peers
import trees


def mirrored(scratch, make, user):
    source = f"{scratch.new('source')}/tree"
    os.mkdir(source)
    make(source)
    give(source, user)
    trees.old_times(source)
    program = peers.Program(scratch, "volvault", user=user)
    mirror, target = f"{scratch.new('mirror')}/m", f"{scratch.new('target')}/pulled"
    program("mirror", "push", source, mirror)
    program("mirror", "pull", mirror, target)
    same(source, target)
    damage(target)
    program("mirror", "pull", mirror, target)
    same(source, target)
    change(source)
    give(source, user)
    trees.old_times(source)
    program("mirror", "push", source, mirror)
    program("mirror", "pull", mirror, target)
    same(source, target)
    for name in ("sparse", "all hole"):
        assert os.stat(f"{target}/{name}").st_blocks <= os.stat(f"{source}/{name}").st_blocks + 256, f"{name} has lost its holes"


def give(source, user):
    """Makes the source the ordinary user's own."""
    if user and os.getuid() == 0:
        subprocess.run(["chown", "-R", "-h", f"{peers.NOBODY}:{peers.NOBODY}", source], check=True)
        os.chmod(f"{source}/set id", 0o6755)        # chown takes the bits away


def same(source, target):
    trees.same(source, target)
    assert trees.facts(source) == trees.facts(target)


def damage(target):
    with open(f"{target}/large", "r+b") as file:
        file.seek(5 << 20)
        file.write(b"damage")
    os.chmod(f"{target}/zero", 0o600)
    os.remove(f"{target}/link")
    os.remove(f"{target}/many/f007")
    os.mkdir(f"{target}/many/f007")
    trees.write(f"{target}/extra", b"not in the mirror")


def change(source):
    """A hard link goes its own way, a file becomes a directory, a directory a file, and a big file changes in its middle."""
    os.remove(f"{source}/many/link to one")
    trees.write(f"{source}/many/link to one", b"its own now")
    os.remove(f"{source}/repeats")
    os.mkdir(f"{source}/repeats")
    trees.write(f"{source}/repeats/below", b"below")
    subprocess.run(["rm", "-r", f"{source}/deep"], check=True)
    trees.write(f"{source}/deep", b"a file")
    with open(f"{source}/large", "r+b") as file:
        file.seek(4 << 20)
        file.write(b"changed")


def every_kind_of_file_is_mirrored_for_root(scratch):
    if os.getuid() != 0:
        print("       (not root: devices, owners and capabilities are left to a run as root)")
        return
    mirrored(scratch, trees.privileged_tree, user=False)


def every_kind_of_file_is_mirrored_for_an_ordinary_user(scratch):
    mirrored(scratch, trees.plain_tree, user=True)


def stamp(source, generation):
    for n in range(300):
        trees.write(f"{source}/d{n % 7}/f{n}", b"%06d" % generation + b"." * (generation * n % 2000))
    for n in range(generation % 5, 300, 5):
        os.remove(f"{source}/d{n % 7}/f{n}")


def a_pull_killed_at_any_moment_leaves_one_generation_after_the_next_run(scratch):
    """SIGKILL after a random time; the next run completes the generation that was begun, or the newest."""
    source, rng = f"{scratch.new('source')}/tree", random.Random(17)
    for n in range(7):
        os.makedirs(f"{source}/d{n}")
    program = peers.Program(scratch, "volvault")
    mirror, target = f"{scratch.new('mirror')}/m", f"{scratch.new('target')}/pulled"
    killed = 0
    for generation in range(1, 21):
        stamp(source, generation)
        program("mirror", "push", source, mirror)
        pull = subprocess.Popen([program.binary, "mirror", "pull", mirror, target], env=program.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.random() * 0.25)
        pull.send_signal(signal.SIGKILL)
        killed += pull.wait() == -signal.SIGKILL
        program("mirror", "pull", mirror, target)
        same(source, target)
    assert killed > 3, f"only {killed} pulls were killed before they ended"


if __name__ == "__main__":
    peers.main([every_kind_of_file_is_mirrored_for_root, every_kind_of_file_is_mirrored_for_an_ordinary_user,
                a_pull_killed_at_any_moment_leaves_one_generation_after_the_next_run])
