"""Requests of mirrors, counted by a proxy before servers that others wrote, beside real rclone's with the options of VolSync's mover."""

import os
import time

import peers
from clouds import Versity
from mirror import Ours, remote_of, rclone
from mirror_torture import VOLSYNC
from proxy import Proxy

FILES, DIRECTORIES = 2000, 50


def fill(source):
    long_ago = time.time() - 86_400
    for number in range(FILES):
        path = f"{source}/{number % DIRECTORIES}/{number}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"content of {number}")
        os.utime(path, (long_ago, long_ago))


def change(source):
    for number in range(0, FILES, FILES // 100):
        with open(f"{source}/{number % DIRECTORIES}/{number}", "w") as file:
            file.write(f"other content of {number}")


def chmod(source):
    for number in range(FILES):
        os.chmod(f"{source}/{number % DIRECTORIES}/{number}", 0o640)


def steps(scratch, server, push, pull):
    """(requests, requests that changed objects of the prefix) of a push and a pull: first, unchanged, after 100 changes, after a chmod of everything."""
    source, target = f"{scratch.new('source')}/tree", f"{scratch.new('target')}/tree"
    fill(source)
    proxy, found = Proxy(server), {}
    for name, work in (("first", None), ("unchanged", None), ("changed", change), ("chmod", chmod)):
        if work:
            work(source)
        push(source, proxy)
        found[name, "push"] = proxy.count()
        pull(target, proxy)
        found[name, "pull"] = proxy.count()
    return found


def ours(scratch, server):
    program, state = Ours(scratch), ["--state-dir", f"{scratch.new('state')}/s"]
    found = steps(scratch, server, lambda source, proxy: program.mirror("push", source, "peer:bucket/p", *state, env=remote_of(proxy)),
                  lambda target, proxy: program.mirror("pull", "peer:bucket/p", target, *state, env=remote_of(proxy)))
    print("       volvault:", ", ".join(f"{name} {what} {count}" for (name, what), (count, _) in found.items()))
    assert found["first", "push"][0] <= FILES + 50 and found["first", "pull"][0] <= FILES + 5, found
    assert found["unchanged", "push"] == found["unchanged", "pull"] == (1, 0), found
    assert found["changed", "push"][0] <= 110 and found["changed", "push"][1] == 100, found
    assert found["changed", "pull"] <= (105, 0), found
    assert found["chmod", "push"][0] <= 10 and found["chmod", "push"][1] == 0 and found["chmod", "pull"] <= (5, 0), found


def theirs(scratch, server):
    found = steps(scratch, server, lambda source, proxy: rclone("sync", *VOLSYNC, "--transfers", "10", source, "peer:bucket/p", env=remote_of(proxy)),
                  lambda target, proxy: rclone("sync", *VOLSYNC, "--transfers", "10", "peer:bucket/p", target, env=remote_of(proxy)))
    print("       rclone:  ", ", ".join(f"{name} {what} {count}" for (name, what), (count, _) in found.items()))
    # It lists every directory to find that nothing changed.
    assert found["unchanged", "push"][0] >= DIRECTORIES and found["unchanged", "pull"][0] >= DIRECTORIES, found


def served(scratch, kind):
    directory = scratch.new("s3")
    os.mkdir(f"{directory}/bucket")
    return kind(directory)


def requests_are_as_few_as_is_said_on_the_versity_gateway(scratch):
    for program in (ours, theirs):
        with served(scratch, Versity) as server:
            program(scratch, server)


if __name__ == "__main__":
    peers.main([requests_are_as_few_as_is_said_on_the_versity_gateway])
