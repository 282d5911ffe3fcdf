//! How text is laid out: wrapping at 80 columns, tables, and how times and sizes are written.

use anstyle::{AnsiColor, Style};

pub(crate) use freehold_check::render::{WIDTH, columns, wrap};
pub(crate) use freehold_graph::display::{count, short_digest};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const BLUE: Style = AnsiColor::Blue.on_default();

/// A text in a style. Whoever prints it strips the style where nobody sees colour.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Pads with spaces to a width.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// A paragraph whose lines after the first are indented by `hang`; the first begins at `begin` columns, behind what the
/// caller has written already.
pub(crate) fn hanging(text: &str, begin: usize, hang: usize) -> String {
    let mut lines = Vec::new();
    let mut rest = text.to_owned();
    let mut room = WIDTH.saturating_sub(begin);
    while !rest.is_empty() {
        let wrapped = wrap(&rest, room);
        let Some((first, others)) = wrapped.split_first() else { break };
        lines.push(first.clone());
        rest = others.join(" ");
        room = WIDTH.saturating_sub(hang);
    }
    lines.join(&format!("\n{}", " ".repeat(hang)))
}

/// Cuts a text that is too wide, with an ellipsis at its end.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    // As much as fits before the ellipsis.
    let fits = |end: &usize| text.get(..*end).is_some_and(|kept| columns(kept) < width);
    let end = text.char_indices().map(|(start, _)| start).take_while(fits).last().unwrap_or_default();
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// A duration as people read it: `0.06 s`, `12.3 s`, `4 min 12 s`.
pub(crate) fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{}.{:02} s", milliseconds / 1000, milliseconds / 10 % 100),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds / 100 % 10),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds / 1000 % 60),
    }
}

/// How long ago something was: `12 s`, `5 min`, `3 h`, `9 days`.
pub(crate) fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// An id, short enough to be read and long enough to be told apart: first and last digits.
pub(crate) fn short_id(id: uuid::Uuid) -> String {
    let digits = id.simple().to_string();
    let first: String = digits.chars().take(6).collect();
    let last: String = digits.chars().skip(digits.len().saturating_sub(4)).collect();
    format!("{first}…{last}")
}

/// Columns under headings, each as wide as needed, two spaces apart; the last is broken at the right edge where it can be.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    rows_of(headings, rows).join("\n")
}

/// The same, the headings and each row by itself.
pub(crate) fn rows_of(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(at, heading)| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(cell)).max().unwrap_or(0).max(columns(heading))
        })
        .collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let (last, begin) = (at + 1 == cells.len(), columns(&text));
            let is_wide = begin + columns(cell) > WIDTH;
            text.push_str(&match last {
                true if is_wide => hanging(cell, begin, begin),
                true => cell.clone(),
                false => pad(cell, width + 2),
            });
        }
        text.trim_end().to_owned()
    };
    let heading = line(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>());
    std::iter::once(paint(DIM, heading)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_eighty_columns() {
        let text = hanging(&"word ".repeat(60), 20, 8);
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| columns(line) <= 60));
        assert!(lines.all(|line| columns(line) <= 80 && line.starts_with("        word")));
    }

    #[test]
    fn what_is_copied_stays_whole_wherever_it_stands() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (begin, hang) in [(0, 0), (20, 8), (60, 70)] {
            let text = hanging(&format!("the image {digest} is not there, see `{digest} and {digest}`"), begin, hang);
            assert!(text.split_whitespace().any(|word| word == digest), "{text}");
            assert!(text.contains(&format!("`{digest} and {digest}`")), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(["0.06 s", "0.81 s", "12.3 s", "4 min 12 s"], [60, 812, 12_345, 252_000].map(seconds).as_slice());
    }
}
