//! From a location and options to a store: one builder for each kind. Nothing here makes a request.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::SharedHttpClient;
use object_store::aws::{AmazonS3Builder, AwsCredentialProvider};
use object_store::client::{HttpConnector as _, ReqwestConnector};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, HeaderValue, ObjectStore, RetryConfig};

use super::azure;
use super::credentials;
use super::files::Files;
use super::google;
use super::local::Directory;
use super::location::{Location, aws_host};
use super::options::StoreOptions;
use super::profile::Profile;
use super::s3_objects::S3Objects;
use super::sdk;
use super::wire::{Skew, Wire};
use crate::clock::SharedClock;
use crate::error::{Attempt, Error, ErrorKind, Result};

/// A store without its governor, and what the governor has to know about it.
pub(super) struct Connected {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// Objects that one deletion takes.
    pub(super) batch: usize,
    pub(super) storage_class: Option<String>,
    /// A directory's files by any name.
    pub(super) files: Option<Files>,
    /// What the seam cannot do on S3.
    pub(super) s3: Option<S3Objects>,
    /// None for a directory and for memory.
    pub(super) access: Option<Access>,
}

/// What it takes to make what holds the objects.
#[derive(Debug)]
pub(super) enum Access {
    S3(S3Access),
    Google(google::Access),
    Azure(azure::Access),
}

/// What a client of the S3 SDK needs to reach the same bucket.
#[derive(Debug, Clone)]
pub(super) struct S3Access {
    /// None is AWS.
    pub(super) endpoint: Option<String>,
    pub(super) bucket: String,
    pub(super) region: String,
    pub(super) path_style: bool,
    /// None is anonymous.
    pub(super) credentials: Option<AwsCredentialProvider>,
    pub(super) http: SharedHttpClient,
}

/// The store at `location`; the profile is AWS's, for S3.
pub(super) fn connect(
    location: &Location,
    options: &StoreOptions,
    profile: &Profile,
    clock: &SharedClock,
    skew: &Arc<Skew>,
) -> Result<Connected> {
    options.refuse_unknown()?;
    let wire = || Wire { clock: Arc::clone(clock), skew: Arc::clone(skew) };
    let plain = |inner, batch, access| Connected { inner, batch, storage_class: None, files: None, s3: None, access };
    match location {
        Location::Memory => Ok(plain(Arc::new(InMemory::new()), 1, None)),
        Location::Local(path) => {
            let root = std::path::absolute(path).attempt(|| format!("find the directory {}", path.display()))?;
            let directory = Directory::new(root);
            let files = Some(Files::new(directory.clone()));
            Ok(Connected { files, ..plain(Arc::new(directory), 1, None) })
        }
        Location::S3 { .. } => s3(location, options, profile, wire()),
        Location::Gcs { bucket, prefix } => {
            let (store, access) = google::bucket(bucket, options, wire())?;
            Ok(plain(below(store, prefix)?, 1, Some(Access::Google(access))))
        }
        Location::Azure { container, prefix } => {
            let (store, access) = azure::container(container, options, wire())?;
            // Azure takes 256 deletions in one request.
            Ok(plain(below(store, prefix)?, 256, Some(Access::Azure(access))))
        }
    }
}

fn s3(location: &Location, options: &StoreOptions, profile: &Profile, wire: Wire) -> Result<Connected> {
    let Location::S3 { endpoint, bucket, prefix, region } = location else {
        return Err(Error::bug("an S3 store needs an S3 location"));
    };
    let endpoint = endpoint
        .as_deref()
        .or_else(|| options.first_variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]))
        .or(profile.endpoint.as_deref());
    let address = S3Address::find(endpoint, bucket, (region.as_deref(), profile.region.as_deref()), options)?;
    let anonymous = options.switch("s3.unsafe-anonymous-auth", false)?;
    let client = client_options(options)?;
    let http = sdk::client(&client);
    let credentials =
        if anonymous { None } else { Some(credentials::provider(options, &address.region, &http, &wire.clock)?) };
    let google = address.endpoint.as_deref().is_some_and(|endpoint| endpoint.ends_with("storage.googleapis.com"));
    let bulk = options.switch("s3.bulk-delete", !google)?;
    let plain_http = address.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&address.region)
        .with_virtual_hosted_style_request(!address.path_style)
        .with_skip_signature(anonymous)
        .with_disable_bulk_delete(!bulk)
        .with_client_options(client.with_allow_http(plain_http))
        .with_retry(no_retries())
        .with_http_connector(wire);
    if let Some(url) = address.url(bucket) {
        builder = builder.with_endpoint(url);
    }
    if let Some(credentials) = &credentials {
        builder = builder.with_credentials(Arc::clone(credentials));
    }
    let store = builder.build().map_err(|cause| cannot_connect(location, cause))?;
    let S3Address { endpoint, region, path_style } = address;
    let access = S3Access { endpoint, bucket: bucket.clone(), region, path_style, credentials, http };
    let (inner, storage_class) = (below(store, prefix)?, storage_class(options)?);
    Ok(Connected {
        inner,
        batch: if bulk { 1000 } else { 1 },
        s3: Some(S3Objects::new(&access, prefix, storage_class.as_deref())),
        storage_class,
        files: None,
        access: Some(Access::S3(access)),
    })
}

