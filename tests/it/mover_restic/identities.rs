//! Who a pod is to a store when its Secret holds no key: what the cluster mounts and sets in every pod of an account, for either mover.

use std::path::Path;

use chrono::{TimeDelta, Utc};
use volvault::clock::SystemClock;

use crate::mover_rclone::pod::Pod as MirrorPod;
use crate::support::peer;
use crate::support::s3::ISSUED;
use crate::support::scripted::{Reply, Seen};
use crate::support::web::Service;

use super::pod::Pod;

const GOOGLE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/google.json");

fn in_an_hour() -> String {
    (SystemClock::new().now().with_timezone(&Utc) + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Gives keys to whoever shows the token that the cluster mounts.
fn token_service(seen: &Seen) -> Reply {
    if !seen.body.contains("Action=AssumeRoleWithWebIdentity&") || !seen.body.contains("WebIdentityToken=pod-token") {
        return Reply::answer("403 Forbidden", &["content-type: text/xml"], b"<ErrorResponse/>");
    }
    let body = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>\
         <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        ISSUED.0,
        ISSUED.1,
        ISSUED.2,
        in_an_hour(),
    );
    Reply::answer("200 OK", &["content-type: text/xml"], body.as_bytes())
}

/// The same keys, as the agents of nodes and of containers give them.
fn issued() -> Reply {
    let (key, secret, token) = ISSUED;
    let expiry = in_an_hour();
    Reply::json(&format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{key}","SecretAccessKey":"{secret}","Token":"{token}","Expiration":"{expiry}"}}"#
    ))
}

/// The agent of EKS, and of ECS, which wants to see a token that it has mounted.
fn agent(seen: &Seen) -> Reply {
    match (seen.target.as_str(), seen.header("authorization")) {
        ("/v1/credentials", "pod-token") => issued(),
        _ => Reply::answer("401 Unauthorized", &[], b""),
    }
}

/// The service of EC2 for whoever runs on the node, which gives out a token of its own first.
fn metadata(seen: &Seen) -> Reply {
    let is_known = seen.header("x-aws-ec2-metadata-token") == "session";
    match (seen.method.as_str(), seen.target.as_str()) {
        ("PUT", "/latest/api/token") => {
            Reply::answer("200 OK", &["x-aws-ec2-metadata-token-ttl-seconds: 21600"], b"session")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") if is_known => Reply::answer("200 OK", &[], b"node"),
        ("GET", "/latest/meta-data/iam/security-credentials/node") if is_known => issued(),
        _ => Reply::answer("404 Not Found", &[], b""),
    }
}

/// What the cluster sets in pods, with `SERVICE` and `TOKEN` for the endpoint and for a file, and what answers there: the webhook of EKS, its agent,
/// and the node itself.
type Given = (&'static [(&'static str, &'static str)], fn(&Seen) -> Reply);
const AT_AMAZON: [Given; 3] = [
    (
        &[
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "TOKEN"),
            ("AWS_ENDPOINT_URL_STS", "SERVICE"),
        ],
        token_service,
    ),
    (
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "SERVICE/v1/credentials"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "TOKEN"),
        ],
        agent,
    ),
    (&[("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "SERVICE")], metadata),
];

/// No key in the Secret, nor in `rclone.conf`.
#[test]
fn a_pod_is_who_its_account_is_at_amazon() {
    for (variables, reply) in AT_AMAZON {
        let (s3, service) = (peer::server("bucket"), Service::start(reply));
        s3.server.grant(ISSUED.0, ISSUED.1, Some(ISSUED.2));
        s3.server.make_bucket("bucket");
        let value = |text: &str, token: &Path| {
            text.replace("SERVICE", &service.endpoint).replace("TOKEN", &token.display().to_string())
        };
        let mut pod = Pod::with_volume();
        pod.set("RESTIC_REPOSITORY", &format!("s3:{}/bucket/app", s3.server.endpoint));
        pod.set("AWS_REGION", "eu-test-1");
        crate::command::write(&pod.at("token"), b"pod-token");
        for (name, text) in variables {
            pod.set(name, &value(text, &pod.at("token")));
        }
        pod.write("a", "first");
        pod.done(&["backup"]);

        let mut mirror = MirrorPod::with_volume();
        mirror.configure(&format!(
            "[bucket]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = {}\nregion = eu-test-1\n",
            s3.server.endpoint
        ));
        crate::command::write(&mirror.at("token"), b"pod-token");
        for (name, text) in variables {
            mirror.set(name, &value(text, &mirror.at("token")));
        }
        mirror.set("RCLONE_CONFIG_SECTION", "bucket");
        mirror.set("RCLONE_DEST_PATH", "bucket/mirror");
        mirror.write("a", "first");
        mirror.done();
        let signers: Vec<String> = s3.server.signers().into_iter().map(|signer| signer.key).collect();
        assert_eq!(signers, [ISSUED.0], "nobody else has signed anything: {variables:?}");
    }
}

/// A store that has nothing, and shows who asked; it also gives out tokens, as Azure does for that of a pod.
fn asked(location: &str, variables: &[(&str, &str)]) -> Vec<Seen> {
    let store = Service::start(|seen| {
        if seen.target.starts_with("/tenant/oauth2/v2.0/token") && seen.body.contains("client_assertion=pod-token") {
            return Reply::json(r#"{"access_token":"issued-token","expires_in":3600,"token_type":"Bearer"}"#);
        }
        Reply::error("404 Not Found", "NoSuchKey")
    });
    let mut pod = Pod::with_volume();
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
