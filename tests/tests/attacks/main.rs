//! Attacks of tenants, run against the real program as root and as an ordinary user: each with a control that shows that it works where
//! its guard isn't. What isn't held yet is in [`known`], counted and printed.
//!
//! `FREEHOLD_ATTACKS=PART,…` runs those whose names have one of these parts; `FREEHOLD_ATTACKS_REPORT=FILE` gets a line of JSON for each.

#![expect(clippy::print_stdout, reason = "scripts/test and scripts/bench show these lines")]

mod attack;
mod content;
mod file;
mod inherited;
mod known;
mod machine;
mod output;
mod port;
mod process;
mod shared;
mod sql;
mod stage;
mod standing;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;

use anyhow::Result;
use serde_json::json;

use crate::attack::{Attack, Who};
use crate::known::{Gets, OPEN, Open};
use crate::stage::Stage;

/// Those that end processes, or stop the platform, come last.
const ALL: [&[Attack]; 11] = [
    sql::ATTACKS,
    file::ATTACKS,
    wire::ATTACKS,
    output::ATTACKS,
    content::ATTACKS,
    process::ATTACKS,
    inherited::ATTACKS,
    standing::ATTACKS,
    shared::ATTACKS,
    machine::ATTACKS,
    port::ATTACKS,
];

/// One platform at a time: they count processes and ports.
static ONE: Mutex<()> = Mutex::new(());

fn run(who: Who) -> Result<()> {
    let _one = ONE.lock();
    let part = std::env::var("FREEHOLD_ATTACKS").unwrap_or_default();
    let mut report = std::env::var_os("FREEHOLD_ATTACKS_REPORT")
        .map(|path| File::options().create(true).append(true).open(path))
        .transpose()?;
    let mut stage = Stage::set(who)?;
    let mut counts: BTreeMap<attack::Boundary, (usize, usize)> = BTreeMap::new();
    let (mut faults, mut open) = (Vec::new(), Vec::new());
    for attack in ALL.into_iter().flatten().filter(|attack| part.split(',').any(|part| attack.name.contains(part))) {
        let begin = std::time::Instant::now();
        let proved = attack.control(&mut stage);
        match &proved {
            Ok(true) => {}
            Ok(false) => faults.push(format!("{}: its control doesn't get through", attack.name)),
            Err(error) => faults.push(format!("{}: its control: {error:#}", attack.name)),
        }
        let held = match attack.attempt(&mut stage) {
            Ok(broken) => !broken,
            Err(error) => {
                faults.push(format!("{}: {error:#}", attack.name));
                false
            }
        };
        let known = known::known(who, attack.name);
        let count = counts.entry(attack.boundary).or_default();
        count.0 += 1;
        count.1 += usize::from(held);
        match (held, known) {
            (true, None) => {}
            (true, Some(Open { gets: Gets::Always, .. })) => {
                faults.push(format!("{}: held now, and still among those that are known to be open", attack.name));
            }
            (true, Some(Open { gets: Gets::Sometimes, .. })) => {}
            (false, Some(known)) => open.push(format!("{}: {}", attack.name, known.why)),
            (false, None) => faults.push(format!("{}: not held", attack.name)),
        }
        if let Some(report) = &mut report {
            let line = json!({
                "name": attack.name, "boundary": attack.boundary.word(), "who": who.words(), "held": held,
                "known": known.map(|known| known.why), "proved": proved.is_ok_and(|proved| proved), "seconds": begin.elapsed().as_secs_f64(),
            });
            writeln!(report, "{line}")?;
        }
    }
    let (tried, held) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    println!("attack: as {}: {tried} tried, {held} held, {} known to be open", who.words(), open.len());
    for line in &open {
        println!("attack: open as {}: {line}", who.words());
    }
    anyhow::ensure!(faults.is_empty(), "as {}:\n{}", who.words(), faults.join("\n"));
    Ok(())
}

#[test]
fn no_tenant_gets_through_where_root_runs_the_platform() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: no_tenant_gets_through_where_root_runs_the_platform: this is not root");
        return Ok(());
    }
    run(Who::Root)
}

#[test]
fn no_tenant_gets_through_where_an_ordinary_user_runs_the_platform() -> Result<()> {
    run(Who::User)
}

#[test]
fn each_attack_has_a_name_of_its_own_and_what_is_known_to_be_open_is_one_of_them() {
    let names: BTreeSet<&str> = ALL.into_iter().flatten().map(|attack| attack.name).collect();
    assert_eq!(names.len(), ALL.into_iter().flatten().count());
    for name in OPEN.iter().flat_map(|open| open.attacks) {
        assert!(names.contains(name), "{name}");
    }
}
