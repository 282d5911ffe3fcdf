//! `scripts/bench kubernetes`: how exactly plans foretell what an API server makes of manifests.
//!
//! Hundreds of generated cases are planned, applied and looked at, each with the whole live object before and after. Prints a line
//! for each mistake, then the counts as JSON. A field is a leaf of an object; what the server keeps for itself (uid, resourceVersion,
//! generation, status …) and the one annotation that the Deployment controller writes later are no fields.

mod cases;
mod compare;
#[path = "../../tests/facts.rs"]
mod facts;
mod objects;
mod stack;

use anyhow::Context as _;
use freehold_plan::observation::Ownership;
use serde_json::{Value as Json, json};

use cases::{Case, Random};
use compare::Count;
use stack::Stack;

/// The same cases in each run.
const SEED: u64 = 20_261_121;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark's result")]
async fn main() -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let mut count = Count::default();
    for world in cases::worlds(&mut random) {
        let stack = Stack::new(world.policy).await?;
        for mistake in of_world(&stack, &world.cases, world.planned_first, &mut count).await? {
            println!("{mistake}");
        }
        stack.remove()?;
    }
    println!("{}", json!(count));
    Ok(())
}

async fn of_world(
    stack: &Stack,
    cases: &[Case],
    planned_first: bool,
    count: &mut Count,
) -> anyhow::Result<Vec<String>> {
    let mut mistakes = Vec::new();
    let namespace = stack.namespace_resource()?;
    if planned_first {
        // Everything is planned before anything is there.
        let mut planned = vec![(Case::of_namespace(), stack.plan(&namespace).await?)];
        for case in cases {
            planned.push((case.clone(), stack.plan(&stack.resource(case, &case.after)?).await?));
        }
        for (case, plan) in &planned {
            stack.apply(plan).await.with_context(|| case.to_string())?;
            let seen = stack.observe(&plan.resource).await?.context("it was made, and isn't there")?;
            mistakes.extend(count.created(case, &plan.resource.body, &plan.preview.body, &seen.body));
        }
    } else {
        stack.apply(&stack.plan(&namespace).await?).await?;
        stack.await_policy().await?;
        for case in cases {
            mistakes.extend(one(stack, case, count).await.with_context(|| case.to_string())?);
        }
    }
    for case in cases {
        if count.is_refused(case) {
            continue;
        }
        let seen = stack.observe(&stack.resource(case, &case.after)?).await?;
        if seen.is_none_or(|seen| seen.ownership != Ownership::Ours) {
            count.unpredicted_deletions += 1;
            mistakes.push(format!("{case}: it is gone"));
        }
    }
    Ok(mistakes)
}

/// One case in a namespace that is there.
async fn one(stack: &Stack, case: &Case, count: &mut Count) -> anyhow::Result<Vec<String>> {
    let mut mistakes = Vec::new();
    if let Some(before) = &case.before {
        let resource = stack.resource(case, before)?;
        match stack.plan(&resource).await {
            Ok(plan) => stack.apply(&plan).await?,
            Err(error) => return Ok(count.refuse(case, &error)),
        };
    }
    if let Some(arguments) = &case.meddled {
        stack.meddle(case, arguments)?;
    }
    let resource = stack.resource(case, &case.after)?;
    let plan = match stack.plan(&resource).await {
        Ok(plan) => plan,
        Err(error) => return Ok(count.refuse(case, &error)),
    };
    let live: Option<Json> = case.before.is_some().then(|| stack.live(case)).transpose()?;
    let foretold = !plan.preview.immutable.is_empty();
    if foretold {
        stack.delete(&plan).await?;
    }
    if let Err(error) = stack.apply(&plan).await {
        // Planned as possible, and it wasn't.
        count.unpredicted_replacements += 1;
        mistakes.push(format!("{case}: was planned, and refused: {error:#}"));
        return Ok(mistakes);
    }
    let seen = stack.observe(&resource).await?.context("it was applied, and isn't there")?;
    if case.meddled.is_none() && !seen.foreign_fields.is_empty() {
        mistakes.push(format!("{case}: told as others': {:?}", seen.foreign_fields));
    }
    let replaced = plan.observed.as_ref().is_some_and(|before| before.object != seen.object);
    if replaced != foretold {
        count.unpredicted_replacements += 1;
        mistakes.push(format!("{case}: replaced {replaced}, foretold {foretold}"));
    }
    mistakes.extend(match live {
        Some(live) if !foretold => {
            let observed = &plan.observed.as_ref().context("it was there")?.body;
            count.changed(case, (observed, &plan.resource.body), &plan.preview, (&live, &stack.live(case)?))?
        }
        _ => count.created(case, &plan.resource.body, &plan.preview.body, &seen.body),
    });
    Ok(mistakes)
}
