//! A plan as people read it before they say yes.
//!
//! `+` is made, `±` changed, `-` deleted, `▸` run, `=` adopted; `~` is something to know. A line is a resource, its
//! name, and in a few words what it will be or why it changes; below it the fields that differ.

use freehold::wire::{Action, Change, Effect, Plan, PlanPurpose as Purpose, PlanResponse, ValueChange};
use freehold_graph::display::added_by_others;
use freehold_graph::kind::{Called, describe};
use freehold_graph::{Due, ProviderName, ResourceId, Run};

use super::cluster::{self, Folding};
use super::{field, restart};
use crate::layout::{BLUE, BOLD, DIM, GREEN, RED, WIDTH, YELLOW, columns, count, hanging, pad, paint, shorten, wrap};

/// Where the name of a resource begins.
const NAME: usize = 15;

/// The whole plan; `verbose` with a line for each object of a cluster.
pub(crate) fn render(answer: &PlanResponse, verbose: bool) -> String {
    let plan = &answer.plan;
    let folding = if verbose { Folding::default() } else { Folding::of(plan) };
    let mut lines = vec![header(answer), String::new()];
    let shown = plan.changes.values().filter(|change| !folding.hidden.contains(&change.id));
    let mut rows: Vec<Row> =
        shown.filter_map(|change| Row::of_change(change, &Context { answer, folding: &folding, verbose })).collect();
    rows.extend(plan.runs.values().map(|run| Row::of_run(run, plan, &folding)));
    rows.sort_by_key(|row| row.rank);
    // A long name pushes its own words aside, not those of all others.
    let widths = rows.iter().filter(|row| !row.fixed_name).map(|row| columns(&row.name));
    let width = widths.filter(|width| *width <= 18).max().unwrap_or(0).max(9) + 2;
    for row in &rows {
        lines.extend(row.lines(width));
    }
    let mut remarks = remarks(plan);
    let shared = folding.shared.iter();
    remarks.extend(shared.map(|(reason, subjects)| format!("{reason} ({})", subjects.join(", "))));
    if !folding.hidden.is_empty() {
        remarks.push(format!("{} in these lines; -v lists them", count(folding.hidden.len(), "more object")));
    }
    lines.extend(remarks.iter().map(|remark| format!("  {} {}", paint(DIM, "~"), hanging(remark, 4, 4))));
    lines.extend(foreign_fields(plan));
    lines.extend(values(&answer.values));
    if !answer.new_stack {
        lines.push(format!("  {}", totals(plan).join(", ")));
    }
    lines.join("\n")
}

/// How many values of the definition are listed.
const VALUES: usize = 20;

/// What the definition says otherwise than before, and where each value comes from. Where nothing is overridden the lines of the resources
/// say all of it.
fn values(changed: &[ValueChange]) -> Vec<String> {
    if changed.iter().all(|value| value.layer.is_none() && value.layer_before.is_none() && value.after.is_some()) {
        return Vec::new();
    }
    let mut lines: Vec<String> = changed.iter().take(VALUES).map(value_line).collect();
    if let Some(more @ 1..) = changed.len().checked_sub(VALUES) {
        lines.push(format!("    and {}", count(more, "more value")));
    }
    if !lines.is_empty() {
        lines.insert(0, format!("  {}", paint(DIM, "in the definition")));
    }
    lines
}

fn value_line(changed: &ValueChange) -> String {
    let ValueChange { path, before, after, line, layer, layer_before: _ } = changed;
    let one_line = |text: &String| shorten(&text.split_whitespace().collect::<Vec<_>>().join(" "), WIDTH / 3);
    let difference = match (before.as_ref().map(one_line), after.as_ref().map(one_line)) {
        (Some(before), Some(after)) => format!("{path} {before} → {after}"),
        (None, Some(after)) => format!("{path} = {after}"),
        (Some(_), None) | (None, None) => format!("{path} is left out"),
    };
    let layer = layer.as_ref().map(|layer| format!("[{layer}], ")).unwrap_or_default();
    let place = line.map(|line| format!("({layer}line {line})")).unwrap_or_default();
    format!("    {}", hanging(format!("{difference} {place}").trim_end(), 4, 6))
}

