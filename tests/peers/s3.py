"""On rclone's S3 server, which others wrote: our S3 tests, and a whole life of a repository."""

import json
import os

import peers
import trees


def our_store_keeps_its_promises_there(scratch):
    """All but the create-only write: rclone's server ignores `If-None-Match`."""
    with peers.S3(scratch.new("s3")) as server:
        peers.our_tests_of(f"s3:{server.url}/volvault-test", {**server.env, "VOLVAULT_TEST_NO_CREATE": "1"})
        assert os.path.isdir(f"{server.directory}/volvault-test"), "the test did not use the server"


def what_mirrors_want_is_done_there_as_far_as_it_is_known(scratch):
    """Of conditions rclone's server knows one on reads only; copies overlook them, and control characters in names are lost."""
    with peers.S3(scratch.new("s3")) as server:
        peers.our_tests_of(f"s3:{server.url}/volvault-test", server.env, mirror="attributes uploads")


def a_repository_lives_on_it(scratch):
    with peers.S3(scratch.new("s3")) as server:
        source = trees.life(scratch, f"s3:{server.url}/bucket/some/prefix", server.env)
        counts = json.loads(peers.reader(f"{server.directory}/bucket/some/prefix", "verify"))
        assert counts["snapshots"] == 2 and counts["unindexed"] == 0, counts
        trees.read_by_the_second_reader(scratch, peers.Program(scratch, "volvault", repo=f"{server.directory}/bucket/some/prefix"), source)


def a_check_compares_what_it_lists(scratch):
    """rclone's server reads a file to name its MD5 in a listing: what changes below it is found by a check that reads no other pack."""
    source = f"{scratch.new('source')}/tree"
    os.mkdir(source)
    trees.plain_tree(source)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        program = peers.Program(scratch, "volvault", repo=f"s3:{server.url}/bucket/repo", env=server.env)
        program("init")
        program("backup", ".", cwd=source)
        there = f"{server.directory}/bucket/repo"
        packs = [os.path.join(top, name) for top, _, names in os.walk(f"{there}/packs") for name in names]
        kept = json.loads(peers.reader(there, "verify"))
        assert kept["checksums"] == kept["md5s"] == len(packs), kept
        (summary,) = [line for line in program.json("check") if line["message_type"] == "summary"]
        assert summary["checksums"]["compared"] == len(packs) and summary["checksums"]["rewritten"] == 0, summary
        with open(packs[0], "r+b") as file:
            file.seek(100)
            byte = file.read(1)[0]
            file.seek(100)
            file.write(bytes([byte ^ 1]))
        said = program("check", code=1).decode() + program.errors
        assert f"broken pack: {os.path.basename(packs[0])}" in said and "read 1 packs" in said, said


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
    peers.main([our_store_keeps_its_promises_there, what_mirrors_want_is_done_there_as_far_as_it_is_known, a_repository_lives_on_it, a_check_compares_what_it_lists, restic_restores_the_same_tree_from_it])
