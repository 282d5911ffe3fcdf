//! The private server itself.

use std::net::TcpListener;
use std::path::PathBuf;

use freehold_problem::Code;
use freehold_provider_postgres::{PrivateServer, ServerError};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use sqlx::ConnectOptions as _;

use crate::setting::{PATIENCE, admin, code, count, open_directory, run, server_options, shared, tie_to_this_process};

fn home(name: &str) -> PathBuf {
    let directory = open_directory(name);
    let home = directory.join("postgres");
    tie_to_this_process(&home.join("cluster/postmaster.pid"), &directory);
    home
}

#[tokio::test]
async fn without_a_password_nobody_gets_in_neither_by_socket_nor_by_network() {
    let shared = shared();
    let server = |host: &str| {
        sqlx::postgres::PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(shared.port)
            .username("postgres")
            .database("postgres")
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    };
    let socket = shared.admin.get_socket().unwrap().display().to_string();
    for host in [socket.as_str(), "127.0.0.1"] {
        let error = server(host).connect().await.unwrap_err();
        assert!(error.as_database_error().is_none() || code(&error) == "28P01", "{host}: {error}");
        assert_eq!(code(&server(host).password("wrong").connect().await.unwrap_err()), "28P01", "{host}");
    }
    let mut superuser = admin("postgres").await;
    let trusting = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'";
    assert_eq!(count(&mut superuser, trusting).await, 0);
    let plain = "SELECT count(*) FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256$%'";
    assert_eq!(count(&mut superuser, plain).await, 0);
    let addresses: String = sqlx::query_scalar("SHOW listen_addresses").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(addresses, "127.0.0.1");
    let checksums: String = sqlx::query_scalar("SHOW data_checksums").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(checksums, "on");
}

#[tokio::test]
async fn it_never_runs_as_root_and_has_a_process_group_of_its_own() {
    use std::os::unix::fs::MetadataExt as _;
    let process = PathBuf::from(format!("/proc/{}", shared().pid));
    assert_ne!(process.metadata().unwrap().uid(), 0);
    let pid = Pid::from_raw(shared().pid).unwrap();
    assert_eq!(getpgid(Some(pid)).unwrap(), pid);
}

