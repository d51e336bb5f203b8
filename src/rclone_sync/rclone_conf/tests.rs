use super::*;
use crate::error::ErrorKind;

const CONFIG: &str = "
[s3-bucket]
type = s3
provider = Minio
env_auth = false
access_key_id = user1
secret_access_key = abc123
region = us-east-1
endpoint = http://minio.minio.svc.cluster.local:9000

[aws]
type = s3
provider = AWS
env_auth = true
region = eu-central-1
storage_class = STANDARD_IA
acl = private

[open]
type = s3
provider = AWS

[wasabi]
type = s3
provider = Wasabi
access_key_id = k
secret_access_key = s
endpoint = s3.eu-central-1.wasabisys.com/
force_path_style = false
no_check_bucket = true
surprise = x
directory_markers = true

[gcs]
type = google cloud storage
service_account_file = ~/sa.json
bucket_policy_only = true

[az]
type = azureblob
account = acc
key = a2V5

[sas]
type = azureblob
sas_url = https://acc.blob.core.windows.net/box?sv=1&sig=x

[conn]
type = azureblob
connection_string = DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5==;EndpointSuffix=core.windows.net

[disk]
type = local

[one]
type = alias
remote = two:sub

[two]
type = alias
remote = s3-bucket:bucket/

[files]
type = alias
remote = /srv/data

[round]
type = alias
remote = round:x

[secret]
type = crypt
remote = s3-bucket:bucket

[typeless]
remote = x
";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve_with(text: &str, variables: &[(&str, &str)]) -> Result<Option<Resolved>> {
    let variables = map(variables);
    let base = StoreOptions { variables: variables.clone(), ..StoreOptions::default() };
    Remotes::read(CONFIG.as_bytes(), &variables).unwrap().resolve(text, &base)
}

fn resolve(text: &str) -> Resolved {
    resolve_with(text, &[("HOME", "/home/u"), ("AWS_ACCESS_KEY_ID", "ambient")]).unwrap().unwrap()
}

fn variable<'a>(resolved: &'a Resolved, name: &str) -> Option<&'a str> {
    resolved.options.variables.get(name).map(String::as_str)
}

fn s3(endpoint: Option<&str>, bucket: &str, prefix: &str, region: Option<&str>) -> Location {
    Location::S3 {
        endpoint: endpoint.map(str::to_owned),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: region.map(str::to_owned),
    }
}

#[test]
fn the_remote_of_volsyncs_page_is_an_s3_location_with_its_own_keys() {
    let found = resolve("s3-bucket:bucket/prefix/");
    let endpoint = Some("http://minio.minio.svc.cluster.local:9000");
    assert_eq!(found.location, s3(endpoint, "bucket", "prefix", Some("us-east-1")));
    assert_eq!(variable(&found, "AWS_ACCESS_KEY_ID"), Some("user1"));
    assert_eq!(variable(&found, "AWS_SECRET_ACCESS_KEY"), Some("abc123"));
    assert!(found.ignored.is_empty() && variable(&found, "HOME").is_some());
    assert!(!format!("{found:?}").contains("abc123"));
    assert!(!format!("{:?}", Remotes::read(CONFIG.as_bytes(), &map(&[])).unwrap()).contains("abc123"));
}

#[test]
fn keys_come_from_the_remote_from_the_environment_or_from_nowhere_as_rclone_has_it() {
    let aws = resolve("aws:b");
    assert_eq!(aws.location, s3(None, "b", "", Some("eu-central-1")));
    assert_eq!(variable(&aws, "AWS_ACCESS_KEY_ID"), Some("ambient"), "env_auth");
    assert_eq!(aws.options.extended["s3.storage-class"], "STANDARD_IA");
    let open = resolve("open:b/p");
    assert_eq!(open.location, s3(None, "b", "p", Some("us-east-1")));
    assert_eq!(variable(&open, "AWS_ACCESS_KEY_ID"), None);
    assert_eq!(open.options.extended["s3.unsafe-anonymous-auth"], "true");
    for half in [":s3,access_key_id=x:b", ":s3,secret_access_key=x:b"] {
        assert!(resolve_with(half, &[]).is_err(), "{half}");
    }
}

#[test]
fn settings_that_are_not_followed_are_said_or_refused_by_name() {
    let wasabi = resolve("wasabi:b");
    assert_eq!(wasabi.location, s3(Some("https://s3.eu-central-1.wasabisys.com"), "b", "", Some("us-east-1")));
    assert_eq!(wasabi.options.extended["s3.bucket-lookup"], "dns");
    assert_eq!(wasabi.ignored.len(), 2, "{:?}", wasabi.ignored);
    assert!(wasabi.ignored.iter().any(|said| said.contains("surprise")));
    for setting in [
        "server_side_encryption=aws:kms",
        "acl=public-read",
        "versions",
        "encoding=None",
        "v2_auth=true",
        "requester_pays=true",
        "shared_credentials_file=/x",
        "object_lock_mode=GOVERNANCE",
    ] {
        let quoted = setting.replacen('=', "='", 1) + if setting.contains('=') { "'" } else { "" };
        let error = resolve_with(&format!("s3-bucket,{quoted}:b"), &[]).unwrap_err();
        let name = setting.split('=').next().unwrap();
        assert!(error.kind() == ErrorKind::Unsupported && error.chain().contains(name) && error.hint().is_some());
    }
    let versions = resolve_with("s3-bucket,versions:b", &[]).unwrap_err();
    assert!(versions.hint().is_some_and(|hint| hint.contains("`volvault mirror pull --generation`")), "{versions:?}");
    for harmless in ["acl=private", "server_side_encryption=AES256", "versions=false", "version_at=off"] {
        assert!(resolve_with(&format!("s3-bucket,{harmless}:b"), &[]).is_ok(), "{harmless}");
    }
}

