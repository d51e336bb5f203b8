//! Puts, gets, lists and deletes opaque objects by key, in a directory, in S3, GCS or Azure.
//!
//! This room never sees plaintext or keys, and gives no object a meaning. The seam is
//! [`object_store::ObjectStore`]; what only S3 has is done with `aws-sdk-s3`. Between the two stands one
//! governor per store: it counts every request, keeps to bandwidth limits, adapts the number of requests in
//! flight to what the store bears, and is the only layer that repeats a request.
//!
//! What may be relied on: a listing is whole or an error; a read has the length that was asked for or is an error;
//! a put that returned is durable as far as the store's answer (and `fsync` on a local disk) goes. Create-only writes
//! are used where the store has them, but no safety may rest on them: several S3 servers ignore the condition.

mod abilities;
mod azure;
mod body;
mod bucket;
mod connect;
mod container;
mod counts;
mod credentials;
mod failure;
mod files;
mod flight;
mod google;
mod governor;
mod local;
mod location;
mod multipart;
mod options;
mod parts;
mod pin;
mod pinned;
mod probe;
mod profile;
mod retry;
mod s3_any_key;
mod s3_objects;
mod sdk;
mod sdk_failure;
mod store;
mod throttle;
mod wire;

pub use abilities::{Abilities, CopyAbilities};
pub use body::apart;
pub use counts::RequestCounts;
pub use location::Location;
pub use options::StoreOptions;
pub use parts::{PARTS_MAX, PartUpload};
pub use pin::{Attributes, Checksum, Condition, ObjectInfo, Pin};
pub use pinned::ObjectPages;
pub use probe::{Ability, Finding, ProbeReport, Verdict};
pub use retry::Patience;
pub use store::{Listed, Store};
pub use throttle::Bandwidth;
