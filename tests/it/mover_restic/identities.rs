//! Who a pod is to a store when its Secret holds no key: what the cluster mounts and sets in every pod of an account, for either mover.

use chrono::{TimeDelta, Utc};
use volvault::clock::SystemClock;

use crate::mover_rclone::pod::Pod as MirrorPod;
use crate::support::s3::S3ServerThread;
use crate::support::scripted::{Reply, Seen};
use crate::support::web::Service;

use super::pod::Pod;

/// What the token service of AWS gives out.
const ISSUED: (&str, &str, &str) = ("ASIAISSUED", "issued-secret", "issued-token");
const GOOGLE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/google.json");

/// Gives keys to whoever shows the token that the cluster mounts.
fn token_service() -> Service {
    Service::start(|seen| {
        if !seen.body.contains("Action=AssumeRoleWithWebIdentity&") || !seen.body.contains("WebIdentityToken=pod-token")
        {
            return Reply::answer("403 Forbidden", &["content-type: text/xml"], b"<ErrorResponse/>");
        }
        let expiry = (SystemClock::new().now().with_timezone(&Utc) + TimeDelta::hours(1)).to_rfc3339();
        let body = format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>\
             <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{expiry}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            ISSUED.0, ISSUED.1, ISSUED.2,
        );
        Reply::answer("200 OK", &["content-type: text/xml"], body.as_bytes())
    })
}

/// `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE`, as the webhook of EKS sets them; no key in the Secret, nor in `rclone.conf`.
#[test]
fn a_pod_is_who_its_account_is_at_amazon() {
    let (s3, sts) = (S3ServerThread::start(), token_service());
    s3.server.grant(ISSUED.0, ISSUED.1, Some(ISSUED.2));
    s3.server.make_bucket("bucket");
    let webhook = |token: &str| {
        [
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup".to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_owned()),
            ("AWS_ENDPOINT_URL_STS", sts.endpoint.clone()),
            ("AWS_REGION", "eu-test-1".to_owned()),
        ]
    };
    let mut pod = Pod::new();
    pod.set("RESTIC_REPOSITORY", &format!("s3:{}/bucket/app", s3.server.endpoint));
    crate::command::write(&pod.at("token"), b"pod-token");
    for (name, value) in webhook(&pod.at("token").display().to_string()) {
        pod.set(name, &value);
    }
    pod.write("a", "first");
    pod.done(&["backup"]);

    let mut mirror = MirrorPod::new();
    mirror.configure(&format!(
        "[bucket]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = {}\nregion = eu-test-1\n",
        s3.server.endpoint
    ));
    crate::command::write(&mirror.at("token"), b"pod-token");
    for (name, value) in webhook(&mirror.at("token").display().to_string()) {
        mirror.set(name, &value);
    }
    mirror.set("RCLONE_CONFIG_SECTION", "bucket");
    mirror.set("RCLONE_DEST_PATH", "bucket/mirror");
    mirror.write("a", "first");
    mirror.done();
    let signers: Vec<String> = s3.server.signers().into_iter().map(|signer| signer.key).collect();
    assert_eq!(signers, [ISSUED.0], "nobody else has signed anything");
}

/// A store that has nothing, and shows who asked; it also gives out tokens, as Azure does for that of a pod.
fn asked(location: &str, variables: &[(&str, &str)]) -> Vec<Seen> {
    let store = Service::start(|seen| {
        if seen.target.starts_with("/tenant/oauth2/v2.0/token") && seen.body.contains("client_assertion=pod-token") {
            return Reply::json(r#"{"access_token":"issued-token","expires_in":3600,"token_type":"Bearer"}"#);
        }
        Reply::error("404 Not Found", "NoSuchKey")
    });
    let mut pod = Pod::new();
    pod.set("RESTIC_REPOSITORY", location);
    pod.set("RCLONE_VOLVAULT_STRICT", "true");
    crate::command::write(&pod.at("token"), b"pod-token");
    // Where the operator mounts the key GOOGLE_APPLICATION_CREDENTIALS of the Secret, or rather beside it.
    std::fs::copy(GOOGLE_FILE, pod.at("gcs.json")).unwrap();
    for (name, value) in variables {
        pod.set(name, &value.replace("STORE", &store.endpoint).replace("POD", &pod.at("").display().to_string()));
    }
    let ran = pod.run(&["restore"]);
    assert_eq!(ran.code, 3, "{}", ran.log);
    let wanted = |seen: &Seen| seen.target.replace("%2F", "/").contains("/place/some/prefix/config");
    store.asked().into_iter().filter(wanted).collect()
}

#[test]
fn a_pod_is_who_its_account_is_at_google_and_azure() {
    let google = [
        ("GOOGLE_BASE_URL", "STORE"),
        ("GOOGLE_PROJECT_ID", "test"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "PODgcs.json"),
    ];
    let azure = [
        ("AZURE_STORAGE_ENDPOINT", "STORE/account"),
        ("AZURE_AUTHORITY_HOST", "STORE"),
        ("AZURE_ACCOUNT_NAME", "account"),
        ("AZURE_CLIENT_ID", "id"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_FEDERATED_TOKEN_FILE", "PODtoken"),
    ];
    for (location, variables, shown) in [
        ("gs:place:/some/prefix", &google[..], "bearer eyj"),
        ("azure:place:/some/prefix", &azure, "bearer issued-token"),
    ] {
        let seen = asked(location, variables);
        assert!(!seen.is_empty(), "{location}: nobody asked");
        assert!(seen.iter().all(|seen| seen.header("authorization").starts_with(shown)), "{location}: {seen:?}");
    }
}
