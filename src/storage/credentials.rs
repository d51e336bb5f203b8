//! AWS credentials, as AWS users have them: in the environment, in a profile, by SSO, by web identity (IRSA), from the
//! metadata services of EC2, ECS and EKS, and by an assumed role.
//!
//! Keys that are set in the environment are used as they are: no metadata service is asked then. Everything else is
//! left to `aws-config`, which reads the environment and the files of this process by itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future};
use aws_sdk_s3::config::{Credentials, Region, SharedHttpClient};
use aws_types::origin::Origin;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::{CredentialProvider, Error as StoreError, StaticCredentialProvider};
use tokio::sync::{Mutex, OnceCell};

use super::failure::generic;
use super::options::StoreOptions;
use crate::clock::SharedClock;
use crate::error::{Error, Result};

/// Credentials are renewed this long before they expire, and used until they do if that fails.
const RENEW_BEFORE: Duration = Duration::from_mins(5);
/// Those that live for less than half an hour, a sixth of their time before: else the last five minutes of all of them
/// would be spent asking.
const RENEW_SHARE: u32 = 6;
/// Time between two attempts to renew what is still valid: every request waits for an attempt.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// The source of credentials that the options and the environment call for. Asks nobody yet.
pub(super) fn provider(
    options: &StoreOptions,
    region: &str,
    http: &SharedHttpClient,
    clock: &SharedClock,
) -> Result<AwsCredentialProvider> {
    let role = Role::from_options(options, region);
    let keys = match (keys(options)?, &role) {
        (Some(keys), None) => return Ok(Arc::new(StaticCredentialProvider::new(keys))),
        (keys, _) => keys,
    };
    let chain = Chain {
        region: region.to_owned(),
        profile: options.variable("AWS_PROFILE").map(str::to_owned),
        keys,
        role,
        http: http.clone(),
        clock: Arc::clone(clock),
        source: OnceCell::new(),
        held: Mutex::new(None),
    };
    Ok(Arc::new(chain))
}