/// Where an S3 bucket is reached, and how its name is put into URLs.
#[derive(Debug, PartialEq, Eq)]
struct S3Address {
    /// None is AWS's endpoint for the region.
    endpoint: Option<String>,
    region: String,
    path_style: bool,
}

impl S3Address {
    /// The regions are those of the location and of the profile; the environment's stands between them.
    fn find(
        endpoint: Option<&str>,
        bucket: &str,
        (region, profile): (Option<&str>, Option<&str>),
        options: &StoreOptions,
    ) -> Result<Self> {
        let region = options
            .extended("s3.region")
            .or(region)
            .or_else(|| options.first_variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .or(profile)
            .unwrap_or("us-east-1");
        let endpoint = endpoint.map(|url| url.trim_end_matches('/'));
        if endpoint.is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            return Err(Error::invalid("the S3 endpoint does not begin with http:// or https://"));
        }
        // A bucket with a dot in its name would not match AWS's certificate as a host.
        let (endpoint, by_path) = match endpoint.and_then(|url| url.strip_prefix("https://")) {
            None if endpoint.is_none() => (amazon(region), bucket.contains('.')),
            Some(host) if host == "s3.amazonaws.com" || aws_host(host).is_some_and(|aws| aws.region.is_some()) => {
                (amazon(region), bucket.contains('.'))
            }
            _ => (endpoint.map(str::to_owned), true),
        };
        let path_style = match options.extended("s3.bucket-lookup") {
            None | Some("auto") => by_path,
            Some("path") => true,
            Some("dns") => false,
            Some(other) => {
                return Err(Error::invalid(format!("option s3.bucket-lookup is not auto, dns or path but {other:?}")));
            }
        };
        Ok(Self { endpoint, region: region.to_owned(), path_style })
    }

    /// What `object_store` wants: with the bucket in the host, it has to be part of the endpoint.
    fn url(&self, bucket: &str) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?;
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => Some(format!("{scheme}://{bucket}.{host}")),
            _ => Some(endpoint.to_owned()),
        }
    }
}

/// AWS's endpoint, where `object_store` does not know it.
fn amazon(region: &str) -> Option<String> {
    region.starts_with("cn-").then(|| format!("https://s3.{region}.amazonaws.com.cn"))
}

/// The class for what is written. An archive class is refused: what lies in it cannot be read for hours.
fn storage_class(options: &StoreOptions) -> Result<Option<String>> {
    match options.extended("s3.storage-class") {
        Some(class @ ("GLACIER" | "DEEP_ARCHIVE")) => {
            Err(Error::invalid(format!("storage class {class} is not supported"))
                .with_hint("what lies in an archive must be thawed before it can be read; GLACIER_IR needs no thawing"))
        }
        class => Ok(class.map(str::to_owned)),
    }
}

fn below(store: impl ObjectStore, prefix: &str) -> Result<Arc<dyn ObjectStore>> {
    if prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    let prefix = Path::parse(prefix)
        .map_err(|cause| Error::invalid(format!("the prefix {prefix:?} cannot be used")).with_source(cause))?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

pub(super) fn cannot_connect(what: &(impl std::fmt::Display + ?Sized), cause: object_store::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("use {what}")).with_source(cause)
}

