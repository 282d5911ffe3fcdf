//! What a service's pods are made of.

use freehold_problem::Code;

use super::rules::{GOOD, and, codes, fine, found, only, web};

/// The good app with a service that keeps its data in a volume.
fn index(more: &str) -> String {
    and(&format!(
        "[service.index]\nimage = \"i\"\ncommand = [\"i\"]\n{more}\n[service.index.volumes]\ndata = {{ path = \"/var/lib/index\", size = \"1Gi\" }}\n"
    ))
}

#[test]
fn the_containers_of_a_pod_have_different_names() {
    only(Code::ClaimedTwice, &and("[service.web.sidecar.web]\nimage = \"x\""));
    only(Code::ClaimedTwice, &and("[service.web.init.web]\nimage = \"x\""));
    only(Code::ClaimedTwice, &and("[service.web.sidecar.a]\nimage = \"x\"\n[service.web.init.a]\nimage = \"x\""));
    fine(&and("[service.web.sidecar.a]\nimage = \"x\"\n[service.web.init.b]\nimage = \"x\""));
    // Other pods, other names.
    let other = "[service.other]\nimage = \"o\"\ncommand = [\"o\"]\n[service.other.sidecar.web]\nimage = \"x\"\n";
    fine(&and(&format!("{other}[service.web.sidecar.other]\nimage = \"x\"")));
}

#[test]
fn the_containers_of_a_pod_listen_on_different_ports() {
    let sidecars = |a: u16, b: u16| {
        and(&format!(
            "[service.web.sidecar.a]\nimage = \"x\"\nport = {a}\n[service.web.sidecar.b]\nimage = \"x\"\nport = {b}"
        ))
    };
    only(Code::ClaimedTwice, &sidecars(8080, 8080));
    only(Code::ClaimedTwice, &sidecars(1, 1));
    fine(&sidecars(1, 2));
    // It answers for the service.
    fine(&sidecars(8080, 1));
    only(Code::ClaimedTwice, &(sidecars(1, 2) + "\n[service.web.ports]\nadmin = { port = 2 }"));
}

#[test]
fn folders_do_not_lie_in_one_another() {
    let writable = |paths: &str| web(&format!("writable = [{paths}]"));
    only(Code::FoldersOverlap, &writable("\"/tmp\", \"/tmp/cache\""));
    only(Code::FoldersOverlap, &writable("\"/etc/freehold/database\""));
    fine(&writable("\"/etc/freeholder\""));
    only(Code::FoldersOverlap, &writable("\"/tmp/cache\", \"/tmp\""));
    fine(&writable("\"/tmp\", \"/tmpfiles\", \"/var/tmp\""));
    for path in ["/var/lib/index", "/var/lib/index/cache", "/var/lib"] {
        only(Code::FoldersOverlap, &index(&format!("update = \"recreate\"\nwritable = [\"{path}\"]")));
    }
    only(
        Code::FoldersOverlap,
        &(index("update = \"recreate\"") + "logs = { path = \"/var/lib/index/\", size = \"1Gi\" }"),
    );
    fine(&(index("update = \"recreate\"\nwritable = [\"/tmp\"]") + "logs = { path = \"/var/log\", size = \"1Gi\" }"));
}

#[test]
fn a_volume_has_one_user_at_a_time() {
    fine(&index("update = \"recreate\""));
    only(Code::VolumeShared, &index(""));
    let help = found(&index("")).remove(0).help.unwrap();
    assert_eq!(help, "set `update = \"recreate\"` in `[service.index]`");
    only(Code::VolumeShared, &index("update = \"recreate\"\nreplicas = 2"));
    only(Code::VolumeShared, &index("update = \"recreate\"\nautoscale = { max = 2 }"));
    only(Code::VolumeShared, &(index("update = \"recreate\"") + "[tier.pro]\nservice.index.replicas = 2"));
    only(Code::VolumeShared, &(index("update = \"recreate\"") + "[stage.dev]\nservice.index.replicas = 2"));
    // Both mistakes are told at once.
    assert_eq!(codes(&index("replicas = 2")), [Code::VolumeShared; 2]);
    // What could not be read may have been right.
    only(Code::UnknownWord, &index("update = \"recreated\""));
}

