//! The S3 server to test against: the one that `VOLVAULT_TEST_S3_ENDPOINT` names, else one inside the process.
//!
//! | variable | |
//! |---|---|
//! | `VOLVAULT_TEST_S3_ENDPOINT` | `http://127.0.0.1:9000` |
//! | `AWS_…` | the credentials, and the region, as every S3 program reads them |
//! | `VOLVAULT_TEST_S3_BUCKET` | the bucket, `volvault-test` if it is not said; it is made if it is missing, and nothing stays in it |
//! | `VOLVAULT_TEST_S3_LACKS` | what the server is known not to do, of the words of [`ABILITIES`] |
//! | `VOLVAULT_TEST_CACERT` | a file of certificates to trust |

use std::collections::BTreeMap;

use volvault::clock::SystemClock;
use volvault::storage::{Location, Store, StoreOptions};

use super::memory_s3::Habits;
use super::s3::{S3Server, S3ServerThread};

/// Conditions on writes and on reads, attributes of objects, any name for them, copies of objects and of parts, uploads in parts, entity tags that
/// are MD5s.
pub(crate) const ABILITIES: [&str; 8] =
    ["conditional", "reads", "attributes", "any_key", "copies", "parts", "uploads", "checksums"];

const BUCKET: &str = "volvault-test";

/// A place on the server that is this test's own; it is emptied when the test ends.
pub(crate) struct Endpoint {
    /// `http://127.0.0.1:9000`
    pub(crate) url: String,
    /// `bucket/prefix`
    pub(crate) path: String,
    /// What gives access to it.
    pub(crate) variables: BTreeMap<String, String>,
    /// What the server is known not to do.
    lacks: Vec<String>,
    _own: Option<S3ServerThread>,
}

impl Endpoint {
    /// A place named after the test.
    #[expect(clippy::disallowed_methods, reason = "the environment says whether there is a server to test against")]
    pub(crate) fn new(test: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let bucket = variable("VOLVAULT_TEST_S3_BUCKET").unwrap_or_else(|| BUCKET.to_owned());
        let path = format!("{bucket}/{test}-{}", std::process::id());
        let Some(url) = variable("VOLVAULT_TEST_S3_ENDPOINT") else {
            let own = S3ServerThread::serving(S3Server::start_in_memory(Habits::GOOD, &bucket));
            let variables = own.server.variables().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            return Self { url: own.server.endpoint.clone(), path, variables, lacks: Vec::new(), _own: Some(own) };
        };
        let lacks: Vec<String> = variable("VOLVAULT_TEST_S3_LACKS")
            .iter()
            .flat_map(|said| said.split_whitespace())
            .map(str::to_owned)
            .collect();
        assert!(lacks.iter().all(|word| ABILITIES.contains(&&**word)), "{lacks:?} are not all of {ABILITIES:?}");
        let mut variables: BTreeMap<String, String> =
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.ends_with("_PROXY")).collect();
        variables.insert("AWS_ENDPOINT_URL_S3".to_owned(), url.clone());
        variables.extend(variable("VOLVAULT_TEST_CACERT").map(|file| ("VOLVAULT_CACERT".to_owned(), file)));
        Self { url: url.trim_end_matches('/').to_owned(), path, variables, lacks, _own: None }
    }

    /// Whether the server is known to do this.
    pub(crate) fn can(&self, what: &str) -> bool {
        !self.lacks.iter().any(|word| word == what)
    }

    /// A location below the test's place.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("s3:{}/{}/{name}", self.url, self.path)
    }

    /// A store below the test's place, with its bucket.
    pub(crate) async fn store(&self, name: &str) -> Store {
        let location: Location = self.at(name).parse().unwrap();
        let ca_files = self.variables.get("VOLVAULT_CACERT").into_iter().map(Into::into).collect();
        let options = StoreOptions { variables: self.variables.clone(), ca_files, ..StoreOptions::default() };
        let store = Store::connect(&location, &options, SystemClock::new()).await.unwrap();
        store.ensure_container().await.unwrap();
        store
    }

    /// Removes everything that the test has stored.
    pub(crate) async fn sweep(&self) {
        let store = self.store("").await;
        let keys = store.list("").await.unwrap().into_iter().map(|listed| listed.key).collect();
        store.delete_many(keys).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), []);
    }
}
