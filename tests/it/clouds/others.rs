//! Credentials for Google Cloud Storage and Azure. Whole repositories on emulators of both are in `tests/peers/clouds.py`.

use crate::command::{Home, fill, write};
use crate::support::s3::{GOOGLE_TOKEN, S3Server, S3ServerThread};
use crate::support::scripted::{Reply, Seen};
use crate::support::vault::{assert_same, on_disk};
use crate::support::web::Service;

const GOOGLE_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/google.json");

/// A store without any object, which also gives out tokens as Google's metadata service and Azure's authority do.
fn empty_store() -> Service {
    Service::start(|seen| {
        let token = match seen.target.split('?').next().unwrap_or_default() {
            "/computeMetadata/v1/instance/service-accounts/default/token" => seen.header("metadata-flavor") == "google",
            "/tenant/oauth2/v2.0/token" => {
                seen.body.contains("client_secret=client-secret") || seen.body.contains("client_assertion=pod-token")
            }
            _ => return Reply::error("404 Not Found", "NoSuchKey"),
        };
        if !token {
            return Reply::answer("401 Unauthorized", &[], b"");
        }
        Reply::json(r#"{"access_token":"issued-token","expires_in":3600,"token_type":"Bearer"}"#)
    })
}

/// What a store sees of a user who looks for a repository there.
fn seen_of(location: &str, variables: &[(&'static str, &str)]) -> Vec<Seen> {
    let store = empty_store();
    let mut home = Home::new();
    home.set("VOLVAULT_REPOSITORY", location.to_owned());
    home.set_key();
    write(&home.at("pod-token"), b"pod-token");
    for (name, value) in variables {
        let value =
            value.replace("STORE", &store.endpoint).replace("HOST", store.endpoint.trim_start_matches("http://"));
        home.set(*name, value.replace("HOME", &home.at("").display().to_string()));
    }
    let output = home.run(&["snapshots"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{variables:?}: {errors}");
    let wanted = |seen: &Seen| seen.target.replace("%2F", "/").contains("/place/some/prefix/config");
    store.asked().into_iter().filter(wanted).collect()
}

#[test]
fn a_repository_lives_in_a_bucket_of_googles_dialect() {
    let server = S3ServerThread::serving(S3Server::start_google());
    let mut home = Home::new();
    home.set("VOLVAULT_REPOSITORY", "gs:bucket:/some/prefix".to_owned());
    home.set("GOOGLE_BASE_URL", server.server.endpoint.clone());
    home.set("GOOGLE_ACCESS_TOKEN", GOOGLE_TOKEN.to_owned());
    home.set_key();
    let output = home.run(&["init"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("bucket does not exist"), "{output:?}");
    home.set("GOOGLE_PROJECT_ID", "test".to_owned());
    fill(&home.at("data"), 120, 2000);
    for command in [&["init"][..], &["backup", "data"], &["check", "--read-data"]] {
        home.text(command);
    }
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
    home.set("GOOGLE_ACCESS_TOKEN", "expired".to_owned());
    let output = home.run(&["snapshots"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("credentials"), "{errors}");
}

#[test]
fn google_is_shown_a_token_from_each_of_its_sources() {
    for (variables, shown) in [
        (&[("GOOGLE_ACCESS_TOKEN", "Given-Token")][..], "bearer given-token"),
        (&[("GOOGLE_APPLICATION_CREDENTIALS", GOOGLE_FILE)], "bearer eyj"),
        (&[("GOOGLE_SERVICE_ACCOUNT", GOOGLE_FILE)], "bearer eyj"),
        (&[("GCE_METADATA_HOST", "HOST")], "bearer issued-token"),
    ] {
        let always = [("GOOGLE_BASE_URL", "STORE"), ("GOOGLE_PROJECT_ID", "test"), ("GOOGLE_BUCKET", "another")];
        let variables: Vec<_> = always.iter().chain(variables).copied().collect();
        let seen = seen_of("gs:place:/some/prefix", &variables);
        assert!(
            !seen.is_empty() && seen.iter().all(|seen| seen.header("authorization").starts_with(shown)),
            "{seen:?}"
        );
    }
}

#[test]
fn azure_is_shown_a_key_a_signature_or_a_token() {
    let key = "a2V5";
    for (variables, shown) in [
        (&[("AZURE_ACCOUNT_NAME", "account"), ("AZURE_ACCOUNT_KEY", key)][..], "sharedkey account:"),
        (&[("AZURE_STORAGE_ACCOUNT", "account"), ("AZURE_STORAGE_KEY", key)], "sharedkey account:"),
        (&[("AZURE_ACCOUNT_NAME", "account"), ("AZURE_ACCOUNT_SAS", "?sv=2024-01-01&sig=abc%2Bd")], "sig=abc%2Bd"),
        (&[("AZURE_STORAGE_ACCOUNT", "account"), ("AZURE_STORAGE_SAS_TOKEN", "sv=2024-01-01&sig=abc")], "sig=abc"),
        (
            &[("AZURE_CLIENT_ID", "id"), ("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_SECRET", "client-secret")],
            "bearer issued-token",
        ),
        (
            &[
                ("AZURE_CLIENT_ID", "id"),
                ("AZURE_TENANT_ID", "tenant"),
                ("AZURE_FEDERATED_TOKEN_FILE", "HOME/pod-token"),
            ],
            "bearer issued-token",
        ),
    ] {
        let always = [
            ("AZURE_STORAGE_ENDPOINT", "STORE/account"),
            ("AZURE_AUTHORITY_HOST", "STORE"),
            ("AZURE_STORAGE_ACCOUNT", "account"),
            ("AZURE_CONTAINER_NAME", "another"),
        ];
        let variables: Vec<_> = always.iter().chain(variables).copied().collect();
        let seen = seen_of("azure:place:/some/prefix", &variables);
        let is_shown = |seen: &Seen| seen.header("authorization").starts_with(shown) || seen.target.contains(shown);
        assert!(!seen.is_empty() && seen.iter().all(is_shown), "{shown}: {seen:?}");
    }
}
