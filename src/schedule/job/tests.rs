use super::*;

const DOCUMENTS: &str = "
apiVersion: volsync.backube/v1alpha1
kind: ReplicationSource
metadata: {name: app, namespace: team}
spec:
  sourcePVC: app-data
  restic:
    repository: r
    retain: {daily: 7}
    customCA: {configMapName: ca, key: ca.crt}
    moverVolumes: [{mountPath: nas, volumeSource: {persistentVolumeClaim: {claimName: nas-claim}}}]
---
apiVersion: volsync.backube/v1alpha1
kind: ReplicationDestination
metadata: {name: app, namespace: team}
spec:
  restic: {repository: r, destinationPVC: other, previous: 1, restoreAsOf: \"2024-03-01T12:00:00Z\", enableFileDeletion: true}
---
apiVersion: volsync.backube/v1alpha1
kind: ReplicationSource
metadata: {name: web, namespace: team}
spec: {sourcePVC: app-data, rclone: {rcloneConfig: c, rcloneConfigSection: s3, rcloneDestPath: bucket/web}}
---
apiVersion: v1
kind: Secret
metadata: {name: r, namespace: team}
stringData:
  RESTIC_REPOSITORY: /mnt/nas/backups
  RESTIC_PASSWORD: secret
  AWS_ACCESS_KEY_ID: id
  RCLONE_VOLVAULT_STRICT: \"1\"
  GOOGLE_APPLICATION_CREDENTIALS: '{}'
  RESTIC_PASSWORD_FILE: /etc/passwd
  LD_PRELOAD: x
---
apiVersion: v1
kind: Secret
metadata: {name: c, namespace: team}
stringData: {rclone.conf: \"[s3]\", RCLONE_TRANSFERS: \"4\", RCLONE_CONFIG: /elsewhere}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: team}
data: {ca.crt: pem}
";

fn documents(text: &str) -> Documents {
    let mut documents = Documents::default();
    documents.read("test", text).unwrap();
    documents
}

fn setup(files: &Path) -> Setup {
    let volumes = [("app-data", "/srv/app"), ("team/other", "/srv/other"), ("other", "/wrong"), ("nas-claim", "/nas")];
    Setup {
        volumes: volumes.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).into(),
        secrets: BTreeMap::new(),
        files: files.to_owned(),
    }
}

fn shown(job: &Job) -> BTreeMap<String, String> {
    job.environment.for_store()
}

#[test]
fn a_job_gets_the_environment_of_the_operators_pod() {
    let (documents, setup) = (documents(DOCUMENTS), setup(Path::new("/state/files")));
    let world: Environment =
        [("HTTPS_PROXY", "http://proxy"), ("HOME", "/root"), ("AWS_SECRET_ACCESS_KEY", "mine")].into_iter().collect();
    let jobs: Vec<Job> =
        documents.resources.iter().map(|resource| Job::new(resource, &documents, &setup, &world).unwrap()).collect();
    let [backup, restore, mirror] = jobs.as_slice() else { panic!("three jobs") };
    let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let common = [
        ("RESTIC_PASSWORD", "secret"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("RCLONE_VOLVAULT_STRICT", "1"),
        ("DATA_DIR", "/data"),
        ("RESTIC_CACHE_DIR", "/cache"),
        ("PRIVILEGED_MOVER", "0"),
        ("HTTPS_PROXY", "http://proxy"),
        ("POD_NAMESPACE", "team"),
    ];
    let mut expected = of(&common);
    expected.extend(of(&[
        ("RESTIC_REPOSITORY", "/nas/backups"),
        ("FORGET_OPTIONS", " --keep-daily 7"),
        ("CUSTOM_CA", "/state/files/team_source_app/ca.crt"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/state/files/team_source_app/gcs.json"),
        ("HOSTNAME", "volsync-src-app-xxxxx"),
    ]));
    assert_eq!(shown(backup), expected);
    let mut expected = of(&common);
    expected.extend(of(&[
        ("RESTIC_REPOSITORY", "/mnt/nas/backups"),
        ("RESTORE_AS_OF", "2024-03-01T12:00:00Z"),
        ("SELECT_PREVIOUS", "1"),
        ("RESTORE_OPTIONS", "--delete"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/state/files/team_destination_app/gcs.json"),
        ("HOSTNAME", "volsync-dst-app-xxxxx"),
    ]));
    assert_eq!(shown(restore), expected);
    let expected = of(&[
        ("RCLONE_TRANSFERS", "4"),
        ("RCLONE_CONFIG", "/state/files/team_source_web/rclone.conf"),
        ("RCLONE_VOLVAULT_STATE", "/state/files/team_source_web/state"),
        ("RCLONE_DEST_PATH", "bucket/web"),
        ("RCLONE_CONFIG_SECTION", "s3"),
        ("MOUNT_PATH", "/data"),
        ("DIRECTION", "source"),
        ("PRIVILEGED_MOVER", "0"),
        ("HTTPS_PROXY", "http://proxy"),
        ("POD_NAMESPACE", "team"),
        ("HOSTNAME", "volsync-rclone-src-web-xxxxx"),
    ]);
    assert_eq!(shown(mirror), expected);
    let volumes: Vec<&Path> = jobs.iter().map(|job| job.volume.as_path()).collect();
    assert_eq!(volumes, [Path::new("/srv/app"), Path::new("/srv/other"), Path::new("/srv/app")]);
}

#[test]
fn files_of_a_job_are_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (documents, setup) = (documents(DOCUMENTS), setup(&dir.path().join("files")));
    let job = Job::new(&documents.resources[0], &documents, &setup, &Environment::default()).unwrap();
    job.place_files().unwrap();
    job.place_files().unwrap();
    let directory = dir.path().join("files/team_source_app");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(std::fs::read_to_string(directory.join("ca.crt")).unwrap(), "pem");
    assert_eq!((mode(&directory), mode(&directory.join("ca.crt"))), (0o700, 0o600));
}

#[test]
fn a_repository_on_a_volume_of_the_mover_is_never_looked_for_on_the_disk_of_this_machine() {
    let (claim, nfs) = ("{persistentVolumeClaim: {claimName: nas-claim}}", "{nfs: {server: s, path: /p}}");
    let made = |source: &str, location: &str, mapped: bool| {
        let text = DOCUMENTS.replace(claim, source).replace("RESTIC_REPOSITORY: /mnt/nas/backups", location);
        let mut setup = setup(Path::new("/state/files"));
        if mapped {
            setup.volumes.insert("nas".to_owned(), PathBuf::from("/srv/nas"));
        }
        let documents = documents(&text);
        let job = Job::new(&documents.resources[0], &documents, &setup, &Environment::default());
        job.map(|job| shown(&job)["RESTIC_REPOSITORY"].clone())
    };
    for (location, below) in [
        ("/mnt/nas/backups", "/backups"),
        ("local:/mnt/nas/backups", "/backups"),
        ("file:///mnt/nas/backups", "/backups"),
        ("/mnt//nas/./backups/", "/backups"),
        ("/mnt/nas", ""),
    ] {
        let location = format!("RESTIC_REPOSITORY: {location}");
        assert_eq!(made(claim, &location, false).unwrap(), format!("/nas{below}"), "{location}");
        assert_eq!(made(nfs, &location, true).unwrap(), format!("/srv/nas{below}"), "{location}");
        let error = made(nfs, &location, false).unwrap_err();
        assert!(error.chain().contains("which lies on moverVolume nas"), "{}", error.chain());
        assert_eq!(error.hint(), Some("say it with --volume nas=DIRECTORY"));
    }
    for location in ["/mnt/nas2/backups", "local:/srv/mnt/nas", "s3:https://host/mnt/nas"] {
        assert_eq!(made(nfs, &format!("RESTIC_REPOSITORY: {location}"), false).unwrap(), location);
    }
}

#[test]
fn what_is_missing_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, said) in [
        ("sourcePVC: app-data\n", "sourcePVC: unknown\n", "claim unknown"),
        ("metadata: {name: r, namespace: team}", "metadata: {name: r}", "Secret team/r is missing"),
        ("  RESTIC_PASSWORD: secret\n", "", "Secret r has no key RESTIC_PASSWORD"),
        ("RESTIC_REPOSITORY: /mnt/nas/backups", "RESTIC_REPOSITORY: \"\"", "Secret r has no key RESTIC_REPOSITORY"),
        ("data: {ca.crt: pem}", "data: {ca.pem: pem}", "ConfigMap ca has no key ca.crt"),
        ("metadata: {name: ca,", "metadata: {name: x,", "ConfigMap team/ca is missing"),
        ("claimName: nas-claim", "claimName: lost", "claim lost"),
    ] {
        let documents = documents(&DOCUMENTS.replace(from, to));
        let error =
            Job::new(&documents.resources[0], &documents, &setup(dir.path()), &Environment::default()).unwrap_err();
        assert!(error.chain().contains(said), "{said}: {}", error.chain());
        assert!(!error.chain().contains("secret "), "{}", error.chain());
    }
    let documents = documents(&DOCUMENTS.replace("metadata: {name: r, namespace: team}", "metadata: {name: s}"));
    let mut setup = setup(dir.path());
    let keys = documents.secrets[&("default".to_owned(), "s".to_owned())].clone();
    setup.secrets.insert("r".to_owned(), keys);
    assert!(Job::new(&documents.resources[0], &documents, &setup, &Environment::default()).is_ok());
}