/// The keys of the environment. Half a pair is an error: falling back to the machine's own role instead would
/// write with rights that nobody asked for.
fn keys(options: &StoreOptions) -> Result<Option<AwsCredential>> {
    let key_id = options.first_variable(&["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]);
    let secret_key = options.first_variable(&["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]);
    let token = options.variable("AWS_SESSION_TOKEN").map(str::to_owned);
    match (key_id, secret_key) {
        (Some(key_id), Some(secret_key)) => {
            Ok(Some(AwsCredential { key_id: key_id.to_owned(), secret_key: secret_key.to_owned(), token }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::invalid("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")),
        (None, Some(_)) => Err(Error::invalid("AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not")),
    }
}

/// A role to assume, in restic's variables.
#[derive(Debug, Clone)]
struct Role {
    arn: String,
    session: String,
    external_id: Option<String>,
    policy: Option<String>,
    region: String,
    endpoint: Option<String>,
}

impl Role {
    fn from_options(options: &StoreOptions, region: &str) -> Option<Self> {
        let variable = |name: &str| options.variable(&format!("RESTIC_AWS_ASSUME_ROLE_{name}")).map(str::to_owned);
        Some(Self {
            arn: variable("ARN")?,
            session: variable("SESSION_NAME").unwrap_or_else(|| "volvault".to_owned()),
            external_id: variable("EXTERNAL_ID"),
            policy: variable("POLICY"),
            region: variable("REGION").unwrap_or_else(|| region.to_owned()),
            endpoint: variable("STS_ENDPOINT"),
        })
    }
}

/// The chain of `aws-config`, asked when the first request needs it, and again before its answer expires.
struct Chain {
    region: String,
    profile: Option<String>,
    keys: Option<AwsCredential>,
    role: Option<Role>,
    http: SharedHttpClient,
    clock: SharedClock,
    source: OnceCell<SharedCredentialsProvider>,
    held: Mutex<Option<Held>>,
}

struct Held {
    credential: Arc<AwsCredential>,
    /// None never comes.
    expiry: Option<SystemTime>,
    /// When to ask for new ones. None never comes.
    renewal: Option<SystemTime>,
}

impl Held {
    fn new(credentials: &Credentials, now: SystemTime) -> Self {
        let lead = |left: Duration| RENEW_BEFORE.min(left / RENEW_SHARE);
        Self {
            credential: Arc::new(AwsCredential {
                key_id: credentials.access_key_id().to_owned(),
                secret_key: credentials.secret_access_key().to_owned(),
                token: credentials.session_token().map(str::to_owned),
            }),
            expiry: credentials.expiry(),
            renewal: credentials.expiry().map(|end| end - lead(end.duration_since(now).unwrap_or_default())),
        }
    }
}

/// Whether `moment`, if it ever comes, is still to come.
fn is_ahead(moment: Option<SystemTime>, now: SystemTime) -> bool {
    moment.is_none_or(|moment| moment > now)
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("region", &self.region).field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Chain {
    async fn source(&self) -> Result<&SharedCredentialsProvider, CredentialsError> {
        self.source.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<SharedCredentialsProvider, CredentialsError> {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(self.region.clone()))
            .http_client(self.http.clone());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(keys) = &self.keys {
            loader = loader.credentials_provider(sdk_credentials(keys));
        }
        let config = loader.load().await;
        let base = config
            .credentials_provider()
            .ok_or_else(|| CredentialsError::not_loaded("no AWS credentials are configured"))?;
        let Some(role) = &self.role else { return Ok(base) };
        let mut sts = config.into_builder();
        if let Some(endpoint) = &role.endpoint {
            sts.set_endpoint_url(Some(endpoint.clone()));
            // Else AWS_ENDPOINT_URL, which is often set for the bucket, would come before it.
            sts.insert_origin("endpoint_url", Origin::shared_config());
        }
        let mut builder = AssumeRoleProvider::builder(&role.arn)
            .configure(&sts.build())
            .region(Region::new(role.region.clone()))
            .session_name(&role.session);
        if let Some(id) = &role.external_id {
            builder = builder.external_id(id);
        }
        if let Some(policy) = &role.policy {
            builder = builder.policy(policy);
        }
        Ok(SharedCredentialsProvider::new(builder.build_from_provider(base).await))
    }

    async fn fetch(&self, now: SystemTime) -> Result<Held, CredentialsError> {
        Ok(Held::new(&self.source().await?.provide_credentials().await?, now))
    }
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let now = SystemTime::from(self.clock.now());
        // Held while the answer is awaited, so that one request asks and the others wait for it.
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| is_ahead(held.renewal, now)) {
            return Ok(Arc::clone(&held.credential));
        }
        match (self.fetch(now).await, held.as_mut()) {
            (Ok(fresh), _) => Ok(Arc::clone(&held.insert(fresh).credential)),
            (Err(_), Some(old)) if is_ahead(old.expiry, now) => {
                old.renewal = Some(now + RENEW_AGAIN);
                Ok(Arc::clone(&old.credential))
            }
            (Err(error), _) => Err(no_credentials(error, self.profile.as_deref())),
        }
    }
}

fn no_credentials(error: CredentialsError, profile: Option<&str>) -> StoreError {
    match error {
        CredentialsError::ProviderTimedOut(_) => generic(HttpError::new(HttpErrorKind::Timeout, error)),
        error => {
            let of = profile.map(|name| format!(" of profile {name}")).unwrap_or_default();
            StoreError::Unauthenticated { path: format!("AWS credentials{of}"), source: Box::new(error) }
        }
    }
}

fn sdk_credentials(key: &AwsCredential) -> Credentials {
    Credentials::new(&key.key_id, &key.secret_key, key.token.clone(), None, "volvault")
}

/// The same credentials for the clients of the SDK.
#[derive(Debug)]
pub(super) struct ForSdk(pub(super) AwsCredentialProvider);

impl ProvideCredentials for ForSdk {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.0.get_credential().await.map(|key| sdk_credentials(&key)).map_err(CredentialsError::provider_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::sdk;

    fn http() -> SharedHttpClient {
        sdk::client(&object_store::ClientOptions::new())
    }

    fn options(variables: &[(&str, &str)]) -> StoreOptions {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StoreOptions { variables, ..StoreOptions::default() }
    }

    #[tokio::test]
    async fn keys_of_the_environment_are_used_as_they_are() {
        let options = options(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
        ]);
        let provider = provider(&options, "us-east-1", &http(), &SystemClock::new()).unwrap();
        assert!(format!("{provider:?}").contains("StaticCredentialProvider"), "no chain, no metadata service");
        let key = provider.get_credential().await.unwrap();
        assert_eq!(
            (key.key_id.as_str(), key.secret_key.as_str(), key.token.as_deref()),
            ("id", "secret", Some("token"))
        );
    }

    #[test]
    fn half_a_pair_of_keys_is_refused() {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            let error =
                provider(&options(&[(name, "hunter2")]), "us-east-1", &http(), &SystemClock::new()).unwrap_err();
            assert!(!error.chain().contains("hunter2"));
        }
    }

    #[test]
    fn a_role_is_read_from_restics_variables() {
        let role = Role::from_options(
            &options(&[("RESTIC_AWS_ASSUME_ROLE_ARN", "arn"), ("RESTIC_AWS_ASSUME_ROLE_REGION", "eu-west-1")]),
            "us-east-1",
        )
        .unwrap();
        assert_eq!((role.arn.as_str(), role.session.as_str(), role.region.as_str()), ("arn", "volvault", "eu-west-1"));
        assert!(Role::from_options(&options(&[]), "us-east-1").is_none());
    }

    /// A source that answers as many times as it has lives, each for an hour.
    #[derive(Debug)]
    struct Mortal {
        clock: SharedClock,
        lives: std::sync::atomic::AtomicUsize,
        asked: std::sync::atomic::AtomicUsize,
    }

    impl ProvideCredentials for Mortal {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let lives = self.lives.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lives| lives.checked_sub(1));
            let expiry = SystemTime::from(self.clock.now()) + Duration::from_hours(1);
            future::ProvideCredentials::ready(match lives {
                Ok(_) => Ok(Credentials::new("id", "secret", None, Some(expiry), "test")),
                Err(_) => Err(CredentialsError::provider_error("dead")),
            })
        }
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_they_expire_and_used_until_then_if_that_fails() {
        let clock = Arc::new(crate::clock::ManualClock::new(SystemClock::new().now()));
        let source = Arc::new(Mortal {
            clock: Arc::<crate::clock::ManualClock>::clone(&clock),
            lives: 2.into(),
            asked: 0.into(),
        });
        let chain = Chain {
            region: "us-east-1".into(),
            profile: None,
            keys: None,
            role: None,
            http: http(),
            clock: Arc::<crate::clock::ManualClock>::clone(&clock),
            source: OnceCell::new_with(Some(SharedCredentialsProvider::new(
                Arc::clone(&source) as Arc<dyn ProvideCredentials>
            ))),
            held: Mutex::new(None),
        };
        let asked = || source.asked.load(Ordering::SeqCst);
        let first = chain.get_credential().await.unwrap();
        clock.advance(Duration::from_secs(3299));
        assert!(Arc::ptr_eq(&first, &chain.get_credential().await.unwrap()), "held for 55 minutes");
        clock.advance(Duration::from_secs(2));
        let second = chain.get_credential().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second) && asked() == 2, "renewed");
        clock.advance(Duration::from_secs(3400));
        assert!(Arc::ptr_eq(&second, &chain.get_credential().await.unwrap()), "not renewed, but still valid");
        clock.advance(Duration::from_secs(10));
        assert!(Arc::ptr_eq(&second, &chain.get_credential().await.unwrap()));
        assert_eq!(asked(), 3, "not asked again at once");
        clock.advance(Duration::from_secs(200));
        assert!(chain.get_credential().await.is_err(), "expired");
    }

    #[test]
    fn short_lives_are_not_spent_asking() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        for (life, lead) in [(3600, 300), (900, 150), (6, 1), (0, 0)] {
            let end = now + Duration::from_secs(life);
            let held = Held::new(&Credentials::new("id", "secret", None, Some(end), "test"), now);
            assert_eq!(held.renewal, Some(end - Duration::from_secs(lead)), "{life} seconds");
        }
    }
}
