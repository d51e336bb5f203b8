//! Remotes of type `google cloud storage`.

use super::keys::{self, Use};
use super::{Remote, Resolved, bucket_and_prefix, expanded, without_ambient};
use crate::error::{Error, Result};
use crate::storage::{Location, StoreOptions};

const NO_OAUTH: &str =
    "use a service account (service_account_file), or env_auth = true after `gcloud auth application-default login`";
const BUCKET_RULES: &str = "set it for the whole bucket with the provider's tools and remove the setting";

const KNOWN: [(&str, Use); 23] = [
    ("env_auth", Use::Followed),
    ("service_account_file", Use::Followed),
    ("service_account_credentials", Use::Followed),
    ("access_token", Use::Followed),
    ("anonymous", Use::Followed),
    ("endpoint", Use::Followed),
    ("project_number", Use::Followed),
    ("bucket_policy_only", Use::Idle),
    ("no_check_bucket", Use::Idle),
    ("location", Use::Said),
    ("bucket_acl", Use::Said),
    ("directory_markers", Use::Said),
    ("object_acl", Use::Refused(&["private"], BUCKET_RULES)),
    ("storage_class", Use::Refused(&["STANDARD"], BUCKET_RULES)),
    (
        "user_project",
        Use::Refused(&[], "requests that another project pays for are not made; use a bucket of your own"),
    ),
    ("decompress", Use::Refused(&[], "objects are copied as they are stored; remove the setting")),
    ("encoding", Use::Refused(&["Slash,CrLf,InvalidUtf8,Dot"], "remove the setting")),
    ("client_id", Use::Refused(&[], NO_OAUTH)),
    ("client_secret", Use::Refused(&[], NO_OAUTH)),
    ("client_credentials", Use::Refused(&[], NO_OAUTH)),
    ("token", Use::Refused(&[], NO_OAUTH)),
    ("auth_url", Use::Refused(&[], NO_OAUTH)),
    ("token_url", Use::Refused(&[], NO_OAUTH)),
];

pub(super) fn resolve(remote: &Remote<'_>, path: &str, base: &StoreOptions) -> Result<Resolved> {
    let ignored = keys::check(remote, &KNOWN)?;
    let (bucket, prefix) = bucket_and_prefix(remote, path)?;
    let file = remote.get("service_account_file").map(|file| expanded(file, base));
    let anonymous = remote.switch("anonymous")? == Some(true);
    let own = [
        ("GOOGLE_SERVICE_ACCOUNT", file.as_deref()),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", remote.get("service_account_credentials")),
        ("GOOGLE_ACCESS_TOKEN", remote.get("access_token")),
        ("GOOGLE_SKIP_SIGNATURE", anonymous.then_some("true")),
    ];
    let ambient = remote.switch("env_auth")? == Some(true);
    if !ambient && own.iter().all(|(_, value)| value.is_none()) {
        return Err(Error::invalid("the remote has no credentials").with_hint(NO_OAUTH));
    }
    let mut options = if ambient { base.clone() } else { without_ambient(base, &["GOOGLE_"]) };
    let others = [("GOOGLE_BASE_URL", remote.get("endpoint")), ("GOOGLE_PROJECT_ID", remote.get("project_number"))];
    for (variable, value) in own.into_iter().chain(others) {
        if let Some(value) = value {
            options.variables.insert(variable.to_owned(), value.to_owned());
        }
    }
    Ok(Resolved { location: Location::Gcs { bucket, prefix }, options, ignored })
}
