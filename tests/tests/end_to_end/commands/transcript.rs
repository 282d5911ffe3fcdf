//! Calls of the binary and what they gave, written down command by command: a snapshot each.
//!
//! A call is written as it would be typed, then its exit code, then what it wrote to stdout and stderr, if anything. What differs between two
//! runs or two machines is replaced by a word: the folder of the installation and the digests of artifacts, which are known exactly, and by
//! their form ([`VARYING`]) times, ids, ports, versions. What a machine can't enforce and what `doctor` finds about the machine itself is left
//! out ([`MACHINE`]). Everything else stays as it was printed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr};

use anyhow::{Context as _, Result, bail, ensure};
use freehold_end_to_end::{Installation, Run};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};

/// What is known by its form, and the words for it. A duration that was measured has a fraction; one that somebody has set has none.
const VARYING: [(&str, &str); 15] = [
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\b[0-9a-f]{6}…[0-9a-f]{4}\b", "SHORT-ID"),
    (r"\b([0-9]+ min [0-9]+|[0-9]+\.[0-9]{1,2}) s\b", "TIME"),
    (r"\b([0-9]+ s|[0-9]+ min) ago\b", "TIME ago"),
    // As wide as what it stands for, in a table.
    (r"\b[0-9]{4}(-[0-9]{2}){2} [0-9]{2}(:[0-9]{2}){2}\b", "YYYY-MM-DD HH:MM:SS"),
    (r"\b[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]+Z", "MOMENT"),
    (r#""(build|plan|total)":[0-9]+"#, r#""$1":MILLISECONDS"#),
    (r"\bready after [0-9]+ probes?\b", "ready after N probes"),
    (r"\bprocess [0-9]+\b", "process PID"),
    (r"\bport [0-9]+\b", "port PORT"),
    (r"(://[A-Za-z0-9.-]+):[0-9]+\b", "$1:PORT"),
    (r"\bPostgreSQL [0-9]+(\.[0-9]+)?,", "PostgreSQL VERSION,"),
    (r"-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\.dump\b", "-MOMENT-ID.dump"),
    (r"\([0-9]+ bytes\)", "(N bytes)"),
    (r"\bnot enforced here: [^\n]+(\n    [^\n]+)*", "not enforced here: …"),
];

/// What `doctor` and `target check` say about the machine, which is another one everywhere: by its first word.
const MACHINE: [&str; 5] = ["programs", "disk", "files", "isolation", "postgresql "];

/// A call that has not ended.
pub(super) struct Begun {
    line: String,
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What was read of its stderr.
    said: String,
}

impl Begun {
    /// Waits until it has said something on stderr.
    pub(super) fn says(&mut self, text: &str) -> Result<()> {
        while !self.said.contains(text) {
            let length = self.stderr.read_line(&mut self.said)?;
            ensure!(length > 0, "`freehold {}` ended before it said {text:?}: {}", self.line, self.said);
        }
        Ok(())
    }

    /// Ctrl-C.
    pub(super) fn interrupt(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::INT)?)
    }
}

/// What was called so far.
pub(super) struct Transcript {
    freehold: Installation,
    /// Where the binary is called.
    folder: PathBuf,
    varying: Vec<(Regex, &'static str)>,
    /// The digests that were shown, in this order.
    digests: Vec<String>,
    commands: BTreeMap<String, String>,
}

impl Transcript {
    /// Of calls in a folder.
    pub(super) fn new(freehold: Installation, folder: &Path) -> Result<Self> {
        let varying = VARYING.iter().map(|(form, word)| Ok((Regex::new(form)?, *word))).collect::<Result<_>>()?;
        Ok(Self { freehold, folder: folder.to_owned(), varying, digests: Vec::new(), commands: BTreeMap::new() })
    }

    /// The platform.
    pub(super) fn freehold(&self) -> &Installation {
        &self.freehold
    }

    /// Calls the binary with the words of a line, which has to end with an exit code.
    pub(super) fn call(&mut self, code: i32, line: &str) -> Result<()> {
        let run = self.freehold.run_in(&self.folder, words(line))?;
        self.note(code, line, &run)
    }

    /// The same with something on its standard input.
    pub(super) fn call_with_input(&mut self, code: i32, line: &str, input: &str) -> Result<()> {
        let run = self.freehold.run_in_with_input(&self.folder, words(line), input)?;
        self.note(code, &format!("{line} <<< {input:?}"), &run)
    }

    /// Begins a call; [`Transcript::ended`] waits for it.
    pub(super) fn begin(&self, line: &str) -> Result<Begun> {
        let mut child = self.freehold.start_run_in(&self.folder, words(line))?;
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        Ok(Begun { line: line.to_owned(), child, stderr, said: String::new() })
    }

    /// Waits for the end of a call that was begun; `how` is written behind the command.
    pub(super) fn ended(&mut self, code: i32, begun: Begun, how: &str) -> Result<()> {
        let Begun { line, child, mut stderr, mut said } = begun;
        stderr.read_to_string(&mut said)?;
        let run = Run { stderr: said, ..Run::from(child.wait_with_output()?) };
        self.note(code, &format!("{line}{how}"), &run)
    }

