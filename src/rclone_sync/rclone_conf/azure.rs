//! Remotes of type `azureblob`.

use super::keys::{self, Use};
use super::{Remote, Resolved, bucket_and_prefix, without_ambient};
use crate::error::{Error, Result};
use crate::storage::{Location, StoreOptions};

const ACCOUNT_RULES: &str =
    "set it for the whole account or container with the provider's tools and remove the setting";
const OTHER_LOGIN: &str =
    "use account and key, sas_url, connection_string, a client_secret, use_msi or env_auth = true";

const KNOWN: [(&str, Use); 42] = [
    ("account", Use::Followed),
    ("key", Use::Followed),
    ("sas_url", Use::Followed),
    ("connection_string", Use::Followed),
    ("endpoint", Use::Followed),
    ("env_auth", Use::Followed),
    ("tenant", Use::Followed),
    ("client_id", Use::Followed),
    ("client_secret", Use::Followed),
    ("use_msi", Use::Followed),
    ("msi_object_id", Use::Followed),
    ("msi_client_id", Use::Followed),
    ("msi_mi_res_id", Use::Followed),
    ("use_emulator", Use::Followed),
    ("use_az", Use::Followed),
    ("upload_cutoff", Use::Idle),
    ("chunk_size", Use::Idle),
    ("upload_concurrency", Use::Idle),
    ("copy_cutoff", Use::Idle),
    ("copy_concurrency", Use::Idle),
    ("copy_total_concurrency", Use::Idle),
    ("use_copy_blob", Use::Idle),
    ("list_chunk", Use::Idle),
    ("list_parallelism", Use::Idle),
    ("use_arrow_list", Use::Idle),
    ("disable_checksum", Use::Idle),
    ("memory_pool_flush_time", Use::Idle),
    ("memory_pool_use_mmap", Use::Idle),
    ("no_check_container", Use::Idle),
    ("no_head_object", Use::Idle),
    ("disable_instance_discovery", Use::Idle),
    ("directory_markers", Use::Said),
    ("public_access", Use::Said),
    ("archive_tier_delete", Use::Said),
    ("delete_snapshots", Use::Said),
    ("access_tier", Use::Refused(&["hot", "Hot"], ACCOUNT_RULES)),
    ("decompress", Use::Refused(&[], "objects are copied as they are stored; remove the setting")),
    ("encoding", Use::Refused(&["Slash,BackSlash,Del,Ctl,RightPeriod,InvalidUtf8"], "remove the setting")),
    ("service_principal_file", Use::Refused(&[], OTHER_LOGIN)),
    ("client_certificate_path", Use::Refused(&[], OTHER_LOGIN)),
    ("username", Use::Refused(&[], OTHER_LOGIN)),
    ("password", Use::Refused(&[], OTHER_LOGIN)),
];

pub(super) fn resolve(remote: &Remote<'_>, path: &str, base: &StoreOptions) -> Result<Resolved> {
    let ignored = keys::check(remote, &KNOWN)?;
    let (container, prefix) = bucket_and_prefix(remote, path)?;
    let ambient = remote.switch("env_auth")? == Some(true);
    let mut options = if ambient { base.clone() } else { without_ambient(base, &["AZURE_"]) };
    let mut set = |variable: &str, value: Option<&str>| {
        if let Some(value) = value {
            options.variables.insert(variable.to_owned(), value.to_owned());
        }
    };
    set("AZURE_ACCOUNT_NAME", remote.get("account"));
    set("AZURE_ACCOUNT_KEY", remote.get("key"));
    set("AZURE_ENDPOINT", remote.get("endpoint"));
    set("AZURE_TENANT_ID", remote.get("tenant"));
    set("AZURE_CLIENT_ID", remote.get("client_id"));
    set("AZURE_CLIENT_SECRET", remote.get("client_secret"));
    if remote.switch("use_msi")? == Some(true) {
        set("AZURE_CLIENT_ID", remote.get("msi_client_id"));
        set("AZURE_OBJECT_ID", remote.get("msi_object_id"));
        set("AZURE_MSI_RESOURCE_ID", remote.get("msi_mi_res_id"));
    }
    set("AZURE_FORCE_CLI_CREDENTIAL", (remote.switch("use_az")? == Some(true)).then_some("true"));
    set("AZURE_STORAGE_USE_EMULATOR", (remote.switch("use_emulator")? == Some(true)).then_some("true"));
    if let Some(text) = remote.get("connection_string") {
        for (variable, value) in connection(text)? {
            set(variable, Some(&value));
        }
    }
    if let Some(url) = remote.get("sas_url") {
        for (variable, value) in signed_url(url)? {
            set(variable, Some(&value));
        }
    }
    Ok(Resolved { location: Location::Azure { container, prefix }, options, ignored })
}

/// `AccountName=..;AccountKey=..;EndpointSuffix=..` as variables.
fn connection(text: &str) -> Result<Vec<(&'static str, String)>> {
    // Not quoted: it holds a key.
    let refuse =
        || Error::invalid("the setting connection_string is none").with_hint("copy it from the portal once more");
    let mut found = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(refuse)?;
        let variable = match key {
            "AccountName" => "AZURE_ACCOUNT_NAME",
            "AccountKey" => "AZURE_ACCOUNT_KEY",
            "SharedAccessSignature" => "AZURE_ACCOUNT_SAS",
            "BlobEndpoint" => "AZURE_ENDPOINT",
            "EndpointSuffix" => "AZURE_ENDPOINT_SUFFIX",
            // The protocol, and the endpoints of queues, tables and files.
            _ => continue,
        };
        found.push((variable, value.to_owned()));
    }
    if found.is_empty() { Err(refuse()) } else { Ok(found) }
}

/// `https://ACCOUNT.blob.core.windows.net/CONTAINER?SIGNATURE` as variables.
fn signed_url(url: &str) -> Result<Vec<(&'static str, String)>> {
    let refuse = || Error::invalid("the setting sas_url is no address with a signature");
    let (address, signature) = url.split_once('?').ok_or_else(refuse)?;
    let (scheme, rest) = address.split_once("://").ok_or_else(refuse)?;
    let host = rest.split('/').next().unwrap_or_default();
    let account = host.split('.').next().filter(|account| !account.is_empty()).ok_or_else(refuse)?;
    Ok(vec![
        ("AZURE_ACCOUNT_NAME", account.to_owned()),
        ("AZURE_ACCOUNT_SAS", signature.to_owned()),
        ("AZURE_ENDPOINT", format!("{scheme}://{host}")),
    ])
}
