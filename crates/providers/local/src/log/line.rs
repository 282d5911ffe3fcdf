//! The lines of a log as people see them.

use freehold_engine::capability::{LogLine, Voice};

use super::open_log::Line;
use super::remark::Remark;

/// What a program printed.
pub(super) fn of_program(source: &str, text: String) -> LogLine {
    LogLine { source: source.to_owned(), voice: Voice::Program, text }
}

/// What Freehold says of a program.
pub(super) fn of_freehold(source: &str, text: String) -> LogLine {
    LogLine { source: source.to_owned(), voice: Voice::Freehold, text }
}

/// Lines with remarks among them, each behind what had been printed then.
pub(super) fn among(source: &str, lines: Vec<Line>, remarks: Vec<Remark>) -> Vec<LogLine> {
    let mut all = Vec::with_capacity(lines.len() + remarks.len());
    let mut remarks = remarks.into_iter().peekable();
    for line in lines {
        while let Some(remark) = remarks.next_if(|remark| remark.at <= line.at) {
            all.push(of_freehold(source, remark.text));
        }
        all.push(of_program(source, line.text));
    }
    all.extend(remarks.map(|remark| of_freehold(source, remark.text)));
    all
}
