//! Caches: real servers of the system, and who gets to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use freehold_engine::provider::Proposal;
use freehold_engine::{Lookup, Provider, Readiness, Task};
use freehold_graph::cache::{PROBE, USER};
use freehold_graph::expand::names::{cache_credential, cache_endpoint};
use freehold_graph::{Resource, ResourceId, ResourceKind, SecretRef, StackId, Value};
use freehold_problem::Code;
use freehold_provider_local::RunAs;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::world::{PATIENCE, World, code, first_user, is_alive, kill, until};

const MI: u64 = 1 << 20;

/// A cache as the expansion has it.
fn cache(stack: StackId, name: &str, changes: &[(&str, Value)]) -> Resource {
    let named = name.parse().unwrap();
    let endpoint = cache_endpoint(stack, &named);
    let password = SecretRef::Derived { purpose: cache_credential(&named), rotation: 0 };
    let mut body = BTreeMap::from([
        ("max_memory_bytes".to_owned(), Value::from(16 * MI)),
        ("memory_bytes".to_owned(), Value::from(96 * MI)),
        ("eviction".to_owned(), Value::from("allkeys-lru")),
        ("persist".to_owned(), Value::Bool(false)),
        ("password".to_owned(), Value::secret(password)),
        ("endpoint".to_owned(), Value::text(endpoint.to_string())),
        ("start_timeout_seconds".to_owned(), Value::from(60u32)),
        ("stop_timeout_seconds".to_owned(), Value::from(10u32)),
    ]);
    body.extend(changes.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
    Resource {
        id: ResourceId::new("cache", name),
        kind: ResourceKind::LocalCache,
        identity: format!("acme/{name}"),
        body: Value::Map(body),
        depends_on: BTreeSet::new(),
    }
}

fn data(name: &str) -> Resource {
    Resource {
        id: ResourceId::new("cache-data", name),
        kind: ResourceKind::LocalCacheData,
        identity: format!("acme/{name}"),
        body: Value::map::<&str>([]),
        depends_on: BTreeSet::new(),
    }
}

/// A client of the protocol, as much of it as these tests need.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(stack: StackId, name: &str) -> anyhow::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(cache_endpoint(stack, &name.parse()?)).await?)))
    }

    /// Logged in as the app.
    async fn login(stack: StackId, name: &str) -> anyhow::Result<Self> {
        let mut client = Self::connect(stack, name).await?;
        let answer = client.ask(&["AUTH", USER, &password(name)]).await?;
        ensure!(answer == "OK", "{answer}");
        Ok(client)
    }

    /// The answer, without its sign; of a list its length.
    async fn ask(&mut self, words: &[&str]) -> anyhow::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        self.0.get_mut().write_all(request.as_bytes()).await?;
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line).await? > 0, "closed");
        let (sign, rest) = line.trim_end().split_at(1);
        match sign {
            "$" => {
                let length: i64 = rest.parse()?;
                let Ok(length) = usize::try_from(length) else { return Ok("nothing".to_owned()) };
                let mut text = vec![0; length + 2];
                self.0.read_exact(&mut text).await?;
                Ok(String::from_utf8_lossy(&text[..length]).into_owned())
            }
            "+" | "-" | ":" | "*" => Ok(rest.to_owned()),
            _ => bail!("{line:?}"),
        }
    }
}

fn password(name: &str) -> String {
    format!("s3cret-{}", cache_credential(&name.parse().unwrap()))
}

