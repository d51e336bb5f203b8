//! A bucket of Google Cloud Storage, as the environment describes the way there.
//!
//! Credentials, the first that there are: `GOOGLE_ACCESS_TOKEN`, a file (`GOOGLE_APPLICATION_CREDENTIALS`, of a service
//! account or of `gcloud auth application-default login`), the file that `gcloud` keeps, the metadata service of the
//! machine or the cluster.

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};

use super::connect::{cannot_connect, client_options, no_retries};
use super::options::StoreOptions;
use super::wire::Wire;
use crate::error::Result;

/// The bucket.
pub(super) fn bucket(name: &str, options: &StoreOptions, wire: Wire) -> Result<GoogleCloudStorage> {
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
    let builder = builder
        .with_bucket_name(name)
        .with_client_options(client_options(options)?.with_allow_http(plain_http))
        .with_retry(no_retries())
        .with_http_connector(wire);
    builder.build().map_err(|cause| cannot_connect(&format!("gs:{name}"), cause))
}