#[tokio::test]
async fn a_server_that_a_killed_predecessor_left_is_taken_over_and_a_stopped_one_started_with_its_data() {
    let options = server_options(&home("adopted"));
    let first = PrivateServer::start(options.clone()).await.unwrap();
    let (pid, port) = (first.pid(), first.port());
    run(&mut first.admin_options().connect().await.unwrap(), "CREATE TABLE kept (x int)").await;
    drop(first);
    let mut second = PrivateServer::start(options.clone()).await.unwrap();
    assert_eq!((second.pid(), second.port()), (pid, port));
    second.stop(PATIENCE).await.unwrap();
    assert!(second.admin_options().connect().await.is_err());
    let mut third =
        PrivateServer::start(freehold_provider_postgres::ServerOptions { port: Some(port), ..options }).await.unwrap();
    assert_eq!(third.port(), port);
    let mut connection = third.admin_options().connect().await.unwrap();
    assert_eq!(count(&mut connection, "SELECT count(*) FROM kept").await, 0);
    third.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn its_death_is_noticed_and_it_starts_again_on_the_same_port() {
    let mut server = PrivateServer::start(server_options(&home("killed"))).await.unwrap();
    let (pid, port) = (server.pid(), server.port());
    let mut connection = server.admin_options().connect().await.unwrap();
    run(&mut connection, "CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)").await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    tokio::time::timeout(PATIENCE, server.wait_exit()).await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let mut connection = server.admin_options().connect().await.unwrap();
    assert_eq!(count(&mut connection, "SELECT count(*) FROM kept").await, 1);
    server.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_session_that_outlives_a_killed_server_is_waited_for() {
    let options = server_options(&home("outlived"));
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    let mut connection = server.admin_options().connect().await.unwrap();
    let session: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    let signal = |pid: i32, signal: Signal| kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    signal(session, Signal::STOP);
    signal(server.pid(), Signal::KILL);
    tokio::time::timeout(PATIENCE, server.wait_exit()).await.unwrap();
    let again = tokio::spawn(async move { server.restart().await.map(|()| server) });
    let refused =
        || std::fs::read_to_string(options.home.join("start.log")).is_ok_and(|log| log.contains("shared memory"));
    while !refused() && !again.is_finished() {
        tokio::task::yield_now().await;
    }
    signal(session, Signal::KILL);
    again.await.unwrap().unwrap().stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn other_data_and_an_unfinished_cluster_are_told_apart() {
    let options = server_options(&home("refused"));
    // A predecessor died while it made the cluster.
    let unfinished = options.home.join("cluster.new-left");
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    server.stop(PATIENCE).await.unwrap();
    assert!(!unfinished.exists());
    let version = std::fs::read(options.home.join("cluster/PG_VERSION")).unwrap();
    std::fs::write(options.home.join("cluster/PG_VERSION"), "12\n").unwrap();
    let error = PrivateServer::start(options.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::DataOfOtherVersion);
    assert!(error.to_string().contains("made by PostgreSQL 12"), "{error}");
    std::fs::write(options.home.join("cluster/PG_VERSION"), version).unwrap();
    std::fs::remove_file(options.home.join("password")).unwrap();
    let error = PrivateServer::start(options).await.unwrap_err();
    assert!(matches!(error, ServerError::PasswordMissing { .. }), "{error}");
}

#[tokio::test]
async fn a_stale_pid_file_with_another_process_number_is_no_hindrance() {
    let options = server_options(&home("stale"));
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    let file = options.home.join("cluster/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    server.stop(PATIENCE).await.unwrap();
    // As after a power failure, when the number has gone to another process.
    let rest: String = text.split_once('\n').unwrap().1.to_owned();
    std::fs::write(&file, format!("{}\n{rest}", std::process::id())).unwrap();
    let mut server = PrivateServer::start(options).await.unwrap();
    server.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_directory_out_of_reach_of_the_servers_account_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let closed = open_directory("closed");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = PrivateServer::start(server_options(&closed.join("postgres"))).await.unwrap_err();
    std::fs::remove_dir_all(&closed).unwrap();
    assert_eq!(error.code(), Code::DataNotWritable);
    assert!(error.to_string().contains(&closed.display().to_string()), "{error}");
    assert!(error.help().unwrap().contains("--data-dir"));
}

/// As root, what PostgreSQL's account puts into its own folders must not lead root anywhere.
#[tokio::test]
async fn links_in_the_servers_folders_lead_root_nowhere() {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    let options = server_options(&home("links"));
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    server.stop(PATIENCE).await.unwrap();
    let victim = options.home.with_file_name("victim");
    std::fs::write(&victim, "of root, and of nobody else").unwrap();
    let before = std::fs::metadata(&victim).unwrap();
    for name in ["log/start.log", "cluster/pg_hba.conf", "cluster/pg_hba.new", "cluster/pg_ident.conf"] {
        let _ = std::fs::remove_file(options.home.join(name));
        symlink(&victim, options.home.join(name)).unwrap();
    }
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    let after = std::fs::metadata(&victim).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "of root, and of nobody else");
    assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
    // Nor does a file of ours stand in a folder of theirs.
    let account = std::fs::metadata(options.home.join("cluster")).unwrap().uid();
    for folder in ["cluster", "log", "socket", "apps"] {
        for entry in std::fs::read_dir(options.home.join(folder)).unwrap().map(Result::unwrap) {
            let link = std::fs::symlink_metadata(entry.path()).unwrap();
            assert!(link.is_symlink() || link.uid() == account, "{}", entry.path().display());
        }
    }
    server.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn rules_of_access_that_are_put_into_the_cluster_dont_count() {
    let options = server_options(&home("rules"));
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    server.stop(PATIENCE).await.unwrap();
    std::fs::write(options.home.join("cluster/pg_hba.conf"), "local all all trust\nhost all all all trust\n").unwrap();
    std::fs::write(options.home.join("cluster/postgresql.conf"), "log_disconnections = on\n").unwrap();
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    let nobody = server.admin_options().password("not the password");
    assert_eq!(code(&nobody.connect().await.unwrap_err()), "28P01");
    let mut superuser = server.admin_options().connect().await.unwrap();
    let rules: String = sqlx::query_scalar("SHOW hba_file").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(rules, options.home.join("pg_hba.conf").display().to_string());
    let logged: String = sqlx::query_scalar("SHOW log_disconnections").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(logged, "off");
    server.stop(PATIENCE).await.unwrap();
}

/// Whoever takes the port while the server is down must neither be shown a password nor keep it from starting.
#[tokio::test]
async fn a_program_that_took_its_port_is_shown_nothing_and_hinders_nobody() {
    let options = server_options(&home("port"));
    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    let port = server.port();
    assert!(server.listens_on_loopback());
    server.stop(PATIENCE).await.unwrap();
    let fake = TcpListener::bind(("127.0.0.1", port)).unwrap();
    fake.set_nonblocking(true).unwrap();
    let options = freehold_provider_postgres::ServerOptions { port: Some(port), ..options };
    let mut server = PrivateServer::start(options).await.unwrap();
    assert_eq!((server.port(), server.listens_on_loopback()), (port, false));
    let apps = server.admin_options().socket(server.apps_directory());
    for options in [server.admin_options(), apps] {
        assert_eq!(count(&mut options.connect().await.unwrap(), "SELECT count(*) FROM pg_roles WHERE false").await, 0);
    }
    assert_eq!(fake.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was called");
    server.stop(PATIENCE).await.unwrap();
}

/// Where a stack's user could make a file, it could listen in the server's place.
#[tokio::test]
async fn other_users_get_to_the_apps_socket_and_can_put_nothing_in_its_place() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (own, apps) = (shared().home.join("socket"), shared().home.join("apps"));
    let may = |script: &str, folder: &PathBuf| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(folder).arg(format!(".s.PGSQL.{}", shared().port));
        shell.uid(65_534).gid(65_534).status().unwrap().success()
    };
    assert!(may(r#"test -S "$1/$2" && test -w "$1/$2""#, &apps));
    assert!(!may(r#"test -S "$1/$2""#, &own));
    for folder in [&own, &apps] {
        for attempt in [r#": > "$1/x""#, r#"rm "$1/$2""#, r#"mv "$1/$2" "$1/x""#, r#"ln -s /tmp "$1/x""#] {
            assert!(!may(&format!("({attempt}) 2>/dev/null"), folder), "{attempt} in {}", folder.display());
        }
    }
}

/// A full disk, where this process may mount one.
#[tokio::test]
async fn a_full_disk_is_said_and_what_was_begun_is_removed() {
    use std::os::unix::fs::PermissionsExt as _;
    let small = open_directory("full");
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&small).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        std::fs::remove_dir_all(&small).unwrap();
        eprintln!("not tested: this process may not mount a small file system");
        return;
    }
    std::fs::set_permissions(&small, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = small.join("postgres");
    let error = PrivateServer::start(server_options(&home)).await.unwrap_err();
    let left = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with("cluster")).collect();
    std::process::Command::new("umount").arg(&small).status().unwrap();
    std::fs::remove_dir_all(&small).unwrap();
    assert_eq!(error.code(), Code::DiskFull, "{error}");
    assert_eq!(left, Vec::<String>::new());
}
