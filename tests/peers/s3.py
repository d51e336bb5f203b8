"""On rclone's S3 server, which others wrote: our S3 tests, and a whole life of a repository."""

import json
import os
import subprocess

import peers
import trees


def our_store_keeps_its_promises_there(scratch):
    """All but the create-only write: rclone's server ignores `If-None-Match`."""
    with peers.S3(scratch.new("s3")) as server:
        env = {**os.environ, **server.env, "VOLVAULT_TEST_S3_ENDPOINT": server.url, "VOLVAULT_TEST_S3_NO_CREATE": "1"}
        done = subprocess.run(["cargo", "test", "--locked", "--test", "it", "an_external_s3_server"], cwd=peers.TOP, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert " 1 passed" in done.stdout and os.path.isdir(f"{server.directory}/volvault-test"), "the test did not use the server"


def a_repository_lives_on_it(scratch):
    source = f"{scratch.new('source')}/tree"
    os.mkdir(source)
    trees.plain_tree(source)
    trees.old_times(source)
    with peers.S3(scratch.new("s3")) as server:
        ours = peers.Program(scratch, "volvault", repo=f"s3:{server.url}/bucket/some/prefix", env=server.env)
        ours("snapshots", code=10)
        ours("init")
        ours("init", code=1)
        ours("snapshots", code=12, env={"VOLVAULT_PASSWORD": "wrong"})
        first = ours.json("backup", ".", cwd=source)[-1]
        again = ours.json("backup", ".", cwd=source)[-1]
        assert (again["files_new"], again["files_changed"]) == (0, 0) and again["files_unmodified"] == first["files_new"], again
        ours("check", "--read-data")
        target = f"{scratch.new('target')}/restored"
        ours("restore", "latest", "--target", target)
        trees.same(source, target)
        trees.in_place(ours, source, target)
        assert len(ours.json("snapshots")[0]) == 2
        counts = json.loads(peers.reader(f"{server.directory}/bucket/some/prefix", "verify"))
        assert counts["snapshots"] == 2 and counts["unindexed"] == 0, counts
        trees.read_by_the_second_reader(scratch, peers.Program(scratch, "volvault", repo=f"{server.directory}/bucket/some/prefix"), source)


def restic_restores_the_same_tree_from_it(scratch):
    source = f"{scratch.new('source')}/tree"
    os.mkdir(source)
    trees.plain_tree(source)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        targets = []
        for name in ("volvault", "restic"):
            program = peers.Program(scratch, name, repo=f"s3:{server.url}/bucket/{name}", env=server.env)
            program("init")
            program("backup", ".", cwd=source)
            targets.append(f"{scratch.new(name)}/restored")
            program("restore", "latest", "--target", targets[-1])
        found = [line for line in trees.differences(targets[1], targets[0]) if not line.endswith(" ./")]
        assert found == [], "\n".join(found)


if __name__ == "__main__":
    peers.main([our_store_keeps_its_promises_there, a_repository_lives_on_it, restic_restores_the_same_tree_from_it])
