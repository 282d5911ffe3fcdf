//! Caches: deployed, used by programs, kept or lost as the definition says, and gone without a trace.

use std::process::Command;

use anyhow::{Result, ensure};
use freehold_end_to_end::{App, Installation, eventually};

const CACHES: &str = r#"
[cache.sessions]
memory = "16Mi"

[cache.queue]
memory  = "16Mi"
persist = true

[service.web.env]
SESSIONS = "${cache.sessions.url}"
QUEUE    = "${cache.queue.url}"
"#;

/// What the server of a URL answers.
fn redis(url: &str, words: &[&str]) -> Result<String> {
    let output = Command::new("redis-cli").args(["--no-auth-warning", "-u", url]).args(words).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn url(freehold: &Installation, variable: &str) -> Result<String> {
    Ok(freehold.get("acme.localhost", &format!("/env/{variable}"))?.1)
}

#[test]
fn caches_are_deployed_and_used_kept_or_lost_as_they_say_and_gone_without_a_trace() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(CACHES)?;
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("16Mi for data, allkeys-lru"), "{}", plan.stdout);
    assert!(plan.stdout.contains("16Mi for data, noeviction, kept on disk"), "{}", plan.stdout);
    let first = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(first["state"], "succeeded");
    let (sessions, queue) = (url(&freehold, "SESSIONS")?, url(&freehold, "QUEUE")?);
    assert!(sessions.starts_with("redis://app:") && queue.starts_with("redis://app:"), "{sessions} {queue}");
    for url in [&sessions, &queue] {
        assert_eq!(redis(url, &["SET", "a", "1"])?, "OK");
        assert!(
            !redis(&url.replace('@', "x@"), &["GET", "a"]).is_ok_and(|answer| answer == "1"),
            "any password will do"
        );
    }
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");
    let log = freehold.run(["logs", "--tenant", "acme", "--cache", "sessions"])?.succeeded()?;
    assert!(log.stdout.contains("eady to accept connections"), "{}", log.stdout);

    // Killed, it finds them running; stopped and started, one is empty.
    freehold.kill()?;
    freehold.up()?;
    let again = |url: &String| eventually("a cache", || redis(url, &["GET", "a"]).ok());
    assert_eq!((again(&sessions), again(&queue)), ("1".to_owned(), "1".to_owned()));
    freehold.down()?;
    freehold.up()?;
    assert_eq!((again(&sessions), again(&queue)), (String::new(), "1".to_owned()));

    // A new password: the old one is nobody's any more.
    freehold.run(["secret", "rotate", "cache.queue", "--tenant", "acme"])?.succeeded()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let rotated = url(&freehold, "QUEUE")?;
    assert_ne!(rotated, queue);
    assert_eq!(redis(&rotated, &["GET", "a"])?, "1");
    assert!(!redis(&queue, &["GET", "a"]).is_ok_and(|answer| answer == "1"));

    // What holds data goes only where it is named.
    app.redefine("persist = true", "")?;
    freehold.run(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?.failed_with(1, "FH0803")?;
    let destroy = ["destroy", "--tenant", "acme", "--confirm", "acme"];
    freehold.run(destroy)?.failed_with(1, "FH0809")?;
    assert_eq!(redis(&rotated, &["GET", "a"])?, "1");
    freehold.run(destroy.into_iter().chain(["--no-dump"]))?.succeeded()?;
    assert!(redis(&sessions, &["PING"]).is_err() && redis(&rotated, &["PING"]).is_err());
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    let stacks: Vec<_> = std::fs::read_dir(freehold.data().join("local/stacks"))?.collect::<Result<_, _>>()?;
    assert_eq!(stacks.len(), 0);
    Ok(())
}