/// The processes of the servers of a cache, launchers apart.
async fn servers(world: &World, name: &str) -> Vec<i64> {
    let all = world.processes().await.unwrap();
    let own = all.iter().filter(|process| process.contains(&format!("(cache.{name})")));
    own.map(|process| process.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_serves_its_app_and_lets_it_administer_nothing() -> anyhow::Result<()> {
    let world = World::new().await?;
    let sessions = cache(world.stack, "sessions", &[]);
    world.apply(&sessions).await?;
    assert_eq!(world.readiness(&sessions).await?, Readiness::Ready);
    let mut stranger = Client::connect(world.stack, "sessions").await?;
    for words in [vec!["PING"], vec!["GET", "a"], vec!["AUTH", USER, "guess"], vec!["AUTH", "", ""]] {
        let answer = stranger.ask(&words).await?;
        assert!(answer.starts_with("NOAUTH") || answer.starts_with("WRONGPASS"), "{words:?}: {answer}");
    }
    // The probe's user can do nothing else.
    assert_eq!(stranger.ask(&["AUTH", PROBE, PROBE]).await?, "OK");
    assert!(stranger.ask(&["GET", "a"]).await?.starts_with("NOPERM"));
    let mut app = Client::login(world.stack, "sessions").await?;
    assert_eq!(app.ask(&["SET", "a", "1"]).await?, "OK");
    assert_eq!(app.ask(&["GET", "a"]).await?, "1");
    assert_eq!(app.ask(&["CLIENT", "SETNAME", "web"]).await?, "OK");
    assert_eq!(app.ask(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "n"]).await?, "1");
    for words in [
        vec!["CONFIG", "SET", "maxmemory", "0"],
        vec!["CONFIG", "GET", "*"],
        vec!["SHUTDOWN", "NOSAVE"],
        vec!["DEBUG", "SLEEP", "1"],
        vec!["MODULE", "LIST"],
        vec!["ACL", "SETUSER", "sessions", "+@all"],
        vec!["ACL", "LIST"],
        vec!["REPLICAOF", "127.0.0.1", "1"],
        vec!["MIGRATE", "127.0.0.1", "1", "a", "0", "10"],
        vec!["MONITOR"],
        vec!["SAVE"],
    ] {
        let answer = app.ask(&words).await?;
        // Redis 7 says of some that nobody may use them, before it asks who it is.
        assert!(answer.starts_with("NOPERM") || answer.contains("command not allowed"), "{words:?}: {answer}");
    }
    assert_eq!(app.ask(&["FLUSHDB"]).await?, "OK");
    // Its password is in no file, no argument and no variable of the server.
    let grep =
        std::process::Command::new("grep").args(["-ra", &password("sessions")]).arg(world.data.path()).output()?;
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    let server = servers(&world, "sessions").await;
    assert_eq!(server.len(), 1);
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{file}", server[0]))?;
        assert!(!String::from_utf8_lossy(&text).contains(&password("sessions")), "{file}");
    }
    world.delete(&sessions).await?;
    assert!(Client::connect(world.stack, "sessions").await.is_err());
    assert!(!is_alive(server[0]));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_can_t_even_connect() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not root: all stacks are one user, and the password keeps them apart, which is what the plan says");
        return Ok(());
    }
    let mut world = World::with(RunAs::Separate(first_user())).await?;
    let sessions = cache(world.stack, "sessions", &[]);
    world.apply(&sessions).await?;
    let endpoint = cache_endpoint(world.stack, &"sessions".parse()?);
    let (host, port) = (endpoint.ip(), endpoint.port());
    // Exit status 0: something was answered; 3: closed without a word.
    let script = format!(
        "exec python3 -c 'import socket, sys\ns = socket.create_connection((\"{host}\", {port}))\n\
         try:\n  s.sendall(b\"PING\\r\\n\")\n  sys.exit(0 if s.recv(100) else 3)\nexcept OSError:\n  sys.exit(3)'"
    );
    world.run(&world.job(&script, &[])).await?;
    let (own, neighbour) = (world.stack, StackId(Uuid::new_v4()));
    world.stack = neighbour;
    let refused = world.run(&world.job(&script, &[])).await.unwrap_err();
    assert!(refused.to_string().contains("exit code 3"), "{refused}");
    // Its files neither.
    let folder = world.data.path().join("local/stacks").join(own.to_string()).join("caches/sessions");
    let look = |what: &str| world.job(&format!("cat {}/{what}", folder.display()), &[]);
    for what in ["server.conf", "run/server.sock"] {
        let run = freehold_graph::Run { id: ResourceId::new("job", what.replace('/', "-")), ..look(what) };
        assert!(world.run(&run).await.is_err(), "{what}");
    }
    // While the server is down its address is still nobody else's.
    kill(servers_of(&world, own, "sessions").await[0]);
    let squat = format!(
        "exec python3 -c 'import socket\nfor host in (\"{host}\", \"0.0.0.0\"):\n  s = socket.socket()\n  \
         s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n  try:\n    s.bind((host, {port})); s.listen()\n  \
         except OSError: continue\n  raise SystemExit(4)'"
    );
    let squat = freehold_graph::Run { id: ResourceId::new("job", "squat"), ..world.job(&squat, &[]) };
    world.run(&squat).await?;
    world.provider.forget_stack(neighbour).await?;
    world.stack = own;
    world.end().await
}

