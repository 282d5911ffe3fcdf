//! `freehold logs`: what services and jobs have written.

use std::collections::BTreeSet;

use freehold::wire::Stack;
use freehold_check::Code;
use futures::StreamExt;

use crate::arguments::LogsArguments;
use crate::layout::{BLUE, DIM, GREEN, YELLOW, pad, paint};
use crate::platform::{self, Platform};
use crate::report::{Answer, Failure, Outcome};
use crate::terminal::Terminal;

pub(super) fn run(terminal: Terminal, arguments: &LogsArguments) -> Answer {
    let platform = Platform::connect(&arguments.stack.platform)?;
    platform::run(async {
        let stack = platform.find(&arguments.stack).await?;
        let sources = match (&arguments.service, &arguments.job) {
            (Some(service), _) => vec![one_of(&services(&platform.client.stack(stack.id).await?)?, service, &stack)?],
            (_, Some(job)) => vec![format!("job.{job}")],
            (None, None) => services(&platform.client.stack(stack.id).await?)?,
        };
        let wanted = sources.join(", ");
        let width = sources.iter().map(|source| short(source).len()).max().unwrap_or(0);
        let many = sources.len() > 1;
        let mut streams = futures::stream::SelectAll::new();
        for (at, source) in sources.into_iter().enumerate() {
            let response = platform.client.logs(stack.id, &source, arguments.lines, arguments.follow).await?;
            let prefix = if many { prefix(at, short(&source), width) } else { String::new() };
            let ended = futures::stream::once(std::future::ready(None));
            let mut lines = Lines { terminal, source, prefix, rest: Vec::new() };
            let chunks = response.bytes_stream().map(Some).chain(ended);
            streams.push(Box::pin(chunks.map(move |chunk| lines.take(chunk))));
        }
        let mut any = false;
        while let Some(read) = streams.next().await {
            let read = read?;
            any |= read.any;
            if !read.wanted {
                break;
            }
        }
        if !any && !arguments.follow {
            terminal.tell(format!("Nothing was written by {wanted} of {}.", crate::view::stack::key(&stack)));
        }
        Ok(Outcome::Done)
    })
}

/// All services of a stack. In a cluster one that takes no requests has a Deployment only.
fn services(stack: &Stack) -> Answer<Vec<String>> {
    let parts = stack.resources.iter().filter_map(|resource| resource.id.split_once('.'));
    let services = parts.filter(|(word, _)| matches!(*word, "service" | "deployment"));
    let services: BTreeSet<String> = services.map(|(_, name)| format!("service.{name}")).collect();
    if services.is_empty() {
        let detail = format!("{} has no service yet", crate::view::stack::key(stack));
        return Err(Failure::work(Code::UnknownStack, detail).help("see a job's log with --job NAME"));
    }
    Ok(services.into_iter().collect())
}

/// The service of that name, if the stack has it.
fn one_of(services: &[String], name: &str, stack: &Stack) -> Answer<String> {
    services.iter().find(|source| short(source) == name).cloned().ok_or_else(|| {
        let known: Vec<&str> = services.iter().map(|source| short(source)).collect();
        let detail = format!("{} has no service {name}", crate::view::stack::key(stack));
        let help = match freehold_spec::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it has {}", known.join(", ")),
        };
        Failure::work(Code::UnknownStack, detail).help(help)
    })
}

fn short(source: &str) -> &str {
    source.split_once('.').map_or(source, |(_, name)| name)
}

fn prefix(at: usize, name: &str, width: usize) -> String {
    let styles = [BLUE, GREEN, YELLOW];
    let style = styles.get(at % styles.len()).copied().unwrap_or(DIM);
    format!("{} ", paint(style, format!("{} │", pad(name, width))))
}

/// Cuts a stream into lines, so that those of several don't mix.
struct Lines {
    terminal: Terminal,
    source: String,
    prefix: String,
    rest: Vec<u8>,
}

impl Lines {
    /// Takes in a piece, `None` at the end.
    fn take(&mut self, chunk: Option<reqwest::Result<impl AsRef<[u8]>>>) -> Answer<Taken> {
        match chunk {
            Some(chunk) => self
                .rest
                .extend_from_slice(chunk.map_err(|error| freehold::ClientError::Broken(error.to_string()))?.as_ref()),
            None if !self.rest.is_empty() => self.rest.push(b'\n'),
            None => {}
        }
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Taken { any: false, wanted: true });
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        if self.prefix.is_empty() && !self.terminal.json {
            return Ok(Taken { any: true, wanted: self.terminal.print_bytes(&whole) });
        }
        for line in String::from_utf8_lossy(&whole).lines() {
            let written = match self.terminal.json {
                true => format!("{}\n", serde_json::json!({ "of": self.source, "line": line })),
                false => format!("{}{line}\n", self.prefix),
            };
            if !self.terminal.print_styled(&written) {
                return Ok(Taken { any: true, wanted: false });
            }
        }
        Ok(Taken { any: true, wanted: true })
    }
}

/// What came of a piece.
struct Taken {
    /// A line was printed.
    any: bool,
    /// Somebody still reads.
    wanted: bool,
}
