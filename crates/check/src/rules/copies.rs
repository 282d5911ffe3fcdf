//! How many copies of a service there are, and how many there may be. Whether they fit into the quota: `quota`.

use freehold_problem::Code;

use crate::diagnostic::Diagnostic;
use crate::scope::Scope;

pub(super) fn check(scope: &mut Scope<'_>) {
    most_below_replicas(scope);
    scaled_from_nothing(scope);
}

/// More copies at the least than at the most.
fn most_below_replicas(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in &app.services {
        let Some(autoscale) = &service.autoscale else { continue };
        let (least, most) = (&service.replicas, &autoscale.max);
        if least.value > most.value {
            let message = format!("{name} starts with {} copies, and may have {} at the most", least.value, most.value);
            let diagnostic = Diagnostic::error(Code::MostBelowReplicas, message)
                .at(least.span, "the least")
                .at(most.span, "the most");
            scope.report(diagnostic.help(format!("raise `max` to {} or more, or lower `replicas`", least.value)));
        }
    }
}

/// An autoscaler with nothing to look at: of no copy there is no load.
fn scaled_from_nothing(scope: &mut Scope<'_>) {
    let app = scope.app;
    for (name, service) in app.services.iter().filter(|(_, service)| service.replicas.value == 0) {
        let Some(autoscale) = &service.autoscale else { continue };
        let message = format!("there is no copy of {name}, which its autoscaler is to make more of");
        let diagnostic = Diagnostic::error(Code::ScaleFromZero, message)
            .at(service.replicas.span, "none")
            .at(autoscale.span, "scaled by the load of its copies");
        scope.report(diagnostic.help("have one copy at least, or leave `autoscale` out"));
    }
}
