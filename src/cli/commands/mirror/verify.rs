//! `mirror verify`.

use serde::Serialize;

use crate::cli::App;
use crate::cli::args::VerifyArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::mirror::size;
use crate::cli::progress::{Kind, watched};
use crate::cli::settings::{RemoteSettings, count};
use crate::error::Result;
use crate::rclone_sync::verify::{VerifyOptions, VerifyReport, verify};

use super::reach::Reach;

/// As many as rclone has checkers.
const AT_ONCE: usize = 8;

/// The end, as JSON.
#[derive(Serialize)]
struct Summary {
    message_type: &'static str,
    exit_code: u8,
    generation: u64,
    objects: u64,
    bytes: u64,
    bytes_read: u64,
    missing: u64,
    changed: u64,
    damaged: u64,
    unhashed: u64,
    unknown: u64,
}

/// Compares what the store holds with what the generation says.
pub(super) fn run(app: &App<'_>, args: &VerifyArgs) -> Result<Outcome> {
    let remote = RemoteSettings::new(&args.remote, app.environment);
    let at_once = count(args.checkers, app.environment, ("--checkers", "RCLONE_CHECKERS"))?.unwrap_or(AT_ONCE);
    let places = Reach::new(app, &remote)?.places(&args.location)?;
    let stop = app.signals.stop_in_good_order();
    let report = watched(app.console, app.clock.as_ref(), (Kind::Check, stop), |watch| {
        verify(&places, VerifyOptions { read: args.read, at_once }, watch)
    })?;
    let code = u8::from(!report.is_whole());
    if app.console.settings().json {
        let VerifyReport { generation, objects, bytes, bytes_read, missing, changed, damaged, unhashed, unknown } =
            report;
        app.console.json(&Summary {
            message_type: "summary",
            exit_code: code,
            generation,
            objects,
            bytes,
            bytes_read,
            missing,
            changed,
            damaged,
            unhashed,
            unknown,
        });
    } else {
        for line in sentences(&report) {
            app.console.say(&line);
        }
    }
    Ok(Outcome::Told(code))
}

fn sentences(report: &VerifyReport) -> Vec<String> {
    let VerifyReport { generation, objects, bytes, bytes_read, missing, changed, damaged, unhashed, unknown } = *report;
    let mut lines = vec![format!("generation {generation}: {objects} objects, {}", size(bytes))];
    if bytes_read > 0 {
        lines.push(format!("{} were read and have the hashes that were pushed", size(bytes_read)));
    }
    if unhashed > 0 {
        lines.push(format!(
            "{unhashed} files are not known by hash: another tool stored them, and their ETag is all there is"
        ));
    }
    if unknown > 0 {
        lines.push(format!("{unknown} objects are not of this generation; pulls do not see them, other tools do"));
    }
    if report.is_whole() {
        lines.push("no errors were found".to_owned());
        return lines;
    }
    lines.push(format!("{missing} missing, {changed} replaced by others, {damaged} damaged"));
    // Size and entity tag of what is damaged are right: a push takes it for what it should be, unless it reads it.
    let (way_out, what) = if damaged > 0 {
        ("push --relist --checksum", "reads all objects, and sends what is missing, another one or damaged")
    } else {
        ("push --relist", "sends what is missing or another one")
    };
    lines.push(format!("`volvault mirror {way_out}` {what}, as far as its source has it"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sentences_are_the_verdict_and_the_way_out() {
        let whole =
            VerifyReport { generation: 3, objects: 2, bytes: 2048, bytes_read: 2048, unknown: 1, ..Default::default() };
        assert_eq!(
            sentences(&whole),
            [
                "generation 3: 2 objects, 2 KiB",
                "2 KiB were read and have the hashes that were pushed",
                "1 objects are not of this generation; pulls do not see them, other tools do",
                "no errors were found",
            ]
        );
        let damaged = VerifyReport { missing: 1, changed: 2, damaged: 3, ..Default::default() };
        let said = sentences(&damaged);
        assert!(said.contains(&"1 missing, 2 replaced by others, 3 damaged".to_owned()), "{said:?}");
        assert!(said.last().is_some_and(|line| line.contains("push --relist --checksum` reads")), "{said:?}");
        let said = sentences(&VerifyReport { damaged: 0, ..damaged });
        assert!(said.last().is_some_and(|line| line.contains("push --relist` sends")), "{said:?}");
    }
}
