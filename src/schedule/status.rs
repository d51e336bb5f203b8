//! The status of a resource, as `VolSync` writes it into its resources: `api/v1alpha1` of `VolSync` is the specification.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::board::{Role, View};
use super::go_duration;

/// `status` of a `ReplicationSource` or `ReplicationDestination`. What is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// When the last successful run ended.
    #[serde(skip_serializing_if = "Option::is_none", with = "whole_seconds")]
    pub last_sync_time: Option<DateTime<Utc>>,
    /// When the run began that has not succeeded yet; it stays over failed tries.
    #[serde(skip_serializing_if = "Option::is_none", with = "whole_seconds")]
    pub last_sync_start_time: Option<DateTime<Utc>>,
    /// How long the last successful run took, tries that failed before it included.
    #[serde(skip_serializing_if = "Option::is_none", with = "go_text")]
    pub last_sync_duration: Option<Duration>,
    /// When the next run is to begin, by the schedule.
    #[serde(skip_serializing_if = "Option::is_none", with = "whole_seconds")]
    pub next_sync_time: Option<DateTime<Utc>>,
    /// The manual trigger that the last successful run answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_manual_sync: Option<String>,
    /// How the latest try ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_mover_status: Option<MoverStatus>,
    /// The condition `Synchronizing`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What only sources of restic have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restic: Option<ResticStatus>,
}

/// How the latest try ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoverStatus {
    /// Whether it succeeded.
    pub result: MoverResult,
    /// The lines of the log that `VolSync` keeps, at most 1,024 bytes.
    #[serde(default)]
    pub logs: String,
}

/// Whether a try succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoverResult {
    /// It did.
    Successful,
    /// It did not.
    Failed,
}

/// A condition, as Kubernetes has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Synchronizing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// When `status` last changed.
    #[serde(with = "whole_second")]
    pub last_transition_time: DateTime<Utc>,
    /// `SyncInProgress`, `WaitingForSchedule`, `WaitingForManual`, `CleaningUp` or `Error`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What only sources of restic have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResticStatus {
    /// When the repository was last pruned; at first, when the resource was first seen.
    #[serde(skip_serializing_if = "Option::is_none", with = "whole_seconds")]
    pub last_pruned: Option<DateTime<Utc>>,
    /// The value of `spec.restic.unlock` that was last done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_unlocked: Option<String>,
}

/// The resources of `view` with their status, as `kubectl get -o json` would list them.
pub fn documents(view: &View) -> Value {
    let items: Vec<Value> = view
        .resources
        .iter()
        .map(|resource| {
            json!({
                "apiVersion": "volsync.backube/v1alpha1",
                "kind": match resource.id.role {
                    Role::Source => "ReplicationSource",
                    Role::Destination => "ReplicationDestination",
                },
                "metadata": { "name": resource.id.name, "namespace": resource.id.namespace },
                "status": resource.status,
            })
        })
        .collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// As `metav1.Time` is written.
pub(super) fn shown(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn read<'de, D: Deserializer<'de>>(text: &str) -> Result<DateTime<Utc>, D::Error> {
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(serde::de::Error::custom)
}

mod whole_second {
    use super::{DateTime, Deserialize, Deserializer, Serializer, Utc, read, shown};

    pub(super) fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&shown(time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        read::<D>(&String::deserialize(from)?)
    }
}

mod whole_seconds {
    use super::{DateTime, Deserialize, Deserializer, Serialize, Serializer, Utc, read, shown};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        time.as_ref().map(shown).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| read::<D>(&text)).transpose()
    }
}

mod go_text {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, go_duration};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration.map(go_duration::format).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| go_duration::parse(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_as_volsync_writes_it_and_read_back() {
        let time = |text: &str| Some(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
        let status = Status {
            last_sync_time: time("2024-03-01T02:17:08.25Z"),
            last_sync_duration: Some(Duration::from_millis(8_250)),
            next_sync_time: time("2024-03-02T02:17:00Z"),
            latest_mover_status: Some(MoverStatus { result: MoverResult::Successful, logs: "a\nb".into() }),
            conditions: vec![Condition {
                kind: "Synchronizing".into(),
                status: "False".into(),
                last_transition_time: time("2024-03-01T02:17:08Z").unwrap(),
                reason: "WaitingForSchedule".into(),
                message: "Waiting for next scheduled synchronization".into(),
            }],
            restic: Some(ResticStatus { last_pruned: time("2024-02-28T00:00:00Z"), last_unlocked: None }),
            ..Status::default()
        };
        let text = serde_json::to_value(&status).unwrap();
        let expected = json!({
            "lastSyncTime": "2024-03-01T02:17:08Z",
            "lastSyncDuration": "8.25s",
            "nextSyncTime": "2024-03-02T02:17:00Z",
            "latestMoverStatus": { "result": "Successful", "logs": "a\nb" },
            "conditions": [{
                "type": "Synchronizing", "status": "False", "lastTransitionTime": "2024-03-01T02:17:08Z",
                "reason": "WaitingForSchedule", "message": "Waiting for next scheduled synchronization"
            }],
            "restic": { "lastPruned": "2024-02-28T00:00:00Z" }
        });
        assert_eq!(text, expected);
        let back: Status = serde_json::from_value(text).unwrap();
        assert_eq!(back, Status { last_sync_time: time("2024-03-01T02:17:08Z"), ..status });
        assert_eq!(serde_json::to_value(Status::default()).unwrap(), json!({}));
    }
}
