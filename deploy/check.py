#!/usr/bin/env python3
"""Checks the manifests of deploy/: Kubernetes' own kinds against their published schemas, strictly; VolSync's against the fields of its API (0.16); and,
given the program, runs each container as its manifest says, with the Secret beside it: first what saves, then what restores. The examples of
docs/scheduler.md (documents, unit, compose file) and minio-compose.yaml are looked at, too, the unit by systemd-analyze where that is installed.

    deploy/check.py [BINARY]        needs: pip install -r deploy/requirements.txt
"""
import configparser
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
KUBERNETES = ["1.28", "1.32", "1.35", "1.37"]
QUANTITY, TEXT, NUMBER, TRUTH, OBJECT, LIST = str, str, int, bool, dict, list

VOLUME = {"copyMethod": TEXT, "capacity": QUANTITY, "storageClassName": TEXT, "accessModes": LIST, "volumeSnapshotClassName": TEXT}
MOVER = {
    "moverSecurityContext": OBJECT, "moverServiceAccount": TEXT, "moverPodLabels": OBJECT, "moverResources": OBJECT,
    "moverAffinity": OBJECT, "moverVolumes": LIST,
}
CACHE = {"cacheCapacity": QUANTITY, "cacheStorageClassName": TEXT, "cacheAccessModes": LIST}
AUTHORITY = {"customCA": {"secretName": TEXT, "configMapName": TEXT, "key": TEXT}}
COMMON = {**VOLUME, **MOVER, **CACHE, **AUTHORITY, "repository": TEXT}
RCLONE = {**VOLUME, **MOVER, **AUTHORITY, "rcloneConfigSection": TEXT, "rcloneDestPath": TEXT, "rcloneConfig": TEXT}
RETAIN = {"hourly": NUMBER, "daily": NUMBER, "weekly": NUMBER, "monthly": NUMBER, "yearly": NUMBER, "within": TEXT, "last": TEXT}
TRIGGER = {"schedule": TEXT, "manual": TEXT}
FIELDS = {
    "ReplicationSource": {
        "sourcePVC": TEXT, "trigger": TRIGGER, "paused": TRUTH,
        "restic": {**COMMON, "pruneIntervalDays": NUMBER, "retain": RETAIN, "unlock": TEXT},
        "rclone": RCLONE,
    },
    "ReplicationDestination": {
        "trigger": TRIGGER, "paused": TRUTH,
        "restic": {**COMMON, "destinationPVC": TEXT, "cleanupTempPVC": TRUTH, "cleanupCachePVC": TRUTH, "previous": NUMBER,
                   "restoreAsOf": TEXT, "enableFileDeletion": TRUTH},
        "rclone": {**RCLONE, "destinationPVC": TEXT, "cleanupTempPVC": TRUTH},
    },
}
# Values of the Helm chart that are set here.
IMAGE = {"repository": TEXT, "tag": TEXT, "image": TEXT}
CHART = {"restic": IMAGE, "rclone": IMAGE}


def unknown(value, fields, path):
    """What of `value` is not among `fields`."""
    if not isinstance(fields, dict):
        return [] if isinstance(value, fields) else [f"{path}: {value!r} is no {fields.__name__}"]
    found = []
    for name, inner in value.items():
        if name not in fields:
            found.append(f"{path}.{name}: no such field")
        else:
            found += unknown(inner, fields[name], f"{path}.{name}")
    return found


def check(document, where):
    kind = document.get("kind")
    if document.get("apiVersion") == "volsync.backube/v1alpha1" and kind in FIELDS:
        shape = {"apiVersion": TEXT, "kind": TEXT, "metadata": OBJECT, "spec": FIELDS[kind]}
        return unknown(document, shape, f"{where}: {kind}")
    if kind is None:
        return unknown(document, CHART, f"{where}: values")
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{where}: {kind}, Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")
    return found


def documents():
    # What lies in monitoring/ is for Prometheus and Grafana: tests/monitor looks at it.
    for path in sorted(path for path in HERE.glob("*/*.yaml") if path.parent.name != "monitoring"):
        for document in yaml.safe_load_all(path.read_text()):
            yield path.relative_to(HERE), document


def container(document):
    """The only container of a job."""
    spec = document["spec"]["jobTemplate"]["spec"] if document["kind"] == "CronJob" else document["spec"]
    [one] = spec["template"]["spec"]["containers"]
    return one


def anonymous(document, where):
    """A job says who it is: the image's own user is nobody who has files."""
    if document.get("kind") not in ("CronJob", "Job"):
        return []
    user = container(document).get("securityContext", {}).get("runAsUser")
    return [] if isinstance(user, int) else [f"{where}: {document['kind']}: securityContext.runAsUser is missing"]


