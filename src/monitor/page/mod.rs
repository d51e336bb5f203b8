//! The status page: HTML without a script, one style sheet, and plots that are SVG in the page.

mod chart;
mod html;

use chrono::{DateTime, Utc};

use self::chart::{Bar, chart};
use self::html::Html;
use super::words;
use crate::schedule::{MoverResult, Outcome, Past, ResourceView, Role, View};

/// The style sheet of the page.
pub(super) const STYLE: &str = include_str!("style.css");
/// The icon of the page.
pub(super) const ICON: &str = include_str!("icon.svg");

/// Runs that are listed; the plots show all that are known.
const LISTED_MAX: usize = 20;

/// The page. With `refresh` it asks for itself again every 30 seconds: only on demand, because a page that changes under a reader's hands helps few.
pub(super) fn page(view: &View, now: DateTime<Utc>, refresh: bool) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
    let failed = view.resources.iter().filter(|resource| State::of(resource) == State::Failed).count();
    if failed > 0 {
        html.text(failed).raw(" failed · ");
    }
    html.raw("volvault</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n");
    html.raw("<link rel=\"stylesheet\" href=\"/style.css\">\n<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\n");
    if refresh {
        html.raw("<meta http-equiv=\"refresh\" content=\"30\">\n");
    }
    html.raw("</head>\n<body>\n<header class=\"top\"><h1>volvault</h1><p>").text(&view.program).raw(", up since ");
    moment(&mut html, view.started, now);
    html.raw(". ")
        .raw(if view.ready { "At work." } else { "Starting or stopping." })
        .raw("</p>\n<nav aria-label=\"Views\"><ul>");
    html.raw(if refresh {
        "<li><a href=\"/\">Stop refreshing</a></li>"
    } else {
        "<li><a href=\"/?refresh\">Refresh every 30 s</a></li>"
    });
    html.raw("<li><a href=\"/status\">Status as JSON</a></li><li><a href=\"/metrics\">Metrics</a></li></ul></nav></header>\n<main>\n");
    summary(&mut html, view);
    for (role, id, title) in [(Role::Source, "sources", "Sources"), (Role::Destination, "destinations", "Destinations")]
    {
        let mut resources = view.resources.iter().filter(|resource| resource.id.role == role).peekable();
        html.raw("<section aria-labelledby=\"")
            .raw(id)
            .raw("\"><h2 id=\"")
            .raw(id)
            .raw("\">")
            .raw(title)
            .raw("</h2>\n");
        if resources.peek().is_none() {
            html.raw("<p class=\"none\">None.</p>\n");
        }
        for resource in resources {
            card(&mut html, resource, now);
        }
        html.raw("</section>\n");
    }
    html.raw("</main>\n<footer><p>All times are UTC. As of ")
        .text(words::time(now))
        .raw(".</p></footer>\n</body>\n</html>\n");
    html.into_text()
}

/// In one word; the first that is true of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Failed,
    Waiting,
    Late,
    Fine,
    New,
}

impl State {
    fn of(resource: &ResourceView) -> Self {
        let result = resource.status.latest_mover_status.as_ref().map(|latest| latest.result);
        match result {
            _ if resource.running.is_some() => Self::Running,
            _ if resource.paused => Self::Paused,
            Some(MoverResult::Failed) => Self::Failed,
            _ if resource.waiting => Self::Waiting,
            Some(MoverResult::Successful) if resource.out_of_sync => Self::Late,
            Some(MoverResult::Successful) => Self::Fine,
            None => Self::New,
        }
    }

    /// The word, with a sign that says the same without colour.
    const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Running => ("running", "▶ Running"),
            Self::Paused => ("paused", "❚❚ Paused"),
            Self::Failed => ("failed", "✕ Failed"),
            Self::Waiting => ("waiting", "… Waiting"),
            Self::Late => ("late", "! Out of sync"),
            Self::Fine => ("fine", "✓ In sync"),
            Self::New => ("new", "○ Not run yet"),
        }
    }
}

fn summary(html: &mut Html, view: &View) {
    let states: Vec<State> = view.resources.iter().map(State::of).collect();
    let count = |wanted: &[State]| states.iter().filter(|state| wanted.contains(state)).count();
    html.raw("<dl class=\"summary\" aria-label=\"Summary\">");
    for (class, word, number) in [
        ("fine", "in sync", count(&[State::Fine])),
        ("failed", "failed", count(&[State::Failed])),
        ("late", "out of sync", count(&[State::Late])),
        ("running", "running or waiting", count(&[State::Running, State::Waiting])),
        ("new", "paused or new", count(&[State::Paused, State::New])),
    ] {
        html.raw("<div class=\"")
            .raw(if number == 0 { "zero" } else { class })
            .raw("\"><dt>")
            .raw(word)
            .raw("</dt><dd>")
            .text(number)
            .raw("</dd></div>");
    }
    html.raw("</dl>\n");
}

fn card(html: &mut Html, resource: &ResourceView, now: DateTime<Utc>) {
    let (class, word) = State::of(resource).shown();
    html.raw("<article class=\"")
        .raw(class)
        .raw("\"><header><h3><bdi>")
        .text(&resource.id.namespace)
        .raw("/<wbr>")
        .text(&resource.id.name);
    html.raw("</bdi></h3><span class=\"method\">")
        .raw(resource.method.as_str())
        .raw("</span><strong class=\"state\">")
        .raw(word)
        .raw("</strong></header>\n");
    facts(html, resource, now);
    if !resource.history.is_empty() {
        plots(html, &resource.history);
        history(html, &resource.history, now);
    }
    if let Some(latest) = resource.status.latest_mover_status.as_ref().filter(|latest| !latest.logs.trim().is_empty()) {
        html.raw("<details").raw(if latest.result == MoverResult::Failed { " open" } else { "" });
        html.raw("><summary>Log of the latest run</summary><pre tabindex=\"0\">")
            .text(&latest.logs)
            .raw("</pre></details>\n");
    }
    html.raw("</article>\n");
}

