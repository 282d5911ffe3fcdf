//! Breaking lines at spaces.

/// No line for people is longer, however wide the terminal is.
pub const WIDTH: usize = 80;

/// Breaks a text at spaces so that no line is wider than `width`; a word that is wider alone is broken too. What stands
/// between backticks stays together, as it is there to be copied.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(10);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in pieces(paragraph, width) {
            if !line.is_empty() && columns(&line) + 1 + columns(&word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
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

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// The words of a text, those that are too wide cut in pieces.
fn pieces(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let fits = words.last().is_some_and(|last| columns(last) + 1 + columns(word) <= width);
        match words.last_mut() {
            Some(last) if open && fits => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
        open ^= word.matches('`').count() % 2 == 1;
    }
    words.into_iter().flat_map(|word| cut(&word, width)).collect()
}

fn cut(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(width).map(|piece| piece.iter().collect()).collect()
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
        assert_eq!(wrap("abcdefghijklmno", 10), ["abcdefghij", "klmno"]);
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
