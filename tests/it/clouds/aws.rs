//! AWS credentials from every place where AWS's own tools look, each signed with and checked by the server.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use chrono::{DateTime, TimeDelta, Utc};
use volvault::clock::SystemClock;

use crate::command::{Home, fill, write};
use crate::support::s3::{S3ServerThread, Signer};
use crate::support::scripted::{Reply, Seen};
use crate::support::web::Service;

/// What the services below give out.
const ISSUED: (&str, &str, &str) = ("ASIAISSUED", "issued-secret", "issued-token");

/// A server, and a user without any variable that opens it.
struct Field {
    s3: S3ServerThread,
    home: Home,
}

impl Field {
    fn new() -> Self {
        let s3 = S3ServerThread::start();
        s3.server.grant(ISSUED.0, ISSUED.1, Some(ISSUED.2));
        let mut home = Home::new();
        home.set("VOLVAULT_REPOSITORY", format!("s3:{}/bucket/p", s3.server.endpoint));
        home.set("AWS_REGION", "eu-test-1".to_owned());
        home.set_key();
        Self { s3, home }
    }

    fn with(mut self, variables: &[(&'static str, &str)]) -> Self {
        for (name, value) in variables {
            self.home.set(*name, (*value).to_owned());
        }
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        write(&self.home.at(name), text.as_bytes());
        self
    }

    /// Makes a repository, saves and lists; every request must be signed by this key with this token.
    fn is_signed_by(&self, key: &str, token: Option<&str>) {
        self.is_signed_in("eu-test-1", key, token);
    }

    fn is_signed_in(&self, region: &str, key: &str, token: Option<&str>) {
        fill(&self.home.at("data"), 3, 100);
        for arguments in [&["init"][..], &["backup", "data"], &["check"]] {
            self.home.text(arguments);
        }
        let signer = Signer { key: key.to_owned(), token: token.map(str::to_owned), region: region.to_owned() };
        assert_eq!(self.s3.server.signers().into_iter().collect::<Vec<_>>(), [signer]);
    }

    fn fails(&self) -> String {
        let Output { status, stderr, .. } = self.home.run(&["snapshots"]);
        let errors = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(1), "{errors}");
        errors
    }
}

fn now() -> DateTime<Utc> {
    SystemClock::new().now().to_utc()
}

fn in_minutes(minutes: i64) -> String {
    (now() + TimeDelta::minutes(minutes)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The JSON of ECS, EKS and EC2.
fn issued_json() -> Reply {
    Reply::json(&format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"{}","AccessKeyId":"{}","SecretAccessKey":"{}","Token":"{}","Expiration":"{}"}}"#,
        in_minutes(-1),
        ISSUED.0,
        ISSUED.1,
        ISSUED.2,
        in_minutes(60)
    ))
}

/// STS's answer to `action`, if the request has all of `words`.
fn sts(action: &'static str, words: &'static [&'static str]) -> Service {
    Service::start(move |seen| {
        let whole = format!("{} {}", seen.body, seen.header("authorization"));
        if !seen.body.contains(&format!("Action={action}&")) || !words.iter().all(|word| whole.contains(word)) {
            let body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>";
            return Reply::answer("403 Forbidden", &["content-type: text/xml"], body.as_bytes());
        }
        let body = format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
             <Expiration>{}</Expiration></Credentials></{action}Result></{action}Response>",
            ISSUED.0,
            ISSUED.1,
            ISSUED.2,
            in_minutes(60)
        );
        Reply::answer("200 OK", &["content-type: text/xml"], body.as_bytes())
    })
}

#[test]
fn keys_of_the_environment_with_a_session_token() {
    let field = Field::new();
    field.s3.server.grant("AKIAENV", "env-secret", Some("env-token"));
    field
        .with(&[
            ("AWS_ACCESS_KEY_ID", "AKIAENV"),
            ("AWS_SECRET_ACCESS_KEY", "env-secret"),
            ("AWS_SESSION_TOKEN", "env-token"),
        ])
        .is_signed_by("AKIAENV", Some("env-token"));
}

