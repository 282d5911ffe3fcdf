//! Breaking lines at spaces, and nowhere else: what people copy stays whole. That is a word (an id, a digest, a URL, a path), however long
//! it is, and what stands between backticks (a command). A line is wider than [`WIDTH`] where one of these alone is.

use unicode_width::UnicodeWidthStr;

/// No line for people is longer, however wide the terminal is, but for what is copied and longer by itself.
pub const WIDTH: usize = 80;

/// Breaks a text at spaces so that no line is wider than `width`, but for a word, or what stands between backticks, that alone is wider.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(10);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in pieces(paragraph) {
            if !line.is_empty() && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// A paragraph behind `begin` columns that are written already, its further lines indented by `hang`.
pub(super) fn hanging(text: &str, begin: usize, hang: usize) -> String {
    let first = wrap(text, WIDTH.saturating_sub(begin)).into_iter().next().unwrap_or_default();
    let rest = text.get(first.len()..).unwrap_or_default().trim_start();
    let rest = if rest.is_empty() { Vec::new() } else { wrap(rest, WIDTH.saturating_sub(hang)) };
    std::iter::once(first)
        .chain(rest.iter().map(|line| format!("{}{line}", " ".repeat(hang))))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How many columns a text without styles takes in a terminal: two for a Chinese character, none for a combining mark.
pub fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// What a text is made of that stays whole: words, and what stands between two backticks with all that hangs on it.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(end_of_piece(rest));
        pieces.push(piece);
        rest = behind.trim_start_matches(' ');
    }
    pieces
}

/// Where the piece ends that a text begins with: at the first space that isn't between backticks. One that is never closed opens nothing.
fn end_of_piece(text: &str) -> usize {
    let mut open = false;
    for (at, character) in text.char_indices() {
        match character {
            '`' if open => open = false,
            '`' => open = text.get(at + 1..).is_some_and(|rest| rest.contains('`')),
            ' ' if !open => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_spaces_and_commands_stay_whole() {
        assert_eq!(
            wrap("fix the migration and run `freehold deploy` again", 30),
            ["fix the migration and run", "`freehold deploy` again"]
        );
    }

    #[test]
    fn what_is_copied_is_never_broken_however_long_it_is() {
        let digest = format!("registry.example.org/acme/web@sha256:{}", "ab".repeat(32));
        let command = format!("`freehold deploy --tenant acme --image web={digest} --target production`,");
        for copied in [&digest, &command, "https://example.org/a/very/long/path"] {
            let text = format!("run this: {copied} and go on");
            for width in [10, 20, 40, 80] {
                let lines = wrap(&text, width);
                assert!(lines.iter().any(|line| line.contains(copied)), "{width}: {lines:?}");
                let hung = hanging(&text, 4, 8);
                assert!(hung.lines().any(|line| line.contains(copied)), "{hung}");
            }
        }
    }

    #[test]
    fn a_backtick_that_is_never_closed_keeps_nothing_together() {
        assert_eq!(wrap("it's `not a command at all", 10), ["it's `not", "a command", "at all"]);
    }

    #[test]
    fn a_paragraph_keeps_all_its_words_and_its_width() {
        let text = "word ".repeat(60);
        let hung = hanging(text.trim_end(), 20, 4);
        assert_eq!(hung.split_whitespace().count(), 60);
        assert!(hung.lines().next().is_some_and(|line| columns(line) <= 60));
        assert!(hung.lines().skip(1).all(|line| columns(line) <= 80 && line.starts_with("    word")));
    }
}
