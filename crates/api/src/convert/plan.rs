//! Plans.

use freehold::wire;
use freehold_platform::view::Planned;

use super::IntoWire;

impl IntoWire for Planned {
    type Wire = wire::PlanAnswer;

    fn into_wire(self) -> wire::PlanAnswer {
        let Self { plan, noop, new_stack, diagnostics, target, running } = self;
        let diagnostics = diagnostics.iter().filter_map(|warning| serde_json::to_value(warning).ok()).collect();
        wire::PlanAnswer { plan, noop, new_stack, diagnostics, target, running: running.map(|running| running.0) }
    }
}
