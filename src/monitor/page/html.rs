//! HTML in which a value cannot stand unescaped: what is written as it is has to be part of the program.

use std::fmt::{Display, Write};

#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup. The lifetime is the point: no value from outside has it.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// A value, escaped for text and for attributes in quotes.
    pub(super) fn text(&mut self, value: impl Display) -> &mut Self {
        // Writing into a string does not fail.
        let _ = write!(Escaped(&mut self.0), "{value}");
        self
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(letter),
                // HTML has none of them; marks that turn the direction of text around would let a log say what it does not.
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                letter if letter.is_control() => self.0.push('\u{fffd}'),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        let mut html = Html::default();
        html.raw("<b title=\"").text("\"><script>alert('&')</script>\u{0}\u{202e}x\r\n").raw("\">").text(5);
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;\u{fffd}\u{fffd}x\u{fffd}\n";
        assert_eq!(html.into_text(), format!("<b title=\"{escaped}\">5"));
    }
}
