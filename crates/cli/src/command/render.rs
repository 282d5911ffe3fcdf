//! `freehold render`: a definition as it holds in one environment, and where each value comes from.

use freehold_check::Diagnostic;
use freehold_problem::Code;
use freehold_spec::{App, Document, Environment, Files, Language, Layer, PRODUCTION, Written, nearest};
use serde::Serialize;

use crate::arguments::RenderArguments;
use crate::definition::{self, Definition};
use crate::layout::{DIM, WIDTH, columns, pad, paint};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::view::diagnostics;

/// The column from which on places stand, unless values are longer.
const PLACES: usize = 40;

pub(super) fn run(terminal: Terminal, arguments: &RenderArguments) -> CommandResult {
    let definition = definition::read(arguments.directory.as_deref())?;
    let environment = environment(arguments);
    let files = Files::new();
    let document = Document::parse(Language::NEWEST, &definition.text, &files);
    // A stage or tier that isn't there is looked for in what could be read; what isn't TOML has nothing to show.
    let Some(app) = document.read(None).app else {
        let Definition { file, text, diagnostics, .. } = &definition;
        let detail = format!("{file} can't be read");
        return Err(CommandError::new(Code::BadRequest, detail).diagnostics(diagnostics, file, text));
    };
    if let Some(environment) = &environment {
        known(&app, environment)?;
    }
    let wrong = definition.diagnostics.iter().any(Diagnostic::is_error);
    if wrong {
        let Definition { file, text, diagnostics, .. } = &definition;
        terminal.tell(format!("{}\n", diagnostics::render(diagnostics, file, text)));
    }
    let values = document.values(environment.as_ref());
    if terminal.json {
        let values: Vec<Value<'_>> = values.iter().map(Value::new).collect();
        terminal.print_json(&values);
    } else {
        terminal.print(text(&app, environment.as_ref(), &values, &definition));
    }
    Ok(if wrong { ExitStatus::Misused } else { ExitStatus::Done })
}

/// The environment that is meant; `None`: the definition before anything overrides it.
fn environment(arguments: &RenderArguments) -> Option<Environment> {
    let RenderArguments { stage, tenant, tier, preview, directory: _ } = arguments;
    if *preview {
        return Some(Environment::Preview);
    }
    if *tenant || tier.is_some() {
        let stage = stage.clone().unwrap_or_else(|| PRODUCTION.to_owned());
        return Some(Environment::Tenant { stage, tier: tier.clone() });
    }
    stage.clone().map(Environment::Stage)
}

/// Refuses a stage or tier that the definition doesn't have.
fn known(app: &App, environment: &Environment) -> CommandResult<()> {
    let missing = |code, word: &str, name: &str, names: Vec<&str>| {
        let help = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("it defines none: add `[{word}.{name}]`"),
            None => format!("its {word}s are {}", names.join(", ")),
        };
        Err(CommandError::new(code, format!("{} has no {word} {name}", app.name.value)).help(help))
    };
    if matches!(environment, Environment::Tenant { tier: None, .. }) && !app.tiers.is_empty() {
        let tiers: Vec<&str> = app.tiers.keys().map(|name| name.as_str()).collect();
        let detail = format!("every tenant of {} has a tier", app.name.value);
        return Err(
            CommandError::new(Code::TierRequired, detail).help(format!("say which with --tier: {}", tiers.join(", ")))
        );
    }
    if let Some(tier) = environment.tier().filter(|tier| !app.tiers.contains_key(*tier)) {
        return missing(Code::UnknownTier, "tier", tier, app.tiers.keys().map(|name| name.as_str()).collect());
    }
    if let Some(stage) = environment.stage().filter(|stage| !app.may_have_stage(stage)) {
        return missing(Code::UnknownStage, "stage", stage, app.stages.keys().map(|name| name.as_str()).collect());
    }
    Ok(())
}

/// A value, for programs.
#[derive(Serialize)]
struct Value<'a> {
    path: &'a str,
    /// As it is written.
    text: &'a str,
    line: usize,
    /// The table that it comes from, if it is an override.
    layer: Option<String>,
}

impl<'a> Value<'a> {
    fn new(value: &'a Written) -> Self {
        let layer = value.layer.as_ref().map(Layer::to_string);
        Self { path: &value.path, text: &value.text, line: value.line, layer }
    }
}

/// As a definition that says it without overrides, with a comment on where each value stands.
fn text(app: &App, environment: Option<&Environment>, values: &[Written], definition: &Definition) -> String {
    let name = &app.name.value;
    let mut lines = vec![match environment {
        Some(environment) => format!("# {name} for {environment}, from {}", definition.file),
        None => format!("# {name} before anything overrides it, from {}", definition.file),
    }];
    let mut table = "";
    for value in values {
        let (header, key) = split(&value.path);
        if header != table {
            lines.extend([String::new(), format!("[{header}]")]);
            table = header;
        }
        let written = format!("{key} = {}", value.text);
        let layer = value.layer.as_ref().map(|layer| format!(", [{layer}]")).unwrap_or_default();
        let place = format!("# line {}{layer}", value.line);
        let last = written.rsplit('\n').next().unwrap_or_default();
        if written.contains('\n') || columns(last).max(PLACES) + 2 + columns(&place) > WIDTH {
            lines.extend([paint(DIM, place), written]);
        } else {
            lines.push(format!("{}  {}", pad(&written, PLACES), paint(DIM, place)));
        }
    }
    lines.join("\n")
}

/// The table that a value is shown in, and its key there: of parts with names, the table of each.
fn split(path: &str) -> (&str, &str) {
    let named = |(word, rest): (&str, &str)| {
        let name = freehold_spec::PartKind::of_word(word).and_then(|_| rest.find('.'));
        name.map_or(word.len(), |end| word.len() + 1 + end)
    };
    let end = path.split_once('.').map_or(path.len(), named);
    (path.get(..end).unwrap_or(path), path.get(end + 1..).unwrap_or_default())
}
