//! `freehold explain FH0203`: the page of a code.

use freehold_check::Code;

use crate::arguments::ExplainArguments;
use crate::layout::{WIDTH, wrap};
use crate::report::{Answer, Failure, Outcome};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal, arguments: &ExplainArguments) -> Answer {
    let code = Code::parse(&arguments.code).or_else(|| Code::parse(&format!("FH{}", arguments.code)));
    let Some(code) = code else {
        let failure = Failure::misuse(Code::BadRequest, format!("there is no code {}", arguments.code));
        return Err(failure.help("codes look like FH0203; errors and warnings begin with theirs"));
    };
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "code": code, "title": code.title(), "page": code.page() })),
        false => terminal.print(fold(code.page())),
    }
    Ok(Outcome::Done)
}

/// A page, its paragraphs broken anew for a terminal; examples stay as they are.
fn fold(page: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph: Vec<&str> = Vec::new();
    let mut example = false;
    for line in page.trim_end().lines().chain([""]) {
        let fence = line.starts_with("```");
        if !(example || fence || line.is_empty()) {
            paragraph.push(line);
            continue;
        }
        lines.extend(wrap(&std::mem::take(&mut paragraph).join(" "), WIDTH));
        lines.push(line.to_owned());
        example ^= fence;
    }
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_a_terminal_and_lose_no_word() {
        for code in Code::ALL {
            let folded = fold(code.page());
            assert!(folded.split_whitespace().eq(code.page().split_whitespace()), "{code}");
            let wide = folded.lines().find(|line| line.chars().count() > WIDTH);
            assert!(wide.is_none() || code.page().contains(wide.unwrap_or_default()), "{code}: {wide:?}");
        }
    }
}
