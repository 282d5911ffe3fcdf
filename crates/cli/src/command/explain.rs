//! `freehold explain FH0203`: the page of a code.

use freehold_check::page;
use freehold_problem::Code;

use crate::arguments::ExplainArguments;
use crate::layout::{WIDTH, wrap};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal, arguments: &ExplainArguments) -> CommandResult {
    let code = Code::parse(&arguments.code).or_else(|| Code::parse(&format!("FH{}", arguments.code)));
    let Some(code) = code else {
        let failure = CommandError::new(Code::BadRequest, format!("there is no code {}", arguments.code));
        return Err(failure.help("codes look like FH0203; errors and warnings begin with theirs"));
    };
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "code": code, "title": code.title(), "page": page(code) })),
        false => terminal.print(fold(page(code))),
    }
    Ok(ExitStatus::Done)
}

/// A page, its paragraphs broken anew for a terminal; each item of a list is a paragraph of its own, examples and tables stay as they are.
fn fold(page: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph: Vec<&str> = Vec::new();
    let mut example = false;
    for line in page.trim_end().lines().chain([""]) {
        let fence = line.starts_with("```");
        let whole = example || fence || line.is_empty() || line.starts_with(['|', '#']);
        if whole || is_item(line) {
            lines.extend(broken(&std::mem::take(&mut paragraph)));
        }
        match whole {
            true => lines.push(line.to_owned()),
            false => paragraph.push(line),
        }
        example ^= fence;
    }
    lines.join("\n").trim_end().to_owned()
}

/// Whether a line begins an item of a list: `- `, `* `, `1. `.
fn is_item(line: &str) -> bool {
    indent(line) > 0
}

/// How far the text of a list's item is from the left; 0 for any other line.
fn indent(line: &str) -> usize {
    let text = line.trim_start();
    let outer = line.len() - text.len();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.get(digits..) {
        Some(rest) if digits > 0 && rest.starts_with(". ") => outer + digits + 2,
        Some(rest) if digits == 0 && (rest.starts_with("- ") || rest.starts_with("* ")) => outer + 2,
        _ => 0,
    }
}

fn broken(paragraph: &[&str]) -> Vec<String> {
    let indent = paragraph.first().map_or(0, |line| indent(line));
    let outer: String = paragraph.first().map_or("", |line| line).chars().take_while(|letter| *letter == ' ').collect();
    let text = paragraph.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let mut lines = wrap(&text, WIDTH.saturating_sub(indent));
    for (at, line) in lines.iter_mut().enumerate() {
        let begin = if at == 0 || indent == 0 { outer.clone() } else { " ".repeat(indent) };
        line.insert_str(0, &begin);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_a_terminal_and_lose_no_word() {
        for code in Code::ALL {
            let folded = fold(page(*code));
            assert!(folded.split_whitespace().eq(page(*code).split_whitespace()), "{code}");
            // A table, or a command, which stays whole.
            let is_copied = |line: &str| line.trim().starts_with('`') && wrap(line.trim(), WIDTH).len() == 1;
            let is_wide = |line: &&str| line.chars().count() > WIDTH && !is_copied(line);
            let wide = folded.lines().find(is_wide);
            assert!(wide.is_none() || page(*code).contains(wide.unwrap_or_default()), "{code}: {wide:?}");
        }
    }

    #[test]
    fn the_items_of_a_list_stay_lines_of_their_own() {
        let page = "# T\n\nIt has\nthese:\n- one\n  goes on\n- two\n10. ten\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";
        let folded = "# T\n\nIt has these:\n- one goes on\n- two\n10. ten\n\n| a | b |\n|---|---|\n| 1 | 2 |";
        assert_eq!(fold(page), folded);
    }
}
