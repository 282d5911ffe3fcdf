//! What a tenant tries on the operator's terminal, by what its program prints.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_end_to_end::App;

use crate::attack::{Attack, Boundary::Log, steps};
use crate::stage::{MALLORY, Stage};

/// An attack that prints something, which must not come out of `freehold logs` as it is.
macro_rules! printed {
    ($name:literal, $bytes:literal) => {
        steps($name, Log, |stage| logged(stage, $bytes), |stage| shown(stage, $bytes))
    };
}

pub(crate) const ATTACKS: &[Attack] = &[
    printed!("sets the terminal's title", "\x1b]0;attack\x07"),
    printed!("writes into the clipboard", "\x1b]52;c;YXR0YWNr\x07"),
    printed!("hides text", "\x1b[8mattack\x1b[0m"),
    printed!("clears the screen", "\x1b[2J\x1b[H"),
    printed!("asks the terminal for an answer", "\x1b[6n"),
    printed!("begins a control sequence in one byte", "\u{9b}31mattack"),
    printed!("begins a device control string", "\x1bP$q\"p\x1b\\"),
    printed!("writes over what stands in the line", "attack\rgood"),
    printed!("takes characters back", "attack\x08\x08\x08\x08\x08\x08"),
    printed!("turns the direction of the text", "\u{202e}kcatta"),
    printed!("isolates a piece of text", "\u{2067}kcatta\u{2069}"),
    printed!("rings and shifts", "\x07\x0e\x0f"),
    printed!("ends the text early", "before\x00behind"),
    printed!("breaks lines where programs see none", "attack\u{2028}error[FH0001]: forged"),
    steps(
        "reaches the terminal by the failure of a job",
        Log,
        |stage| failing(stage, "\x1b]0;attack\x07", "\x1b]0;"),
        |stage| shown(stage, "\x1b]0;attack\x07"),
    ),
    steps(
        "forges an error of the platform in the failure of a job",
        Log,
        |stage| failing(stage, "x\nerror[FH0001]: attack", "\nerror[FH0001]: attack"),
        |stage| shown(stage, "x\nerror[FH0001]: attack"),
    ),
    steps("forges an event of the platform in its log", Log, forged_event, |stage| shown(stage, "-- freehold: attack")),
    steps("fills the disk with its log", Log, flooded, unbounded),
];

/// A Python text that is these bytes.
fn literal(bytes: &str) -> String {
    let hex: String = bytes.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("bytes.fromhex('{hex}')")
}

fn logged(stage: &mut Stage, bytes: &str) -> Result<bool> {
    let before = printed_lines(stage)?;
    stage.say(bytes)?;
    let log = freehold_end_to_end::eventually("the line is in the log", || {
        let log = printed_lines(stage).ok()?;
        (log != before).then_some(log)
    });
    Ok(log.contains(bytes) && !before.contains(bytes))
}

fn printed_lines(stage: &Stage) -> Result<String> {
    Ok(stage.freehold.run(["logs", "--tenant", MALLORY, "-n", "20"])?.succeeded()?.stdout)
}

/// The same, on the way that it takes without Freehold.
fn shown(stage: &mut Stage, bytes: &str) -> Result<bool> {
    let output = stage.outside(&format!("os.write(1, {})", literal(bytes)))?;
    Ok(output.contains(bytes))
}

/// What a deploy prints whose job fails with these words.
fn failing(stage: &mut Stage, bytes: &str, harm: &str) -> Result<bool> {
    let app = App::small_and("[job.migrate]\nservice = \"web\"\ncommand = [\"python3\", \"fail.py\"]\n")?;
    app.redefine("\"program.py\", ", "\"program.py\", \"fail.py\", ")?;
    std::fs::write(
        app.path().join("fail.py"),
        format!("import sys\nsys.stdout.buffer.write({})\nsys.exit(3)\n", literal(bytes)),
    )?;
    stage.open(&app)?;
    let run = stage.freehold.run(["deploy", &app.argument(), "--tenant", "failing", "--yes"])?;
    anyhow::ensure!(run.code == 1, "the deploy didn't fail: {run:?}");
    let status = stage.freehold.run(["status", "--tenant", "failing"])?;
    let all = format!("{}\n{}\n{}\n{}", run.stdout, run.stderr, status.stdout, status.stderr);
    let _ = stage.freehold.run(["destroy", "--tenant", "failing", "--confirm", "failing"])?;
    Ok(all.contains(harm))
}

/// Whether a line of the tenant's looks like one of the platform's own.
fn forged_event(stage: &mut Stage) -> Result<bool> {
    let events =
        |log: &str| log.lines().filter(|line| line.contains("freehold:")).map(str::to_owned).collect::<Vec<_>>();
    let log = printed_lines(stage)?;
    let Some(event) = events(&log).pop() else {
        // Freehold's own lines aren't among the tenant's.
        return Ok(false);
    };
    stage.say(&event.replace("freehold:", "freehold: attack"))?;
    let log = freehold_end_to_end::eventually("the line is in the log", || {
        printed_lines(stage).ok().filter(|log| log.contains("attack"))
    });
    Ok(events(&log).iter().any(|line| line.contains("freehold: attack")))
}

/// Whether 60 MB of output stay on the disk. Logs are looked at every few moments.
fn flooded(stage: &mut Stage) -> Result<bool> {
    stage.freehold.get("mallory.localhost", "/flood")?;
    let folder = stage.freehold.data().join("logs").join(stage.stack(MALLORY)?);
    let end = Instant::now() + Duration::from_secs(15);
    while size(&folder) > 50 << 20 {
        if Instant::now() > end {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}

fn size(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            // What is on the disk: of a file with holes only the rest.
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn unbounded(stage: &mut Stage) -> Result<bool> {
    let path = stage.freehold.path().join("flood");
    let script =
        format!("out = open({:?}, 'wb')\nfor _ in range(120): out.write(b'.' * 500000)", path.display().to_string());
    stage.outside(&script)?;
    let large = std::fs::metadata(&path)?.blocks() * 512 > 50 << 20;
    std::fs::remove_file(&path)?;
    Ok(large)
}
