"""Real rclone on the other side of a mirror: the same rules select the same files, it pulls what we push, we adopt, pull and push onto what it wrote,
and its configuration means the same to both."""

import hashlib
import json
import os
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import peers
from clouds import Versity

FILES = """
file.jpg  dir/file.jpg  dir/x  dir/sub/x  s/dir/t/x  lost+found/x  s/lost+found/x  a.a  a.b  a.!  a.012  a.abc  f.jpeg  f.jpg  f.png  d/f.jpeeg  d/f.jpeg
a/b/c.txt  a/b/c.TXT  a/b/d.log  a/x/b/c.txt  a/x/y/b/c.txt  b/c.txt  b.txt  top.log  .hidden/file  .hidden/.inner  node_modules/p/index.js
src/node_modules/p/index.js  src/main.rs  src/main.rs.bak  build/out.o  src/build/out.o  build.txt  logs/2024-01-01.log  logs/keep/2024-02-01.log
[odd]  a,b  {x}  a*b  a?b  ab  ac  ad  größe/Ä.txt  start/end.jpg  startend.jpg  dir1/one  dir2/two  dir3/three  deep/1/2/3/4/5/file  UPPER.TXT  sp@ace/f
""".split()

GLOBS = r"""
*.jpg /*.jpg file.jpg /file.jpg dir/** /dir/** dir/ /dir/ *.{jpg,png} *.[!a] *.[^a] *.\d\d\d {{.*\.jpe?g}} /{{.*\.jpe?g}} *.{{jpe?g}} a{b,{c,d}} {dir1,dir2}/**
{dir1/**,dir2/**} lost+found/** lost+found/ .* .*/** a/**/c.txt a/*/c.txt **/c.txt b b/ b/** node_modules/** /src/* /src/** /a/b/ * /* ** /** *.txt [[] \[odd\]
a\*b a\?b a,b \{x\} größe/* {{start[^/]*end\.jpg}} {{start.*end\.jpg}} deep/*/*/3/** 2024-0[12]* s/** /s/dir/** [a-c]* ?.txt *.{{(?i)txt}} {{\w+}} {{[a-z]+}}/**
a{,.}b a{*,?}b sp?ace/* {{\d{4}-\d\d-\d\d}}.log x y* [a-z]*.l?g /logs/{keep,x}/* {{a|b}}/c.txt
""".split()

REFUSED = ["***", "a[", "a]", "{a", "}a", "{{a", "[a--b]"]

OTHERS = [["--min-size", "1k"], ["--max-size", "1k"], ["--min-size", "500b", "--max-size", "1100B"], ["--max-depth", "1"], ["--max-depth", "2"], ["--filter", "!"],
          ["--max-depth", "3", "--exclude", "*.txt"], ["--filter", "- *.txt", "--filter", "!"], ["--filter", "bad"], ["--max-age", "1d"], ["--min-age", "1d"],
          ["--files-from", "{lists}/from"], ["--files-from-raw", "{lists}/raw"], ["--filter-from", "{lists}/rules"], ["--include-from", "{lists}/globs"],
          ["--exclude-from", "{lists}/globs"], ["--files-from", "{lists}/from", "--exclude", "x"], ["--include", "*.txt", "--exclude", "b.txt"]]


def rule_sets():
    """A rule of each kind for every glob, and seeded mixtures of them."""
    sets = [words for glob in GLOBS + REFUSED for words in (["--include", glob], ["--exclude", glob], ["--filter", "+ " + glob, "--filter", "- *"])]
    dice = random.Random(7)
    for _ in range(100):
        words = [word for _ in range(dice.randint(2, 5)) for word in ("--filter", f"{dice.choice('+-')} {dice.choice(GLOBS)}")]
        words += ["--filter", "- " + dice.choice(["*", "**", "/**"])] if dice.random() < 0.4 else []
        words += ["--include", dice.choice(GLOBS)] if dice.random() < 0.2 else []
        words += ["--ignore-case"] if dice.random() < 0.2 else []
        sets.append(words)
    return sets + OTHERS


def write(path, content, mtime_ns=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))


class Ours(peers.Program):
    """volvault with mirrors instead of a repository."""

    def __init__(self, scratch, env=None):
        super().__init__(scratch, "volvault", env={"RCLONE_CONFIG": "/dev/null", **(env or {})})

    def mirror(self, *args, **options):
        return self("mirror", *args, **options)


