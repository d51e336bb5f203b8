//! Metrics in Prometheus's text format 0.0.4: `VolSync`'s names and labels, so that its rules and dashboards go on working, and ours beside them.
//!
//! The format is six kinds of lines, so a library would be more than what it spares; `promtool` and Prometheus's own parser in Python read the
//! result in `tests/peers/monitor.py`.

use std::fmt::{Display, Write};

use chrono::{DateTime, TimeDelta, Utc};

use crate::mover::Numbers;
use crate::schedule::{MoverResult, Outcome, ResourceView, View};

/// What `VolSync` has in its summaries: these quantiles, of the last day.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];
const QUANTILES_OF: TimeDelta = TimeDelta::hours(24);

/// The page that Prometheus reads.
pub(super) fn metrics(view: &View, now: DateTime<Utc>) -> String {
    let mut text = Text { text: String::new(), resources: &view.resources };
    volsync(&mut text, now);
    runs(&mut text);
    volumes(&mut text, now);
    requests(&mut text);
    text.family("volvault_info", "gauge", "The program that answers.");
    text.line("volvault_info", &[("program", &view.program)], 1);
    text.family("volvault_start_time_seconds", "gauge", "When this process began.");
    text.line("volvault_start_time_seconds", &[], view.started.timestamp());
    text.text
}

/// `internal/controller/metrics.go` of `VolSync` 0.16, help texts included.
fn volsync(text: &mut Text<'_>, now: DateTime<Utc>) {
    let missed = "The number of times a synchronization failed to complete before the next scheduled start";
    text.each("volsync_missed_intervals_total", "counter", missed, |resource| Some(resource.missed_intervals));
    let out_of_sync = "Set to 1 if the volume is not properly synchronized";
    text.each("volsync_volume_out_of_sync", "gauge", out_of_sync, |resource| Some(u8::from(resource.out_of_sync)));
    let name = "volsync_sync_duration_seconds";
    text.family(name, "summary", "Duration of the synchronization interval in seconds");
    for resource in text.resources {
        let durations = sorted_durations(resource, now);
        let labels = labels(resource);
        for (word, quantile) in QUANTILES {
            text.line(name, &[&labels[..], &[("quantile", word)]].concat(), at_quantile(&durations, quantile));
        }
        text.line(&format!("{name}_sum"), &labels, resource.runs.seconds);
        text.line(&format!("{name}_count"), &labels, resource.runs.succeeded);
    }
}

fn runs(text: &mut Text<'_>) {
    let name = "volvault_runs_total";
    text.family(name, "counter", "Runs since this process began.");
    for resource in text.resources {
        for (result, count) in [("successful", resource.runs.succeeded), ("failed", resource.runs.failed)] {
            text.line(name, &[&labels(resource)[..], &[("result", result)]].concat(), count);
        }
    }
    text.each("volvault_last_run_failed", "gauge", "1 if the latest run failed.", |resource| {
        resource.status.latest_mover_status.as_ref().map(|latest| u8::from(latest.result == MoverResult::Failed))
    });
    let last = "When the last successful run ended.";
    text.each("volvault_last_success_timestamp_seconds", "gauge", last, |resource| {
        resource.status.last_sync_time.as_ref().map(DateTime::timestamp)
    });
    let next = "When the next run begins, if that is known.";
    text.each("volvault_next_run_timestamp_seconds", "gauge", next, |resource| {
        resource.next.as_ref().map(DateTime::timestamp)
    });
    text.each("volvault_running", "gauge", "1 while a run is at work.", |resource| {
        Some(u8::from(resource.running.is_some()))
    });
    text.each("volvault_waiting", "gauge", "1 while a run is due and waits for others to end.", |resource| {
        Some(u8::from(resource.waiting))
    });
    text.each("volvault_paused", "gauge", "1 if it is paused.", |resource| Some(u8::from(resource.paused)));
}

