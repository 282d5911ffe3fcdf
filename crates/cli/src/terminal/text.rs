//! What may reach a terminal. Much of what is printed was written by others: programs, databases, clusters, file names. A terminal obeys
//! what is in it: it sets titles, fills the clipboard, hides text, moves the cursor over what stands there.
//!
//! So everything goes through [`safe`] on its way out. What it lets through is text, line breaks, tabs, and those styles that hide nothing
//! (the ones that Freehold itself uses, and some more); all other control characters are shown as they are written in a program: `\x1b`.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;

/// A text that a terminal shows and doesn't obey. Line breaks and harmless styles stay.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_dangerous) {
        let (before, after) = rest.split_at(at);
        safe.push_str(before);
        rest = match style(after) {
            Some((style, behind)) if is_harmless(style) => {
                safe.push_str(after.strip_suffix(behind).unwrap_or_default());
                behind
            }
            // A style alone does nothing: without it, what it would have hidden is seen.
            Some((_, behind)) => behind,
            None => {
                let mut characters = after.chars();
                escape(&mut safe, characters.next().unwrap_or_default());
                characters.as_str()
            }
        };
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// One line of somebody else's, with the colours that hide nothing.
pub(crate) fn colours(line: &str) -> Cow<'_, str> {
    let line = safe(line);
    if line.contains('\n') { Cow::Owned(line.replace('\n', "\\n")) } else { line }
}

/// One line of somebody else's, without colours.
pub(crate) fn plain(line: &str) -> String {
    anstream::adapter::strip_str(&colours(line)).to_string()
}

/// A value as one line of JSON that is exact, and that a terminal doesn't obey either.
pub(crate) fn json_text(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    if !text.chars().any(is_dangerous) {
        return text;
    }
    // JSON itself escapes what is below a space. The rest stands in strings only, all of it in the basic plane.
    text.chars().fold(String::with_capacity(text.len()), |mut exact, character| {
        match is_dangerous(character) {
            true => drop(write!(exact, "\\u{:04x}", u32::from(character))),
            false => exact.push(character),
        }
        exact
    })
}

/// What is not plainly shown: control characters of both sets, and what turns the direction of writing or breaks lines unseen.
fn is_dangerous(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

fn escape(to: &mut String, character: char) {
    let _ = match character {
        '\r' => write!(to, "\\r"),
        '\u{0}'..='\u{ff}' => write!(to, "\\x{:02x}", u32::from(character)),
        _ => write!(to, "\\u{{{:x}}}", u32::from(character)),
    };
}

/// The parameters of the style that a text begins with, and what comes behind it.
fn style(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    let (parameters, rest) = rest.split_at(end);
    Some((parameters, rest.strip_prefix('m')?))
}

/// Bold, dim, italic, underlined, and six colours of the text: nothing that makes it invisible on a usual background, as concealing,
/// black or white, or a background of the same colour would.
fn is_harmless(parameters: &str) -> bool {
    parameters.split(';').all(|parameter| {
        matches!(
            parameter,
            "" | "0"
                | "1"
                | "2"
                | "3"
                | "4"
                | "00"
                | "01"
                | "22"
                | "23"
                | "24"
                | "31"
                | "32"
                | "33"
                | "34"
                | "35"
                | "36"
                | "39"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let cases = [
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("\x1b]52;c;aGk=\x1b\\", "\\x1b]52;c;aGk=\\x1b\\"),
            ("\u{9b}2J", "\\x9b2J"),
            ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
            ("over\rwritten\x08", "over\\rwritten\\x08"),
            ("a\u{202e}b\u{2028}c\u{7f}", "a\\u{202e}b\\u{2028}c\\x7f"),
            ("\x1b[", "\\x1b["),
            ("\x1b[1", "\\x1b[1"),
            ("one\n\ttwo ü ✓", "one\n\ttwo ü ✓"),
        ];
        for (text, shown) in cases {
            assert_eq!(safe(text), shown);
        }
    }

    #[test]
    fn colours_pass_and_what_would_hide_text_does_not() {
        assert_eq!(safe("\x1b[1;31mred\x1b[0m \x1b[mplain"), "\x1b[1;31mred\x1b[0m \x1b[mplain");
        for hidden in ["8", "30", "37", "40", "41", "90", "97", "7", "5", "38;5;0", "38;2;0;0;0", "1;8"] {
            assert_eq!(safe(&format!("\x1b[{hidden}msecret\x1b[0m")), "secret\x1b[0m", "{hidden}");
        }
    }

    #[test]
    fn every_style_of_our_own_passes() {
        use crate::layout::{BLUE, BOLD, DIM, GREEN, RED, YELLOW, paint};
        for style in [BLUE, BOLD, DIM, GREEN, RED, YELLOW, RED.bold(), GREEN.bold()] {
            let text = paint(style, "x");
            assert_eq!(safe(&text), text);
        }
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(colours("a\nb"), "a\\nb");
        assert_eq!(plain("\x1b[31ma\x1b[0m"), "a");
    }
}
