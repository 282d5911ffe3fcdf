//! `kill -9` of Freehold at all sorts of moments: the started-again server finishes by itself, once.

use std::time::Duration;

use anyhow::Result;
use freehold_end_to_end::{App, Installation, eventually};

const EXTRA: &str = "[database.main]\n[job.migrate]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", \"echo ran $FREEHOLD_STEP\"]\n\
[job.migrate.env]\nDATABASE_URL = \"${database.main.migration_url}\"\n[service.web.env]\nDATABASE_URL = \"${database.main.url}\"\n";

/// How many kills: `FREEHOLD_KILLS`, 50 unless told.
fn kills() -> u64 {
    std::env::var("FREEHOLD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

#[test]
fn killed_at_any_moment_the_server_finishes_by_itself_without_duplicates_or_orphans() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(EXTRA)?;
    // How long one deploy takes here, so that the kills are spread over all of it.
    let begin = std::time::Instant::now();
    freehold.deploy(&app.argument(), &["--tenant", "measure"])?;
    let length = begin.elapsed() + Duration::from_millis(100);
    let (mut orphans, mut duplicates, mut twice) = (0, 0, 0);
    let kills = kills();
    for kill in 0..kills {
        let tenant = format!("t{}", kill / 3);
        let host = format!("{tenant}.localhost");
        // In turn: a creation, an update, a destroy.
        let arguments: Vec<String> = match kill % 3 {
            0 => vec!["deploy".into(), app.argument(), "--tenant".into(), tenant.clone(), "--yes".into()],
            1 => {
                app.version(&format!("{kill}"))?;
                vec!["deploy".into(), app.argument(), "--tenant".into(), tenant.clone(), "--yes".into()]
            }
            _ => vec!["destroy".into(), "--tenant".into(), tenant.clone(), "--confirm".into(), tenant.clone()],
        };
        let mut command = freehold.start_run(&arguments)?;
        // Evenly spread over the operation, in an order that mixes early and late: 0.618… is the golden ratio.
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let share = (kill as f64 * 0.618_033_988_75).fract();
        std::thread::sleep(length.mul_f64(share));
        freehold.kill()?;
        freehold.up()?;
        let status = command.wait()?;
        let _ = status;
        // The command may have been cut off before the server had the request: asking again is always right.
        let again = eventually("the same command succeeds", || {
            let run = freehold.run(&arguments).ok()?;
            (run.code == 0 || run.stderr.contains("FH1003")).then_some(run)
        });
        drop(again);
        if kill % 3 == 2 {
            let left = freehold
                .sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{tenant}\\_\\_%'"))?;
            orphans += usize::from(left != "0");
            assert_ne!(freehold.get(&host, "/").map(|answer| answer.0).unwrap_or(404), 200);
        } else {
            assert_eq!(freehold.get(&host, "/")?.0, 200, "after kill {kill}");
            let log = freehold.run(["logs", "--tenant", &tenant, "--job", "migrate"])?.succeeded()?.stdout;
            // Each line names the operation, and so the revision, that the job ran for.
            let ran: Vec<&str> = log.lines().filter(|line| line.starts_with("│ ran ")).collect();
            twice += ran.len() - ran.iter().collect::<std::collections::BTreeSet<_>>().len();
        }
        // One process for `measure`, one for the tenant while it exists.
        let expected = if kill % 3 == 2 { 1 } else { 2 };
        let processes = eventually("the processes settle", || {
            let processes = freehold.processes().len();
            (processes <= expected).then_some(processes)
        });
        duplicates += processes.saturating_sub(expected);
    }
    let doctor = freehold.run(["doctor", "--json"])?.stdout;
    assert!(!doctor.contains("orphan") || doctor.contains("\"level\":\"ok\""), "{doctor}");
    let resumed = "SELECT count(DISTINCT operation) FROM journal WHERE (record->>'times')::int > 1";
    let resumed = freehold.sql("freehold", resumed)?;
    println!(
        "kills: {kills} real kills, {resumed} operations resumed, orphans {orphans}, duplicates {duplicates}, runs done twice {twice}"
    );
    assert_ne!(resumed, "0", "no kill met an operation: the moments are badly chosen");
    assert_eq!((orphans, duplicates, twice), (0, 0, 0));
    Ok(())
}

/// A job that takes a moment and writes that it began and that it ended; a stop in its middle may not lose it.
const SLOW_JOB: &str = "[job.count]\nservice = \"web\"\n\
command = [\"sh\", \"-c\", \"echo began >> $HOME/count; sleep 1; echo ended $FREEHOLD_STEP >> $HOME/count; echo $(cat version) >> $HOME/count\"]\n";

#[test]
fn stopped_at_any_moment_of_a_job_the_server_loses_no_work() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(SLOW_JOB)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let stops = kills() / 5;
    let (mut lost, mut twice, mut begun) = (0, 0, 0);
    for stop in 0..stops {
        app.version(&format!("stop {stop}"))?;
        let arguments = ["deploy", &app.argument(), "--tenant", "acme", "--yes"].map(str::to_owned);
        let mut command = freehold.start_run(&arguments)?;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let share = (stop as f64 * 0.618_033_988_75).fract();
        std::thread::sleep(Duration::from_millis(1400).mul_f64(share));
        freehold.down()?;
        freehold.up()?;
        command.wait()?;
        eventually("the same command succeeds, or its job's outcome is known", || {
            let run = freehold.run(&arguments).ok()?;
            (run.code == 0).then_some(())
        });
        let answer = eventually("acme answers", || {
            let answer = freehold.get("acme.localhost", "/").ok()?;
            (answer.0 == 200).then_some(answer.1)
        });
        lost += usize::from(answer != format!("stop {stop}"));
        let stack = freehold.sql("freehold", "SELECT id FROM stacks WHERE name = 'acme'")?;
        let counted = std::fs::read_to_string(freehold.data().join(format!("local/stacks/{stack}/home/count")))?;
        let ended: Vec<&str> = counted.lines().filter(|line| line.starts_with("ended ")).collect();
        let done = counted.lines().any(|line| line == format!("stop {stop}"));
        lost += usize::from(!done);
        begun = counted.lines().filter(|line| *line == "began").count() - ended.len();
        twice += ended.len() - ended.iter().collect::<std::collections::BTreeSet<_>>().len();
    }
    // A run that was broken off is work lost, too.
    lost += begun;
    println!("stops: {stops} real stops in the middle of jobs, work lost {lost}, runs done twice {twice}");
    assert_eq!((lost, twice), (0, 0));
    Ok(())
}

#[test]
fn a_service_survives_a_kill_of_freehold_and_is_adopted_not_doubled() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let before = freehold.processes();
    freehold.kill()?;
    assert_eq!(freehold.processes(), before, "the service goes on");
    freehold.up()?;
    eventually("acme answers", || (freehold.get("acme.localhost", "/").ok()?.0 == 200).then_some(()));
    assert_eq!(freehold.processes(), before, "adopted");
    Ok(())
}

#[test]
fn a_service_that_crashes_is_started_again() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let before = freehold.processes();
    let _ = freehold.get("acme.localhost", "/crash");
    eventually("another process answers", || {
        let answers = freehold.get("acme.localhost", "/").ok()?.0 == 200;
        (answers && freehold.processes().len() == 1 && freehold.processes() != before).then_some(())
    });
    Ok(())
}