async fn servers_of(world: &World, stack: StackId, name: &str) -> Vec<i64> {
    let owned = world.provider.owned(Some(stack)).await.unwrap();
    let own = owned.iter().filter(|one| one.kind == "process" && one.name.contains(&format!("(cache.{name})")));
    own.map(|one| one.name.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_started_again_and_its_app_reconnects() -> anyhow::Result<()> {
    let world = World::new().await?;
    let sessions = cache(world.stack, "sessions", &[]);
    world.apply(&sessions).await?;
    let mut app = Client::login(world.stack, "sessions").await?;
    let server = servers(&world, "sessions").await;
    kill(server[0]);
    assert!(app.ask(&["PING"]).await.is_err(), "a connection outlived its server");
    until("a new connection", async || match Client::login(world.stack, "sessions").await {
        Ok(mut app) => app.ask(&["PING"]).await.is_ok_and(|answer| answer == "PONG"),
        Err(_) => false,
    })
    .await;
    let again = servers(&world, "sessions").await;
    assert!(again.len() == 1 && again != server, "{again:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cache_refuses_or_makes_room_as_it_was_told_and_nothing_falls() -> anyhow::Result<()> {
    let world = World::new().await?;
    let never = cache(world.stack, "never", &[("eviction", Value::from("noeviction"))]);
    let lru = cache(world.stack, "lru", &[]);
    tokio::try_join!(world.apply(&never), world.apply(&lru)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let before = (servers(&world, "never").await, servers(&world, "lru").await);
    let megabyte = "x".repeat(1 << 20);
    let mut answers = BTreeMap::new();
    for name in ["never", "lru"] {
        let mut app = Client::login(world.stack, name).await?;
        for number in 0..40 {
            let answer = app.ask(&["SET", &format!("key-{number}"), &megabyte]).await?;
            *answers.entry((name, answer.split(' ').next().unwrap().to_owned())).or_insert(0) += 1;
        }
        // What was there can be read, and deleted.
        let last = if name == "never" { "key-0" } else { "key-39" };
        assert_eq!(app.ask(&["STRLEN", last]).await?, (1 << 20).to_string());
        assert_eq!(app.ask(&["DEL", last]).await?, "1");
    }
    assert!(answers[&("never", "OOM".to_owned())] > 20, "{answers:?}");
    assert_eq!(answers[&("lru", "OK".to_owned())], 40, "{answers:?}");
    assert_eq!(before, (servers(&world, "never").await, servers(&world, "lru").await));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_freehold_leaves_a_cache_running_and_the_next_one_takes_it_over() -> anyhow::Result<()> {
    let world = World::new().await?;
    let sessions = cache(world.stack, "sessions", &[]);
    world.apply(&sessions).await?;
    Client::login(world.stack, "sessions").await?.ask(&["SET", "a", "kept"]).await?;
    let server = servers(&world, "sessions").await;
    let world = world.killed(&[&sessions]).await?;
    let mut app = Client::login(world.stack, "sessions").await?;
    assert_eq!(app.ask(&["GET", "a"]).await?, "kept");
    assert_eq!(servers(&world, "sessions").await, server);
    // Applied again as it is, it isn't touched; nothing differs from what is observed.
    world.apply(&sessions).await?;
    assert_eq!(servers(&world, "sessions").await, server);
    let seen = world.provider.observe(world.stack, &Lookup::from(&sessions)).await?.context("not observed")?;
    assert_eq!(seen.body, sessions.body.comparable(&crate::world::Known));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_persists_outlasts_its_server_and_goes_only_with_its_own_folder() -> anyhow::Result<()> {
    let world = World::new().await?;
    let persist = [("persist", Value::Bool(true)), ("eviction", Value::from("noeviction"))];
    let (queue, kept) = (cache(world.stack, "queue", &persist), data("queue"));
    world.apply(&kept).await?;
    world.apply(&queue).await?;
    let plain = cache(world.stack, "plain", &[]);
    world.apply(&plain).await?;
    for name in ["queue", "plain"] {
        assert_eq!(Client::login(world.stack, name).await?.ask(&["SET", "job", "1"]).await?, "OK");
    }
    // More memory: a new server.
    let larger = ("max_memory_bytes", Value::from(20 * MI));
    let changes: Vec<_> = persist.iter().cloned().chain([larger.clone()]).collect();
    world.apply(&cache(world.stack, "queue", &changes)).await?;
    world.apply(&cache(world.stack, "plain", &[larger])).await?;
    assert_eq!(Client::login(world.stack, "queue").await?.ask(&["GET", "job"]).await?, "1");
    assert_eq!(Client::login(world.stack, "plain").await?.ask(&["GET", "job"]).await?, "nothing");
    // Stopped before a destroy and started again, and killed: it is all there.
    let task = Task::Fence { lookup: Lookup::from(&queue), object: None };
    world.provider.perform(&world.context(), &task).await?;
    assert_eq!(servers(&world, "queue").await, Vec::<i64>::new());
    let observed = queue.body.comparable(&crate::world::Known);
    let task = Task::Lift { resource: queue.clone(), observed, object: None };
    world.provider.perform(&world.context(), &task).await?;
    assert_eq!(Client::login(world.stack, "queue").await?.ask(&["GET", "job"]).await?, "1");
    world.delete(&queue).await?;
    world.apply(&queue).await?;
    assert_eq!(Client::login(world.stack, "queue").await?.ask(&["GET", "job"]).await?, "1");
    world.delete(&queue).await?;
    // Another folder than the one that was deployed isn't deleted.
    let other = Task::Delete { lookup: Lookup::from(&kept), object: Some("another".to_owned()) };
    assert_eq!(code(&world.provider.perform(&world.context(), &other).await.unwrap_err()), Code::ChangedExternally);
    world.delete(&kept).await?;
    assert_eq!(world.provider.observe(world.stack, &Lookup::from(&kept)).await?, None);
    world.delete(&plain).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_which_package_is_missing() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let (empty, sessions) = (tempfile::tempdir()?, cache(world.stack, "sessions", &[]));
    world.reopen(|options| options.search = vec![empty.path().to_owned()])?;
    let desired = sessions.body.comparable(&crate::world::Known);
    let plan = async |world: &World| {
        let proposal = Proposal { resource: &sessions, desired: &desired, observed: None, adopt: false };
        world.provider.preview(world.stack, &proposal).await
    };
    let missing = plan(&world).await.unwrap_err();
    assert_eq!(code(&missing), Code::CacheServerNotFound);
    assert!(missing.problem().help.as_deref().is_some_and(|help| help.contains("apt-get install redis-server")));
    // One that is too old has no users, and would let everybody in.
    let old = empty.path().join("redis-server");
    std::fs::write(&old, "#!/bin/sh\necho 'Redis server v=5.0.14 sha=0'\n")?;
    crate::world::make_executable(&old)?;
    let missing = plan(&world).await.unwrap_err();
    assert!(missing.to_string().contains("is version 5.0"), "{missing}");
    assert_eq!(code(&missing), Code::CacheServerNotFound);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_a_limit_of_memory_above_that_of_its_data() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no control groups, which is what the plan says");
        return Ok(());
    }
    let world = World::with(RunAs::Separate(first_user())).await?;
    let sessions = cache(world.stack, "sessions", &[]);
    world.apply(&sessions).await?;
    let server = servers(&world, "sessions").await[0];
    let groups = std::fs::read_to_string(format!("/proc/{server}/cgroup"))?;
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let root = if controllers.is_empty() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let files = ["memory.max", "memory.limit_in_bytes"];
        let path = PathBuf::from(format!("{root}{path}"));
        files.iter().find_map(|file| std::fs::read_to_string(path.join(file)).ok()?.trim().parse::<u64>().ok())
    });
    let limits: Vec<u64> = limits.collect();
    if limits.is_empty() {
        println!("skipped: a_server_has_a_limit_of_memory_above_that_of_its_data: no control groups for memory here");
    } else {
        assert!(limits.contains(&(96 * MI)), "{limits:?}");
    }
    let deadline = tokio::time::timeout(PATIENCE, Client::login(world.stack, "sessions"));
    assert_eq!(deadline.await??.ask(&["PING"]).await?, "PONG");
    world.end().await
}
