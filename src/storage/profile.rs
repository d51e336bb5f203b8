//! What the profile in AWS's files (`~/.aws/config`, `~/.aws/credentials`) says about where a bucket is: region and
//! endpoint. Its keys and roles are the business of `credentials`.

use aws_config::BehaviorVersion;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::config::Region;
use aws_types::service_config::ServiceConfigKey;

use super::options::StoreOptions;

/// Region and endpoint of a profile, if it has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl Profile {
    /// Reads the files of this process's user. Those of the default profile are meant for AWS's own tools: they count only
    /// where the location names no endpoint, but those of a profile that was named always do.
    pub(super) async fn load(options: &StoreOptions, has_endpoint: bool) -> Self {
        let name = options.variable("AWS_PROFILE");
        if has_endpoint && name.is_none() {
            return Self::default();
        }
        let mut region = ProfileFileRegionProvider::builder();
        // The region that is set here is not used: without one a metadata service would be asked.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .no_credentials();
        if let Some(name) = name {
            region = region.profile_name(name);
            loader = loader.profile_name(name);
        }
        let (region, config) = (region.build().region().await, loader.load().await);
        let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let of_s3 = config.service_config().zip(key.ok()).and_then(|(config, key)| config.load_config(key));
        Self {
            region: region.map(|region| region.as_ref().to_owned()),
            endpoint: of_s3.or_else(|| config.endpoint_url().map(str::to_owned)),
        }
    }
}