#[test]
fn the_default_profile_in_the_home_directory() {
    let field = Field::new();
    field.s3.server.grant("AKIAHOME", "home-secret", None);
    field
        .file(".aws/credentials", "[default]\naws_access_key_id = AKIAHOME\naws_secret_access_key = home-secret\n")
        .is_signed_by("AKIAHOME", None);
}

#[test]
fn a_named_profile_in_files_that_are_elsewhere() {
    let field = Field::new();
    field.s3.server.grant("AKIAPROFILE", "profile-secret", Some("profile-token"));
    let (config, credentials) = (field.home.at("etc/config"), field.home.at("etc/credentials"));
    field
        .file("etc/config", "[profile work]\nregion = eu-wrong-1\n")
        .file(
            "etc/credentials",
            "[default]\naws_access_key_id = other\naws_secret_access_key = other\n[work]\naws_access_key_id = AKIAPROFILE\n\
             aws_secret_access_key = profile-secret\naws_session_token = profile-token\n",
        )
        .with(&[
            ("AWS_PROFILE", "work"),
            ("AWS_CONFIG_FILE", &config.display().to_string()),
            ("AWS_SHARED_CREDENTIALS_FILE", &credentials.display().to_string()),
        ])
        .is_signed_by("AKIAPROFILE", Some("profile-token"));
}

#[test]
fn region_and_endpoint_of_a_profile() {
    for (services, profile) in
        [("", "endpoint_url = ENDPOINT"), ("[services here]\ns3 =\n  endpoint_url = ENDPOINT\n", "services = here")]
    {
        let field =
            Field::new().with(&[("AWS_REGION", ""), ("AWS_PROFILE", "work"), ("VOLVAULT_REPOSITORY", "s3://bucket/p")]);
        field.s3.server.grant("AKIAPROFILE", "profile-secret", None);
        let config = format!(
            "{services}[profile work]\nregion = eu-profile-1\n{profile}\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = profile-secret\n"
        );
        let config = config.replace("ENDPOINT", &field.s3.server.endpoint);
        field.file(".aws/config", &config).is_signed_in("eu-profile-1", "AKIAPROFILE", None);
    }
}

#[test]
fn the_default_profile_does_not_move_a_bucket_whose_host_is_named() {
    let field = Field::new().with(&[("AWS_REGION", "")]);
    field.s3.server.grant("AKIAHOME", "home-secret", None);
    field
        .file(
            ".aws/config",
            "[default]\nregion = eu-wrong-1\nendpoint_url = http://127.0.0.1:1\naws_access_key_id = AKIAHOME\naws_secret_access_key = home-secret\n",
        )
        .is_signed_in("us-east-1", "AKIAHOME", None);
}

#[test]
fn a_profile_that_assumes_a_role_with_another_profiles_keys() {
    let sts =
        sts("AssumeRole", &["RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fbackup", "credential=akiasource/"]);
    Field::new()
        .file(
            ".aws/config",
            "[profile backup]\nrole_arn = arn:aws:iam::123456789012:role/backup\nsource_profile = source\n\
             [profile source]\naws_access_key_id = AKIASOURCE\naws_secret_access_key = source-secret\n",
        )
        .with(&[("AWS_PROFILE", "backup"), ("AWS_ENDPOINT_URL_STS", &sts.endpoint)])
        .is_signed_by(ISSUED.0, Some(ISSUED.2));
}

