//! What `object_store` has no request for: to make a missing S3 bucket, and to list the uploads that are under way.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use super::connect::S3Access;
use super::counts::{Counters, Kind};
use super::credentials::ForSdk;
use super::failure::without_answer;
use crate::error::{Error, ErrorKind, Result};

/// Makes the bucket if it does not exist; says whether it was made.
///
/// Credentials that may not ask for the bucket are no error, as in restic: many are limited to the objects.
pub(super) async fn ensure(access: &S3Access, counters: &Counters) -> Result<bool> {
    let Some(client) = client(access) else { return Ok(false) };
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

/// How many uploads in parts below `prefix` are under way; none for an anonymous user. At most 1,000 are counted.
pub(super) async fn unfinished_uploads(access: &S3Access, counters: &Counters, prefix: &str) -> Result<Option<usize>> {
    let Some(client) = client(access) else { return Ok(None) };
    counters.sent(Kind::List, 0);
    let answer = client.list_multipart_uploads().bucket(&access.bucket).prefix(prefix).send().await;
    let answer = answer.map_err(|error| failed("list unfinished uploads".to_owned(), error))?;
    // Some servers overlook the prefix.
    Ok(Some(answer.uploads().iter().filter(|upload| upload.key().is_some_and(|key| key.starts_with(prefix))).count()))
}

/// None for an anonymous user, who cannot make buckets.
fn client(access: &S3Access) -> Option<Client> {
    let credentials = access.credentials.as_ref()?;
    let mut config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(access.region.clone()))
        .credentials_provider(ForSdk(credentials.clone()))
        .http_client(access.http.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(5))
        .force_path_style(access.path_style);
    if let Some(endpoint) = &access.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Some(Client::from_conf(config.build()))
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn failed<E>(attempt: String, error: SdkError<E>) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    let (kind, hint) = match status(&error) {
        None => without_answer(&error),
        Some(401 | 403) => (ErrorKind::Denied, "the credentials are wrong, or their policy does not allow this"),
        Some(409) => (ErrorKind::AlreadyExists, "the name is taken: choose another bucket"),
        Some(400..=499) => (ErrorKind::Invalid, "make the bucket with the store's own tools"),
        Some(_) => (ErrorKind::Unavailable, "the store is overloaded or ill: try again later"),
    };
    Error::new(kind, attempt).with_hint(hint).with_source(error)
}
