//! Limits that don't go together, and what is asked of production.

use freehold_check::source;
use freehold_problem::Code;

use super::rules::{GOOD, and, env, fine, found, only, web};

#[test]
fn memory_is_reserved_where_it_is_needed() {
    only(Code::MemoryOvercommitted, &web("memory = \"64Mi..1Gi\""));
    only(Code::MemoryOvercommitted, &and("[service.web.sidecar.a]\nimage = \"x\"\nmemory = \"100Mi..600Mi\""));
    only(Code::MemoryOvercommitted, &and("[job.a]\nservice = \"web\"\ncommand = [\"a\"]\nmemory = \"1Mi..512Mi\""));
    for memory in ["64Mi..256Mi", "1Mi..511Mi", "256Mi..1Gi", "384Mi..768Mi", "8Gi"] {
        fine(&web(&format!("memory = \"{memory}\"")));
    }
}

#[test]
fn a_server_of_redis_is_not_killed_by_its_own_data() {
    let redis = |command: &str, memory: &str| {
        and(&format!("[service.redis]\nimage = \"redis\"\ncommand = {command}\nmemory = \"{memory}\""))
    };
    let full = "[\"sh\", \"-c\", \"exec redis-server --maxmemory 256mb --save ''\"]";
    only(Code::CacheFillsLimit, &redis(full, "256Mi"));
    only(Code::CacheFillsLimit, &redis("[\"valkey-server\", \"--maxmemory\", \"1g\"]", "1Gi"));
    fine(&redis(full, "384Mi"));
    fine(&redis("[\"redis-server\"]", "256Mi"));
}

#[test]
fn pools_fit_into_the_connections_of_their_database() {
    let pool = |line: &str, more: &str| env(line).replace("port    = 8080\n", &format!("port    = 8080\n{more}\n"));
    only(Code::PoolsTooLarge, &pool("DATABASE_POOL_SIZE = \"11\"", ""));
    only(Code::PoolsTooLarge, &pool("DB_POOL_MAX = \"4\"", "replicas = 3"));
    only(Code::PoolsTooLarge, &pool("DB_POOL_MAX = \"4\"", "autoscale = { max = 3 }"));
    fine(&pool("DB_POOL_MAX = \"5\"", "replicas = 2"));
    fine(&pool("DB_POOL_MIN = \"50\"", ""));
    fine(&pool("DB_POOL_MAX = \"many\"", ""));
    let url = |parameter: &str| GOOD.replace("${database.main.url}", &format!("${{database.main.url}}{parameter}"));
    only(Code::PoolsTooLarge, &url("?sslmode=disable&pool_max_conns=20"));
    fine(&url("?pool_max_conns=10"));
    // Two services of one database share its connections.
    let worker = "\n[service.worker]\nimage = \"w\"\ncommand = [\"w\"]\nenv = { URL = \"${database.main.url}\", DB_POOL_SIZE = \"6\" }\n";
    let both = pool("DB_POOL_SIZE = \"6\"", "") + worker;
    only(Code::PoolsTooLarge, &both);
    assert_eq!(found(&both)[0].notes, ["6 of service web + 6 of service worker = 12"]);
    fine(&and(worker));
    // Of two databases it isn't clear whose the pool is.
    fine(&(pool("DB_POOL_SIZE = \"20\"\nOTHER = \"${database.other.url}\"", "") + "\n[database.other]\n"));
}

/// The codes of what is asked of production, with where it is so.
fn asked(definition: &str) -> Vec<(Code, String)> {
    let found = source(definition).1.into_iter().filter(|found| matches!(found.code, Code::NoBackup | Code::OneCopy));
    found.map(|found| (found.code, found.environments.join(", "))).collect()
}

#[test]
fn production_has_a_backup_and_a_second_copy() {
    let everywhere = |code: Code| (code, String::new());
    assert_eq!(asked(GOOD), [everywhere(Code::NoBackup), everywhere(Code::OneCopy)]);
    assert_eq!(asked(&and("[stage.dev]\n[preview]")), [everywhere(Code::NoBackup), everywhere(Code::OneCopy)]);
    let right = "[stage.production]\nbackup = { schedule = \"0 2 * * *\" }\nservice.web.replicas = 2";
    assert_eq!(asked(&and(right)), []);
    // What is right in the others says nothing of production.
    let wrong = right.replace("production", "dev");
    assert_eq!(asked(&and(&wrong)), [everywhere(Code::NoBackup), everywhere(Code::OneCopy)]);
    let free = format!("{right}\n[tier.free]\nservice.web.replicas = 1\n[tier.pro]");
    assert_eq!(asked(&and(&free)), [(Code::OneCopy, "tenants of tier free".to_owned())]);
    // Nobody asks a worker, and a volume has one user.
    let worker = "[service.worker]\nimage = \"w\"\ncommand = [\"w\"]\n";
    assert_eq!(asked(&and(&format!("{worker}{right}"))), []);
    let volume = web(
        "update = \"recreate\"\nvolumes = { data = { path = \"/data\", size = \"1Gi\" } }\n[backup]\nschedule = \"0 2 * * *\"",
    );
    assert_eq!(asked(&volume), []);
}
