"""Pulls beside pushes, with real rclone and with us on one server: rclone delivers files of two generations and calls it a success, we never do.

Every file says which generation it is of. `tests/it/mirror_torture.rs` does the same inside one process, 2,000 times; what rclone does here shows that
such a test can fail. `VOLVAULT_TORTURE_PULLS` says how many pulls of ours there are in all.
"""

import os
import threading
import time

import peers
from clouds import Versity
from mirror import Ours, remote_of, rclone
from proxy import Gate

# What VolSync's mover gives it.
VOLSYNC = ["--checksum", "--one-file-system", "--create-empty-src-dirs", "--exclude", "lost+found/**"]
FILES = 24
PULLERS = 4


def stamp(source, generation, files=FILES, lengths=50):
    """With one length for all generations, rclone has nothing to complain about when an object is replaced under its hands."""
    for number in range(files):
        os.makedirs(f"{source}/{number % 5}", exist_ok=True)
        with open(f"{source}/{number % 5}/{number}", "w") as file:
            file.write("%09d%s" % (generation, "." * ((generation * 31 + number) % lengths)))


def stamps(target):
    """The generations of which there are files below a directory."""
    found = set()
    for directory, _, names in os.walk(target):
        for name in names:
            with open(f"{directory}/{name}") as file:
                found.add(int(file.read()[:9]))
    return found


class Rclone:
    """Pushes and pulls as VolSync's mover does."""

    def push(self, server, source):
        rclone("sync", *VOLSYNC, "--transfers", "10", source, "peer:bucket/p", env=remote_of(server))

    def pull(self, server, target, transfers):
        """Whether it says that all went well."""
        return rclone("sync", *VOLSYNC, "--transfers", str(transfers), "peer:bucket/p", target, env=remote_of(server), code=None).returncode == 0


class Volvault:
    """Every source and every target has a state of its own."""

    def __init__(self, scratch):
        self.ours = Ours(scratch)

    def push(self, server, source):
        self.ours.mirror("push", source, "peer:bucket/p", "--state-dir", f"{source}.state", env=remote_of(server))

    def pull(self, server, target, transfers):
        options = ["--transfers", str(transfers), "--state-dir", f"{target}.state"]
        self.ours.mirror("pull", "peer:bucket/p", target, *options, env=remote_of(server))
        return True


def served(scratch):
    directory = scratch.new("s3")
    os.mkdir(f"{directory}/bucket")
    return Versity(directory)


def interrupted(scratch, program):
    """Which generations lie in the target of a pull that has read one of two files when the next generation is pushed."""
    source, target = f"{scratch.new('source')}/tree", f"{scratch.new('target')}/tree"
    with served(scratch) as server:
        stamp(source, 1, files=2, lengths=1)
        program.push(server, source)
        gate = Gate(server)
        puller = threading.Thread(target=program.pull, args=(gate, target, 1))
        puller.start()
        try:
            assert gate.held.wait(peers.TIMEOUT), "the pull did not read two objects"
            stamp(source, 2, files=2, lengths=1)
            program.push(server, source)
        finally:
            gate.free.set()
            puller.join()
    return stamps(target)


def a_push_in_the_middle_of_a_pull_tears_what_rclone_pulls(scratch):
    found = interrupted(scratch, Rclone())
    assert found == {1, 2}, f"rclone pulled generations {found}: this test shows nothing any more"


def a_push_in_the_middle_of_a_pull_does_not_tear_what_we_pull(scratch):
    found = interrupted(scratch, Volvault(scratch))
    assert found == {2}, found


def beside_pushes(scratch, program, pulls, enough):
    """How many of so many pulls beside a writer who never stops deliver two generations, and how many there were; ends early after `enough` of them."""
    source, over, torn, done, failures = f"{scratch.new('source')}/tree", threading.Event(), [], [], []

    def guarded(work):
        def inner(*args):
            try:
                work(*args)
            except BaseException as error:
                failures.append(error)
                over.set()
        return inner

    @guarded
    def write(server):
        generation = 1
        while not over.is_set():
            generation += 1
            stamp(source, generation)
            start = time.monotonic()
            program.push(server, source)
            time.sleep(time.monotonic() - start)        # time for somebody to read a generation as a whole, however slow the machine is

    @guarded
    def pull(server, target):
        for _ in range(pulls // PULLERS):
            if over.is_set():
                return
            success, found = program.pull(server, target, 2), stamps(target)
            done.append(target)
            if success and len(found) > 1:
                torn.append(found)
                if len(torn) >= enough:
                    over.set()

    with served(scratch) as server:
        stamp(source, 1)
        program.push(server, source)
        writer = threading.Thread(target=write, args=(server,))
        pullers = [threading.Thread(target=pull, args=(server, f"{scratch.new('target')}/tree")) for _ in range(PULLERS)]
        for thread in (writer, *pullers):
            thread.start()
        for thread in pullers:
            thread.join()
        over.set()
        writer.join()
    if failures:
        raise failures[0]
    return len(torn), len(done)


def many_pulls_of_rclone_beside_pushes_are_torn(scratch):
    torn, done = beside_pushes(scratch, Rclone(), 400, enough=5)
    print(f"       rclone: {torn} of {done} pulls hold files of two generations or more")
    assert torn >= 5


def no_pull_of_ours_beside_pushes_is_torn(scratch):
    pulls = int(os.environ.get("VOLVAULT_TORTURE_PULLS", "60"))
    torn, done = beside_pushes(scratch, Volvault(scratch), pulls, enough=1)
    print(f"       volvault: {torn} of {done} pulls hold files of two generations or more")
    assert torn == 0


if __name__ == "__main__":
    peers.main([a_push_in_the_middle_of_a_pull_tears_what_rclone_pulls, a_push_in_the_middle_of_a_pull_does_not_tear_what_we_pull,
                many_pulls_of_rclone_beside_pushes_are_torn, no_pull_of_ours_beside_pushes_is_torn])
