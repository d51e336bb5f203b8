"""An S3 server on this machine with s3proxy in front, which adds latency and counts requests."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

from places import BENCH, PEERS, tree_size

PROXY = f"{BENCH}/target/s3proxy/release/s3proxy"
RCLONE = f"{PEERS}/rclone-venv/bin/rclone"
KEY, SECRET = "GK" + "1" * 24, "2" * 64


class S3:
    """One bucket, `bench`, behind a proxy that delays each byte by `delay` ms in each direction; `near` is the same without the delay."""

    bucket = "bench"

    def __init__(self, kind, delay):
        self.kind, self.dir = kind, f"{BENCH}/run/s3"
        self.region = "garage" if kind == "garage" else "us-east-1"
        self.url, self.near = f"http://127.0.0.1:{9100 + delay}", "http://127.0.0.1:9099"
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(f"{self.dir}/data/{self.bucket}")
        log = open(f"{BENCH}/logs/s3-{kind}.log", "ab")
        argv, target = {"rclone": self.rclone_server, "s3s": self.s3s_server, "garage": self.garage_server,
                        "versity": self.versity_server}[kind]()
        self.server = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "RUST_LOG": "error", "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET})
        self.proxy = subprocess.Popen([PROXY, target, "127.0.0.1:9009", f"127.0.0.1:{9100 + delay}={delay}", "127.0.0.1:9099=0"], stdout=log, stderr=log)
        wait_port(9001 if kind == "garage" else 9000)
        wait_port(9009)
        if kind == "garage":
            self.garage_layout()
        self.stats()

    def rclone_server(self):
        argv = [RCLONE, "serve", "s3", f"{self.dir}/data", "--addr", "127.0.0.1:9000", "--auth-key", f"{KEY},{SECRET}"]
        return argv, "127.0.0.1:9000"

    def s3s_server(self):
        argv = [f"{PEERS}/bin/s3s-fs", "--host", "127.0.0.1", "--port", "9000", "--access-key", KEY, "--secret-key", SECRET, f"{self.dir}/data"]
        return argv, "127.0.0.1:9000"

    def versity_server(self):
        """The Versity gateway, which keeps metadata in extended attributes and honours conditions; with connections that stay open, as those of S3 do."""
        argv = [f"{PEERS}/go/bin/versitygw", "--keep-alive", "--quiet", "--port", "127.0.0.1:9000", "posix", f"{self.dir}/data"]
        return argv, "127.0.0.1:9000"

    def garage_server(self):
        """On a Unix socket: over TCP garage 2.5.0 sends the head and the body of an answer apart without
        TCP_NODELAY, and each GET of more than 3 KB then waits 44 ms for a delayed ACK."""
        with open(f"{self.dir}/garage.toml", "w") as f:
            f.write(f'metadata_dir = "{self.dir}/meta"\ndata_dir = "{self.dir}/blocks"\ndb_engine = "lmdb"\n'
                    f'replication_factor = 1\ncompression_level = "none"\nrpc_bind_addr = "127.0.0.1:9001"\n'
                    f'rpc_secret = "{"ab" * 32}"\n[s3_api]\ns3_region = "garage"\napi_bind_addr = "{self.dir}/api.sock"\n')
        return [f"{PEERS}/bin/garage", "-c", f"{self.dir}/garage.toml", "server"], f"{self.dir}/api.sock"

    def garage(self, *args):
        return subprocess.run([f"{PEERS}/bin/garage", "-c", f"{self.dir}/garage.toml", *args], capture_output=True, text=True)

    def garage_layout(self):
        for _ in range(50):
            node = self.garage("node", "id", "-q").stdout.strip().split("@")[0]
            if node and self.garage("status").returncode == 0:
                break
            time.sleep(0.2)
        for args in (["layout", "assign", "-z", "z", "-c", "60G", node], ["layout", "apply", "--version", "1"],
                     ["key", "import", "--yes", "-n", "k", KEY, SECRET], ["bucket", "create", self.bucket],
                     ["bucket", "allow", "--read", "--write", "--owner", self.bucket, "--key", "k"]):
            done = self.garage(*args)
            if done.returncode:
                raise SystemExit(f"garage {args}: {done.stderr}")

    def env(self):
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region}

    def stats(self):
        """Counts since the last call."""
        with socket.create_connection(("127.0.0.1", 9009)) as c:
            return json.loads(c.makefile().read())

    def cpu(self):
        """CPU seconds of the server and of the proxy so far."""
        def one(pid):
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return one(self.server.pid), one(self.proxy.pid)

    def rclone(self, *args):
        env = {**os.environ, "HOME": BENCH, "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_T_TYPE": "s3", "RCLONE_CONFIG_T_PROVIDER": "Other",
               "RCLONE_CONFIG_T_ENDPOINT": self.url, "RCLONE_CONFIG_T_REGION": self.region,
               "RCLONE_CONFIG_T_ACCESS_KEY_ID": KEY, "RCLONE_CONFIG_T_SECRET_ACCESS_KEY": SECRET}
        return subprocess.run([RCLONE, *args], env=env, capture_output=True, text=True)

    def wipe(self, prefix):
        self.rclone("delete", "--fast-list", "--checkers", "32", "--transfers", "32", f"t:{self.bucket}/{prefix}")
        if self.kind != "garage":
            shutil.rmtree(f"{self.dir}/data/{self.bucket}/{prefix}", ignore_errors=True)

    def size(self, prefix):
        """(bytes, objects) stored below a prefix."""
        if self.kind != "garage":
            return tree_size(f"{self.dir}/data/{self.bucket}/{prefix}")
        found = json.loads(self.rclone("size", "--fast-list", "--json", f"t:{self.bucket}/{prefix}").stdout or "{}")
        return found.get("bytes", 0), found.get("count", 0)

    def stop(self):
        for process in (self.proxy, self.server):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def wait_port(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")