#[test]
fn the_autoscaler_may_start_what_there_is_to_begin_with() {
    only(Code::MostBelowReplicas, &web("replicas = 3\nautoscale = { max = 2 }"));
    only(Code::MostBelowReplicas, &(web("autoscale = { max = 2 }") + "[tier.pro]\nservice.web.replicas = 3"));
    only(Code::MostBelowReplicas, &(web("autoscale = { max = 2 }") + "[stage.production]\nservice.web.replicas = 3"));
    fine(&(web("replicas = 2\nautoscale = { max = 2 }") + "[tier.pro]\nservice.web.replicas = 1"));
}

#[test]
fn what_runs_beside_a_service_is_checked_like_a_service() {
    for table in ["sidecar", "init"] {
        let with = |variable: &str| and(&format!("[service.web.{table}.extra]\nimage = \"x\"\nenv = {{ {variable} }}"));
        only(Code::Dangling, &with("A = \"${secret.other}\""));
        only(Code::PlaceholderSecret, &with("A = \"changeme\""));
        only(Code::PlaintextSecret, &with("API_TOKEN = \"d41d8cd98f00b204\""));
        only(Code::ReservedVariable, &with("FREEHOLD_STACK = \"x\""));
        only(Code::MigratorInService, &with("A = \"${database.main.migration_url}\""));
        // Freehold gives ports to services only.
        fine(&with("PORT = \"9000\""));
        // What only a sidecar uses is used.
        fine(&(with("A = \"${secret.own} ${database.own.url}\"") + "\n[secret.own]\n[database.own]"));
    }
    fine(GOOD);
}

#[test]
fn no_two_parts_are_the_same_object_of_a_cluster() {
    let job = "[job.migrate]\nservice = \"web\"\ncommand = [\"m\"]\nenv = { MODE = \"once\" }\n";
    let service = |name: &str, more: &str| format!("[service.{name}]\nimage = \"i\"\ncommand = [\"i\"]\n{more}\n");
    let mode = "env = { MODE = \"watch\" }";
    only(Code::SameObject, &and(&format!("{job}{}", service("job-migrate", mode))));
    // It has nothing that would be called so.
    fine(&and(&format!("{job}{}", service("job-migrate", ""))));
    fine(&and(&format!("{job}{}", service("job-other", mode))));
    let volume = |service_name: &str, volume: &str| {
        let volume = format!("update = \"recreate\"\nvolumes = {{ {volume} = {{ path = \"/d\", size = \"1Gi\" }} }}");
        service(service_name, &volume)
    };
    only(Code::SameObject, &and(&(volume("a", "b-c") + &volume("a-b", "c"))));
    fine(&and(&(volume("a", "b-c") + &volume("a-b", "d"))));
    only(Code::SameObject, &and(&service("allow-dns", "internet = true")));
    let both = found(&and(&(volume("a", "b-c") + &volume("a-b", "c")))).remove(0);
    assert_eq!(both.labels.len(), 2, "{both:?}");
}

#[test]
fn a_schedule_means_the_same_on_every_target() {
    let job =
        |schedule: &str| and(&format!("[job.digest]\nservice = \"web\"\ncommand = [\"d\"]\nschedule = \"{schedule}\""));
    only(Code::ScheduleDiffers, &job("0 6 */2 * 5"));
    only(Code::ScheduleDiffers, &job("0 6 5 * */2"));
    for same in ["0 6 */2 * *", "0 6 1-31/2 * 5", "0 6 * * */2"] {
        fine(&job(same));
    }
}

#[test]
fn an_autoscaler_starts_from_something() {
    only(Code::ScaleFromZero, &web("replicas = 0\nautoscale = { max = 3 }"));
    let stage = "[stage.dev]\nservice.web.replicas = 0";
    only(Code::ScaleFromZero, &(web("autoscale = { max = 3 }") + stage));
    fine(&web("replicas = 0"));
    fine(&and(stage));
}
