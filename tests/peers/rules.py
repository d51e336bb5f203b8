"""The words that restic's users know: the same exit codes, the same `latest`, the same files selected by the same patterns."""

import os
from concurrent.futures import ThreadPoolExecutor

import peers

FILES = """
a/b/c.txt  a/b/c.TXT  a/b/d.log  a/x/b/c.txt  a/x/y/b/c.txt  b/c.txt  b.txt  top.log  .hidden/file  .hidden/.inner
a/[odd]/file  a/st*r/file  a/sp ace/f ile  node_modules/p/index.js  src/node_modules/p/index.js  src/main.rs  src/main.rs.bak
build/out.o  src/build/out.o  src/build.rs  build.txt  logs/2024-01-01.log  logs/2024-02-01.log  logs/keep/2024-01-01.log
deep/1/2/3/4/5/file  deep/1/2/3/4/other  cache/big.bin  cache/small.txt  Ünïcode/Datei.txt  Ünïcode/andere.TXT  $HOME/file
""".replace("sp ace/f ile", "sp@ace/f@ile").split()

# Each line: the options of one backup. `{top}` is the absolute path of the tree.
PATTERNS = [
    ["--exclude", "*.txt"], ["--exclude", "c.txt"], ["--exclude", "b/c.txt"], ["--exclude", "b"], ["--exclude", "a/b"], ["--exclude", "a/**/b"],
    ["--exclude", "**/b"], ["--exclude", "a/**"], ["--exclude", "a/*"], ["--exclude", "a/*/c.txt"], ["--exclude", "a/**/c.txt"], ["--exclude", "**/c.txt"],
    ["--exclude", "/a"], ["--exclude", "{top}/a"], ["--exclude", "{top}/*/b"], ["--exclude", "{top}/**/b"], ["--exclude", "{top}/a/**/c.txt"], ["--exclude", "{top}"],
    ["--exclude", ".*"], ["--exclude", "[!.]*"], ["--exclude", "[^a-m]*"], ["--exclude", "?.txt"], ["--exclude", "a/\\[odd\\]"], ["--exclude", "a/[odd]"],
    ["--exclude", "a/st\\*r"], ["--exclude", "sp ace"], ["--exclude", "node_modules/**"], ["--exclude", "node_modules/*"], ["--exclude", "build"],
    ["--exclude", "build/"], ["--exclude", "./build"], ["--exclude", "src//build"], ["--exclude", "src/../build"], ["--exclude", "*.log", "--exclude", "!logs/keep"],
    ["--exclude", "logs/**", "--exclude", "!logs/keep"], ["--exclude", "*", "--exclude", "!*.txt"], ["--exclude", "logs/2024-0[12]*"], ["--exclude", "logs/2024-0[^1]*"],
    ["--iexclude", "*.TXT"], ["--iexclude", "C.txt"], ["--iexclude", "ünïcode"], ["--exclude", "Ünïcode"], ["--exclude", "deep/**/file"], ["--exclude", "deep/*/*/3"],
    ["--exclude", "**/3/**"], ["--exclude", "deep/**/4/**/file"], ["--exclude", "$HOME"], ["--exclude", ""], ["--exclude-larger-than", "10k"],
    ["--exclude-caches"], ["--exclude-if-present", ".nobackup"], ["--exclude-if-present", "mark:yes"], ["--exclude-file", "{lists}/plain"], ["--iexclude-file", "{lists}/folded"],
    ["--exclude", "[a-"], ["--exclude", "a/[]b"], ["--files-from", "{lists}/from"], ["--files-from-verbatim", "{lists}/verbatim"], ["--files-from-raw", "{lists}/raw"],
]


