//! Remotes of type `s3`, of any provider: what matters is the endpoint, the region and the keys.

use super::keys::{self, Use};
use super::{Remote, Resolved, bucket_and_prefix, without_ambient};
use crate::error::{Error, Result};
use crate::storage::{Location, StoreOptions};

const BUCKET_RULES: &str = "set it for the whole bucket with the provider's tools and remove the setting";
const NO_VERSIONS: &str = "a mirror holds the present; `volvault mirror pull --generation` reads older generations";
const NO_KEYS: &str = "objects would need the key with every request; use the bucket's own encryption";

/// Every setting that rclone 1.75 has for this type.
const KNOWN: [(&str, Use); 78] = [
    ("provider", Use::Followed),
    ("env_auth", Use::Followed),
    ("access_key_id", Use::Followed),
    ("secret_access_key", Use::Followed),
    ("session_token", Use::Followed),
    ("profile", Use::Followed),
    ("role_arn", Use::Followed),
    ("role_session_name", Use::Followed),
    ("role_external_id", Use::Followed),
    ("sts_endpoint", Use::Followed),
    ("region", Use::Followed),
    ("endpoint", Use::Followed),
    ("storage_class", Use::Followed),
    ("force_path_style", Use::Followed),
    ("upload_cutoff", Use::Idle),
    ("chunk_size", Use::Idle),
    ("max_upload_parts", Use::Idle),
    ("copy_cutoff", Use::Idle),
    ("upload_concurrency", Use::Idle),
    ("disable_checksum", Use::Idle),
    ("leave_parts_on_error", Use::Idle),
    ("list_chunk", Use::Idle),
    ("list_version", Use::Idle),
    ("list_url_encode", Use::Idle),
    ("list_versions_oldest_first", Use::Idle),
    ("location_constraint", Use::Idle),
    ("no_check_bucket", Use::Idle),
    ("no_head", Use::Idle),
    ("no_head_object", Use::Idle),
    ("no_system_metadata", Use::Idle),
    ("memory_pool_flush_time", Use::Idle),
    ("memory_pool_use_mmap", Use::Idle),
    ("disable_http2", Use::Idle),
    ("might_gzip", Use::Idle),
    ("use_accept_encoding_gzip", Use::Idle),
    ("sign_accept_encoding", Use::Idle),
    ("use_already_exists", Use::Idle),
    ("use_arn_region", Use::Idle),
    ("use_data_integrity_protections", Use::Idle),
    ("use_multipart_etag", Use::Idle),
    ("use_multipart_uploads", Use::Idle),
    ("use_presigned_request", Use::Idle),
    ("use_unsigned_payload", Use::Idle),
    ("use_x_id", Use::Idle),
    ("sdk_log_mode", Use::Idle),
    ("object_lock_supported", Use::Idle),
    ("bucket_acl", Use::Said),
    ("role_session_duration", Use::Said),
    ("directory_markers", Use::Said),
    ("download_url", Use::Said),
    ("acl", Use::Refused(&["private"], BUCKET_RULES)),
    ("server_side_encryption", Use::Refused(&["AES256"], BUCKET_RULES)),
    ("sse_kms_key_id", Use::Refused(&[], BUCKET_RULES)),
    ("sse_customer_algorithm", Use::Refused(&[], NO_KEYS)),
    ("sse_customer_key", Use::Refused(&[], NO_KEYS)),
    ("sse_customer_key_base64", Use::Refused(&[], NO_KEYS)),
    ("sse_customer_key_md5", Use::Refused(&[], NO_KEYS)),
    ("object_lock_mode", Use::Refused(&[], BUCKET_RULES)),
    ("object_lock_retain_until_date", Use::Refused(&[], BUCKET_RULES)),
    ("object_lock_legal_hold_status", Use::Refused(&[], BUCKET_RULES)),
    ("object_lock_set_after_upload", Use::Refused(&[], BUCKET_RULES)),
    ("bucket_object_lock_enabled", Use::Refused(&[], BUCKET_RULES)),
    ("bypass_governance_retention", Use::Refused(&[], BUCKET_RULES)),
    (
        "requester_pays",
        Use::Refused(&[], "requests that the requester pays for are not made; use a bucket of your own"),
    ),
    ("shared_credentials_file", Use::Refused(&[], "set AWS_SHARED_CREDENTIALS_FILE and env_auth = true")),
    ("v2_auth", Use::Refused(&[], "requests are signed by version 4; most servers know it")),
    ("use_dual_stack", Use::Refused(&[], "set endpoint to https://s3.dualstack.REGION.amazonaws.com")),
    ("use_accelerate_endpoint", Use::Refused(&[], "set endpoint to https://s3-accelerate.amazonaws.com")),
    ("directory_bucket", Use::Refused(&[], "use a general purpose bucket")),
    ("versions", Use::Refused(&[], NO_VERSIONS)),
    ("version_at", Use::Refused(&[], NO_VERSIONS)),
    ("version_deleted", Use::Refused(&[], NO_VERSIONS)),
    ("decompress", Use::Refused(&[], "objects are copied as they are stored; remove the setting")),
    (
        "encoding",
        Use::Refused(&["Slash,InvalidUtf8,Dot"], "keys are encoded as rclone does it by default; remove the setting"),
    ),
    ("ibm_api_key", Use::Refused(&[], "use HMAC credentials: access_key_id and secret_access_key")),
    ("ibm_resource_instance_id", Use::Refused(&[], "use HMAC credentials: access_key_id and secret_access_key")),
    ("ibm_iam_endpoint", Use::Refused(&[], "use HMAC credentials: access_key_id and secret_access_key")),
    ("endpoint_url", Use::Refused(&[], "the key is called endpoint")),
];

