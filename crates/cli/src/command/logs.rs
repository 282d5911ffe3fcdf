//! `freehold logs`: what services and jobs have written.

use std::collections::BTreeSet;
use std::sync::Arc;

use anstyle::Style;
use freehold::wire::{LogLine, Stack, Voice};
use freehold_graph::ResourceKind;
use freehold_graph::expand::names;
use freehold_graph::kind::Program;
use freehold_problem::Code;
use freehold_spec::PartKind;
use futures::StreamExt;

use crate::arguments::LogsArguments;
use crate::layout::{BLUE, DIM, GREEN, YELLOW, columns, pad, paint};
use crate::platform::{self, LOCAL, Platform};
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;
use crate::terminal::text::{colours, json_text, plain};

pub(super) fn run(terminal: Terminal, arguments: &LogsArguments) -> CommandResult {
    let platform = Platform::connect(&arguments.stack.platform)?;
    platform::run(async {
        let stack = platform.find(&arguments.stack).await?;
        let sources = match (&arguments.service, &arguments.job, &arguments.cache) {
            (Some(service), _, _) => {
                vec![one_of(&services(&platform.client.stack(stack.id).await?)?, service, &stack)?]
            }
            (None, Some(job), _) => vec![format!("job.{job}")],
            (None, None, Some(cache)) => vec![format!("cache.{cache}")],
            (None, None, None) => services(&platform.client.stack(stack.id).await?)?,
        };
        let wanted = sources.join(", ");
        let many = sources.len() > 1;
        let width = if many { sources.iter().map(|source| columns(short(source))).max().unwrap_or(0) } else { 0 };
        let mut streams = futures::stream::SelectAll::new();
        for (at, of) in sources.into_iter().enumerate() {
            let stream = platform.client.logs(stack.id, &of, arguments.lines, arguments.follow).await?;
            let name = if many { pad(short(&of), width) } else { String::new() };
            let look = Arc::new(LogPosition { name, style: style(at), of, pods: stack.target != LOCAL });
            streams.push(Box::pin(futures::stream::unfold(stream, move |mut stream| {
                let look = Arc::clone(&look);
                async move { Some(((look, stream.next().await.transpose()?), stream)) }
            })));
        }
        let mut any = false;
        while let Some((look, line)) = streams.next().await {
            any = true;
            terminal.print(look.render(&line?, terminal.json));
            if !terminal.is_heard() {
                break;
            }
        }
        if !any && !arguments.follow && arguments.lines > 0 {
            let key = crate::view::stack::key(&stack);
            // Freehold's own remarks stand in the logs on this machine, so that one of what has run is never empty; Pods have none.
            let why = match stack.target == LOCAL {
                true => "it has not run yet, or its log was removed with the oldest ones",
                false => "no Pod of it has run yet, or none has printed anything that is still there",
            };
            terminal.say(&format!("There is no log of {wanted} of {key}: {why}."));
        }
        Ok(ExitStatus::Done)
    })
}

/// All services of a stack. In a cluster one that takes no requests has a Deployment only.
fn services(stack: &Stack) -> CommandResult<Vec<String>> {
    let parts = stack.resources.iter().filter_map(|resource| resource.id.split_once('.'));
    let runs = |kind: ResourceKind| kind.row().program == Program::Service;
    let services = parts.filter(|(word, _)| ResourceKind::of_id_word(word).is_some_and(runs));
    // In a cluster a cache has a Deployment, too; no service of the stack can have its name.
    let caches = stack.outputs.get(PartKind::Cache.plural()).and_then(|caches| caches.as_object());
    let caches: BTreeSet<String> = caches.into_iter().flatten().map(|(name, _)| names::joined("cache", name)).collect();
    let services = services.filter(|(_, name)| !caches.contains(*name));
    let services: BTreeSet<String> = services.map(|(_, name)| format!("service.{name}")).collect();
    if services.is_empty() {
        let detail = format!("{} has no service yet", crate::view::stack::key(stack));
        return Err(CommandError::new(Code::NotFound, detail).help("see a job's log with --job NAME"));
    }
    Ok(services.into_iter().collect())
}

/// The service of that name, if the stack has it.
fn one_of(services: &[String], name: &str, stack: &Stack) -> CommandResult<String> {
    services.iter().find(|source| short(source) == name).cloned().ok_or_else(|| {
        let known: Vec<&str> = services.iter().map(|source| short(source)).collect();
        let detail = format!("{} has no service {name}", crate::view::stack::key(stack));
        let help = match freehold_spec::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it has {}", known.join(", ")),
        };
        CommandError::new(Code::NotFound, detail).help(help)
    })
}

fn short(source: &str) -> &str {
    source.split_once('.').map_or(source, |(_, name)| name)
}

fn style(at: usize) -> Style {
    let styles = [BLUE, GREEN, YELLOW];
    styles.get(at % styles.len()).copied().unwrap_or(DIM)
}

/// How the lines of one source look.
struct LogPosition {
    of: String,
    /// Its name, as wide as the widest; empty where there is no other source.
    name: String,
    style: Style,
    /// Its lines are of Pods, whose names are said.
    pods: bool,
}

impl LogPosition {
    /// A line of a program stands behind a bar, so that it can't be taken for one of Freehold's, whatever it says. Its colours are kept
    /// as far as they hide nothing; they end with the line.
    fn render(&self, line: &LogLine, json: bool) -> String {
        if json {
            let LogLine { source, by, line } = line;
            return json_text(&serde_json::json!({ "of": self.of, "source": source, "by": by, "line": line }));
        }
        let pod = if self.pods { plain(&line.source) } else { String::new() };
        let name: String =
            [self.name.as_str(), &pod].iter().filter(|part| !part.is_empty()).map(|part| format!("{part} ")).collect();
        match line.by {
            Voice::Program => format!("{} {}\x1b[0m", paint(self.style, format!("{name}│")), colours(&line.line)),
            Voice::Freehold => paint(DIM, format!("{name}· {}", plain(&line.line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(by: Voice, line: &str, name: &str) -> String {
        let look = LogPosition { of: "service.web".to_owned(), name: name.to_owned(), style: BLUE, pods: false };
        let line = LogLine { source: "3f2a".to_owned(), by, line: line.to_owned() };
        anstream::adapter::strip_str(&look.render(&line, false)).to_string()
    }

    #[test]
    fn a_program_can_not_speak_as_freehold_does() {
        assert_eq!(shown(Voice::Freehold, "12:00 started as process 7", ""), "· 12:00 started as process 7");
        assert_eq!(shown(Voice::Program, "· 12:00 started as process 7", ""), "│ · 12:00 started as process 7");
        assert_eq!(shown(Voice::Program, "\r· ended\x1b[2K", "web"), "web │ \\r· ended\\x1b[2K");
        assert_eq!(shown(Voice::Freehold, "ended", "web"), "web · ended");
    }

    #[test]
    fn json_says_exactly_what_was_printed() {
        let look = LogPosition { of: "job.tick".to_owned(), name: String::new(), style: BLUE, pods: false };
        let line =
            LogLine { source: "1".to_owned(), by: Voice::Program, line: "\x1b]0;x\x07\u{9b}31m\u{202e}".to_owned() };
        let text = look.render(&line, true);
        assert!(text.chars().all(|character| (' '..='~').contains(&character)), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back.get("line").and_then(serde_json::Value::as_str), Some(line.line.as_str()));
    }
}