#[test]
fn variables_come_before_the_file_and_what_stands_beside_the_name_before_both() {
    let endpoint =
        |text: &str, variables: &[(&str, &str)]| match resolve_with(text, variables).unwrap().unwrap().location {
            Location::S3 { endpoint, .. } => endpoint.unwrap(),
            other => panic!("{other}"),
        };
    let of_type = ("RCLONE_S3_ENDPOINT", "http://type:1");
    let of_name = ("RCLONE_CONFIG_WASABI_ENDPOINT", "http://name:1");
    assert_eq!(endpoint("wasabi:b", &[of_type]), "http://type:1");
    assert_eq!(endpoint("s3-bucket:b", &[of_type]), "http://type:1");
    assert_eq!(endpoint("wasabi:b", &[of_type, of_name]), "http://name:1");
    assert_eq!(endpoint("s3-bucket:b", &[of_type, of_name]), "http://type:1");
    assert_eq!(endpoint("wasabi,endpoint='http://own:1':b", &[of_type, of_name]), "http://own:1");
    assert_eq!(endpoint("wasabi:b", &[("RCLONE_S3_ENDPOINT", "")]), "https://s3.eu-central-1.wasabisys.com");
}

#[test]
fn remotes_are_made_by_variables_alone_and_on_the_spot() {
    let variables = [
        ("RCLONE_CONFIG_MINE_TYPE", "s3"),
        ("RCLONE_CONFIG_MINE_ENDPOINT", "http://h:9000"),
        ("RCLONE_CONFIG_MINE_ACCESS_KEY_ID", "k"),
        ("RCLONE_CONFIG_MINE_SECRET_ACCESS_KEY", "s"),
    ];
    for name in ["mine", "MINE", "Mine"] {
        let found = resolve_with(&format!("{name}:b/p"), &variables).unwrap().unwrap();
        assert_eq!(found.location, s3(Some("http://h:9000"), "b", "p", Some("us-east-1")), "{name}");
        assert_eq!(variable(&found, "AWS_ACCESS_KEY_ID"), Some("k"));
    }
    let spot = resolve_with(":s3,env_auth=true,region=eu-west-1:bucket", &[("AWS_PROFILE", "p")]).unwrap().unwrap();
    assert_eq!(spot.location, s3(None, "bucket", "", Some("eu-west-1")));
    assert_eq!(variable(&spot, "AWS_PROFILE"), Some("p"));
}

#[test]
fn aliases_are_followed_to_their_end_but_not_in_circles() {
    let found = resolve("one:deep/er");
    let endpoint = Some("http://minio.minio.svc.cluster.local:9000");
    assert_eq!(found.location, s3(endpoint, "bucket", "sub/deep/er", Some("us-east-1")));
    assert_eq!(resolve("files:x").location, Location::Local("/srv/data/x".into()));
    assert_eq!(resolve("files:").location, Location::Local("/srv/data".into()));
    assert_eq!(resolve("disk:/a/b").location, Location::Local("/a/b".into()));
    assert!(resolve_with("round:", &[]).unwrap_err().chain().contains("circle"));
}

#[test]
fn google_and_azure_are_spoken_too() {
    let gcs = resolve("gcs:b/p");
    assert_eq!(gcs.location, Location::Gcs { bucket: "b".into(), prefix: "p".into() });
    assert_eq!(variable(&gcs, "GOOGLE_SERVICE_ACCOUNT"), Some("/home/u/sa.json"));
    let az = resolve("az:c/p");
    assert_eq!(az.location, Location::Azure { container: "c".into(), prefix: "p".into() });
    assert_eq!((variable(&az, "AZURE_ACCOUNT_NAME"), variable(&az, "AZURE_ACCOUNT_KEY")), (Some("acc"), Some("a2V5")));
    let sas = resolve("sas:box");
    assert_eq!(variable(&sas, "AZURE_ACCOUNT_SAS"), Some("sv=1&sig=x"));
    assert_eq!(variable(&sas, "AZURE_ENDPOINT"), Some("https://acc.blob.core.windows.net"));
    let conn = resolve("conn:box");
    assert_eq!(variable(&conn, "AZURE_ACCOUNT_KEY"), Some("a2V5=="));
    let anonymous = [("RCLONE_GCS_SERVICE_ACCOUNT_FILE", ""), ("RCLONE_GCS_ANONYMOUS", "true")];
    let open = resolve_with(":gcs:b", &anonymous).unwrap().unwrap();
    assert_eq!(variable(&open, "GOOGLE_SKIP_SIGNATURE"), Some("true"));
    assert!(resolve_with(":gcs:b", &[]).is_err(), "no credentials");
}

#[test]
fn other_types_are_refused_by_name_with_the_way_out() {
    for (text, name) in [
        ("secret:x", "crypt"),
        (":sftp,host=h:x", "sftp"),
        (":b2:bucket", "b2"),
        (":dropbox:x", "dropbox"),
        ("typeless:x", "type"),
    ] {
        let error = resolve_with(text, &[]).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Unsupported && error.chain().contains(name) && error.hint().is_some(),
            "{text}"
        );
    }
    let typeless = resolve_with("typeless:x", &[]).unwrap_err();
    assert!(typeless.chain().ends_with("remotes without a type are not supported"), "{typeless:?}");
    for text in ["unknown:x", "/a/b", "a/b:c", "plain"] {
        assert!(resolve_with(text, &[]).unwrap().is_none(), "{text}");
    }
    for text in ["s3-bucket:", "s3-bucket:/", "s3-bucket:b/../c", "disk:", ":s3,provider=Minio:b"] {
        assert!(resolve_with(text, &[]).is_err(), "{text}");
    }
}
