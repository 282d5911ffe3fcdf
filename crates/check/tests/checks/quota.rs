//! The arithmetic of quotas, as a cluster would count.

use freehold_check::{Diagnostic, render, source};
use freehold_problem::Code;

use super::CROWDED;
use super::rules::{self, and, fine, only, web};

/// What is found about one service `web` of 500m (at the most) with more lines in it, in a tier with these figures.
fn found(service: &str, more: &str, tier: &str) -> Vec<Diagnostic> {
    let definition = format!(
        "[app]\nname = \"shop\"\n[tier.a.quota]\n{tier}\n[service.web]\nimage = \"w\"\ncommand = [\"w\"]\n{service}\n{more}\n"
    );
    rules::found(&definition)
}

/// The smallest `cpu`, in millicores, that nothing is said about.
#[track_caller]
fn least_cpu(service: &str, more: &str) -> u64 {
    let enough = |cpu: u64| found(service, more, &format!("cpu = \"{cpu}m\"")).is_empty();
    let least = (1..10_000).find(|cpu| enough(*cpu)).expect("some figure is enough");
    // The figure that is told is the one that is enough.
    let told = found(service, more, "cpu = \"1m\"").remove(0);
    assert_eq!(told.code, Code::QuotaTooSmall);
    let raised = format!("raise cpu to {:?}, ", freehold_spec::Cpu(least).to_string());
    assert!(told.help.as_ref().unwrap().starts_with(&raised), "{told:?} does not begin with {raised:?}");
    least
}

const WORKER: &str = "[service.worker]\nimage = \"w\"\ncommand = [\"w\"]\ncpu = \"300m\"\n";

fn job(name: &str, more: &str) -> String {
    format!("[job.{name}]\nservice = \"web\"\ncommand = [\"j\"]\n{more}\n")
}

#[test]
fn a_quota_holds_the_app() {
    // One web: 500m and 256Mi at the most.
    only(Code::QuotaTooSmall, &and("[tier.a]\nquota.cpu = \"499m\""));
    only(Code::QuotaTooSmall, &and("[tier.a]\nquota.memory = \"255Mi\""));
    only(Code::QuotaTooSmall, &and("[tier.a]\nquota.pods = 1\nservice.web.replicas = 2"));
    fine(&and("[tier.a]\nquota.cpu = \"1\"\nquota.memory = \"512Mi\"\nquota.pods = 2"));
}

#[test]
fn a_quota_leaves_room_for_an_update() {
    only(Code::NoRoomForUpdate, &and("[tier.a]\nquota.cpu = \"999m\""));
    only(Code::NoRoomForUpdate, &and("[tier.a]\nquota.memory = \"511Mi\""));
    only(Code::NoRoomForUpdate, &and("[tier.a]\nquota.pods = 1"));
    fine(&(web("update = \"recreate\"") + "[tier.a]\nquota.cpu = \"500m\"\nquota.memory = \"256Mi\"\nquota.pods = 1"));
}

#[test]
fn each_copy_counts_and_one_more_for_the_surge() {
    assert_eq!(least_cpu("", ""), 500 + 500);
    assert_eq!(least_cpu("replicas = 3", ""), 3 * 500 + 500);
    assert_eq!(least_cpu("replicas = 3\nupdate = \"recreate\"", ""), 3 * 500);
}

#[test]
fn a_service_without_copies_takes_nothing() {
    assert_eq!(least_cpu("", &format!("{WORKER}replicas = 0")), 500 + 500);
    assert_eq!(least_cpu("replicas = 0", WORKER), 300 + 300);
}

#[test]
fn all_services_may_be_updated_at_once() {
    assert_eq!(least_cpu("", WORKER), 500 + 300 + (500 + 300));
    assert_eq!(least_cpu("update = \"recreate\"", WORKER), 500 + 300 + 300);
}

#[test]
fn a_tier_s_copies_go_before_the_service_s_own() {
    let too_small = found("replicas = 2", "", "cpu = \"1400m\"");
    assert_eq!(too_small[0].code, Code::NoRoomForUpdate);
    assert!(found("replicas = 2", "", "cpu = \"1\"\n[tier.a]\nservice.web.replicas = 1").is_empty());
}

#[test]
fn sidecars_count_with_each_copy() {
    let sidecar = "[service.web.sidecar.a]\nimage = \"a\"\ncpu = \"50m\"\n";
    assert_eq!(least_cpu("replicas = 2", sidecar), 2 * 550 + 550);
}

#[test]
fn of_init_containers_the_largest_counts_where_it_is_more_than_the_rest() {
    let init = |cpu: &str| format!("[service.web.init.a]\nimage = \"a\"\ncpu = \"{cpu}\"\n");
    let second = "[service.web.init.b]\nimage = \"b\"\ncpu = \"400m\"\n";
    assert_eq!(least_cpu("", &(init("400m") + second)), 500 + 500);
    assert_eq!(least_cpu("", &(init("800m") + second)), 800 + 800);
    let sidecar = "[service.web.sidecar.c]\nimage = \"c\"\ncpu = \"400m\"\n";
    assert_eq!(least_cpu("", &(init("800m") + sidecar)), 900 + 900);
}

#[test]
fn jobs_on_a_schedule_count_at_any_time() {
    let schedule = "schedule = \"0 6 * * *\"\n";
    assert_eq!(least_cpu("", &job("digest", schedule)), 500 + 500 + 500);
    assert_eq!(least_cpu("", &job("digest", &format!("{schedule}cpu = \"70m\""))), 500 + 70 + 500);
}

