//! Buckets.

use freehold_problem::Code;
use freehold_spec::PartKind;

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    rules(scope);
    unused(scope);
}

/// Rules by which nothing ever goes.
fn rules(scope: &mut Scope<'_>) {
    for (name, bucket) in &scope.app.buckets {
        for rule in &bucket.lifecycle {
            let none =
                rule.expire_days.is_none() && rule.noncurrent_days.is_none() && rule.abort_uploads_days.is_none();
            if none {
                let message = format!("a rule of the bucket {name} says nothing of when anything goes");
                let diagnostic = Diagnostic::error(Code::RuleWithoutEffect, message).at(rule.span, "no days");
                scope.report(diagnostic.help("add `expire_days`, `noncurrent_days` or `abort_uploads_days`"));
            } else if let Some(days) = &rule.noncurrent_days
                && !bucket.versioning.value
                && scope.knows(&format!("bucket.{name}.versioning"))
            {
                let message = format!("the bucket {name} keeps no former versions that could go");
                let diagnostic = Diagnostic::warning(Code::RuleWithoutEffect, message).at(days.span, "of no version");
                scope.report(diagnostic.help("set `versioning = true`, or leave `noncurrent_days` out"));
            }
        }
    }
}

fn unused(scope: &mut Scope<'_>) {
    // What couldn't be read may use it.
    if !scope.knows_all() {
        return;
    }
    for name in scope.unused(PartKind::Bucket) {
        let Some(bucket) = scope.app.buckets.get(name) else { continue };
        let diagnostic = Diagnostic::warning(Code::UnusedBucket, format!("nothing uses the bucket {name}"))
            .at(bucket.span, "")
            .help(format!("set a variable to `${{bucket.{name}.name}}`, or leave the bucket out"));
        scope.report(diagnostic);
    }
}