#[test]
fn a_role_in_restics_variables() {
    let sts =
        sts("AssumeRole", &["ExternalId=outside", "RoleSessionName=nightly", "credential=akiaenv/", "/eu-sts-1/sts/"]);
    Field::new()
        .with(&[
            ("AWS_ACCESS_KEY_ID", "AKIAENV"),
            ("AWS_SECRET_ACCESS_KEY", "env-secret"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("RESTIC_AWS_ASSUME_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
            ("RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID", "outside"),
            ("RESTIC_AWS_ASSUME_ROLE_SESSION_NAME", "nightly"),
            ("RESTIC_AWS_ASSUME_ROLE_REGION", "eu-sts-1"),
            ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", &sts.endpoint),
        ])
        .is_signed_by(ISSUED.0, Some(ISSUED.2));
}

#[test]
fn a_web_identity_as_kubernetes_mounts_it() {
    let sts = sts("AssumeRoleWithWebIdentity", &["WebIdentityToken=header.payload.signature", "role%2Firsa"]);
    let field = Field::new().file("token", "header.payload.signature");
    let token = field.home.at("token").display().to_string();
    field
        .with(&[
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/irsa"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ("AWS_ENDPOINT_URL_STS", &sts.endpoint),
        ])
        .is_signed_by(ISSUED.0, Some(ISSUED.2));
}

#[test]
fn the_credentials_of_a_container_with_a_token_from_a_file() {
    let agent = Service::start(|seen| match (seen.target.as_str(), seen.header("authorization")) {
        ("/v1/credentials", "pod-token") => issued_json(),
        _ => Reply::answer("401 Unauthorized", &[], b""),
    });
    let field = Field::new().file("pod-token", "pod-token");
    let token = field.home.at("pod-token").display().to_string();
    field
        .with(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/credentials", agent.endpoint)),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        ])
        .is_signed_by(ISSUED.0, Some(ISSUED.2));
}

/// EC2's service in its second version: a token first.
fn metadata(seen: &Seen) -> Reply {
    let known = seen.header("x-aws-ec2-metadata-token") == "session";
    match (seen.method.as_str(), seen.target.as_str()) {
        ("PUT", "/latest/api/token") => {
            Reply::answer("200 OK", &["x-aws-ec2-metadata-token-ttl-seconds: 21600"], b"session")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") if known => Reply::answer("200 OK", &[], b"node"),
        ("GET", "/latest/meta-data/iam/security-credentials/node") if known => issued_json(),
        _ => Reply::answer("404 Not Found", &[], b""),
    }
}

#[test]
fn the_role_of_an_instance() {
    let service = Service::start(metadata);
    Field::new()
        .with(&[("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.endpoint)])
        .is_signed_by(ISSUED.0, Some(ISSUED.2));
}

#[test]
fn keys_of_the_environment_come_before_all_services() {
    let service = Service::start(|_| Reply::answer("404 Not Found", &[], b""));
    let field = Field::new();
    field.s3.server.grant("AKIAENV", "env-secret", None);
    field
        .with(&[
            ("AWS_ACCESS_KEY_ID", "AKIAENV"),
            ("AWS_SECRET_ACCESS_KEY", "env-secret"),
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.endpoint),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &service.endpoint),
        ])
        .is_signed_by("AKIAENV", None);
    assert_eq!(service.asked().len(), 0);
}

#[test]
fn a_session_of_single_sign_on() {
    let portal = Service::start(|seen| {
        if !seen.target.starts_with("/federation/credentials?") || seen.header("x-amz-sso_bearer_token") != "sso-token"
        {
            return Reply::answer("401 Unauthorized", &[], b"{}");
        }
        Reply::json(&format!(
            r#"{{"roleCredentials":{{"accessKeyId":"{}","secretAccessKey":"{}","sessionToken":"{}","expiration":{}}}}}"#,
            ISSUED.0,
            ISSUED.1,
            ISSUED.2,
            (now() + TimeDelta::hours(1)).timestamp_millis()
        ))
    });
    // The file is named for the SHA-1 of the session's name, here `corp`.
    let token = format!(
        r#"{{"accessToken":"sso-token","expiresAt":"{}","region":"eu-sso-1","startUrl":"https://corp.example/start"}}"#,
        in_minutes(60)
    );
    Field::new()
        .file(
            ".aws/config",
            "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = backup\n\
             [sso-session corp]\nsso_region = eu-sso-1\nsso_start_url = https://corp.example/start\n",
        )
        .file(".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json", &token)
        .with(&[("AWS_ENDPOINT_URL_SSO", &portal.endpoint)])
        .is_signed_by(ISSUED.0, Some(ISSUED.2));
}

/// A program that prints credentials; what it prints is in the file `out`.
fn with_program(field: Field) -> Field {
    let script = field.home.at("give");
    write(&script, b"#!/bin/sh\nprintf x >> calls\n/bin/cat out\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[default]\ncredential_process = {}\n", script.display());
    field.file(".aws/config", &config)
}

fn printed(key: &str, secret: &str, seconds: i64) -> String {
    let end = (now() + TimeDelta::seconds(seconds)).format("%Y-%m-%dT%H:%M:%SZ");
    format!(
        r#"{{"Version":1,"AccessKeyId":"{key}","SecretAccessKey":"{secret}","SessionToken":"program-token","Expiration":"{end}"}}"#
    )
}

#[test]
fn a_program_that_prints_credentials() {
    let field = with_program(Field::new());
    field.s3.server.grant("ASIAPROGRAM", "program-secret", Some("program-token"));
    let field = field.file("out", &printed("ASIAPROGRAM", "program-secret", 3600));
    field.is_signed_by("ASIAPROGRAM", Some("program-token"));
    assert_eq!(std::fs::read(field.home.at("calls")).unwrap(), b"xxx", "once a command, not once a request");
}

#[test]
fn credentials_that_end_during_a_backup_are_renewed() {
    let field = with_program(Field::new());
    for (key, secret) in [("ASIAFIRST", "first-secret"), ("ASIASECOND", "second-secret")] {
        field.s3.server.grant(key, secret, Some("program-token"));
    }
    let field = field.file("out", &printed("ASIAFIRST", "first-secret", 3600));
    field.home.text(&["init"]);
    let field = field.file("out", &printed("ASIAFIRST", "first-secret", 3));
    fill(&field.home.at("data"), 50, 100_000);
    // 5 MB at 1 MiB a second: it outlives its first credentials by two seconds.
    let mut child = field.home.start(&["--limit-upload", "1024", "--pack-size", "1", "backup", "data"]);
    crate::command::pause(std::time::Duration::from_secs(1));
    let field = field.file("out", &printed("ASIASECOND", "second-secret", 3600));
    crate::command::pause(std::time::Duration::from_secs(2));
    field.s3.server.expire("ASIAFIRST");
    assert!(child.wait().unwrap().success(), "the backup did not outlive its first credentials");
    let keys: Vec<String> = field.s3.server.signers().into_iter().map(|signer| signer.key).collect();
    assert_eq!(keys, ["ASIAFIRST", "ASIASECOND"]);
    field.home.text(&["check", "--read-data"]);
}

#[test]
fn what_is_wrong_with_credentials_is_said() {
    let expired = Field::new().with(&[("AWS_ACCESS_KEY_ID", "AKIAOLD"), ("AWS_SECRET_ACCESS_KEY", "old-secret")]);
    expired.s3.server.grant("AKIAOLD", "old-secret", None);
    expired.home.text(&["init"]);
    expired.s3.server.expire("AKIAOLD");
    let said = expired.fails();
    assert!(said.contains("the credentials have expired") && !said.contains("old-secret"), "{said}");

    let said = Field::new().fails();
    assert!(said.contains("give the store's credentials"), "nothing is configured: {said}");

    let sts = sts("Nothing", &[]);
    let refused = Field::new().file("token", "header.payload.signature");
    let token = refused.home.at("token").display().to_string();
    let said = refused
        .with(&[
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/irsa"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ("AWS_ENDPOINT_URL_STS", &sts.endpoint),
        ])
        .fails();
    assert!(said.contains("AccessDenied") && !said.contains("header.payload"), "STS refuses: {said}");

    let said = Field::new().with(&[("AWS_PROFILE", "missing")]).fails();
    assert!(said.contains("missing"), "the profile is named: {said}");
}
