//! Real clients.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::process::Command;

use super::{access, open, serve};

pub(super) fn client(program: &str, address: SocketAddr) -> Command {
    let access = access();
    let mut command = Command::new(program);
    command
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_ACCESS_KEY_ID", &access.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &access.secret_access_key)
        .env("AWS_REGION", &access.region)
        .env("AWS_DEFAULT_REGION", &access.region)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env_remove("AWS_CA_BUNDLE")
        .env("BUCKET", &access.name)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn succeed(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{error}");
    out.into_owned()
}

/// Whether Python has boto3. Without it a line says that a test is skipped.
#[allow(clippy::print_stdout, reason = "the run of all tests counts these lines")]
async fn has_boto3(test: &str) -> bool {
    let found = Command::new("python3").args(["-c", "import boto3"]).output().await;
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {test}: boto3 is missing");
    }
    found
}

async fn boto3(versioning: bool) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), versioning);
    let (address, _) = serve(store.clone()).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/boto.py");
    let mode = if versioning { "versions" } else { "plain" };
    let printed = succeed(client("python3", address).args([script, mode])).await;
    assert!(printed.ends_with("done\n"), "{printed}");
    assert_eq!(store.used(), 0, "what is gone counts for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_finds_all_that_it_expects() {
    if has_boto3("boto3_finds_all_that_it_expects").await {
        boto3(false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_finds_the_versions_of_objects() {
    if has_boto3("boto3_finds_the_versions_of_objects").await {
        boto3(true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone_copies_a_folder_there_and_back() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (address, _) = serve(open(folder.path(), false)).await;
    let (from, to) = (files.path().join("from"), files.path().join("to"));
    for (name, size) in [("a", 0), ("b/c", 1), ("b/d e+f&g%", 100_000), ("ü/large", 12 << 20)] {
        let path = from.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[usize::from(at.is_multiple_of(7))]).collect();
        std::fs::write(path, bytes).unwrap();
    }
    let remote = format!(":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='http://{address}':");
    let bucket = format!("{remote}{}/folder", access().name);
    let parts = ["--s3-upload-cutoff=5Mi", "--s3-chunk-size=5Mi", "--config=/dev/null"];
    let rclone = |arguments: &[&str]| {
        let mut command = client("rclone", address);
        command.args(arguments).args(parts);
        command
    };
    succeed(&mut rclone(&["sync", &from.display().to_string(), &bucket])).await;
    succeed(&mut rclone(&["check", "--download", &from.display().to_string(), &bucket])).await;
    succeed(&mut rclone(&["sync", &bucket, &to.display().to_string()])).await;
    succeed(&mut rclone(&["check", &to.display().to_string(), &bucket])).await;
    succeed(&mut rclone(&["purge", &bucket])).await;
    assert_eq!(succeed(&mut rclone(&["ls", &format!("{remote}{}", access().name)])).await, "");
}