/// What a deletion of the whole stack takes away.
pub(crate) fn render_destroy(plan: &Plan) -> String {
    let dump = !matches!(plan.purpose, Purpose::Destroy { dump: false });
    let data: Vec<&Change> = plan.changes.values().filter(|change| change.loses_data).collect();
    let resources = count(plan.changes.len(), "resource");
    let among = if data.is_empty() { "" } else { ", among them" };
    let mut lines = wrap(&format!("This deletes {resources} of {}{among}", plan.key), WIDTH);
    for change in data {
        let dumped = if dump { "a dump is written and checked first" } else { "no dump is written: gone for good" };
        let facts: Vec<&str> = change.reasons.iter().map(String::as_str).chain([dumped]).collect();
        let name = format!("  {} {}   ", change.kind.word(), change.identity);
        lines.push(match columns(&name) {
            width @ 0..46 => format!("{}{}", paint(BOLD, &name), hanging(&facts.join("; "), width, width)),
            _ => format!("{}\n    {}", paint(BOLD, name.trim_end()), hanging(&facts.join("; "), 4, 4)),
        });
    }
    lines.extend(remarks(plan).iter().map(|remark| format!("  {} {}", paint(DIM, "~"), hanging(remark, 4, 4))));
    lines.join("\n")
}

fn header(answer: &PlanResponse) -> String {
    let plan = &answer.plan;
    let target = &answer.target;
    let title = match plan.purpose {
        Purpose::Deploy => format!("Plan for {} on {target}", plan.key),
        Purpose::Rollback { to } => format!("Plan to take {} back to revision {to}", plan.key),
        Purpose::Destroy { .. } => format!("Plan to destroy {}", plan.key),
    };
    let note = match plan.purpose {
        _ if answer.new_stack => format!("(new stack, {})", totals(plan).join(", ")),
        Purpose::Rollback { .. } => format!("(as revision {})", plan.revision),
        Purpose::Deploy | Purpose::Destroy { .. } => format!("(revision {})", plan.revision),
    };
    let gap = if columns(&title) + columns(&note) + 3 <= WIDTH { "   " } else { "\n  " };
    format!("{}{gap}{note}", paint(BOLD, title))
}

/// `1 to change, 1 to run, 4 unchanged`.
fn totals(plan: &Plan) -> Vec<String> {
    let actions = [
        (Action::Create, "to create"),
        (Action::Adopt, "to adopt"),
        (Action::Update, "to change"),
        (Action::Replace, "to replace"),
        (Action::Delete, "to delete"),
    ];
    let mut totals: Vec<(usize, &str)> = actions.iter().map(|(action, words)| (plan.count(action), *words)).collect();
    totals.push((plan.runs.len(), "to run"));
    totals.push((plan.count(&Action::NoOp), "unchanged"));
    totals.iter().filter(|(number, _)| *number > 0).map(|(number, words)| format!("{number} {words}")).collect()
}

/// What others have added to the stack's objects, a line for each.
pub(crate) fn foreign_fields(plan: &Plan) -> Vec<String> {
    let told = plan.changes.values().flat_map(added);
    told.map(|line| format!("  {} {}", paint(DIM, "~"), hanging(&line, 4, 4))).collect()
}

fn added(change: &Change) -> Vec<String> {
    let object = format!("{} {}", change.kind.word(), change.identity);
    added_by_others(&object, change.foreign_fields.iter().map(|field| (field.manager.as_str(), field.path.as_str())))
}

fn remarks(plan: &Plan) -> Vec<String> {
    let mut remarks = plan.notes.clone();
    if !plan.not_enforced.is_empty() {
        remarks.push(format!("not enforced here: {}", plan.not_enforced.join(", ")));
    }
    remarks
}

/// What a line is written with.
struct Context<'a> {
    answer: &'a PlanResponse,
    folding: &'a Folding,
    verbose: bool,
}

/// One line of the plan, with what belongs below it.
struct Row {
    rank: (bool, u8),
    symbol: String,
    word: String,
    name: String,
    /// Whether all of its kind are called so: then it is no measure for the others.
    fixed_name: bool,
    words: String,
    below: Vec<String>,
}

impl Row {
    fn of_change(change: &Change, context: &Context<'_>) -> Option<Self> {
        let symbol = match change.action {
            Action::Create => paint(GREEN, "+"),
            Action::Update => paint(YELLOW, "±"),
            Action::Replace => paint(RED, "±"),
            Action::Adopt => paint(BLUE, "="),
            Action::Delete => paint(RED, "-"),
            Action::Other(_) => "?".to_owned(),
            Action::NoOp => return None,
        };
        Some(Self {
            rank: (change.action == Action::Delete, rank(change.id.word())),
            symbol,
            word: cluster::label(change.kind).to_owned(),
            name: cluster::name(change),
            fixed_name: matches!(change.kind.row().called, Called::Fixed(_)),
            words: words(change, context),
            below: below(change, context),
        })
    }

    fn of_run(run: &Run, plan: &Plan, folding: &Folding) -> Self {
        let command = describe::run(&run.body);
        let more = folding.words.get(&run.id).map(|words| format!(" · {}", words.join(" · ")));
        Self {
            rank: (false, rank("job")),
            symbol: paint(BLUE, "▸"),
            word: "run".to_owned(),
            name: run.id.name().to_owned(),
            fixed_name: false,
            words: format!("{command}, {}{}", when(run, plan), more.unwrap_or_default()),
            below: Vec::new(),
        }
    }

