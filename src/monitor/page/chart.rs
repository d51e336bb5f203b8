//! A small plot: a bar for each run, the oldest at the left.

use super::html::Html;

/// Width of a bar and of the gap after it, and the height of the plot, in units of the drawing: it is stretched to the width it finds.
const BAR: usize = 4;
const GAP: usize = 1;
const HEIGHT: f64 = 60.0;
/// A plot of few runs has bars no wider than one of so many.
const PLACES_MIN: usize = 30;

/// A run.
pub(super) struct Bar {
    pub(super) height: f64,
    /// What it says when it is pointed at.
    pub(super) words: String,
    pub(super) failed: bool,
}

/// The highest bar reaches the top. Failed runs have a ground of another colour over the whole height, because they often have no height.
pub(super) fn chart(html: &mut Html, title: &'static str, bars: &[Bar]) {
    let highest = bars.iter().map(|bar| bar.height).filter(|height| height.is_finite()).fold(0.0, f64::max);
    let top = bars.iter().find(|bar| bar.height >= highest).map_or("", |bar| amount(&bar.words));
    let last = bars.last().map_or("", |bar| amount(&bar.words));
    html.raw("<figure><figcaption>")
        .raw(title)
        .raw(" <small>last ")
        .text(last)
        .raw(", highest ")
        .text(top)
        .raw("</small></figcaption>");
    let places = bars.len().max(PLACES_MIN);
    html.raw("<svg viewBox=\"0 0 ")
        .text(places * (BAR + GAP))
        .raw(" ")
        .text(HEIGHT)
        .raw("\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
    html.raw(title)
        .raw(" of the last ")
        .text(bars.len())
        .raw(" runs; last ")
        .text(last)
        .raw(", highest ")
        .text(top)
        .raw("\">");
    for (at, bar) in bars.iter().enumerate() {
        let x = (places - bars.len() + at) * (BAR + GAP);
        let share = if highest > 0.0 { (bar.height / highest).clamp(0.0, 1.0) } else { 0.0 };
        // A run that took or moved next to nothing is still there.
        let height = (share * HEIGHT).max(1.0);
        html.raw("<g")
            .raw(if bar.failed { " class=\"failed\"" } else { "" })
            .raw("><title>")
            .text(&bar.words)
            .raw("</title>");
        rectangle(html, "ground", x, HEIGHT);
        rectangle(html, "bar", x, height);
        html.raw("</g>");
    }
    html.raw("</svg></figure>");
}

fn rectangle(html: &mut Html, class: &'static str, x: usize, height: f64) {
    html.raw("<rect class=\"")
        .raw(class)
        .raw("\" x=\"")
        .text(x)
        .raw("\" y=\"")
        .text(format_args!("{:.1}", HEIGHT - height));
    html.raw("\" width=\"").text(BAR).raw("\" height=\"").text(format_args!("{height:.1}")).raw("\"/>");
}

/// The amount in `TIME: AMOUNT, RESULT`.
fn amount(words: &str) -> &str {
    words.split_once(": ").and_then(|(_, rest)| rest.split_once(", ")).map_or("", |(amount, _)| amount)
}
