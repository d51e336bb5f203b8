#!/usr/bin/env python3
"""A second reader of volvault repositories, written from docs/format.md alone, to keep that page honest.

    volvault_reader.py --repo DIR (--key-file F | --password-file F) list
    volvault_reader.py … ls SNAPSHOT
    volvault_reader.py … cat SNAPSHOT PATH
    volvault_reader.py … restore SNAPSHOT TARGET      regular files, directories and symlinks
    volvault_reader.py … verify

SNAPSHOT is `latest` or the beginning of an id. Local directories only. Exit code 1 and one line on a fault.
"""

import argparse
import base64
import json
import os
import sys

import catalogue
from repository import Repository
from sealed import Credential
from verify import verify
from wire import FormatError


def credential(args):
    if args.key_file:
        with open(args.key_file, "rb") as file:
            key = file.read()
        return Credential("key32", key_bytes(key, args.key_file))
    with open(args.password_file, "rb") as file:
        return Credential("argon2id", file.read().rstrip(b"\r\n"))


def key_bytes(content, name):
    """32 bytes as they are, in hex, or in base64."""
    if len(content) == 32:
        return content
    try:
        text = content.decode("ascii").strip()
        key = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise FormatError(f"{name}: a key file holds 32 bytes")
    return key


def list_snapshots(repo, _args):
    for snapshot in repo.snapshots():
        members = snapshot.members
        print(snapshot.id, members["time"], members["host"], json.dumps(members["paths"]), members["status"])


def ls(repo, args):
    for entry in repo.tree(repo.snapshot(args.snapshot)):
        print(f"{catalogue.KINDS[entry.kind]}{entry.mode:04o} {entry.uid:5} {entry.gid:5} {entry.size:12} "
              f"{entry.mtime[0]}.{entry.mtime[1]:09} {os.fsdecode(entry.path)}")


def cat(repo, args):
    wanted, first = os.fsencode(args.path).strip(b"/"), {}
    for entry in repo.tree(repo.snapshot(args.snapshot)):
        if entry.kind != catalogue.FILE:
            continue
        first.setdefault(entry.group_of_links or entry.path, entry)
        if entry.path == wanted:
            write_content(repo, first[entry.group_of_links or entry.path], sys.stdout.buffer)
            return
    raise FormatError(f"{args.path}: no such file in the snapshot")


def write_content(repo, entry, file):
    """Holes are written as zeros, so that the output may be a pipe."""
    pieces = repo.content(entry)
    if entry.extents is None:
        for piece in pieces:
            file.write(piece)
        return
    content, at, end = b"".join(pieces), 0, 0
    for start, length in entry.extents:
        file.write(bytes(start - end) + content[at:at + length])
        at, end = at + length, start + length
    file.write(bytes(entry.size - end))


def restore(repo, args):
    """Into a new or empty directory; times and modes are set, owners and the rarer kinds are not."""
    os.makedirs(args.target, exist_ok=True)
    if os.listdir(args.target):
        raise FormatError(f"{args.target}: not empty")
    directories, links = [], {}
    for entry in repo.tree(repo.snapshot(args.snapshot)):
        path = os.path.join(os.fsencode(args.target), entry.path) if entry.path else os.fsencode(args.target)
        if entry.kind == catalogue.DIRECTORY:
            os.makedirs(path, exist_ok=True)
            directories.append((path, entry))
        elif entry.kind == catalogue.SYMLINK:
            os.symlink(entry.target, path)
            set_times(path, entry)
        elif entry.kind == catalogue.FILE and links.get(entry.group_of_links):
            os.link(links[entry.group_of_links], path)
        elif entry.kind == catalogue.FILE:
            with open(path, "xb") as file:
                write_content(repo, entry, file)
            os.chmod(path, entry.mode)
            set_times(path, entry)
            if entry.group_of_links:
                links[entry.group_of_links] = path
        else:
            print(f"not restored: {os.fsdecode(entry.path)}", file=sys.stderr)
    for path, entry in reversed(directories):
        os.chmod(path, entry.mode)
        set_times(path, entry)


def set_times(path, entry):
    time = entry.mtime[0] * 1_000_000_000 + entry.mtime[1]
    os.utime(path, ns=(time, time), follow_symlinks=False)


def check(repo, _args):
    print(json.dumps(verify(repo)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True)
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key-file")
    key.add_argument("--password-file")
    commands = parser.add_subparsers(required=True)
    for name, run, words in [("list", list_snapshots, []), ("ls", ls, ["snapshot"]), ("cat", cat, ["snapshot", "path"]),
                             ("restore", restore, ["snapshot", "target"]), ("verify", check, [])]:
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        for word in words:
            command.add_argument(word)
    args = parser.parse_args()
    try:
        args.run(Repository(args.repo, credential(args)), args)
    except FormatError as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