/// Providers that want the bucket in the name of the host.
const BY_HOST: [&str; 4] = ["Alibaba", "HuaweiOBS", "Netease", "TencentCOS"];

pub(super) fn resolve(remote: &Remote<'_>, path: &str, base: &StoreOptions) -> Result<Resolved> {
    let ignored = keys::check(remote, &KNOWN)?;
    let (bucket, prefix) = bucket_and_prefix(remote, path)?;
    let endpoint = endpoint(remote)?;
    let (mut options, ambient) = credentials(remote, base)?;
    let by_host = match remote.switch("force_path_style")? {
        Some(by_path) => Some(!by_path),
        None => remote.get("provider").is_some_and(|name| BY_HOST.contains(&name)).then_some(true),
    };
    let lookup = by_host.map(|by_host| if by_host { "dns" } else { "path" });
    for (option, value) in [("s3.bucket-lookup", lookup), ("s3.storage-class", remote.get("storage_class"))] {
        if let Some(value) = value {
            // What the command line says comes first.
            options.extended.entry(option.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    let region = remote.get("region").or((!ambient).then_some("us-east-1")).map(str::to_owned);
    Ok(Resolved { location: Location::S3 { endpoint, bucket, prefix, region }, options, ignored })
}

fn endpoint(remote: &Remote<'_>) -> Result<Option<String>> {
    let Some(endpoint) = remote.get("endpoint") else {
        return match remote.get("provider") {
            None | Some("AWS") => Ok(None),
            Some(provider) => Err(Error::invalid(format!("the remote of provider {provider} has no endpoint"))
                .with_hint("set its key `endpoint`, such as https://s3.example.com")),
        };
    };
    let endpoint = endpoint.trim_end_matches('/');
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(['@', '?', '#', ' ']) {
        return Err(Error::invalid("the endpoint of the remote is no address of a server")
            .with_hint("write https://HOST or http://HOST:PORT, without user and password"));
    }
    Ok(Some(format!("{scheme}://{host}")))
}

/// The options with the remote's credentials; and whether they, and the region, are left to the environment. Without keys and
/// without `env_auth` requests are not signed, as rclone has it.
fn credentials(remote: &Remote<'_>, base: &StoreOptions) -> Result<(StoreOptions, bool)> {
    let (key, secret) = (remote.get("access_key_id"), remote.get("secret_access_key"));
    let ambient = key.is_none() && secret.is_none() && remote.switch("env_auth")? == Some(true);
    let mut options = if ambient { base.clone() } else { without_ambient(base, &["AWS_", "RESTIC_AWS_"]) };
    match (key, secret) {
        (Some(_), None) => {
            return Err(Error::invalid("secret_access_key not found").with_hint("set it beside access_key_id"));
        }
        (None, Some(_)) => {
            return Err(Error::invalid("access_key_id not found").with_hint("set it beside secret_access_key"));
        }
        (None, None) if !ambient => {
            options.extended.insert("s3.unsafe-anonymous-auth".to_owned(), "true".to_owned());
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    let token = remote.get("session_token").filter(|_| !ambient);
    for (variable, value) in [
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", token),
        ("AWS_PROFILE", remote.get("profile").filter(|_| ambient)),
        ("RESTIC_AWS_ASSUME_ROLE_ARN", remote.get("role_arn")),
        ("RESTIC_AWS_ASSUME_ROLE_SESSION_NAME", remote.get("role_session_name")),
        ("RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID", remote.get("role_external_id")),
        ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", remote.get("sts_endpoint")),
    ] {
        if let Some(value) = value {
            options.variables.insert(variable.to_owned(), value.to_owned());
        }
    }
    Ok((options, ambient))
}
