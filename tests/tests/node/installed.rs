//! Freehold itself in the cluster: any replica may die at any time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_end_to_end::site::{TARGET, host, namespace, url};
use freehold_end_to_end::{Installed, Place, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, Node};

/// How long an operation whose replica has died may take: a lease, and its own time.
const TAKEN_OVER: Duration = Duration::from_secs(180);

fn answers(tenant: &str) -> Result<()> {
    let client = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let status = client.get(url("/")).header("host", host(tenant)).send()?.status();
    anyhow::ensure!(status == 200, "{tenant}: {status}");
    Ok(())
}

#[test]
fn any_replica_may_be_killed_or_replaced_in_the_middle_of_a_deploy() -> Result<()> {
    let name = "any_replica_may_be_killed_or_replaced_in_the_middle_of_a_deploy";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let (begin, image) = (Instant::now(), Place::Node(node).guestbook()?);
    let freehold = Installed::start(node)?;
    println!("installed and the target added after {:.1} s", begin.elapsed().as_secs_f64());
    let folder = guestbook::folder();
    let deploy = |tenant: &str| {
        let deploy = ["deploy", &folder, "--tenant", tenant, "--target", TARGET, "--yes", "--json", "--tier", "free"];
        freehold.start_run(deploy.iter().chain(&["--image", &image]))
    };
    let mut tenants = Vec::new();
    let (mut ways, mut ended_before) = (vec![false, true], 0);
    while let Some(by_hand) = ways.pop() {
        let tenant = ControlPlane::unique("acme");
        let child = deploy(&tenant)?;
        let (pod, uid) = freehold.worker();
        let killed = Instant::now();
        if by_hand {
            freehold.kill(&uid)?
        } else {
            freehold.delete(&pod)?
        }
        let run = freehold.ended(child)?.succeeded()?;
        println!("{pod} killed; another finished its deploy after {:.1} s", killed.elapsed().as_secs_f64());
        if run.stdout.contains(r#""event":"taken","times":2"#) {
            assert!(killed.elapsed() < TAKEN_OVER, "{:?}", killed.elapsed());
        } else {
            // The deploy was quicker than the kill: once more.
            ended_before += 1;
            assert!(ended_before < 5, "it was never interrupted: {}", run.stdout);
            ways.push(by_hand);
        }
        answers(&tenant)?;
        let jobs = node.cluster().kubectl(&["get", "jobs", "-n", &namespace(&tenant), "-o", "name"])?;
        assert_eq!(jobs.trim(), "job.batch/migrate-r1", "the migration ran once");
        tenants.push(tenant);
    }
    freehold.rolled_out()?;

    let several: Vec<String> = (0..4).map(|_| ControlPlane::unique("acme")).collect();
    let mut children = Vec::new();
    for (number, tenant) in several.iter().enumerate() {
        children.push(deploy(tenant)?);
        if number == 1 {
            freehold.restart()?;
        }
        thread::sleep(Duration::from_secs(2));
    }
    for child in children {
        let run = freehold.ended(child)?;
        anyhow::ensure!(run.code == 0, "{run:#?}\n{}", freehold.logs()?);
    }
    freehold.rolled_out()?;
    tenants.extend(several);
    let mut destroying = Vec::new();
    for tenant in &tenants {
        answers(tenant)?;
        let destroy = ["destroy", "--tenant", tenant, "--confirm", tenant, "--no-dump", "--json"];
        destroying.push(freehold.start_run(destroy)?);
    }
    for child in destroying {
        freehold.ended(child)?.succeeded()?;
    }
    let left = node.cluster().kubectl(&["get", "namespaces", "-l", "freehold.dev/stack", "-o", "name"])?;
    for tenant in &tenants {
        assert!(!left.contains(&namespace(tenant)), "{left}");
    }
    Ok(())
}