/// What the last successful run knew.
fn volumes(text: &mut Text<'_>, now: DateTime<Utc>) {
    let mut latest = |name: &str, help: &str, value: &dyn Fn(&Numbers) -> Option<i128>| {
        text.each(name, "gauge", help, |resource| resource.latest.as_ref().and_then(value));
    };
    latest("volvault_volume_files", "Files of the volume.", &|numbers| Some(numbers.files.into()));
    latest("volvault_volume_bytes", "Bytes of the volume.", &|numbers| Some(numbers.bytes.into()));
    latest(
        "volvault_last_run_changed_files",
        "Files that the last successful run saved, sent, fetched or restored.",
        &|numbers| Some(numbers.changed.into()),
    );
    latest("volvault_last_run_moved_bytes", "Bytes of these files that were moved.", &|numbers| {
        Some(numbers.moved.into())
    });
    latest("volvault_last_run_deleted_files", "Files that the last successful run deleted.", &|numbers| {
        Some(numbers.deleted.into())
    });
    latest("volvault_snapshots", "Snapshots of the volume.", &|numbers| numbers.snapshots.map(Into::into));
    let newest = "Time of the newest complete snapshot of the volume.";
    latest("volvault_newest_snapshot_timestamp_seconds", newest, &|numbers| {
        numbers.newest.map(|time| time.timestamp().into())
    });
    latest("volvault_newest_snapshot_age_seconds", "How old it is.", &|numbers| {
        numbers.newest.map(|time| (now - time).num_seconds().max(0).into())
    });
    let verified = "When a check last read a part of the repository's data, and noted it.";
    latest("volvault_last_verified_timestamp_seconds", verified, &|numbers| {
        numbers.verified.map(|time| time.timestamp().into())
    });
    let refused = "1 if the last prune of a run was left for another time: no space was freed.";
    latest("volvault_prune_refused", refused, &|numbers| numbers.prune_refused.map(Into::into));
}

fn requests(text: &mut Text<'_>) {
    let name = "volvault_requests_total";
    text.family(name, "counter", "Requests to the store since this process began, by kind.");
    for resource in text.resources {
        let counts = &resource.requests;
        for (kind, count) in [
            ("get", counts.get),
            ("get_range", counts.get_range),
            ("put", counts.put),
            ("list", counts.list),
            ("head", counts.head),
            ("delete", counts.delete),
            ("copy", counts.copy),
            ("multipart", counts.multipart),
        ] {
            text.line(name, &[&labels(resource)[..], &[("kind", kind)]].concat(), count);
        }
    }
    let retries = "How many of the requests were sent because an earlier one failed.";
    text.each("volvault_request_retries_total", "counter", retries, |resource| Some(resource.requests.retries));
    let name = "volvault_store_bytes_total";
    text.family(name, "counter", "Bytes of objects sent to and received from the store since this process began.");
    for resource in text.resources {
        for (direction, bytes) in [("up", resource.requests.bytes_up), ("down", resource.requests.bytes_down)] {
            text.line(name, &[&labels(resource)[..], &[("direction", direction)]].concat(), bytes);
        }
    }
}

/// Durations of the successful runs of the last day, ascending.
fn sorted_durations(resource: &ResourceView, now: DateTime<Utc>) -> Vec<f64> {
    let recent = resource
        .history
        .iter()
        .filter(|past| past.outcome == Outcome::Successful && now - past.started <= QUANTILES_OF);
    let mut durations: Vec<f64> = recent.map(|past| past.seconds).collect();
    durations.sort_by(f64::total_cmp);
    durations
}

/// The smallest value that has this share of all at or below it; no number of nothing, as Prometheus's libraries have it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among a hundred runs"
)]
fn at_quantile(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// `VolSync`'s labels.
fn labels(resource: &ResourceView) -> [(&str, &str); 4] {
    [
        ("obj_name", &resource.id.name),
        ("obj_namespace", &resource.id.namespace),
        ("role", resource.id.role.as_str()),
        ("method", resource.method.as_str()),
    ]
}

struct Text<'a> {
    text: String,
    resources: &'a [ResourceView],
}

impl Text<'_> {
    /// What comes next. All samples of a name stand together below it.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of each resource that has a value.
    fn each<T: Display>(&mut self, name: &str, kind: &str, help: &str, value: impl Fn(&ResourceView) -> Option<T>) {
        self.family(name, kind, help);
        for resource in self.resources {
            if let Some(value) = value(resource) {
                self.line(name, &labels(resource), value);
            }
        }
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    letter => self.text.push(letter),
                }
            }
            self.text.push('"');
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_there_is() {
        assert!(at_quantile(&[], 0.5).is_nan());
        assert_eq!([0.5, 0.9, 0.99].map(|quantile| at_quantile(&[3.0], quantile).to_string()), ["3", "3", "3"]);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.9, 0.99].map(|quantile| at_quantile(&hundred, quantile).to_string()), ["50", "90", "99"]);
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text { text: String::new(), resources: &[] };
        text.line("a", &[("b", "c\\d\"e\nf"), ("g", "ü")], 1.5);
        text.line("a", &[], f64::NAN);
        assert_eq!(text.text, "a{b=\"c\\\\d\\\"e\\nf\",g=\"ü\"} 1.5\na NaN\n");
    }
}