fn facts(html: &mut Html, resource: &ResourceView, now: DateTime<Utc>) {
    html.raw("<dl class=\"facts\">");
    fact(html, "Volume", |html| html.raw("<bdi>").text(&resource.volume).raw("</bdi>"));
    fact(html, "Trigger", |html| html.raw("<bdi>").text(&resource.trigger).raw("</bdi>"));
    if let Some(since) = resource.running {
        fact(html, "Running since", |html| moment(html, since, now));
    }
    if let Some(last) = resource.status.last_sync_time {
        fact(html, "Last success", |html| {
            moment(html, last, now);
            match resource.status.last_sync_duration {
                Some(took) => html.raw(", took ").text(words::duration(took.as_secs_f64())),
                None => html,
            }
        });
    }
    match resource.next {
        Some(next) => fact(html, "Next run", |html| moment(html, next, now)),
        None => fact(html, "Next run", |html| html.raw("when it is triggered")),
    }
    if let Some(latest) = &resource.latest {
        let (files, bytes) = (words::count(latest.files), words::bytes(latest.bytes));
        fact(html, "Contents", |html| html.text(files).raw(" files, ").text(bytes));
        if let Some(snapshots) = latest.snapshots {
            fact(html, "Snapshots", |html| html.text(words::count(snapshots)));
        }
        if let Some(newest) = latest.newest {
            fact(html, "Newest snapshot", |html| moment(html, newest, now));
        }
        if let Some(verified) = latest.verified {
            fact(html, "Last verified", |html| moment(html, verified, now));
        }
    }
    fact(html, "Missed intervals", |html| html.text(words::count(resource.missed_intervals)));
    html.raw("</dl>\n");
}

fn fact(html: &mut Html, name: &'static str, value: impl FnOnce(&mut Html) -> &mut Html) {
    html.raw("<div><dt>").raw(name).raw("</dt><dd>");
    value(html);
    html.raw("</dd></div>");
}

/// How far away, with the time itself beside it.
fn moment(html: &mut Html, time: DateTime<Utc>, now: DateTime<Utc>) -> &mut Html {
    let shown = words::time(time);
    html.raw("<time datetime=\"").text(time.to_rfc3339()).raw("\">").text(words::relative(time, now));
    html.raw(" <small>").text(shown.trim_end_matches(" UTC")).raw("</small></time>")
}

fn plots(html: &mut Html, history: &[Past]) {
    let bars = |value: &dyn Fn(&Past) -> (f64, String)| -> Vec<Bar> {
        let bar = |past: &Past| {
            let (height, words) = value(past);
            Bar {
                height,
                words: format!("{}: {words}, {}", words::time(past.started), outcome(past)),
                failed: past.outcome != Outcome::Successful,
            }
        };
        history.iter().map(bar).collect()
    };
    #[expect(clippy::cast_precision_loss, reason = "a bar has a hundred heights")]
    let size = |bytes: u64| (bytes as f64, words::bytes(bytes));
    html.raw("<div class=\"plots\">");
    chart(html, "Duration", &bars(&|past| (past.seconds, words::duration(past.seconds))));
    chart(html, "Volume", &bars(&|past| size(past.numbers.bytes)));
    chart(html, "Moved", &bars(&|past| size(past.numbers.moved)));
    html.raw("</div>\n");
}

fn history(html: &mut Html, history: &[Past], now: DateTime<Utc>) {
    html.raw("<details><summary>History</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"History\"><table><thead><tr>");
    for (class, name) in [
        ("", "Started"),
        ("", "Result"),
        ("n", "Took"),
        ("n", "Files"),
        ("n", "Bytes"),
        ("n", "Changed"),
        ("n", "Moved"),
        ("n", "Requests"),
    ] {
        html.raw("<th scope=\"col\" class=\"").raw(class).raw("\">").raw(name).raw("</th>");
    }
    html.raw("</tr></thead><tbody>\n");
    for past in history.iter().rev().take(LISTED_MAX) {
        html.raw("<tr><td>");
        moment(html, past.started, now);
        let numbers = &past.numbers;
        html.raw("</td><td class=\"")
            .raw(if past.outcome == Outcome::Successful { "fine" } else { "failed" })
            .raw("\">")
            .text(outcome(past))
            .raw("</td>");
        for cell in [
            words::duration(past.seconds),
            words::count(numbers.files),
            words::bytes(numbers.bytes),
            words::count(numbers.changed),
            words::bytes(numbers.moved),
            words::count(numbers.requests.total()),
        ] {
            html.raw("<td class=\"n\">").text(cell).raw("</td>");
        }
        html.raw("</tr>\n");
    }
    html.raw("</tbody></table></div></details>\n");
}

fn outcome(past: &Past) -> String {
    match past.outcome {
        Outcome::Successful => "successful".to_owned(),
        Outcome::Failed => format!("failed, exit code {}", past.code),
        Outcome::Stopped => "stopped".to_owned(),
    }
}