def rclone(*args, env=None, code=0):
    done = subprocess.run([peers.RCLONE, *args], env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "RCLONE_CONFIG": "/dev/null", **(env or {})},
                          capture_output=True, timeout=peers.TIMEOUT)
    if code is not None and done.returncode != code:
        raise AssertionError(f"rclone {' '.join(args)}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done


def files_below(top):
    """Everything but directories: kind, content or target, and time."""
    found = {}
    for directory, _, names in os.walk(os.fsencode(top)):
        for name in names:
            path = os.path.join(directory, name)
            stat = os.lstat(path)
            if os.path.islink(path):
                found[os.path.relpath(path, os.fsencode(top))] = ("link", os.readlink(path), None)
            else:
                with open(path, "rb") as file:
                    found[os.path.relpath(path, os.fsencode(top))] = ("file", hashlib.sha256(file.read()).hexdigest(), stat.st_mtime_ns)
    for directory, names, _ in os.walk(os.fsencode(top)):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                found[os.path.relpath(path, os.fsencode(top))] = ("link", os.readlink(path), None)
    return found


def same_files(left, right):
    left, right = files_below(left), files_below(right)
    wrong = [f"{path!r}: {left.get(path)} and {right.get(path)}" for path in sorted(left.keys() | right.keys()) if left.get(path) != right.get(path)]
    assert not wrong, "\n".join(wrong)


def tree(top, odd_bytes):
    """Files of many names, sizes and times, links, an empty file."""
    dice = random.Random(11)
    names = ["plain", "sp ace/ö ü", "quo'te\"", "per%cent%20", "plus+", "ha#sh", "ques?tion", "a/b/c/d/e", "back\\slash", ".dot", "tilde~", "名前/ファイル", "empty"]
    encoded = [os.fsencode(name) for name in names] + ([b"raw\xff\xfe/x\xc3", b"line\nend", b"\x01ctl"] if odd_bytes else [])
    for name in encoded:
        path = os.path.join(os.fsencode(top), name)
        content = b"" if name == b"empty" else dice.randbytes(dice.randint(1, 200_000))
        write(path, content, dice.randint(1, 1_700_000_000) * 10**9 + dice.randint(0, 10**9 - 1))
    write(f"{top}/big", dice.randbytes(20_000_000), 1_600_000_000_123_456_789)
    os.symlink("plain", f"{top}/link")
    os.symlink("nowhere/at all", f"{top}/a/dangling")
    os.symlink("a/b", f"{top}/to-directory")


def remote_of(server):
    """The variables that make rclone's remote `peer`, and ours, of an S3 server."""
    return {"RCLONE_CONFIG_PEER_TYPE": "s3", "RCLONE_CONFIG_PEER_PROVIDER": "Rclone", "RCLONE_CONFIG_PEER_ENDPOINT": server.url,
            "RCLONE_CONFIG_PEER_ACCESS_KEY_ID": server.key, "RCLONE_CONFIG_PEER_SECRET_ACCESS_KEY": server.secret, "RCLONE_CONFIG_PEER_REGION": "us-east-1"}


def rules_select_the_same_files(scratch):
    base = scratch.new("rules")
    top, lists = f"{base}/tree", f"{base}/lists"
    for number, name in enumerate(FILES):
        old = 1_500_000_000 * 10**9 if number % 3 == 0 else None
        write(f"{top}/{name.replace('@', ' ')}", b"x" * (100 * len(name)), old)
    write(f"{lists}/from", b"# comment\n; comment\n\n  a/b/c.txt \n/b.txt\nnot/there\n")
    write(f"{lists}/raw", b"a,b\n#no\n b.txt\ntop.log")
    write(f"{lists}/rules", b"# comment\n- *.log\r\n  + a/**\n\n; more\n- *\n")
    write(f"{lists}/globs", b"*.jpg\n\n# none\nsrc/**\n")
    ours = Ours(scratch)

    def each(number_and_words):
        number, words = number_and_words
        words = [word.format(lists=lists) if "{lists}" in word else word for word in words]
        target = f"{base}/{number}"
        mine = subprocess.run([ours.binary, "mirror", "push", top, f"{target}/ours/m", *words], env=ours.env, cwd=ours.home, capture_output=True, timeout=peers.TIMEOUT)
        theirs = rclone("copy", top, f"{target}/rclone", *words, code=None)
        if mine.returncode or theirs.returncode:
            same, what = (mine.returncode == 0) == (theirs.returncode == 0), f"exit codes {mine.returncode} and {theirs.returncode}: {mine.stderr.decode()[-300:]}"
        else:
            # What file systems keep at their top for themselves is never pushed, whatever the rules say.
            left, right = (files_below(below).keys() - {b"lost+found/x"} for below in (f"{target}/ours/m", f"{target}/rclone"))
            same, what = left == right, f"only ours {sorted(left - right)}, only rclone's {sorted(right - left)}"
        shutil.rmtree(target, ignore_errors=True)
        return None if same else f"{words}: {what}"

    sets = rule_sets()
    with ThreadPoolExecutor(2) as pool:
        wrong = [line for line in pool.map(each, enumerate(sets)) if line]
    assert not wrong, f"{len(wrong)} of {len(sets)} differ:\n" + "\n".join(wrong)


def rclone_pulls_what_we_push(scratch):
    source = f"{scratch.new('source')}/tree"
    tree(source, odd_bytes=False)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        ours = Ours(scratch, remote_of(server))
        ours.mirror("push", source, "peer:bucket/some/prefix")
        target = f"{scratch.new('target')}/tree"
        rclone("copy", "--links", "peer:bucket/some/prefix", target, env=remote_of(server))
        same_files(source, target)
        checked = rclone("check", "--links", "--download", source, "peer:bucket/some/prefix", env=remote_of(server))
        assert b" 0 differences found" in checked.stderr, checked.stderr
        # For rclone nothing is left to do: sizes and times are those that it would have written itself.
        again = rclone("sync", "--links", "--dry-run", "--use-json-log", "-v", source, "peer:bucket/some/prefix", env=remote_of(server))
        touched = [line for line in again.stderr.decode().splitlines() if "Skipped" in line]
        assert not touched, "\n".join(touched)
        # Changed, renamed and removed files, too.
        write(f"{source}/plain", b"changed", 1_650_000_000_000_000_001)
        os.rename(f"{source}/big", f"{source}/moved")
        os.unlink(f"{source}/plus+")
        ours.mirror("push", source, "peer:bucket/some/prefix")
        rclone("sync", "--links", "peer:bucket/some/prefix", target, env=remote_of(server))
        same_files(source, target)


def rclone_finds_modes_and_owners_in_what_we_push(scratch):
    """As they were when the object was stored: a chmod alone writes none, and rclone would not see it either."""
    source, target = f"{scratch.new('source')}/tree", f"{scratch.new('target')}/tree"
    for name, mode, size in (("plain", 0o644, 10), ("d/secret", 0o600, 10), ("d/program", 0o755, 100), ("big", 0o640, 17 << 20)):
        write(f"{source}/{name}", random.Random(size).randbytes(size), 1_600_000_000_000_000_000)
        os.chown(f"{source}/{name}", *((1234, 5678) if os.geteuid() == 0 else (-1, -1)))
        os.chmod(f"{source}/{name}", mode)
    kept = lambda top, name: (lambda stat: (stat.st_mode, stat.st_uid, stat.st_gid))(os.stat(f"{top}/{name}"))
    with Versity(scratch.new("versity")) as server:
        os.makedirs(f"{server.directory}/bucket")
        ours = Ours(scratch, remote_of(server))
        ours.mirror("push", source, "peer:bucket/p")
        os.rename(f"{source}/big", f"{source}/renamed")
        ours.mirror("push", source, "peer:bucket/p")
        rclone("copy", "--metadata", "peer:bucket/p", target, env=remote_of(server))
        for name in ("plain", "d/secret", "d/program", "renamed"):
            assert kept(source, name) == kept(target, name), name
        os.chmod(f"{source}/plain", 0o600)
        ours.mirror("push", source, "peer:bucket/p")
        ours.mirror("pull", "peer:bucket/p", f"{target}-of-ours")
        assert kept(source, "plain") == kept(f"{target}-of-ours", "plain")


def a_name_that_a_server_keeps_under_another_one_stops_nothing_else(scratch):
    """rclone's server does that to names with control characters, as soon as it looks at its directory again."""
    source = f"{scratch.new('source')}/tree"
    write(f"{source}/well", b"content", 1_600_000_000_000_000_000)
    write(f"{source}/line\nend", b"content", 1_600_000_000_000_000_000)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        ours, target = Ours(scratch, remote_of(server)), f"{scratch.new('target')}/tree"
        # For a millisecond the server remembers what it was sent, and may be asked just then.
        for _ in range(12):
            ours.mirror("push", "--relist", source, "peer:bucket/p", code=None)
            if ours.code:
                break
        assert ours.code == 1 and "under another name" in ours.errors, ours.errors
        ours.mirror("verify", "peer:bucket/p", "--read")
        ours.mirror("pull", "peer:bucket/p", target)
        assert os.listdir(target) == ["well"], os.listdir(target)


def directories_are_mirrors_for_both(scratch):
    source, base = f"{scratch.new('source')}/tree", scratch.new("mirrors")
    tree(source, odd_bytes=False)
    ours = Ours(scratch)
    ours.mirror("push", source, f"{base}/ours")
    rclone("copy", f"{base}/ours", f"{base}/pulled")
    same_files(f"{base}/ours", f"{base}/pulled")


def a_prefix_of_rclone_is_adopted_and_pulled(scratch):
    source = f"{scratch.new('source')}/data"
    tree(source, odd_bytes=False)
    write(f"{source}/secret", b"for one only", 1_600_000_000_000_000_000)
    os.chmod(f"{source}/secret", 0o640)
    subprocess.run(["setfacl", "-m", "u:1234:r", f"{source}/secret"], check=True)
    facl = subprocess.run(["getfacl", "-R", "-P", "data"], cwd=os.path.dirname(source), check=True, capture_output=True).stdout
    write(f"{os.path.dirname(source)}/permissions.facl", facl)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        env = remote_of(server)
        rclone("copy", "--links", source, "peer:bucket/p", env=env)
        rclone("copyto", f"{os.path.dirname(source)}/permissions.facl", "peer:bucket/p/permissions.facl", env=env)
        before = inodes(f"{server.directory}/bucket/p")
        ours = Ours(scratch, env)
        ours.mirror("adopt", "peer:bucket/p")
        target = f"{scratch.new('target')}/tree"
        os.mkdir(target)
        ours.mirror("pull", "peer:bucket/p", target)
        same_files(source, target)
        acl = subprocess.run(["getfacl", "-cn", f"{target}/secret"], check=True, capture_output=True, text=True).stdout
        assert "user:1234:r--" in acl and os.stat(f"{target}/secret").st_mode & 0o7777 == 0o640, acl
        assert inodes(f"{server.directory}/bucket/p") == before, "an object was stored again"
        ours.mirror("adopt", "peer:bucket/p", code=None)
        assert ours.code != 0, "a mirror is not adopted twice"


def a_push_onto_a_prefix_of_rclone_sends_only_what_differs(scratch):
    source = f"{scratch.new('source')}/data"
    tree(source, odd_bytes=False)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        env = remote_of(server)
        rclone("copy", "--links", source, "peer:bucket/p", env=env)
        before = inodes(f"{server.directory}/bucket/p")
        write(f"{source}/plain", b"changed", 1_650_000_000_000_000_001)
        Ours(scratch, env).mirror("push", source, "peer:bucket/p")
        after = inodes(f"{server.directory}/bucket/p")
        # Big files have no MD5 of one piece that could be compared, and links are sent without a look: they are small.
        sent = {name for name in after if after[name] != before.get(name) and not name.endswith(".rclonelink")} - {"big"}
        assert sent == {"plain"}, sent


def inodes(top):
    return {os.path.relpath(f"{directory}/{name}", top): os.stat(f"{directory}/{name}").st_ino for directory, _, names in os.walk(top) for name in names}


def a_configuration_means_the_same(scratch):
    """A file with an alias, overridden by variables and beside the name."""
    source = f"{scratch.new('source')}/tree"
    write(f"{source}/file", b"content", 1_600_000_000_000_000_000)
    with peers.S3(scratch.new("s3")) as server:
        os.makedirs(f"{server.directory}/bucket")
        config = f"{scratch.new('conf')}/rclone.conf"
        write(config, f"""# made by a test
[s3-bucket]
type = s3
provider = Minio
env_auth = false
access_key_id = {server.key}
secret_access_key = {server.secret}
region = us-east-1
endpoint = {server.url}

[short]
type = alias
remote = s3-bucket:bucket/deep

[wrong]
type = s3
provider = Other
access_key_id = nobody
secret_access_key = wrong
endpoint = http://127.0.0.1:1
""".encode())
        env = {"RCLONE_CONFIG": config}
        right = {"RCLONE_CONFIG_WRONG_ENDPOINT": server.url, "RCLONE_CONFIG_WRONG_ACCESS_KEY_ID": server.key, "RCLONE_S3_SECRET_ACCESS_KEY": server.secret}
        spot = f":s3,provider=Other,access_key_id={server.key},secret_access_key={server.secret},endpoint='{server.url}':bucket/spot"
        for number, (remote, more) in enumerate([("s3-bucket:bucket/plain", {}), ("short:er", {}), ("wrong:bucket/env", right), (spot, {})]):
            Ours(scratch, {**env, **more}).mirror("push", source, remote)
            listed = json.loads(rclone("lsjson", remote, env={**env, **more}).stdout)
            assert [entry["Name"] for entry in listed] == ["file"], (number, listed)


if __name__ == "__main__":
    peers.main([rules_select_the_same_files, rclone_pulls_what_we_push, rclone_finds_modes_and_owners_in_what_we_push,
                a_name_that_a_server_keeps_under_another_one_stops_nothing_else, directories_are_mirrors_for_both, a_prefix_of_rclone_is_adopted_and_pulled,
                a_push_onto_a_prefix_of_rclone_sends_only_what_differs, a_configuration_means_the_same])
