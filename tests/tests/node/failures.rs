//! Deploys that fail: the true reason is told well before any deadline, and the old version serves on.

use std::time::{Duration, Instant};

use anyhow::Result;
use freehold_end_to_end::site::TARGET;
use freehold_end_to_end::{App, Place, Run, Site, guestbook};
use freehold_testkit::kubernetes::{ControlPlane, Node};

/// How long a failure that is certain may take to be told. The Deployment's own deadline is ten minutes, the job's as well.
const SOON: Duration = Duration::from_secs(300);

/// A guestbook at version 1, which answers.
struct Tenant<'a> {
    site: Site<'a>,
    name: String,
    app: App,
}

impl<'a> Tenant<'a> {
    fn deployed(node: &'a Node) -> Result<Self> {
        let tenant =
            Self { site: Site::start(Place::Node(node))?, name: ControlPlane::unique("acme"), app: guestbook::copy()? };
        let image = tenant.site.place.guestbook()?;
        tenant.deploy(&["--tier", "free", "--image", &image])?.succeeded()?;
        Ok(tenant)
    }

    fn deploy(&self, more: &[&str]) -> Result<Run> {
        self.site.deploy_folder(&self.app.argument(), &self.name, more)
    }

    /// Deploys, which has to fail with that code and those words, soon; and what was there before serves on.
    #[allow(clippy::print_stdout, reason = "how long it took is worth a line")]
    fn fails(&self, code: &str, words: &[&str], more: &[&str]) -> Result<()> {
        let begin = Instant::now();
        let run = self.deploy(more)?;
        assert!(run.code != 0 && run.stderr.contains(code), "no {code}: {run:#?}");
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        for word in words {
            assert!(run.stdout.contains(word) || run.stderr.contains(word), "{word:?} is not said: {run:#?}");
        }
        println!("{code}: told after {:.1} s", begin.elapsed().as_secs_f64());
        self.answers()
    }

    fn answers(&self) -> Result<()> {
        let (status, page) = self.site.get(&self.name, "/")?;
        anyhow::ensure!(status == 200, "{status}: {page}");
        Ok(())
    }

    /// With the fault in the service's environment, or the job's.
    fn fault(&self, fault: &str, of: &str) -> Result<()> {
        let table = format!("[{of}.env]\n");
        self.app.redefine(&table, &format!("{table}GUESTBOOK_FAULT = \"{fault}\"\n"))
    }
}

#[test]
fn a_crash_loop_is_told_with_its_last_words_while_the_old_version_serves() -> Result<()> {
    let name = "a_crash_loop_is_told_with_its_last_words_while_the_old_version_serves";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let tenant = Tenant::deployed(node)?;
    tenant.fault("exit-at-start", "service.web")?;
    tenant.fails("FH0706", &["exit-at-start"], &[])?;
    // The way back is a deploy of what was right.
    tenant.app.redefine("GUESTBOOK_FAULT = \"exit-at-start\"\n", "")?;
    tenant.deploy(&[])?.succeeded()?;
    tenant.answers()?;
    tenant.site.destroy(&tenant.name)?.succeeded()?;
    assert_eq!(tenant.site.left(&tenant.name)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn an_image_that_does_not_exist_is_an_error_of_the_plan_and_one_that_vanished_is_told_at_once() -> Result<()> {
    let name = "an_image_that_does_not_exist_is_an_error_of_the_plan_and_one_that_vanished_is_told_at_once";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let tenant = Tenant::deployed(node)?;
    let registry = tenant.site.place.registry();
    let missing = format!("web={}/guestbook:missing", registry.address());
    tenant.fails("FH0607", &["guestbook:missing"], &["--image", &missing])?;

    let foreign = guestbook::image()?.architecture("s390x");
    let foreign = format!("web={}", tenant.site.place.push("guestbook-foreign", "1", &foreign)?);
    tenant.fails("FH0608", &["s390x", "amd64"], &["--image", &foreign])?;

    // There when the plan is made, gone when it is applied: refused before anything is touched. Another repository: blobs are shared
    // within one.
    let image = guestbook::image()?.label("version", "2");
    let reference = registry.push("guestbook-vanishing", "2", &image)?;
    let plan = tenant.site.freehold.path().join("plan.json").display().to_string();
    let folder = tenant.app.argument();
    let arguments = ["plan", &folder, "--tenant", &tenant.name, "--target", TARGET, "--out", &plan, "--image"];
    let image = format!("web={}/guestbook-vanishing:2", registry.address());
    tenant.site.freehold.run(arguments.into_iter().chain([image.as_str()]))?.succeeded()?;
    let digest = reference.split_once('@').map(|(_, digest)| digest).unwrap_or_default();
    registry.delete("guestbook-vanishing", digest)?;
    let begin = Instant::now();
    let run = tenant.site.freehold.run(["deploy", "--plan", &plan, "--yes", "--json"])?;
    let run = run.failed_with(2, "FH0607")?;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(run.stderr.contains("doesn't exist") && run.stdout.contains("\"operation\":null"), "{run:#?}");
    tenant.answers()?;
    tenant.site.destroy(&tenant.name)?.succeeded()?;
    Ok(())
}

#[test]
fn a_failing_migration_is_told_with_its_log_and_the_old_version_serves() -> Result<()> {
    let name = "a_failing_migration_is_told_with_its_log_and_the_old_version_serves";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let tenant = Tenant::deployed(node)?;
    tenant.fault("fail-migration", "job.migrate")?;
    tenant.app.redefine("LOG_LEVEL    = \"info\"", "LOG_LEVEL    = \"debug\"")?;
    tenant.fails("FH0701", &["migrate"], &[])?;
    let pods = ["get", "configmap", "web", "-n", &format!("{}--guestbook", tenant.name), "-o", "json"];
    let config = tenant.site.cluster().kubectl(&pods)?;
    assert!(config.contains(r#""LOG_LEVEL": "info""#), "no service was changed before its migration: {config}");
    tenant.site.destroy(&tenant.name)?.succeeded()?;
    assert_eq!(tenant.site.left(&tenant.name)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn a_service_that_never_gets_ready_fails_a_new_tenant_and_a_destroy_takes_all_of_it() -> Result<()> {
    let name = "a_service_that_never_gets_ready_fails_a_new_tenant_and_a_destroy_takes_all_of_it";
    let Some(node) = Node::for_test(name) else { return Ok(()) };
    let site = Site::start(Place::Node(node))?;
    let (tenant, app) = (ControlPlane::unique("acme"), guestbook::copy()?);
    app.redefine("[service.web.env]\n", "[service.web.env]\nGUESTBOOK_FAULT = \"exit-at-start\"\n")?;
    let image = site.place.guestbook()?;
    site.deploy_folder(&app.argument(), &tenant, &["--tier", "free", "--image", &image])?.failed_with(1, "FH0706")?;
    site.destroy(&tenant)?.succeeded()?;
    assert_eq!(site.left(&tenant)?, [] as [&str; 0]);
    site.is_well()
}
