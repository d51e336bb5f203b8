//! Makes a missing S3 bucket: the one thing that `object_store` has no request for.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use super::connect::S3Access;
use super::counts::{Counters, Kind};
use super::credentials::{ForSdk, http_client};
use crate::error::{Error, ErrorKind, Result};

/// Makes the bucket if it does not exist; says whether it was made.
///
/// Credentials that may not ask for the bucket are no error, as in restic: many are limited to the objects.
pub(super) async fn ensure(access: &S3Access, counters: &Counters) -> Result<bool> {
    let Some(client) = client(access)? else { return Ok(false) };
    let bucket = &access.bucket;
    counters.sent(Kind::Head, 0);
    let Err(error) = client.head_bucket().bucket(bucket).send().await else { return Ok(false) };
    match status(&error) {
        Some(404) => {}
        Some(401 | 403) => return Ok(false),
        Some(300..=399) => {
            return Err(Error::invalid(format!("bucket {bucket} is in another region than {}", access.region))
                .with_hint("set AWS_REGION or -o s3.region"));
        }
        _ => return Err(failed(format!("look for bucket {bucket}"), error)),
    }
    let mut request = client.create_bucket().bucket(bucket);
    // The first region must not be named.
    if access.region != "us-east-1" {
        let constraint = BucketLocationConstraint::from(access.region.as_str());
        request = request
            .create_bucket_configuration(CreateBucketConfiguration::builder().location_constraint(constraint).build());
    }
    counters.sent(Kind::Put, 0);
    match request.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(false),
        Err(error) => Err(failed(format!("make bucket {bucket}"), error)),
    }
}

/// None for an anonymous user, who cannot make buckets.
fn client(access: &S3Access) -> Result<Option<Client>> {
    let Some(credentials) = &access.credentials else { return Ok(None) };
    if access.insecure_tls && access.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("https://")) {
        // The SDK's client cannot be told to trust any certificate. The bucket shows itself at the first request.
        return Ok(None);
    }
    let mut config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(access.region.clone()))
        .credentials_provider(ForSdk(credentials.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(5))
        .force_path_style(access.path_style);
    if let Some(endpoint) = &access.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if let Some(http) = http_client(&access.certificates)? {
        config = config.http_client(http);
    }
    Ok(Some(Client::from_conf(config.build())))
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn failed<E>(attempt: String, error: SdkError<E>) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    let kind = match status(&error) {
        Some(401 | 403) => ErrorKind::Denied,
        Some(409) => ErrorKind::AlreadyExists,
        Some(400..=499) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    // The SDK's errors say nothing by themselves; their causes do.
    Error::new(kind, attempt).with_source(DisplayErrorContext(error).to_string())
}