/// The governor repeats requests, nobody else does.
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// The HTTP client: proxies come from the process's environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`; `reqwest`
/// reads it by itself). It has no timeout for a whole request, which would end an upload over a thin link; the
/// governor has one that knows the size, and `reqwest` closes a connection whose peer has acknowledged nothing for 30
/// seconds (`TCP_USER_TIMEOUT`).
pub(super) fn client_options(options: &StoreOptions) -> Result<ClientOptions> {
    let agent = options.user_agent.as_deref().unwrap_or(concat!("volvault/", env!("CARGO_PKG_VERSION")));
    let agent = HeaderValue::from_str(agent)
        .map_err(|cause| Error::invalid("the user agent has characters that HTTP does not allow").with_source(cause))?;
    let mut client = ClientOptions::new()
        .with_allow_invalid_certificates(options.insecure_tls)
        .with_connect_timeout(Duration::from_secs(10))
        .with_timeout_disabled()
        .with_user_agent(agent);
    for pem in certificates(options)? {
        let bundle = Certificate::from_pem_bundle(&pem)
            .map_err(|cause| Error::invalid("the CA files hold no valid certificates").with_source(cause))?;
        if bundle.is_empty() {
            return Err(Error::invalid("the CA files hold no certificates"));
        }
        for certificate in bundle {
            client = client.with_root_certificate(certificate);
        }
        // Clients are made late: what is wrong with the files is said at once.
        let made = ReqwestConnector::default().connect(&client);
        made.map_err(|cause| Error::invalid("use the CA files").with_source(cause))?;
    }
    Ok(client)
}

fn certificates(options: &StoreOptions) -> Result<Vec<Vec<u8>>> {
    options
        .ca_files
        .iter()
        .map(|file| fs::read(file).attempt(|| format!("read the CA file {}", file.display())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)], extended: &[(&str, &str)]) -> StoreOptions {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        StoreOptions { variables: map(variables), extended: map(extended), ..StoreOptions::default() }
    }

    #[test]
    fn aws_is_addressed_by_host_and_others_by_path_unless_told_otherwise() {
        let none = options(&[], &[]);
        let dns = options(&[], &[("s3.bucket-lookup", "dns"), ("s3.region", "eu-west-1")]);
        let tokyo = options(&[("AWS_DEFAULT_REGION", "ap-northeast-1")], &[]);
        for (endpoint, bucket, region, options, path_style, found, url) in [
            (None, "b", None, &none, false, "us-east-1", None),
            (None, "b", None, &tokyo, false, "ap-northeast-1", None),
            (None, "b.c", None, &none, true, "us-east-1", None),
            (
                Some("https://s3.eu-central-1.amazonaws.com"),
                "b",
                Some("eu-central-1"),
                &none,
                false,
                "eu-central-1",
                None,
            ),
            (Some("https://s3.amazonaws.com"), "b", None, &dns, false, "eu-west-1", None),
            (Some("http://h:9000/"), "b", None, &none, true, "us-east-1", Some("http://h:9000")),
            (Some("http://h:9000"), "b", None, &dns, false, "eu-west-1", Some("http://b.h:9000")),
        ] {
            let address = S3Address::find(endpoint, bucket, (region, Some("us-east-1")), options).unwrap();
            assert_eq!((address.path_style, address.region.as_str()), (path_style, found), "{endpoint:?} {bucket}");
            assert_eq!(address.url(bucket).as_deref(), url, "{endpoint:?} {bucket}");
        }
        let china = options(&[("AWS_REGION", "cn-north-1")], &[]);
        let address = S3Address::find(None, "b", (None, None), &china).unwrap();
        assert_eq!(address.url("b").as_deref(), Some("https://b.s3.cn-north-1.amazonaws.com.cn"));
        assert!(S3Address::find(None, "b", (None, None), &options(&[], &[("s3.bucket-lookup", "x")])).is_err());
    }

    #[test]
    fn every_kind_of_store_is_built_without_a_request() {
        let clock = crate::clock::SystemClock::new();
        let keys = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("GOOGLE_ACCESS_TOKEN", "token"),
            ("AZURE_ACCOUNT_NAME", "account"),
            ("AZURE_ACCOUNT_KEY", "a2V5"),
            ("AZURE_ENDPOINT_SUFFIX", "core.windows.net"),
        ];
        for location in ["memory:", "/nowhere/at/all", "s3://b/p", "s3:http://127.0.0.1:1/b", "gs:b:/p", "azure:c:/p"] {
            let location: Location = location.parse().unwrap();
            let connected =
                connect(&location, &options(&keys, &[]), &Profile::default(), &clock, &Arc::new(Skew::new()));
            assert!(connected.is_ok(), "{location}: {:?}", connected.err());
        }
        let glacier = options(&keys, &[("s3.storage-class", "DEEP_ARCHIVE")]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty_ca = StoreOptions { ca_files: vec![file.path().to_owned()], ..options(&keys, &[]) };
        for refused in [glacier, empty_ca, options(&[("AWS_ACCESS_KEY_ID", "id")], &[])] {
            assert!(
                connect(&"s3://b".parse().unwrap(), &refused, &Profile::default(), &clock, &Arc::new(Skew::new()))
                    .is_err()
            );
        }
    }
}