    fn lines(&self, width: usize) -> Vec<String> {
        let begin = NAME + width.max(columns(&self.name) + 2);
        let head = format!("  {} {}", self.symbol, pad(&self.word, NAME - 4));
        let mut lines = if begin <= 44 {
            let name = if self.words.is_empty() { self.name.clone() } else { pad(&self.name, begin - NAME) };
            vec![format!("{head}{}{}", paint(BOLD, name), hanging(&self.words, begin, begin)).trim_end().to_owned()]
        } else {
            let name = wrap(&self.name, WIDTH - NAME).join(&format!("\n{}", " ".repeat(NAME)));
            let words = hanging(&self.words, NAME + 2, NAME + 2);
            vec![format!("{head}{}", paint(BOLD, name)), format!("{}{words}", " ".repeat(NAME + 2))]
        };
        lines.extend(self.below.clone());
        lines
    }
}

/// When a job of a deploy runs: `once for revision 7, after migrate`.
fn when(run: &Run, plan: &Plan) -> String {
    let often = match run.due {
        Due::Revision | Due::Demand => format!("once for revision {}", plan.revision),
        Due::Once => "once in the stack's life".to_owned(),
    };
    let earlier = run.depends_on.iter().filter(|id| plan.runs.contains_key(*id)).map(ResourceId::name);
    match earlier.collect::<Vec<_>>().join(", ") {
        earlier if earlier.is_empty() => often,
        earlier => format!("{often}, after {earlier}"),
    }
}

/// The place of jobs among the kinds: before what they are run for.
const JOB: u8 = 12;

/// The order in which people think of the parts: by the first part of an id.
pub(super) fn rank(word: &str) -> u8 {
    match word {
        "job" => JOB,
        word => cluster::row(word).map_or(u8::MAX, |row| row.rank),
    }
}

fn words(change: &Change, context: &Context<'_>) -> String {
    let mut words: Vec<String> = match &change.action {
        Action::Create => vec![description(change, context)],
        Action::Adopt if change.fields.is_empty() => vec!["adopted unchanged".to_owned()],
        Action::Adopt => vec![format!("adopted, {} changed", count(change.fields.len(), "field"))],
        Action::Replace => vec![replacement(change)],
        Action::Other(word) => vec![word.clone()],
        Action::Update | Action::Delete | Action::NoOp => Vec::new(),
    };
    let told = |reason: &String| change.action != Action::Create || !context.folding.shared.contains_key(reason);
    words.extend(restart::reasons(change, &context.answer.plan).into_iter().filter(told));
    if change.loses_data {
        words.push("ITS DATA IS DELETED".to_owned());
    }
    words.retain(|words| !words.is_empty());
    if words.is_empty()
        && change.action == Action::Update
        && change.fields.iter().all(|field| field.effect == Effect::InPlace)
    {
        words.push("in place".to_owned());
    }
    words.join("; ")
}

/// The fields that differ, and with every object shown what can't be told of it.
fn below(change: &Change, context: &Context<'_>) -> Vec<String> {
    let derived = |path: &str| !context.verbose && restart::is_derived(change, path, &context.answer.plan);
    let mut lines: Vec<String> =
        change.fields.iter().filter(|field| !derived(&field.path)).flat_map(field::lines).collect();
    if change.action == Action::Create {
        let images = describe::images(&change.resource.body);
        lines.extend(images.iter().map(|(name, image)| format!("      {name}  {}", hanging(image, name.len() + 8, 8))));
    }
    let desired = change.desired.as_ref().filter(|_| context.verbose && change.action == Action::Create);
    let unknown = desired.map(cluster::unknown).unwrap_or_default();
    if !unknown.is_empty() && change.kind.provider() == ProviderName::Kubernetes {
        let text = format!("known after apply: {}", unknown.join(", "));
        lines.push(format!("      {}", paint(DIM, hanging(&text, 6, 8))));
    }
    lines
}

/// What forces a replacement.
fn replacement(change: &Change) -> String {
    let fixed = change.fields.iter().filter(|field| field.effect == Effect::Replace);
    let fixed: Vec<&str> = fixed.map(|field| field.path.as_str()).collect();
    match fixed.is_empty() {
        true => "is recreated".to_owned(),
        false => format!("is recreated: {} can't be changed in place", fixed.join(", ")),
    }
}

/// What a new resource will be, in a few words, and what its line says of others.
fn description(change: &Change, context: &Context<'_>) -> String {
    let server = context.answer.database_server.as_str();
    let own = cluster::described(change, &context.answer.plan, Some(server), change.kind.row().describe);
    let more = context.folding.words.get(&change.id).into_iter().flatten().cloned();
    let words = [own].into_iter().chain(more).filter(|words| !words.is_empty());
    words.collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
