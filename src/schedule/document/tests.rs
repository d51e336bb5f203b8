#![expect(clippy::disallowed_methods, reason = "files are written as any program writes them")]

use super::*;

const SOURCE: &str = "
apiVersion: volsync.backube/v1alpha1
kind: ReplicationSource
metadata:
  name: app
  namespace: team
  labels: {a: b}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{}'
spec:
  sourcePVC: app-data
  trigger:
    schedule: \"17 2 * * *\"
  restic:
    repository: app-repository
    copyMethod: Snapshot
    pruneIntervalDays: 14
    retain: {hourly: 6, daily: 5, weekly: 4, monthly: 2, yearly: 1, within: 3d, last: \"10\"}
    customCA: {secretName: ca, key: ca.crt}
    cacheCapacity: 1Gi
    moverSecurityContext: {runAsUser: 1000}
    unlock: \"1\"
    moverVolumes:
    - mountPath: nas
      volumeSource: {persistentVolumeClaim: {claimName: nas-claim, readOnly: false}}
status:
  lastSyncTime: null
";

fn read(text: &str) -> Result<Documents> {
    let mut documents = Documents::default();
    documents.read("test.yaml", text).map(|()| documents)
}

fn error_of(text: &str) -> String {
    read(text).unwrap_err().chain()
}

#[test]
fn a_source_is_read_as_the_operator_reads_it() {
    let documents = read(SOURCE).unwrap();
    let [resource] = documents.resources.as_slice() else { panic!("one resource") };
    assert_eq!(resource.id.to_string(), "source team/app");
    assert_eq!((resource.volume.as_str(), resource.paused), ("app-data", false));
    assert_eq!(resource.trigger.schedule.as_ref().unwrap().to_string(), "17 2 * * *");
    let Task::Backup(task) = &resource.task else { panic!("a backup") };
    assert_eq!(
        task.forget,
        " --keep-hourly 6 --keep-daily 5 --keep-weekly 4 --keep-monthly 2 --keep-yearly 1 --keep-within 3d --keep-last 10"
    );
    assert_eq!((task.prune_interval_days, task.unlock.as_deref()), (14, Some("1")));
    assert_eq!(task.repository.mounts, [Mount { path: "nas".into(), volume: "nas-claim".into() }]);
    let ca = CaRef { in_config_map: false, name: "ca".into(), key: "ca.crt".into() };
    assert_eq!((task.repository.secret.as_str(), task.repository.custom_ca.as_ref()), ("app-repository", Some(&ca)));
    let notes = documents.notes.join("\n");
    for field in ["copyMethod Snapshot", "cacheCapacity", "moverSecurityContext"] {
        assert!(notes.contains(&format!("source team/app: spec.restic.{field} has no effect here")), "{notes}");
    }
    let plain = read(&SOURCE.replace("    retain", "    # retain").replace("    pruneIntervalDays: 14\n", "")).unwrap();
    let Task::Backup(task) = &plain.resources[0].task else { panic!("a backup") };
    assert_eq!((task.forget.as_str(), task.prune_interval_days), ("--keep-last 1", 7));
}

#[test]
fn destinations_mirrors_and_the_rest_of_a_stream_are_read() {
    let text = "
apiVersion: v1
kind: List
items:
- apiVersion: volsync.backube/v1alpha1
  kind: ReplicationDestination
  metadata: {name: b}
  spec:
    trigger: {manual: first}
    restic:
      repository: r
      destinationPVC: target
      copyMethod: Direct
      previous: 2
      restoreAsOf: 2024-03-01T12:00:00-05:00
      enableFileDeletion: true
      cleanupTempPVC: false
- apiVersion: volsync.backube/v1alpha1
  kind: ReplicationDestination
  metadata: {name: a}
  spec: {paused: true, rclone: {rcloneConfig: c, rcloneConfigSection: s, rcloneDestPath: bucket/p}}
---
---
apiVersion: volsync.backube/v1alpha1
kind: ReplicationSource
metadata: {name: m, annotations: {volvault.dev/on-change: 30s}}
spec: {sourcePVC: v, rclone: {rcloneConfig: c, rcloneConfigSection: s, rcloneDestPath: bucket/p, customCA: {configMapName: x, key: k}}}
---
apiVersion: v1
kind: Secret
metadata: {name: r}
type: Opaque
data: {A: aGVsbG8=, B: eA==}
stringData: {B: \"12\"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data: {k: pem}
---
apiVersion: v1
kind: Namespace
metadata: {name: default, annotations: {volsync.backube/privileged-movers: \"True\"}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: v}
spec: {anything: goes}
";
    let documents = read(text).unwrap();
    let ids: Vec<String> = documents.resources.iter().map(|resource| resource.id.to_string()).collect();
    assert_eq!(ids, ["destination default/a", "destination default/b", "source default/m"]);
    let [mirror, restore, source] = documents.resources.as_slice() else { panic!("three") };
    assert_eq!((mirror.volume.as_str(), mirror.paused), ("volsync-a-dest", true));
    let Task::Restore(task) = &restore.task else { panic!("a restore") };
    assert_eq!((task.as_of.as_deref(), task.previous, task.delete), (Some("2024-03-01T12:00:00-05:00"), 2, true));
    assert_eq!(restore.trigger.manual.as_deref(), Some("first"));
    assert_eq!(source.trigger.on_change, Some(Duration::from_secs(30)));
    assert_eq!(source.method(), Method::Rclone);
    let secret = &documents.secrets[&("default".to_owned(), "r".to_owned())];
    assert_eq!((secret.get("A"), secret.get("B"), secret.get("C")), (Some(&b"hello"[..]), Some(&b"12"[..]), None));
    assert_eq!(format!("{secret:?}"), r#"{"A", "B"}"#);
    assert_eq!(documents.privileged, ["default"]);
    assert!(documents.notes.iter().any(|note| note.contains("--volume v=DIRECTORY")), "{:?}", documents.notes);
}

#[test]
fn what_is_not_known_is_refused_with_its_path() {
    for (from, to, said) in [
        (
            "    repository: app-repository",
            "    repository: app-repository\n    repositry: x",
            "spec.restic.repositry is not known",
        ),
        ("    unlock", "    exclude: {caches: true}\n    unlock", "spec.restic.exclude is not known"),
        ("retain: {hourly: 6", "retain: {hourlies: 6, hourly: 6", "spec.restic.retain.hourlies is not known"),
        ("key: ca.crt", "keys: ca.crt, key: ca.crt", "spec.restic.customCA.keys is not known"),
        (
            "    - mountPath: nas",
            "    - mountPath: nas\n      readOnly: true",
            "spec.restic.moverVolumes[0].readOnly is not known",
        ),
        ("  trigger:", "  triger: {}\n  trigger:", "spec.triger is not known"),
        ("    schedule:", "    onChange: true\n    schedule:", "spec.trigger.onChange is not known"),
        ("  labels:", "  label: {}\n  labels:", "metadata.label is not known"),
        ("status:", "state: 1\nstatus:", "state is not known"),
        ("    kubectl", "    volvault.dev/onchange: 3s\n    kubectl", "annotation volvault.dev/onchange is not known"),
        ("  restic:", "  rsyncTLS: {}\n  restic:", "spec.rsyncTLS: this mover is not ours"),
        ("  restic:", "  syncthing: {}\n  restic:", "spec.syncthing: this mover is not ours"),
        ("  restic:", "  external: {}\n  restic:", "spec.external: this mover is not ours"),
        ("  restic:", "  rclone: {}\n  restic:", "both"),
        ("  restic:", "  restick:", "spec.restick is not known"),
        ("    repository:", "    repositry:", "spec.restic.repositry is not known"),
        ("  sourcePVC:", "  sourcPVC:", "spec.sourcPVC is not known"),
        ("mountPath: nas", "montPath: nas", "spec.restic.moverVolumes[0].montPath is not known"),
        ("claimName:", "claim:", "moverVolumes[0].volumeSource.persistentVolumeClaim.claim is not known"),
        ("\nspec:", "\nsepc:", "document 1: sepc is not known"),
        ("  name: app\n", "  nmae: app\n", "metadata.nmae is not known"),
        ("  name: app\n", "", "metadata.name is missing"),
        ("    repository: app-repository\n", "", "spec.restic.repository is missing"),
        ("mountPath: nas", "mountPath: ''", "spec.restic.moverVolumes[0].mountPath is missing"),
        ("kind: ReplicationSource", "kind: Deployment", "kind Deployment of volsync.backube/v1alpha1 is not known"),
        ("sourcePVC: app-data", "sourcePVC: 7", "spec.sourcePVC is not text"),
        ("sourcePVC: app-data", "paused: false", "spec.sourcePVC is missing"),
        ("pruneIntervalDays: 14", "pruneIntervalDays: -1", "spec.restic.pruneIntervalDays is not a whole number"),
        ("pruneIntervalDays: 14", "pruneIntervalDays: 1.5", "spec.restic.pruneIntervalDays is not a whole number"),
        ("copyMethod: Snapshot", "copyMethod: Move", "spec.restic.copyMethod is not"),
        ("17 2 * * *", "77 2 * * *", "spec.trigger.schedule"),
        ("within: 3d", "within: soon", "spec.restic.retain"),
        (
            "hourly: 6, daily: 5, weekly: 4, monthly: 2, yearly: 1, within: 3d, last: \"10\"",
            "daily: 0",
            "keeps nothing",
        ),
        ("name: app\n", "name: ../app\n", "metadata.name is no name"),
        ("mountPath: nas", "mountPath: ../nas", "spec.restic.moverVolumes[0].mountPath is not a single name"),
        ("secretName: ca, ", "secretName: ca, configMapName: x, ", "one of them is meant"),
    ] {
        assert!(SOURCE.contains(from), "{from}");
        let error = error_of(&SOURCE.replace(from, to));
        assert!(error.starts_with("test.yaml, document 1: ") && error.contains(said), "{to}: {error}");
    }
    let twice = format!("{SOURCE}---{SOURCE}");
    assert!(error_of(&twice).contains("document 2: source team/app is there twice"));
    let destination =
        SOURCE.replace("ReplicationSource", "ReplicationDestination").replace("  sourcePVC: app-data\n", "");
    assert!(error_of(&destination).contains("spec.restic.pruneIntervalDays is not known"));
    let watched =
        destination.replace("kubectl.kubernetes.io/last-applied-configuration: '{}'", "volvault.dev/on-change: 1s");
    assert!(error_of(&watched).contains("is for a ReplicationSource"));
}

#[test]
fn hostile_yaml_is_refused_soon() {
    let bomb = (1..30).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let one = format!("*a{}", n - 1);
        text + &format!("a{n}: &a{n} [{}]\n", vec![one; 10].join(", "))
    });
    let deep = "[".repeat(100_000);
    let deeper = "{a: ".repeat(10_000);
    let indented = (0..2_000).fold(String::new(), |text, n| text + &" ".repeat(n) + "a:\n");
    let many = "---\na: b\n".repeat(20_000);
    let wide = format!("a: [{}]", "1,".repeat(400_000));
    let merges = format!("a: &a {{b: c}}\n{}", "d: {<<: *a}\n".repeat(3));
    for text in [
        bomb,
        deep,
        deeper,
        indented,
        many,
        wide,
        merges,
        "a: b\na: c".into(),
        "\0".into(),
        "a: *b".into(),
        "- !!binary x".into(),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.chain().len() < 2_000, "{}", error.chain());
    }
    // An alias that is not hostile is only short.
    let aliased = SOURCE.replace("name: app\n", "name: &n app\n").replace("sourcePVC: app-data", "sourcePVC: *n");
    assert_eq!(read(&aliased).unwrap().resources[0].volume, "app");
}

#[test]
fn a_secret_is_quoted_by_no_error() {
    for text in [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: r}\ndata: {RESTIC_PASSWORD: hunter2}",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: r}\nstringData: {RESTIC_PASSWORD: [hunter2]}",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: r}\nstringData: {RESTIC_PASSWORD: 'hunter2}",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: r}\nstringData:\n  RESTIC_PASSWORD: hunter2\n : x: y",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: r}\nstringData: {RESTIC_PASSWORD: *hunter2x}",
    ] {
        let error = read(text).unwrap_err();
        let shown = format!("{} {}", error.chain(), error.hint().unwrap_or_default());
        assert!(!shown.contains("hunter2 ") && !shown.ends_with("hunter2"), "{shown}");
    }
}

#[test]
fn secrets_come_from_directories_and_variables_too() {
    use crate::environment::Environment;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("RESTIC_PASSWORD"), "secret\n").unwrap();
    std::fs::write(dir.path().join("ca.crt"), "one\ntwo\n").unwrap();
    std::fs::create_dir(dir.path().join("..data")).unwrap();
    let environment: Environment = [("APP_RESTIC_PASSWORD", "x"), ("RESTIC_PASSWORD", "y")].into_iter().collect();
    let keys = |source: &str| source.parse::<SecretSource>().unwrap().read(&environment).unwrap();
    let files = keys(dir.path().to_str().unwrap());
    assert_eq!((files.get("RESTIC_PASSWORD"), files.get("ca.crt")), (Some(&b"secret"[..]), Some(&b"one\ntwo\n"[..])));
    assert_eq!(files.iter().count(), 2);
    assert_eq!(keys("env:APP_").get("RESTIC_PASSWORD"), Some(&b"x"[..]));
    assert_eq!(keys("env").get("RESTIC_PASSWORD"), Some(&b"y"[..]));
    assert!("/missing".parse::<SecretSource>().unwrap().read(&environment).is_err());
}
