//! Freehold killed, and the API server killed or frozen, in the middle of things: the work is finished, once, and nothing is left over.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_end_to_end::site::{TARGET, namespace};
use freehold_end_to_end::{App, Place, Simulated, Site, eventually, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, Options};

/// How many kills: `FREEHOLD_CLUSTER_KILLS`, 12 unless told.
fn kills() -> u32 {
    std::env::var("FREEHOLD_CLUSTER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// In turn: a creation, an update, a destroy.
fn command(kill: u32, app: &App, tenant: &str, image: &str) -> Result<Vec<String>> {
    let folder = app.argument();
    let deploy =
        ["deploy", &folder, "--tenant", tenant, "--target", TARGET, "--yes", "--tier", "free", "--image", image];
    if kill % 3 == 2 {
        return Ok(words(&["destroy", "--tenant", tenant, "--confirm", tenant]));
    }
    if kill % 3 == 1 {
        let text = std::fs::read_to_string(app.definition())?;
        let rest = text.split("[service.web.env]\n").collect::<Vec<_>>();
        let begin = rest.first().copied().unwrap_or_default();
        let end = rest.last().and_then(|end| end.split_once('\n')).map(|(_, end)| end).unwrap_or_default();
        app.define(&format!("{begin}[service.web.env]\nRELEASE = \"{kill}\"\n{end}"))?;
    }
    Ok(words(&deploy))
}

#[test]
fn killed_at_any_moment_freehold_finishes_what_it_began_in_a_cluster() -> Result<()> {
    let name = "killed_at_any_moment_freehold_finishes_what_it_began_in_a_cluster";
    let Some(simulated) = Simulated::for_test(name) else { return Ok(()) };
    let mut site = Site::start(Place::Simulated(simulated))?;
    let app = guestbook::copy()?;
    app.redefine("[service.web.env]\n", "[service.web.env]\nRELEASE = \"0\"\n")?;
    let image = site.place.guestbook()?;
    let measure = ControlPlane::unique("measure");
    let begin = Instant::now();
    site.deploy_folder(&app.argument(), &measure, &["--tier", "free", "--image", &image])?.succeeded()?;
    let length = begin.elapsed() + Duration::from_millis(100);
    let kills = kills();
    let mut tenant = String::new();
    for kill in 0..kills {
        if kill % 3 == 0 {
            tenant = ControlPlane::unique("t");
        }
        let arguments = command(kill, &app, &tenant, &image)?;
        let mut child = site.freehold.start_run(&arguments)?;
        // Evenly spread over the operation, in an order that mixes early and late: 0.618… is the golden ratio.
        thread::sleep(length.mul_f64((f64::from(kill) * 0.618_033_988_75).fract()));
        site.freehold.kill()?;
        site.freehold.up()?;
        child.wait()?;
        // The command may have been cut off before the server had the request: asking again is always right.
        let mut last = String::new();
        eventually("the same command succeeds", || {
            let run = site.freehold.run(&arguments).ok()?;
            let done = run.code == 0 || (kill % 3 == 2 && run.stderr.contains("FH1003"));
            if !done && last != run.stderr {
                last.clone_from(&run.stderr);
                println!("kill {kill}: {last}");
            }
            done.then_some(())
        });
        if kill % 3 == 2 {
            assert_eq!(site.left(&tenant)?, [] as [&str; 0], "after kill {kill}");
            continue;
        }
        let config = site.cluster().get(&["configmap", "web", "-n", &namespace(&tenant)])?;
        let release = if kill % 3 == 1 {
            kill.to_string()
        } else {
            config["data"]["RELEASE"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(config["data"]["RELEASE"], release, "after kill {kill}");
        // A run for each revision, and no second one.
        let jobs = site.cluster().get(&["jobs", "-n", &namespace(&tenant)])?;
        let names: Vec<&str> =
            jobs["items"].as_array().into_iter().flatten().filter_map(|job| job["metadata"]["name"].as_str()).collect();
        assert!(names.iter().all(|name| name.starts_with("migrate-r")), "{names:?}");
        let databases = site.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 't\\_%'")?;
        assert_eq!(databases, "1", "after kill {kill}");
    }
    let resumed = "SELECT count(DISTINCT operation) FROM journal WHERE (record->>'times')::int > 1";
    let resumed = site.freehold.sql("freehold", resumed)?;
    println!("kills: {kills} real kills in a cluster, {resumed} operations resumed, nothing left over");
    assert_ne!(resumed, "0", "no kill met an operation: the moments are badly chosen");
    site.destroy(&measure)?.succeeded()?;
    if kills.is_multiple_of(3) {
        assert_eq!(site.sql("SELECT datname FROM pg_database WHERE datname LIKE '%guestbook%'")?, "");
    }
    site.is_well()
}

#[test]
fn an_api_server_that_goes_away_in_mid_apply_and_comes_back_delays_a_deploy_and_breaks_nothing() -> Result<()> {
    let name = "an_api_server_that_goes_away_in_mid_apply_and_comes_back_delays_a_deploy_and_breaks_nothing";
    let Some(simulated) = Simulated::own_for_test(name, &Options::default()) else { return Ok(()) };
    let site = Site::start(Place::Simulated(&simulated))?;
    let image = site.place.guestbook()?;
    let cluster = simulated.cluster();
    let begin = Instant::now();
    site.deploy("measure", &["--tier", "free", "--image", &image])?.succeeded()?;
    let length = begin.elapsed();
    for (number, frozen) in [(0, false), (1, true), (2, false), (3, true)] {
        let tenant = format!("t{number}");
        let folder = guestbook::folder();
        let deploy =
            ["deploy", &folder, "--tenant", &tenant, "--target", TARGET, "--yes", "--tier", "free", "--image", &image];
        let child = site.freehold.start_run(deploy)?;
        thread::sleep(length.mul_f64((0.35 + f64::from(number) * 0.618_033_988_75).fract()));
        if frozen {
            cluster.freeze_api_server()?;
            thread::sleep(Duration::from_secs(5));
            cluster.thaw_api_server()?;
        } else {
            cluster.kill_api_server()?;
            thread::sleep(Duration::from_secs(3));
            cluster.restart_api_server()?;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Where it was gone before there was a plan, nothing was begun and it is said; otherwise the deploy went on.
        if !output.status.success() {
            println!("tenant {tenant}: {said}");
            site.deploy(&tenant, &["--tier", "free", "--image", &image])?.succeeded()?;
        }
        let again = site.deploy(&tenant, &[])?.succeeded()?.last_json()?;
        assert_eq!(again["state"], "unchanged", "{again}");
        site.destroy(&tenant)?.succeeded()?;
        assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    }
    site.destroy("measure")?.succeeded()?;
    site.is_well()
}