def run(binary, found):
    """Does what the jobs of deploy/kubernetes say, on directories in the place of the volume and the bucket."""
    jobs = {d["metadata"]["name"]: container(d) for _, d in documents() if d.get("kind") in ("CronJob", "Job")}
    secrets = {d["metadata"]["name"]: d for p, d in documents() if d.get("kind") == "Secret" and p.parts[0] == "kubernetes"}
    secret = secrets["volvault-repository"]
    with tempfile.TemporaryDirectory() as work:
        data = pathlib.Path(work, "data")
        data.mkdir()
        (data / "file").write_text("saved")
        for name in ["app-backup", "app-prune", "app-restore"]:
            job = jobs[name]
            [source] = job["envFrom"]
            assert source["secretRef"]["name"] == secret["metadata"]["name"], f"{name}: another Secret"
            variables = {**secret["stringData"], **{e["name"]: e["value"] for e in job["env"]}}
            assert variables["DATA_DIR"] == "/data", f"{name}: DATA_DIR is not where the volume is"
            variables |= {"DATA_DIR": str(data), "RESTIC_REPOSITORY": str(pathlib.Path(work, "repository"))}
            if name == "app-restore":
                (data / "file").write_text("changed since")
            ran = subprocess.run([binary, *job["args"]], env=variables, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                found.append(f"{name}: exit code {ran.returncode}: {ran.stdout}{ran.stderr}")
        if (data / "file").read_text() != "saved":
            found.append("app-restore: the file is not as it was saved")
    edge(binary, jobs["app-pull"], secrets["volvault-mirror"], found)


def edge(binary, job, secret, found):
    """Pushes a directory, then pulls as the edge does, with the mirror in a directory in the place of the bucket."""
    with tempfile.TemporaryDirectory() as work:
        source, data, config = (pathlib.Path(work, name) for name in ("source", "data", "rclone.conf"))
        source.mkdir()
        data.mkdir()
        (source / "file").write_text("pushed")
        variables = {e["name"]: e["value"] for e in job["env"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in job["volumeMounts"]}
        assert variables["RCLONE_CONFIG"] == mounts["config"] + "/rclone.conf" and variables["MOUNT_PATH"] == mounts["data"], "app-pull: mounts"
        section = variables["RCLONE_CONFIG_SECTION"]
        assert f"[{section}]" in secret["stringData"]["rclone.conf"], "app-pull: the Secret has no such section"
        config.write_text(f"[{section}]\ntype = alias\nremote = {work}/bucket\n")
        variables |= {"RCLONE_CONFIG": str(config), "TMPDIR": work}
        for direction, volume in (("source", source), (variables["DIRECTION"], data)):
            now = {**variables, "DIRECTION": direction, "MOUNT_PATH": str(volume)}
            ran = subprocess.run([binary, *job["args"]], env=now, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                found.append(f"app-pull, {direction}: exit code {ran.returncode}: {ran.stdout}{ran.stderr}")
        if not (data / "file").exists() or (data / "file").read_text() != "pushed":
            found.append("app-pull: the file is not as it was pushed")


def tried(binary, command, where, found):
    """Whether the program knows the options of a command of `run`; nothing is run."""
    ran = subprocess.run([binary, *command, "--help"], capture_output=True, text=True, check=False)
    if command[0] != "run" or ran.returncode != 0:
        found.append(f"{where}: {shlex.join(command)}: {ran.stderr}")


def compose(document, where, found):
    """Whether a compose file uses only volumes that it declares."""
    for name, service in document["services"].items():
        if "image" not in service:
            found.append(f"{where}: {name} has no image")
        for mount in service.get("volumes", []):
            volume = mount.split(":")[0]
            if volume[0] not in "./" and volume not in document["volumes"]:
                found.append(f"{where}: {name}: volume {volume} is not declared")


def examples(binary, found):
    """What docs/scheduler.md shows, as it stands there."""
    where = "docs/scheduler.md"
    text = (HERE.parent / where).read_text()
    blocks = {kind: re.findall(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("yaml", "ini")}
    (documents_, composed), (unit,) = blocks["yaml"], blocks["ini"]
    with tempfile.TemporaryDirectory() as work:
        path = pathlib.Path(work, "backup.yaml")
        path.write_text(documents_)
        ran = subprocess.run([binary, "validate", "--offline", "-f", path, "--volume", f"app-data={work}"], capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            found.append(f"{where}: {ran.stdout}{ran.stderr}")

        parsed = configparser.ConfigParser(interpolation=None)
        parsed.optionxform = str
        parsed.read_string(unit)
        program, *command = shlex.split(parsed["Service"]["ExecStart"])
        tried(binary, command, f"{where}: unit", found)
        if not shutil.which("systemd-analyze"):
            print("systemd-analyze is not installed: the unit was read, and its command tried")
        else:
            path = pathlib.Path(work, "volvault.service")
            path.write_text(unit.replace(program, binary))
            ran = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
            if ran.returncode != 0 or ran.stderr:
                found.append(f"{where}: unit: {ran.stdout}{ran.stderr}")

    composed = yaml.safe_load(composed)
    compose(composed, where, found)
    service = composed["services"]["volvault"]
    tried(binary, service["command"], f"{where}: compose", found)
    # Jobs get 18 seconds to stop in good order, and are over within 20.
    if int(service["stop_grace_period"].rstrip("s")) <= 20:
        found.append(f"{where}: compose: stop_grace_period is too short")


def refuses_what_is_wrong():
    """The check itself: a mistyped field of each sort is found."""
    source = {"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "metadata": {}, "spec": {"restic": {"retian": {}}}}
    mirror = {"apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationDestination", "metadata": {}, "spec": {"rclone": {"repository": "x"}}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": [], "restartPolcy": "Never"}}}}
    nobody = {"kind": "Job", "spec": {"template": {"spec": {"containers": [{"securityContext": {"runAsNonRoot": True}}]}}}}
    found = [f"not found: {wrong}" for wrong in (source, mirror, job, {"restik": {}}) if not check(wrong, "wrong")]
    return found + ([] if anonymous(nobody, "wrong") else [f"not found: {nobody}"])


def main():
    found, count = refuses_what_is_wrong(), 0
    for where, document in documents():
        found += check(document, where) + anonymous(document, where)
        count += 1
    if count < 13:
        found.append(f"only {count} documents were found")
    if len(sys.argv) > 1:
        run(os.path.abspath(sys.argv[1]), found)
        examples(os.path.abspath(sys.argv[1]), found)
    compose(yaml.safe_load((HERE.parent / "minio-compose.yaml").read_text()), "minio-compose.yaml", found)
    for line in found:
        print(line)
    print(f"{count} documents, {len(found)} mistakes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
