"""One tree with every kind of file, pushed to a mirror and pulled from it: judged by rsync and by lstat; and pulls and pushes that are killed."""

import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

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


def kill_a_push(scratch, seed, killed):
    """One mirror: its second push is killed after a random part of the time that the first one took."""
    rng = random.Random(seed)
    old, new, target = f"{scratch}/old", f"{scratch}/new", f"{scratch}/pulled"
    for source in (old, new):
        for n in range(7):
            os.makedirs(f"{source}/d{n}")
    stamp(old, 1)
    stamp(new, 2)
    env = {"PATH": os.environ["PATH"], "HOME": scratch, "RCLONE_CONFIG": "/dev/null"}
    argv = [os.environ["VOLVAULT"], "mirror"]

    def run(*words):
        return subprocess.run([*argv, *words], env=env, capture_output=True, timeout=peers.TIMEOUT)

    start = time.monotonic()
    done = run("push", old, f"{scratch}/m")
    took = time.monotonic() - start
    assert done.returncode == 0 and run("pull", f"{scratch}/m", target).returncode == 0, done.stderr
    push = subprocess.Popen([*argv, "push", new, f"{scratch}/m"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(rng.uniform(0.1, 1.1) * took)
    push.send_signal(signal.SIGKILL)
    killed.append(push.wait() == -signal.SIGKILL)
    # Whoever pulls now gets the old generation or the new one, or is told to come again, and has what he had.
    between = run("pull", f"{scratch}/m", target, "--wait", "1s")
    if between.returncode == 0:
        assert not trees.differences(old, target) or not trees.differences(new, target), f"seed {seed}: a mix was pulled"
    else:
        assert between.returncode == 5, f"seed {seed}: exit code {between.returncode}: {between.stderr}"
        same(old, target)
    # The next push waits until the claim of the dead one has not moved for 45 seconds, and mends.
    done = run("push", new, f"{scratch}/m")
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    for last in (target, f"{scratch}/afresh"):
        assert run("pull", f"{scratch}/m", last).returncode == 0
        same(new, last)


def a_push_killed_at_any_moment_leaves_a_generation_for_every_puller(scratch):
    """SIGKILL after a random time, on many mirrors at once: what takes long is to wait until the dead one's claim is found dead."""
    killed = []
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda seed: kill_a_push(scratch.new(f"push-{seed}"), seed, killed), range(12)))
    assert sum(killed) > 3, f"only {sum(killed)} pushes were killed before they ended"


if __name__ == "__main__":
    peers.main([every_kind_of_file_is_mirrored_for_root, every_kind_of_file_is_mirrored_for_an_ordinary_user,
                a_pull_killed_at_any_moment_leaves_one_generation_after_the_next_run, a_push_killed_at_any_moment_leaves_a_generation_for_every_puller])
