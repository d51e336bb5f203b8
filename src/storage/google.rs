//! A bucket of Google Cloud Storage, as the environment describes the way there.
//!
//! Credentials, the first that there are: `GOOGLE_ACCESS_TOKEN`, a file (`GOOGLE_APPLICATION_CREDENTIALS`, of a service
//! account or of `gcloud auth application-default login`), the file that `gcloud` keeps, the metadata service of the
//! machine or the cluster.

use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};

use super::connect::{cannot_connect, client_options, no_retries};
use super::container::{ensure, request};
use super::counts::Counters;
use super::failure::explain;
use super::options::StoreOptions;
use super::wire::Wire;
use crate::error::Result;

/// What it takes to make the bucket.
#[derive(Debug)]
pub(super) struct Access {
    http: HttpClient,
    credentials: GcpCredentialProvider,
    url: String,
    /// Whose bucket it is to be. Without it none is made.
    project: Option<String>,
}

impl Access {
    /// Where it lies.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Makes the bucket if it is missing; says whether it was made.
    pub(super) async fn ensure(&self, counters: &Counters) -> Result<bool> {
        let Some(project) = &self.project else { return Ok(false) };
        let said = || format!("make bucket {}", self.url);
        let credential = self.credentials.get_credential().await.map_err(|error| explain(said(), error))?;
        let bearer = format!("Bearer {}", credential.bearer);
        let headers = [("authorization", bearer.as_str()), ("x-goog-project-id", project)];
        let requests = (request("HEAD", &self.url, &headers)?, request("PUT", &self.url, &headers)?);
        ensure(&self.http, requests, counters, said).await
    }
}

/// The bucket, and what it takes to make it.
pub(super) fn bucket(name: &str, options: &StoreOptions, wire: Wire) -> Result<(GoogleCloudStorage, Access)> {
    // An emulator may be named without its scheme, and checks no signature.
    let emulator = options.variable("STORAGE_EMULATOR_HOST");
    let emulator = emulator.map(|host| if host.contains("://") { host.to_owned() } else { format!("http://{host}") });
    let address = emulator.as_deref().or_else(|| options.variable("GOOGLE_BASE_URL"));
    let plain_http = address.is_some_and(|url| url.starts_with("http://"));
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in options.set_variables("GOOGLE_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    // An emulator looks at no token; without one, `object_store` would ask the metadata service before it writes.
    if let Some(token) = options.variable("GOOGLE_ACCESS_TOKEN").or(emulator.as_deref().map(|_| "emulator")) {
        builder = builder.with_bearer_token(token);
    }
    if let Some(emulator) = &emulator {
        builder = builder.with_base_url(emulator);
    }
    let refuse = |cause| cannot_connect(&format!("gs:{name}"), cause);
    let client = client_options(options)?.with_allow_http(plain_http);
    let http = wire.connect(&client).map_err(refuse)?;
    let builder =
        builder.with_bucket_name(name).with_client_options(client).with_retry(no_retries()).with_http_connector(wire);
    let store = builder.build().map_err(refuse)?;
    let access = Access {
        http,
        credentials: store.credentials().clone(),
        url: format!("{}/{name}", address.unwrap_or("https://storage.googleapis.com").trim_end_matches('/')),
        project: options.variable("GOOGLE_PROJECT_ID").map(str::to_owned),
    };
    Ok((store, access))
}
