//! A container of Azure Blob Storage, as the environment describes the way there, in the names of restic (`AZURE_ACCOUNT_NAME`),
//! of the `az` command (`AZURE_STORAGE_ACCOUNT`) and of Azure's libraries (`AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE`).
//!
//! Credentials, the first that there are: a key, a client's secret, the token that Kubernetes mounts for a workload
//! identity, a shared access signature, the managed identity of the machine.

use object_store::azure::{
    AzureAuthorizer, AzureConfigKey, AzureCredentialProvider, MicrosoftAzure, MicrosoftAzureBuilder,
};
use object_store::client::{HttpClient, HttpConnector};

use super::connect::{cannot_connect, client_options, no_retries};
use super::container::{ensure, request};
use super::counts::Counters;
use super::failure::explain;
use super::options::StoreOptions;
use super::wire::Wire;
use crate::error::{Error, Result};

/// What it takes to make the container.
#[derive(Debug)]
pub(super) struct Access {
    http: HttpClient,
    credentials: AzureCredentialProvider,
    account: String,
    url: String,
}

impl Access {
    /// Where it lies.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Makes the container if it is missing; says whether it was made.
    pub(super) async fn ensure(&self, counters: &Counters) -> Result<bool> {
        let said = || format!("make container {}", self.url);
        let failed = |error| explain(said(), error);
        let credential = self.credentials.get_credential().await.map_err(failed)?;
        let signed = |method: &str| {
            let mut request = request(method, &format!("{}?restype=container", self.url), &[])?;
            AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request).map_err(failed)?;
            Ok::<_, Error>(request)
        };
        ensure(&self.http, (signed("HEAD")?, signed("PUT")?), counters, said).await
    }
}

/// The container, and what it takes to make it.
pub(super) fn container(name: &str, options: &StoreOptions, wire: Wire) -> Result<(MicrosoftAzure, Access)> {
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
    let refuse = |cause| cannot_connect(&format!("azure:{name}"), cause);
    let client = client_options(options)?.with_allow_http(plain_http);
    let http = wire.connect(&client).map_err(refuse)?;
    let account = builder.get_config_value(&AzureConfigKey::AccountName).unwrap_or_default();
    let address = builder.get_config_value(&AzureConfigKey::Endpoint);
    let address = address.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
    let builder = builder
        .with_container_name(name)
        .with_client_options(client)
        .with_retry(no_retries())
        .with_http_connector(wire);
    let store = builder.build().map_err(refuse)?;
    let url = format!("{}/{name}", address.trim_end_matches('/'));
    let access = Access { http, credentials: store.credentials().clone(), account, url };
    Ok((store, access))
}
