//! `stats`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::{CountArg, StatsArgs};
use crate::cli::exit::Outcome;
use crate::cli::output::snapshots::header;
use crate::cli::output::{json, text};
use crate::cli::settings::{Latest, choose, filter};
use crate::error::Result;
use crate::events::{Progress, Silent, Watch};
use crate::maintenance::{self, Stats, StatsMode};
use crate::repo::Snapshot;
use crate::retention::{GroupKey, Grouping};
use crate::size::ByteSize;

use super::snapshots::{groups, load};

/// Counts what snapshots hold.
pub(in crate::cli) fn run(app: &App<'_>, args: &StatsArgs) -> Result<Outcome> {
    let filter = filter(&args.filter, app.environment)?;
    let chosen = args.ids.iter().map(|id| choose(id, Latest::default())).collect::<Result<Vec<_>>>()?;
    let grouping = args.group_by.as_deref().map(str::parse::<Grouping>).transpose()?.unwrap_or_default();
    let repository = app.open()?;
    app.tell_open(&repository);
    let progress = Progress::default();
    let watch = Watch { observer: &Silent, progress: &progress, stop: app.signals.stop_in_good_order() };
    app.console.say("scanning...");
    let counted: Vec<(GroupKey, Stats)> = super::reading(&repository, |session| {
        let groups = groups(load(app, session, &chosen, &filter)?, grouping);
        let snapshots: Vec<&[Snapshot]> = groups.values().map(Vec::as_slice).collect();
        let counts = maintenance::stats_of_each(session, &snapshots, mode(args.mode), &watch)?;
        Ok(groups.into_keys().zip(counts).collect())
    })?;
    if app.console.settings().json {
        print_json(app, &counted, grouping);
        return Ok(Outcome::Complete);
    }
    for (key, stats) in &counted {
        if let Some(header) = header(key) {
            app.console.row(&header);
        }
        for line in lines(stats, args.mode) {
            app.console.row(&line);
        }
    }
    Ok(Outcome::Complete)
}

/// Without groups one object, as restic's is; else an array of them.
fn print_json(app: &App<'_>, counted: &[(GroupKey, Stats)], grouping: Grouping) {
    match counted {
        [(_, stats)] if grouping == Grouping::default() => app.console.json(&Shape::new(stats)),
        _ => {
            let shape = |key, stats| GroupShape { group_key: json::GroupKey::new(key), stats: Shape::new(stats) };
            let groups: Vec<GroupShape<'_>> = counted.iter().map(|(key, stats)| shape(key, stats)).collect();
            app.console.json(&groups);
        }
    }
}

const fn mode(arg: CountArg) -> StatsMode {
    match arg {
        CountArg::RestoreSize => StatsMode::RestoreSize,
        CountArg::FilesByContents => StatsMode::FilesByContents,
        CountArg::RawData => StatsMode::RawData,
        CountArg::BlobsPerFile => StatsMode::BlobsPerFile,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The counts of a group of `--group-by`.
#[derive(Serialize)]
struct GroupShape<'a> {
    group_key: json::GroupKey<'a>,
    #[serde(flatten)]
    stats: Shape,
}

/// restic's shape.
#[derive(Serialize)]
struct Shape {
    total_size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    total_uncompressed_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_progress: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_space_saving: Option<f64>,
    #[serde(skip_serializing_if = "is_zero")]
    total_file_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    total_blob_count: u64,
    snapshots_count: u64,
}

impl Shape {
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    fn new(stats: &Stats) -> Self {
        let is_compressed = stats.uncompressed > 0 && stats.size > 0;
        let ratio = stats.uncompressed as f64 / stats.size.max(1) as f64;
        Self {
            total_size: stats.size,
            total_uncompressed_size: stats.uncompressed,
            compression_ratio: is_compressed.then_some(ratio),
            compression_progress: is_compressed.then_some(100.0),
            compression_space_saving: is_compressed.then(|| (1.0 - 1.0 / ratio) * 100.0),
            total_file_count: stats.files,
            total_blob_count: stats.blobs,
            snapshots_count: stats.snapshots,
        }
    }
}

fn lines(stats: &Stats, mode: CountArg) -> Vec<String> {
    let shape = Shape::new(stats);
    let name = match mode {
        CountArg::RestoreSize => "restore-size",
        CountArg::FilesByContents => "files-by-contents",
        CountArg::RawData => "raw-data",
        CountArg::BlobsPerFile => "blobs-per-file",
    };
    let mut lines = vec![format!("Stats in {name} mode:")];
    let mut line = |name: &str, value: String| lines.push(format!("{name:>25}  {value}"));
    line("Snapshots processed:", stats.snapshots.to_string());
    if stats.blobs > 0 {
        line("Total Blob Count:", stats.blobs.to_string());
    }
    if stats.files > 0 {
        line("Total File Count:", stats.files.to_string());
    }
    if stats.uncompressed > 0 {
        line("Total Uncompressed Size:", ByteSize(stats.uncompressed).to_string());
    }
    line("Total Size:", ByteSize(stats.size).to_string());
    if let (Some(ratio), Some(saving)) = (shape.compression_ratio, shape.compression_space_saving) {
        line("Compression Progress:", text::percent(1, 1));
        line("Compression Ratio:", format!("{ratio:.2}x"));
        line("Compression Space Saving:", format!("{saving:.2}%"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_restics() {
        let stats = Stats { snapshots: 2, files: 7, size: 2048, ..Stats::default() };
        let json = serde_json::to_string(&Shape::new(&stats)).unwrap();
        assert_eq!(json, r#"{"total_size":2048,"total_file_count":7,"snapshots_count":2}"#);
        assert_eq!(
            lines(&stats, CountArg::RestoreSize),
            [
                "Stats in restore-size mode:",
                "     Snapshots processed:  2",
                "        Total File Count:  7",
                "              Total Size:  2.000 KiB",
            ]
        );
        let raw = Stats { snapshots: 1, blobs: 3, size: 1024, uncompressed: 4096, ..Stats::default() };
        assert_eq!(lines(&raw, CountArg::RawData).last().unwrap(), "Compression Space Saving:  75.00%");
    }
}