def write(path, content=b"content"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def pattern_tree(scratch):
    base = scratch.new("tree")
    top, lists = f"{base}/tree", f"{base}/lists"
    for name in FILES:
        write(f"{top}/{name.replace('@', ' ')}", name.encode() * (3000 if "big" in name else 1))
    write(f"{top}/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55 and more")
    write(f"{top}/deep/1/.nobackup", b"")
    write(f"{top}/logs/mark", b"yes and more")
    write(f"{top}/src/mark", b"no")
    write(f"{lists}/plain", b"# a comment\n\n  *.log  \n$PATTERN_VARIABLE\n!logs/keep\na$$b\n")
    write(f"{lists}/folded", b"*.Txt\nDEEP\n")
    write(f"{lists}/from", f"# a comment\n{top}/a/*/c.txt\n\n  {top}/src  \n".encode())
    write(f"{lists}/verbatim", f"{top}/a/st*r\n\n{top}/b.txt\n".encode())
    write(f"{lists}/raw", f"{top}/a/sp ace/f ile\0{top}/logs\0".encode())
    return top, lists


def selected(program, options, top):
    """What one backup with these options holds: its exit code and the paths below the tree."""
    words = [word.format(top=top, lists=os.path.dirname(top) + "/lists") for word in options]
    sources = [] if options[0].startswith("--files-from") else [top]
    lines = program.json("backup", *words, *sources, code=None, env={"PATTERN_VARIABLE": "src"})
    saved = [line["snapshot_id"] for line in lines if line.get("message_type") == "summary"]
    if not saved:
        return program.code, None
    nodes = [line["path"] for line in program.json("ls", saved[0]) if line.get("struct_type") == "node" or line.get("message_type") == "node"]
    return program.code, sorted(path for path in nodes if path == top or path.startswith(top + "/"))


def patterns_select_the_same_files(scratch):
    top, _ = pattern_tree(scratch)
    ours, restic = peers.both(scratch)

    def each(program):
        return [selected(program, options, top) for options in PATTERNS]

    with ThreadPoolExecutor(2) as pool:
        mine, theirs = pool.map(each, (ours, restic))
    wrong = []
    for options, (my_code, my), (their_code, their) in zip(PATTERNS, mine, theirs):
        if my is None or their is None:
            same, what = my is their and (my_code == 0) == (their_code == 0), f"exit codes {my_code} and {their_code}"
        elif top not in their:      # as restic has it since 0.19: what is named on the command line is never left out
            same, what = top in my, "ours leaves out what was named"
        else:
            same, what = my == their, f"only ours: {sorted(set(my) - set(their))}, only restic: {sorted(set(their) - set(my))}"
        if not same:
            wrong.append(f"{options}: {what}")
    assert not wrong, f"{len(wrong)} of {len(PATTERNS)} differ:\n" + "\n".join(wrong)


def the_same_mistakes_have_the_same_exit_codes(scratch):
    source = scratch.new("source")
    write(f"{source}/good")
    write(f"{source}/secret")
    os.chmod(f"{source}/secret", 0)
    if os.getuid() == 0:
        os.chown(f"{source}/secret", 0, 0)
    found = {}
    for program in peers.both(scratch, user=True):
        upper, codes = program.name.upper(), []

        def code(*args, **env):
            program(*args, code=None, env={f"{upper}_{key}": value for key, value in env.items()})
            codes.append((args[0], program.code))

        code("snapshots")
        code("snapshots", REPOSITORY=f"{scratch.top}/nothing-here")
        code("backup", source, REPOSITORY=f"{scratch.top}/nothing-here")
        code("snapshots", PASSWORD="wrong")
        code("backup", source)
        code("backup", f"{source}/good")
        code("backup", f"{scratch.top}/no-such-path")
        code("backup")
        code("init")
        code("restore", "latest", "--target", f"{program.home}/out")
        code("restore", "0123456789abcdef", "--target", f"{program.home}/out2")
        code("restore", "latest")
        code("ls", "ffffffff")
        code("backup", source, "--no-such-option")
        code("no-such-command")
        found[program.name] = codes
    assert found["volvault"] == found["restic"], "\n".join(f"{a} {b}" for a, b in zip(found["volvault"], found["restic"]))


def latest_is_the_same_snapshot(scratch):
    """Hosts, paths, tags and times in an order that is not that of writing."""
    one, two = scratch.new("one"), scratch.new("two")
    programs, chosen = peers.both(scratch), {}
    backups = [("2024-03-01 10:00:00", "a", one, "x"), ("2024-01-01 10:00:00", "b", one, "x,y"), ("2024-05-01 10:00:00", "a", two, "y"),
               ("2024-04-01 10:00:00", "b", two, ""), ("2024-02-01 10:00:00", "a", one, "y")]
    for program in programs:
        for n, (time, host, path, tags) in enumerate(backups):
            write(f"{path}/number", b"%d" % n)
            program("backup", "--time", time, "--host", host, *(["--tag", tags] if tags else []), path)
        chosen[program.name] = [latest(program, words) for words in (
            [], ["--host", "a"], ["--host", "b"], ["--path", one], ["--path", two], ["--tag", "x"], ["--tag", "y"], ["--tag", "x,y"], ["--tag", "x", "--tag", "y"],
            ["--host", "b", "--tag", "x"], ["--host", "a", "--path", one], ["--host", "nobody"], ["--tag", ""], ["--path", "/nowhere"])]
    assert chosen["volvault"] == chosen["restic"], f"{chosen}"


def latest(program, words):
    lines = program.json("ls", "latest", *words, code=None)
    head = [line for line in lines if line.get("struct_type") == "snapshot" or line.get("message_type") == "snapshot"]
    return program.code, head[0]["time"][:19] if head else None


def the_shapes_of_json_are_the_same(scratch):
    """Every member that restic's scripts find is there, and has the same type."""
    source = scratch.new("source")
    write(f"{source}/file")
    os.symlink("file", f"{source}/link")
    shapes = {}
    for program in peers.both(scratch):
        summary = program.json("backup", "--host", "h", "--tag", "t", source)[-1]
        listed = program.json("snapshots")[0][0]
        lines = program.json("ls", "latest")
        restored = program.json("restore", "latest", "--target", f"{program.home}/out")[-1]
        checked = program.json("check")[-1]
        shapes[program.name] = dict(summary=summary, snapshot=listed, counts=listed["summary"], ls_snapshot=lines[0], ls_file=lines[-2], ls_link=lines[-1],
                                    restored=restored, checked=checked, key=program.json("key", "list")[0][0])
    missing = []
    for what, members in shapes["restic"].items():
        for name, value in members.items():
            mine = shapes["volvault"][what].get(name)
            kinds = [float if isinstance(v, int) and not isinstance(v, bool) else type(v) for v in (value, mine)]
            if name not in shapes["volvault"][what] or (value is not None and kinds[0] != kinds[1]):
                missing.append(f"{what}.{name}: restic {value!r}, ours {mine!r}")
    assert not missing, "\n".join(missing)


if __name__ == "__main__":
    peers.main([the_same_mistakes_have_the_same_exit_codes, latest_is_the_same_snapshot, patterns_select_the_same_files, the_shapes_of_json_are_the_same])
