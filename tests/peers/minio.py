"""On MinIO, in the release that `minio-compose.yaml` names, started as that file says: every S3 test of ours, and `docs/minio.md` typed as it stands."""

import os
import re
import subprocess
import urllib.request

import peers
import yaml

COMPOSE = f"{peers.TOP}/minio-compose.yaml"
PAGE = f"{peers.TOP}/docs/minio.md"


def interpolated(text, variables):
    """A string of the compose file, as Compose reads it: ${NAME:-default}, ${NAME:?message}, $$."""
    def value(match):
        if match[0] == "$$":
            return "$"
        given = variables.get(match["name"], "")
        if given or match["how"] == "-":
            return given or match["rest"]
        raise KeyError(f"{match['name']}: {match['rest']}")
    return re.sub(r"\$\$|\$\{(?P<name>\w+):(?P<how>[-?])(?P<rest>[^}]*)\}", value, text)


def compose(variables):
    """The services, or a KeyError for a variable that must be given."""
    with open(COMPOSE) as file:
        services = yaml.safe_load(interpolated(file.read(), variables))["services"]
    return services


class MinIO(peers.Server):
    """MinIO with the arguments and variables of the compose file, over a local directory and on a port of its own."""

    variables = {"MINIO_ROOT_USER": "volvaultpeers", "MINIO_ROOT_PASSWORD": peers.S3.secret}

    def __init__(self, directory):
        super().__init__(directory)
        service = compose(self.variables)["minio"]
        words = {"/data": directory, ":9000": f"127.0.0.1:{self.port}", ":9001": "127.0.0.1:0"}
        self.url = f"http://127.0.0.1:{self.port}"
        self.argv = [f"{peers.PEERS}/go/bin/minio", *(words.get(word, word) for word in service["command"])]
        self.variables = {name: str(value) for name, value in service["environment"].items()}
        self.env = {"AWS_ACCESS_KEY_ID": self.variables["MINIO_ROOT_USER"], "AWS_SECRET_ACCESS_KEY": self.variables["MINIO_ROOT_PASSWORD"]}

    def __enter__(self):
        super().__enter__()
        # What `mc ready` asks, too.
        assert urllib.request.urlopen(f"{self.url}/minio/health/live", timeout=30).status == 200
        return self


def the_compose_file_is_careful(scratch):
    """Pinned, on loopback, and without a password of its own. The Compose library itself is not here: it has read the file once, by hand."""
    try:
        compose({})
        raise AssertionError("it starts without a password")
    except KeyError as error:
        assert "MINIO_ROOT_PASSWORD" in str(error), error
    services = compose(MinIO.variables)
    for name, service in services.items():
        assert re.fullmatch(r"quay\.io/minio/(minio|mc):RELEASE\.[0-9TZ-]+", service["image"]), service["image"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert services["bucket"]["depends_on"]["minio"]["condition"] == "service_healthy"
    assert services["minio"]["healthcheck"]["test"] == ["CMD", "mc", "ready", "local"]


def every_s3_test_of_ours_passes_on_it(scratch):
    with MinIO(scratch.new("s3")) as server:
        peers.our_endpoint_tests(server.url, server.env)
        bucket = f"{server.directory}/volvault-test"
        assert os.path.isdir(bucket) and os.listdir(bucket) == [], "the tests leave nothing behind, and were here"


def typed(page):
    """The lines of the page that a shell gets, without those for Docker, and the crontab."""
    with open(page) as file:
        lines = [line[4:].rstrip() for line in file if line.startswith("    ")]
    return "\n".join(line for line in lines if not line.startswith(("docker ", "*/5 ", "VOLVAULT_TEST_")))


def the_page_can_be_typed(scratch):
    with MinIO(scratch.new("s3")) as server:
        home = scratch.new("home")
        os.makedirs(f"{home}/documents/letters")
        for number in range(30):
            with open(f"{home}/documents/letters/{number}", "w") as file:
                file.write(f"letter {number}\n" * 500)
        os.mkdir(f"{home}/bin")
        os.symlink(f"{scratch.top}/volvault", f"{home}/bin/volvault")
        script = typed(PAGE).replace("127.0.0.1:9000", f"127.0.0.1:{server.port}")
        script = script.replace("head -c 24 /dev/urandom | base64 | tr -d '/+'", f"printf %s {server.variables['MINIO_ROOT_PASSWORD']}").replace("=volvault\\n", f"={server.variables['MINIO_ROOT_USER']}\\n")
        done = subprocess.run(["bash", "-exuo", "pipefail", "-c", script], cwd=home, env={"HOME": home, "PATH": f"{home}/bin:{os.environ['PATH']}"},
                              capture_output=True, text=True, timeout=peers.TIMEOUT)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "no errors were found" in done.stdout and "generation  2" in done.stdout, done.stdout
        with open(f"{home}/edge/news") as file:
            assert file.read() == "news\n"


if __name__ == "__main__":
    peers.main([the_compose_file_is_careful, every_s3_test_of_ours_passes_on_it, the_page_can_be_typed])
