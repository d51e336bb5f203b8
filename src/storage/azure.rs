//! A container of Azure Blob Storage, as the environment describes the way there, in the names of restic (`AZURE_ACCOUNT_NAME`),
//! of the `az` command (`AZURE_STORAGE_ACCOUNT`) and of Azure's libraries (`AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE`).
//!
//! Credentials, the first that there are: a key, a client's secret, the token that Kubernetes mounts for a workload
//! identity, a shared access signature, the managed identity of the machine.

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::connect::{cannot_connect, client_options, no_retries};
use super::options::StoreOptions;
use super::wire::Wire;
use crate::error::Result;

/// The container.
pub(super) fn container(name: &str, options: &StoreOptions, wire: Wire) -> Result<MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in options.set_variables("AZURE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = options.first_variable(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
    if let Some(account) = options.first_variable(&["AZURE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]) {
        builder = builder.with_account(account);
        if let (None, Some(suffix)) = (endpoint, options.variable("AZURE_ENDPOINT_SUFFIX")) {
            builder = builder.with_endpoint(format!("https://{account}.blob.{suffix}"));
        }
    }
    if let Some(key) = options.first_variable(&["AZURE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"]) {
        builder = builder.with_access_key(key);
    }
    if let Some(sas) = options.first_variable(&["AZURE_ACCOUNT_SAS", "AZURE_STORAGE_SAS_TOKEN"]) {
        builder = builder.with_config(AzureConfigKey::SasKey, sas.trim_start_matches('?'));
    }
    if options.variable("AZURE_FORCE_CLI_CREDENTIAL").is_some_and(|value| value == "true" || value == "1") {
        builder = builder.with_use_azure_cli(true);
    }
    let plain_http = endpoint.is_some_and(|url| url.starts_with("http://"));
    let builder = builder
        .with_container_name(name)
        .with_client_options(client_options(options)?.with_allow_http(plain_http))
        .with_retry(no_retries())
        .with_http_connector(wire);
    builder.build().map_err(|cause| cannot_connect(&format!("azure:{name}"), cause))
}
