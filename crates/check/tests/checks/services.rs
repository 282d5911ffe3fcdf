//! Ports, probes, images of containers, and files.

use freehold_check::source_in;
use freehold_problem::Code;
use freehold_spec::{Files, Language};

use super::rules::{and, codes, env, fine, not_of_production, only, web};

#[test]
fn a_probe_asks_one_thing_and_somebody() {
    let health = |probe: &str| web(&format!("health = {{ ready = {probe} }}"));
    fine(&health("\"/health\""));
    fine(&health("{ http = \"/health\", period = \"2s\", timeout = \"1s\", failures = 5 }"));
    fine(&health("{ command = [\"ping\"] }"));
    fine(&health("{ grpc = \"\" }"));
    fine(&health("{ tcp = true }"));
    only(Code::BadProbe, &health("{}"));
    only(Code::BadProbe, &health("{ tcp = false }"));
    only(Code::BadProbe, &health("{ http = \"/health\", tcp = true }"));
    only(Code::Dangling, &health("{ http = \"/health\", port = \"admin\" }"));
    fine(&(health("{ http = \"/health\", port = \"admin\" }") + "\n[service.web.ports]\nadmin = { port = 9000 }"));
    let worker = |health: &str| {
        and(&format!("[service.worker]\nimage = \"w\"\ncommand = [\"w\"]\nhealth = {{ live = {health} }}"))
    };
    only(Code::NoPortToReach, &worker("\"/health\""));
    fine(&worker("{ command = [\"ping\"] }"));
}

#[test]
fn a_port_has_a_name_that_kubernetes_takes() {
    let ports = |name: &str| and(&format!("[service.web.ports]\n{name} = {{ port = 9000, protocol = \"tcp\" }}"));
    fine(&ports("smtp"));
    only(Code::BadName, &ports("a-name-that-is-too-long"));
    only(Code::BadName, &ports("http"));
    only(Code::UnknownWord, &and("[service.web.ports]\nsmtp = { port = 25, protocol = \"smtp\" }"));
    only(Code::ReservedVariable, &(env("PORT_SMTP = \"25\"") + "\n[service.web.ports]\nsmtp = { port = 25 }"));
}

#[test]
fn a_reference_to_a_port_leads_to_one() {
    let app = |reference: &str| {
        and(&format!(
            "[service.web.ports]\nadmin = {{ port = 9000 }}\n[service.other]\nimage = \"o\"\ncommand = [\"o\"]\n[service.other.env]\nA = \"{reference}\""
        ))
    };
    for output in ["url", "host", "port"] {
        fine(&app(&format!("${{service.web.admin.{output}}}")));
    }
    only(Code::Dangling, &app("${service.web.admln.url}"));
    only(Code::Dangling, &app("${service.wed.admin.url}"));
    only(Code::UnknownReference, &app("${service.web.admin.path}"));
}

#[test]
fn the_image_of_a_container_is_said_once() {
    let sidecar = |keys: &str| and(&format!("[service.web.sidecar.proxy]\n{keys}"));
    fine(&sidecar("image = \"x\""));
    fine(&sidecar("service = \"web\""));
    only(Code::ContainerImage, &sidecar("port = 1"));
    only(Code::ContainerImage, &sidecar("image = \"x\"\nservice = \"web\""));
    only(Code::UnknownService, &sidecar("service = \"wep\""));
    only(Code::VariableNotSet, &sidecar("image = \"x\"\nreads = [\"TOKEN\"]"));
}

#[test]
fn routes_lead_to_what_speaks_http() {
    fine(&web("protocol = \"grpc\""));
    only(Code::RouteNotHttp, &web("protocol = \"tcp\""));
}

#[test]
fn files_are_at_different_places_and_said_once() {
    let files = |files: &str| and(&format!("[service.web.files]\n{files}"));
    fine(&files("a = { path = \"/etc/a\", text = \"\" }\nb = { path = \"/etc/b\", text = \"\", mode = \"0400\" }"));
    only(
        Code::FoldersOverlap,
        &files("a = { path = \"/etc/a\", text = \"\" }\nb = { path = \"/etc/a\", text = \"\" }"),
    );
    only(
        Code::FoldersOverlap,
        &files("a = { path = \"/etc/a\", text = \"\" }\nb = { path = \"/etc/a/b\", text = \"\" }"),
    );
    only(Code::FoldersOverlap, &files("a = { path = \"/etc/freehold/a\", text = \"\" }"));
    only(Code::BadPath, &files("a = { path = \"etc/a\", text = \"\" }"));
    only(Code::BadFile, &files("a = { path = \"/etc/a\" }"));
    only(Code::BadFile, &files("a = { path = \"/etc/a\", file = \"a.conf\" }"));
    for mode in ["644x", "0999", "4755", "rw-r--r--"] {
        only(Code::BadText, &files(&format!("a = {{ path = \"/etc/a\", text = \"\", mode = \"{mode}\" }}")));
    }
}

#[test]
fn the_references_of_a_file_are_read_with_their_lines() {
    let source =
        |more: &str| and(&format!("[service.web.files]\na = {{ path = \"/etc/a\", file = \"a.conf\"{more} }}"));
    let told = |more: &str, text: &str| {
        let files = Files::from([("a.conf".to_owned(), text.to_owned())]);
        not_of_production(source_in(Language::NEWEST, &source(more), &files).1)
    };
    assert!(told("", "x = ${stack.name}\n$${HOME} $uri\n").is_empty());
    let found = told("", "one\ntwo ${HOME}\n");
    assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::UnknownReference]);
    assert!(found[0].message.starts_with("a.conf:2: "), "{}", found[0].message);
    assert!(told(", references = false", "two ${HOME}\n").is_empty());
    assert_eq!(told("", "a\0b")[0].code, Code::BadFile);
    // Secrets may be in files; what nobody defines may not.
    assert_eq!(told("", "${secret.nobody}")[0].code, Code::Dangling);
}

#[test]
fn a_quota_counts_requests_apart() {
    let app = |quota: &str| format!("{}\n[quota]\n{quota}", web("cpu = \"500m..2\"\nreplicas = 2"));
    assert_eq!(codes(&app("cpu = \"2..8\"")), []);
    assert!(codes(&app("cpu = \"900m..8\"")).contains(&Code::QuotaTooSmall));
    assert!(codes(&app("cpu = \"2..3\"")).contains(&Code::QuotaTooSmall));
}
