//! `freehold rollback`: an older revision's artifacts and settings, as a new revision.

use std::time::Instant;

use freehold::wire::StackPlanRequest;

use crate::arguments::RollbackArguments;
use crate::platform::{self, Platform};
use crate::proposal::milliseconds;
use crate::report::CommandResult;
use crate::terminal::Terminal;

use super::deploy::Deploy;

pub(super) fn run(terminal: Terminal, arguments: &RollbackArguments) -> CommandResult {
    let begin = Instant::now();
    let mut platform = Platform::connect(&arguments.stack.platform)?;
    platform::run(async {
        let stack = platform.find(&arguments.stack).await?;
        let request = StackPlanRequest::Rollback {
            to: arguments.revision,
            adopt: arguments.adopt.iter().cloned().collect(),
            delete_data: arguments.delete_data.iter().cloned().collect(),
            settle: !arguments.no_settle,
        };
        let answer = platform.client.plan_for(stack.id, &request).await?;
        let phases = vec![("plan", milliseconds(begin))];
        let mut deploy = Deploy { terminal, platform: &mut platform, begin, phases };
        deploy.carry_out(&answer, arguments.yes, None).await
    })
}