#[test]
fn jobs_that_run_once_count_beside_the_old_version_and_not_beside_the_surge() {
    assert_eq!(least_cpu("", &job("migrate", "")), 500 + 500);
    assert_eq!(least_cpu("", &job("migrate", "cpu = \"2\"")), 500 + 2000);
    assert_eq!(least_cpu("", &(job("migrate", "cpu = \"300m\"") + &job("seed", "cpu = \"400m\""))), 500 + 700);
    assert_eq!(least_cpu("update = \"recreate\"", &job("migrate", "cpu = \"100m\"")), 500 + 100);
}

#[test]
fn a_pod_is_one_whatever_is_in_it() {
    let sidecar = "[service.web.sidecar.a]\nimage = \"a\"\n[service.web.init.b]\nimage = \"b\"\n";
    assert!(found("", sidecar, "pods = 2").is_empty());
    assert_eq!(found("", sidecar, "pods = 1")[0].code, Code::NoRoomForUpdate);
    let jobs = job("digest", "schedule = \"0 6 * * *\"") + &job("migrate", "") + &job("seed", "");
    assert_eq!(
        found("", &jobs, "pods = 3")[0].notes[0],
        "1 + 1 of digest = 2, and migrate, seed beside the old version"
    );
    assert!(found("", &jobs, "pods = 4").is_empty());
}

#[test]
fn the_most_copies_of_the_autoscaler_have_room_and_can_be_updated() {
    assert_eq!(least_cpu("replicas = 2\nautoscale = { max = 4 }", ""), 4 * 500 + 500);
    for (cpu, code) in [(999, Code::QuotaTooSmall), (1499, Code::NoRoomForUpdate), (2499, Code::NoRoomToScale)] {
        let found = found("replicas = 2\nautoscale = { max = 4 }", "", &format!("cpu = \"{cpu}m\""));
        assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), [code]);
    }
}

#[test]
fn the_fix_that_is_named_is_one() {
    // 800m while running; of 800m for the surge, 200m have room.
    let told = found("", WORKER, "cpu = \"1\"").remove(0);
    assert_eq!(told.help.unwrap(), "raise cpu to \"1600m\", or set `update = \"recreate\"` for web and worker");
    let told = found("", WORKER, "cpu = \"1100m\"").remove(0);
    assert_eq!(told.help.unwrap(), "raise cpu to \"1600m\", or set `update = \"recreate\"` for web");
    assert!(found("update = \"recreate\"", WORKER, "cpu = \"1100m\"").is_empty());
    // Another way to update the services doesn't help the job.
    let told = found("", &job("migrate", "cpu = \"2\""), "cpu = \"1\"").remove(0);
    assert_eq!(told.message, "this quota lets no update through");
    assert_eq!(told.help.unwrap(), "raise cpu to \"2500m\", or give the jobs or the services less");
}

#[test]
fn the_quota_s_arithmetic_is_shown() {
    let definition = web("replicas = 2")
        + "[service.w]\nimage = \"w\"\ncommand = [\"w\"]\ncpu = \"350m\"\nreplicas = 2\nupdate = \"recreate\"\n[tier.a]\nquota.cpu = \"2\"";
    let found = rules::found(&definition).remove(0);
    assert_eq!(found.code, Code::NoRoomForUpdate);
    assert_eq!(found.notes[0], "2 × 350m + 2 × 500m = 1700m, and one more web of 500m for the surge");
    assert_eq!(found.help.unwrap(), "raise cpu to \"2200m\", or set `update = \"recreate\"` for web");
}

#[test]
fn an_app_that_is_too_large_for_its_tiers_is_told_all_sums() {
    let (_, diagnostics) = source(CROWDED);
    insta::assert_snapshot!(render::plain(&diagnostics, "freehold.toml", CROWDED));
}

#[test]
fn a_cache_takes_a_pod_and_more_memory_than_its_data() {
    let app = |quota: &str, cache: &str| {
        format!(
            "[app]\nname = \"shop\"\n[quota]\n{quota}\n[cache.sessions]\n{cache}\n[service.web]\nimage = \"a\"\ncommand = [\"a\"]\n\
             update = \"recreate\"\nmemory = \"256Mi\"\ncpu = \"500m\"\nenv = {{ URL = \"${{cache.sessions.url}}\" }}\n"
        )
    };
    // 256Mi of the service, 128Mi + 64Mi + 64Mi of the cache.
    fine(&app("memory = \"512Mi\"", "memory = \"128Mi\""));
    only(Code::QuotaTooSmall, &app("memory = \"511Mi\"", "memory = \"128Mi\""));
    only(Code::QuotaTooSmall, &app("memory = \"575Mi\"", "memory = \"128Mi\"\npersist = true"));
    fine(&app("memory = \"576Mi\"", "memory = \"128Mi\"\npersist = true"));
    fine(&app("pods = 2", ""));
    only(Code::QuotaTooSmall, &app("pods = 1", ""));
    only(Code::QuotaTooSmall, &app("cpu = \"1\"", ""));
    fine(&app("cpu = \"1\"", "cpu = \"500m\""));
}

#[test]
fn jobs_that_are_ordered_do_not_run_at_once() {
    let large = "cpu = \"2\"";
    let two = |more: &str| format!("{}{}", job("a", large), job("b", &format!("{large}\n{more}")));
    assert_eq!(least_cpu("update = \"recreate\"", &two("")), 4500);
    assert_eq!(least_cpu("update = \"recreate\"", &two("after = [\"a\"]")), 2500);
    // Two of them after a third one: these two meet.
    let three = format!("{}{}", two("after = [\"a\"]"), job("c", "cpu = \"1\"\nafter = [\"a\"]"));
    assert_eq!(least_cpu("update = \"recreate\"", &three), 3500);
    // Nobody may want it while a deploy runs.
    assert_eq!(least_cpu("update = \"recreate\"", &job("a", &format!("{large}\nwhen = \"demand\""))), 500);
}