    /// Calls that have to give exactly what the first of them gives.
    pub(super) fn alike(&mut self, code: i32, lines: &[&str]) -> Result<()> {
        let mut first: Option<String> = None;
        for line in lines {
            let run = self.freehold.run_in(&self.folder, words(line))?;
            let shown = self.shown(code, line, &run)?;
            let expected = first.get_or_insert_with(|| shown.clone());
            ensure!(shown == *expected, "`freehold {line}` gives something else:\n{shown}\n{expected}");
        }
        Ok(())
    }

    /// Writes down what a call gave.
    fn note(&mut self, code: i32, line: &str, run: &Run) -> Result<()> {
        let text = format!("$ freehold {}\n{}\n", self.replaced(line), self.shown(code, line, run)?);
        let command = line.split(' ').next().unwrap_or_default();
        self.commands.entry(command.to_owned()).or_default().push_str(&text);
        Ok(())
    }

    fn shown(&mut self, code: i32, line: &str, run: &Run) -> Result<String> {
        let Run { code: given, stdout, stderr } = run;
        if *given != code {
            bail!("`freehold {line}` ended with {given} instead of {code}:\n{stdout}\n{stderr}");
        }
        let stdout = match line {
            "doctor" | "target check local" => without_machine(stdout),
            // Their columns are as wide as times.
            "secret list --tenant acme" | "deploy --all-tenants --yes" => narrow(stdout),
            _ => stdout.clone(),
        };
        let mut text = format!("exit code {given}\n");
        for (name, stream) in [("stdout", stdout), ("stderr", in_order(stderr))] {
            if !stream.is_empty() {
                text.push_str(&format!("----- {name} -----\n{}", self.replaced(&stream)));
            }
        }
        Ok(text)
    }

    fn replaced(&mut self, text: &str) -> String {
        let text = text.replace(&self.freehold.path().display().to_string(), "DIR");
        let text = self.varying.iter().fold(text, |text, (form, word)| form.replace_all(&text, *word).into_owned());
        let mut parts = text.split("sha256:");
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|character: char| !character.is_ascii_hexdigit()).unwrap_or(part.len());
            let (digest, rest) = part.split_at(end);
            let at = self.digests.iter().position(|known| known == digest).unwrap_or_else(|| {
                self.digests.push(digest.to_owned());
                self.digests.len() - 1
            });
            replaced.push_str(&format!("sha256:DIGEST-{}{rest}", at + 1));
        }
        replaced
    }

    /// Compares everything with the snapshots, and fails after the last if one differs.
    pub(super) fn compare(&self, prefix: &str) -> Result<()> {
        let differ = |(command, text): (&String, &String)| {
            let compare = || {
                insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots" }, {
                    insta::assert_snapshot!(format!("{prefix}{command}"), text);
                });
            };
            catch_unwind(AssertUnwindSafe(compare)).is_err().then(|| command.clone())
        };
        let differing: Vec<String> = self.commands.iter().filter_map(differ).collect();
        ensure!(differing.is_empty(), "what these commands say has changed: {}", differing.join(", "));
        Ok(())
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Lines with those that are further in below them.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        match blocks.last_mut() {
            Some(block) if line.starts_with("    ") => block.push_str(&format!("{line}\n")),
            Some(_) | None => blocks.push(format!("{line}\n")),
        }
    }
    blocks
}

/// Progress without what depends on timing. Steps that don't depend on each other are done at the same time: a run of steps that ended, well
/// (`✓`) or not (`✗`), is sorted, but a dump and the end of a destroy stay where they are. What is waited for is told (`…`) only where it
/// takes long.
fn in_order(stderr: &str) -> String {
    let is_step = |block: &String| {
        let stays = ["dump of ", "all gone"].iter().any(|words| block.contains(words));
        ["  ✓ ", "  ✗ "].iter().any(|sign| block.starts_with(sign)) && !stays
    };
    let mut blocks = blocks(stderr);
    blocks.retain(|block| !block.starts_with("  … "));
    blocks.chunk_by_mut(|one, other| is_step(one) && is_step(other)).for_each(<[String]>::sort_unstable);
    blocks.concat()
}

/// Findings without those about the machine, and without how many they are.
fn without_machine(stdout: &str) -> String {
    let is_of_machine = |block: &&String| {
        let subject = block.trim_start().split_once(' ').map_or("", |(_, subject)| subject);
        MACHINE.iter().any(|word| subject.starts_with(word) && !subject.starts_with("postgresql access"))
    };
    let is_sum = |block: &&String| !block.starts_with(' ');
    blocks(stdout).iter().filter(|block| !is_of_machine(block) && !is_sum(block)).map(String::as_str).collect()
}

/// A table with two spaces between its columns, however wide these are.
fn narrow(table: &str) -> String {
    let cells =
        |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  ");
    table.lines().map(|line| format!("{}\n", cells(line))).collect()
}
