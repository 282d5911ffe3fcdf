//! Who reaches whom in a cluster.

use freehold_problem::Code;

use super::rules::{GOOD, and, env, fine, found, only};

/// The good app with a way out, and a variable.
fn with(egress: &str, line: &str) -> String {
    env(line).replace("port    = 8080\n", &format!("port    = 8080\negress = [{egress}]\n"))
}

#[test]
fn an_address_that_no_policy_opens_is_told() {
    for line in [
        "A = \"redis://redis:6379\"",
        "A = \"redis:6379\"",
        "A = \"smtp.example.net:587\"",
        "A = \"smtp://user@smtp.example.net\"",
        "A = \"http://alloy.monitoring.svc:4318\"",
        "A = \"alloy.monitoring.svc.cluster.local:4318\"",
        "A = \"kafka-0.kafka.svc:9092,kafka-1.kafka.svc:9092\"",
        "A = \"amqp://10.0.0.5\"",
        "A = \"mongodb://[fd00::5]:27017/db\"",
        "A = \"postgresql://db.example.org:5433/shop\"",
        "SMTP_HOST = \"smtp.example.net\"\nSMTP_PORT = \"587\"",
    ] {
        only(Code::AddressShutOut, &env(line));
    }
    // Nothing of it is a password.
    let told =
        found(&env("A = \"amqp://shop:x@mq.example.org\"")).into_iter().find(|one| one.code == Code::AddressShutOut);
    assert!(told.unwrap().message.ends_with("could not reach mq.example.org in a cluster"));
}

#[test]
fn what_is_opened_or_may_be_no_address_is_not() {
    for (egress, line) in [
        ("\"smtp.example.org:587\"", "A = \"smtp.example.net:587\""),
        ("\"alloy.monitoring:12345\"", "A = \"http://alloy.monitoring.svc:4318\""),
        ("\"10.0.0.0/8:5672\"", "A = \"amqp://10.0.0.5\""),
        ("\"10.0.0.0/8:5433\"", "A = \"postgresql://db.example.org:5433/shop\""),
        ("\"10.0.0.0/8:3128\"", "A = \"http://proxy:3128\""),
    ] {
        fine(&with(egress, line));
    }
    only(Code::AddressShutOut, &with("\"smtp.example.org:25\"", "A = \"smtp.example.net:587\""));
    only(Code::AddressShutOut, &with("\"otel.tracing:4318\"", "A = \"http://alloy.monitoring.svc:4318\""));
    for text in [
        "https://auth.example.com/.well-known/jwks.json",
        "http://shop.example.org",
        "karafiel:https://api.example.mx/api",
        "0.0.0.0:8080",
        "127.0.0.1:6379",
        "localhost:6379",
        "redis://localhost",
        "[::]:4317",
        ":8080",
        "1000:1000",
        "12:30",
        "node:22",
        "python:3.12-slim",
        "registry.example.org:5000/shop:1",
        "a b:6379",
        "model:13b",
        "smtp.example.net",
        "tcp://",
        "redis://",
        "x://y:1",
    ] {
        fine(&env(&format!("A = {text:?}")));
    }
    fine(&env("APP_HOST = \"shop.example.org\"\nAPP_PORT = \"3000\""));
    // Without an image it runs on one machine, where nothing is shut.
    let process = GOOD.replace("image   = \"ghcr.io/acme/shop\"", "build = { artifact = [\"shop\"] }");
    fine(&process.replace("[service.web.env]\n", "[service.web.env]\nA = \"redis://redis:6379\"\n"));
}

#[test]
fn what_is_the_stack_s_own_is_reached_by_reference() {
    let redis = "\n[service.redis]\nimage = \"redis\"\ncommand = [\"redis-server\"]\nport = 6379\n";
    let help = |definition: &str| {
        only(Code::AddressShutOut, definition);
        found(definition)[0].help.clone().unwrap()
    };
    let said = help(&(env("A = \"redis://redis:6379\"") + redis));
    assert_eq!(said, "use `${service.redis.host}` and `${service.redis.port}`");
    assert!(help(&(env("A = \"http://redis:6379\"") + redis)).contains("${service.redis.url}"));
    fine(&(env("A = \"redis://redis:6379\"\nWAY = \"${service.redis.url}\"") + redis));
    // The way leads to its own port.
    help(&(env("A = \"redis://redis:80\"\nWAY = \"${service.redis.url}\"") + redis));
    let cache = "\n[cache.sessions]\n[job.warm]\nservice = \"web\"\ncommand = [\"w\"]\nenv = { A = \"${cache.sessions.url}\" }\n";
    assert!(help(&(env("A = \"redis://sessions:6379\"") + cache)).contains("${cache.sessions.url}"));
    // A job has the ways out of its service.
    let job = "\n[job.mail]\nservice = \"web\"\ncommand = [\"mail\"]\nenv = { A = \"smtp.example.net:587\" }\n";
    only(Code::AddressShutOut, &and(job));
    fine(&(with("\"smtp.example.net:587\"", "B = \"1\"") + job));
}

#[test]
fn a_service_with_a_port_is_reached_by_somebody() {
    let api = |more: &str| format!("\n[service.api]\nimage = \"api\"\ncommand = [\"api\"]\nport = 9000\n{more}\n");
    only(Code::NobodyReaches, &and(&api("")));
    for more in [
        "ingress = [\"monitoring:9000\"]",
        "health = { live = \"/live\" }",
        "replicas = 0",
        "[service.api.sidecar.proxy]\nimage = \"proxy\"",
        "[route.api]\nservice = \"api\"\nhosts = [\"api-${stack.name}.${target.domain}\"]",
    ] {
        fine(&and(&api(more)));
    }
    fine(&(env("API = \"${service.api.host}\"") + &api("")));
    only(Code::NobodyReaches, &(env("API = \"${service.api.image_digest}\"") + &api("")));
    // What runs on one machine only is shut to nobody.
    fine(&and(&api("").replace("image = \"api\"", "build = { artifact = [\"api\"] }")));
    // Reached in one environment only.
    fine(&and(&api("[stage.dev]\nservice.web.env.API = \"${service.api.url}\"")));
}
