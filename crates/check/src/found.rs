//! What was found, in a bounded number: a definition may have a mistake every few bytes, and nobody reads ten thousand.

use freehold_problem::Code;

use crate::diagnostic::{Diagnostic, Severity};

/// How many errors are kept while rules are applied, and how many warnings.
const KEPT: usize = 200;
/// How many diagnostics are shown.
const SHOWN: usize = 100;
/// The longest text of a diagnostic, in bytes. What people wrote is quoted in many.
const LONGEST: usize = 1000;

/// Errors and warnings, and how many there were beside those that are kept.
#[derive(Default)]
pub(crate) struct Found {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Warnings that the definition allows.
    allowed: Vec<Diagnostic>,
    untold_errors: usize,
    untold_warnings: usize,
}

impl Found {
    pub(crate) fn add(&mut self, diagnostic: Diagnostic) {
        if !diagnostic.is_open() {
            return self.allowed.push(diagnostic);
        }
        let (kept, untold) = match diagnostic.severity {
            Severity::Error => (&mut self.errors, &mut self.untold_errors),
            Severity::Warning => (&mut self.warnings, &mut self.untold_warnings),
        };
        if kept.len() < KEPT {
            kept.push(diagnostic);
        } else {
            *untold += 1;
        }
    }

    /// Whether all that was found is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.untold_errors + self.untold_warnings == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= KEPT
    }

    pub(crate) fn is_full_of_warnings(&self) -> bool {
        self.warnings.len() >= KEPT
    }

    /// Errors and warnings that are not here.
    pub(crate) fn add_untold(&mut self, errors: usize, warnings: usize) {
        self.untold_errors += errors;
        self.untold_warnings += warnings;
    }

    /// All that is here, and how many errors and warnings are not.
    pub(crate) fn into_parts(self) -> (Vec<Diagnostic>, usize, usize) {
        let Self { mut errors, mut warnings, mut allowed, untold_errors, untold_warnings } = self;
        errors.append(&mut warnings);
        errors.append(&mut allowed);
        (errors, untold_errors, untold_warnings)
    }

    /// What to show, in the order of the source: the errors first if there is no room for all, and a line for those that are left out.
    pub(crate) fn into_shown(mut self) -> Vec<Diagnostic> {
        sort(&mut self.errors);
        sort(&mut self.warnings);
        let errors = self.errors.len() + self.untold_errors;
        let warnings = self.warnings.len() + self.untold_warnings;
        self.errors.truncate(SHOWN);
        self.warnings.truncate(SHOWN - self.errors.len());
        let (more_errors, more_warnings) = (errors - self.errors.len(), warnings - self.warnings.len());
        sort(&mut self.allowed);
        self.allowed.truncate(SHOWN);
        let mut shown = self.errors;
        shown.append(&mut self.warnings);
        shown.append(&mut self.allowed);
        sort(&mut shown);
        shown.iter_mut().for_each(shorten);
        if more_errors + more_warnings > 0 {
            shown.push(rest(more_errors, more_warnings));
        }
        shown
    }
}

fn rest(errors: usize, warnings: usize) -> Diagnostic {
    let count = |number: usize, word: &str| match number {
        0 => None,
        1 => Some(format!("1 more {word}")),
        number => Some(format!("{} more {word}s", grouped(number))),
    };
    let counts: Vec<String> = [count(errors, "error"), count(warnings, "warning")].into_iter().flatten().collect();
    let message = format!("… and {}", counts.join(" and "));
    let rest = if errors > 0 {
        Diagnostic::error(Code::MoreProblems, message)
    } else {
        Diagnostic::warning(Code::MoreProblems, message)
    };
    rest.help("fix the listed problems and check again")
}

/// `1,234`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|found| (found.labels.first().map(|label| label.span), found.severity, found.code));
}

/// Cuts texts that quote much of what was written.
fn shorten(diagnostic: &mut Diagnostic) {
    let Diagnostic { code: _, severity: _, message, labels, notes, help, environments, allowed } = diagnostic;
    labels.truncate(SHOWN);
    notes.truncate(SHOWN);
    environments.truncate(SHOWN);
    let texts = labels.iter_mut().map(|label| &mut label.message);
    for text in texts.chain(notes).chain(help).chain(allowed).chain([message]) {
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
    }
}
