"""On Azurite (Microsoft's emulator of Blob Storage) and on the Versity gateway (S3): our tests of stores, and a whole life of a repository."""

import base64
import hashlib
import hmac
import os
import select
import socket
import subprocess
import threading
import time
import urllib.parse

import peers
import trees

TLS = f"{peers.TOP}/tests/it/support/tls"
ACCOUNT = "devstoreaccount1"
# The key that Azurite is known by everywhere.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def sign(text):
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


class Azurite(peers.Server):
    """Azurite over a local directory, with plain HTTP or with the certificate of our tests."""

    def __init__(self, directory, tls=False):
        super().__init__(directory)
        scheme = "https" if tls else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}/{ACCOUNT}"
        secure = ["--cert", f"{TLS}/server.pem", "--key", f"{TLS}/server.key"] if tls else []
        self.argv = [f"{peers.NODE}/bin/node", f"{peers.PEERS}/npm/node_modules/azurite/dist/src/blob/main.js", "--blobPort", str(self.port),
                     "--location", directory, "--disableTelemetry", "--silent", *secure]


def account_sas():
    """A shared access signature for everything in the account, for an hour."""
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    fields = {"sp": "rwdlac", "ss": "b", "srt": "sco", "st": "", "se": end, "sip": "", "spr": "", "sv": "2020-12-06", "ses": ""}
    text = "\n".join([ACCOUNT, *fields.values(), ""])
    return urllib.parse.urlencode({**{name: value for name, value in fields.items() if value}, "sig": sign(text)})


class Tunnel:
    """A proxy that leads every CONNECT to one port, whatever the name: Azure puts the account into the host."""

    def __init__(self, port):
        self.to, self.asked = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.split()[1].decode())
        with client, socket.create_connection(("127.0.0.1", self.to)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    (server if ready is client else client).sendall(data)


class Versity(peers.Server):
    """The Versity gateway over a local directory."""

    key, secret = "volvaultpeers", peers.S3.secret

    def __init__(self, directory):
        super().__init__(directory)
        self.url = f"http://127.0.0.1:{self.port}"
        self.argv = [f"{peers.PEERS}/go/bin/versitygw", "--port", f"127.0.0.1:{self.port}", "posix", directory]
        self.variables = {"ROOT_ACCESS_KEY": self.key, "ROOT_SECRET_KEY": self.secret}
        self.env = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}


def our_store_keeps_its_promises_on_azurite(scratch):
    with Azurite(scratch.new("azure")) as azure:
        peers.our_tests_of(f"azure:test:/some", {"AZURE_ACCOUNT_NAME": ACCOUNT, "AZURE_ACCOUNT_KEY": KEY, "AZURE_STORAGE_ENDPOINT": azure.endpoint})


def a_repository_lives_on_azurite_by_key_and_by_signature(scratch):
    with Azurite(scratch.new("azure")) as azure:
        env = {"AZURE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": azure.endpoint}
        missing = peers.Program(scratch, "volvault", repo="azure:missing:/", env={**env, "AZURE_ACCOUNT_KEY": KEY})
        missing("repo", "probe", code=1)
        assert "does not exist" in missing.errors, missing.errors
        peers.Program(scratch, "volvault", repo="azure:test:/k", env={**env, "AZURE_ACCOUNT_KEY": base64.b64encode(b"wrong").decode()})("snapshots", code=1)
        for name, value in (("AZURE_ACCOUNT_KEY", KEY), ("AZURE_ACCOUNT_SAS", "?" + account_sas())):
            trees.life(scratch, f"azure:test:/{name.lower()}", {**env, name: value})


def azure_is_found_by_the_suffix_of_its_hosts_through_a_proxy_with_an_authority_of_ones_own(scratch):
    with Azurite(scratch.new("azure"), tls=True) as azure:
        tunnel = Tunnel(azure.port)
        env = {"AZURE_ACCOUNT_NAME": ACCOUNT, "AZURE_ACCOUNT_KEY": KEY, "AZURE_ENDPOINT_SUFFIX": "volvault.test", "HTTPS_PROXY": tunnel.url, "RESTIC_CACERT": f"{TLS}/ca.pem"}
        trees.life(scratch, "azure:test:/suffix", env)
        assert set(tunnel.asked) == {f"{ACCOUNT}.blob.volvault.test:443"}, tunnel.asked
        program = peers.Program(scratch, "volvault", repo="azure:test:/suffix", env={**env, "RESTIC_CACERT": ""})
        program("snapshots", code=1)
        assert "--cacert" in program.errors, program.errors


def our_store_keeps_its_promises_on_the_versity_gateway(scratch):
    with Versity(scratch.new("s3")) as server:
        peers.our_tests_of(f"s3:{server.url}/test", server.env)


def what_mirrors_want_is_done_by_the_versity_gateway(scratch):
    """All but names with control characters, which its listings do not encode."""
    with Versity(scratch.new("s3")) as server:
        os.mkdir(f"{server.directory}/test")
        peers.our_tests_of(f"s3:{server.url}/test", server.env, mirror="conditional reads attributes copies parts uploads")


def a_repository_lives_on_the_versity_gateway(scratch):
    with Versity(scratch.new("s3")) as server:
        trees.life(scratch, f"s3:{server.url}/test/some/prefix", server.env)


def probes_find_what_these_stores_are_known_to_do(scratch):
    def found(location, env):
        report = peers.Program(scratch, "volvault", repo=location, env=env).json("repo", "probe")[-1]
        assert all(finding["found"] == "yes" for finding in report["findings"] if finding["needed"]), report
        return {finding["ability"]: finding["found"] for finding in report["findings"]}

    with Azurite(scratch.new("azure")) as azure, Versity(scratch.new("s3")) as versity, peers.S3(scratch.new("rclone")) as rclone:
        os.mkdir(f"{versity.directory}/test")
        os.mkdir(f"{rclone.directory}/test")
        env = {"AZURE_ACCOUNT_NAME": ACCOUNT, "AZURE_ACCOUNT_KEY": KEY, "AZURE_STORAGE_ENDPOINT": azure.endpoint}
        peers.Program(scratch, "volvault", repo="azure:test:/", env=env)("init")
        assert set(found("azure:test:/probed", env).values()) == {"yes"}
        assert set(found(f"s3:{versity.url}/test/probed", versity.env).values()) == {"yes"}
        by_rclone = found(f"s3:{rclone.url}/test/probed", rclone.env)
        assert by_rclone["create_only"] == by_rclone["replace_if_same"] == "no", by_rclone
        for directory in (versity.directory, rclone.directory):
            left = [name for folder, _, names in os.walk(f"{directory}/test") for name in names]
            assert left == [], left


if __name__ == "__main__":
    peers.main([our_store_keeps_its_promises_on_azurite, a_repository_lives_on_azurite_by_key_and_by_signature,
                azure_is_found_by_the_suffix_of_its_hosts_through_a_proxy_with_an_authority_of_ones_own,
                our_store_keeps_its_promises_on_the_versity_gateway, what_mirrors_want_is_done_by_the_versity_gateway, a_repository_lives_on_the_versity_gateway,
                probes_find_what_these_stores_are_known_to_do])
