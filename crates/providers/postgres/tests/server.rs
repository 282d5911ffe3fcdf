//! The private server itself.

use std::net::TcpListener;
use std::path::PathBuf;

use freehold_provider_postgres::{PrivateServer, ServerError};
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
    let pid = rustix::process::Pid::from_raw(shared().pid).unwrap();
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
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
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    tokio::time::timeout(PATIENCE, server.wait_exit()).await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let mut connection = server.admin_options().connect().await.unwrap();
    assert_eq!(count(&mut connection, "SELECT count(*) FROM kept").await, 1);
    server.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_other_data_and_an_unfinished_cluster_are_told_apart() {
    let options = server_options(&home("refused"));
    // A predecessor died while it made the cluster.
    let unfinished = options.home.join("cluster.new-left");
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = freehold_provider_postgres::ServerOptions { port: Some(port), ..options.clone() };
    let error = PrivateServer::start(taken).await.unwrap_err();
    assert!(matches!(error, ServerError::PortTaken { port: taken } if taken == port), "{error}");
    assert_eq!(error.code(), "FH0509");

    let mut server = PrivateServer::start(options.clone()).await.unwrap();
    server.stop(PATIENCE).await.unwrap();
    assert!(!unfinished.exists());
    let version = std::fs::read(options.home.join("cluster/PG_VERSION")).unwrap();
    std::fs::write(options.home.join("cluster/PG_VERSION"), "12\n").unwrap();
    let error = PrivateServer::start(options.clone()).await.unwrap_err();
    assert_eq!(error.code(), "FH0506");
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
    assert_eq!(error.code(), "FH0505");
    assert!(error.to_string().contains(&closed.display().to_string()), "{error}");
    assert!(error.help().unwrap().contains("--data-dir"));
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
    assert_eq!(error.code(), "FH0512", "{error}");
    assert_eq!(left, Vec::<String>::new());
}
