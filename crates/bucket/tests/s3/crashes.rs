//! What is there after a crash, on a full disk and after its time.

use std::path::Path;

use freehold_bucket::{BucketError, Limits, Rule, Store, Swept};

use super::*;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// All files with contents.
fn files(folder: &Path) -> usize {
    let shelves = std::fs::read_dir(folder.join("files")).unwrap();
    shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum()
}

async fn request(store: &Arc<Store>, python: &str) -> String {
    let (address, task) = serve(store.clone()).await;
    let before = "import boto3, os\nfrom botocore.config import Config\n\
                  s3 = boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL'], \
                  config=Config(retries={'total_max_attempts': 1}))\nb = os.environ['BUCKET']\n";
    let output = clients::client("python3", address).args(["-c", &format!("{before}{python}")]).output().await.unwrap();
    task.abort();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_behind_goes_and_what_was_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), false);
    request(&store, "for k, n in [('small', 3), ('large', 3 << 20)]: s3.put_object(Bucket=b, Key=k, Body=bytes(n))")
        .await;
    let used = store.used();
    // As a process that is killed leaves it: the index as it is on disk, without being closed, and files that nothing refers to.
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(folder.path()).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    let crashed = copy.path().join(folder.path().file_name().unwrap());
    std::fs::write(crashed.join("files/00/00112233445566778899aabbccddeeff"), b"half").unwrap();
    std::fs::write(crashed.join("files/01/not-ours"), b"half").unwrap();
    assert_eq!(files(&crashed), 3);
    let opened = open(&crashed, false);
    assert_eq!((files(&crashed), opened.used()), (1, used));
    let found = request(&opened, "print(len(s3.get_object(Bucket=b, Key='large')['Body'].read()))").await;
    assert_eq!(found.trim(), (3 << 20).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), false);
    let url = "print(s3.generate_presigned_url('put_object', Params={'Bucket': b, 'Key': 'k'}))";
    let url = request(&store, url).await;
    let (address, _) = serve(store.clone()).await;
    let path = url.trim().split_once("127.0.0.1:").unwrap().1.split_once('/').unwrap().1.to_owned();
    // The host is signed: it is the one of before, and nobody looks whether it is this one.
    let host = url.trim().strip_prefix("http://").unwrap().split_once('/').unwrap().0;
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&vec![1; 4 << 20]).await.unwrap();
    while files(folder.path()) == 0 {
        tokio::task::yield_now().await;
    }
    drop(connection);
    while store.used() != 0 || files(folder.path()) != 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(request(&store, "print(s3.list_objects_v2(Bucket=b)['KeyCount'])").await.trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_is_said_and_hurts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let full = Limits { reserve: u64::MAX, ..limits() };
    let store = Arc::new(Store::open(folder.path(), false, full).unwrap());
    let put = "\ntry: s3.put_object(Bucket=b, Key='k', Body=b'x')\n\
               except Exception as e: print(e.response['Error']['Code'], e.response['ResponseMetadata']['HTTPStatusCode'])";
    assert_eq!(request(&store, put).await.trim(), "InsufficientStorage 507");
    assert_eq!((store.used(), files(folder.path())), (0, 0));
}

#[test]
fn a_bucket_that_is_open_is_not_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let _open = open(folder.path(), false);
    assert!(matches!(Store::open(folder.path(), false, limits()), Err(BucketError::Index(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_had_its_time_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), true);
    let written = "for k in ['tmp/a', 'tmp/b', 'kept']: s3.put_object(Bucket=b, Key=k, Body=bytes(20000))\n\
                   s3.put_object(Bucket=b, Key='kept', Body=b'2')\n\
                   s3.create_multipart_upload(Bucket=b, Key='tmp/u')";
    request(&store, written).await;
    let rules = [
        Rule { prefix: "tmp/".to_owned(), expire_days: Some(3), ..Rule::default() },
        Rule { noncurrent_days: Some(10), uploads_days: Some(1), ..Rule::default() },
    ];
    let now = now() + 1000;
    assert_eq!(store.sweep(&rules, now).unwrap(), Swept::default());
    assert_eq!(store.sweep(&rules, now + 2 * DAY).unwrap(), Swept { uploads: 1, ..Swept::default() });
    assert_eq!(store.sweep(&rules, now + 4 * DAY).unwrap(), Swept { objects: 2, ..Swept::default() });
    let keys = "print([o['Key'] for o in s3.list_objects_v2(Bucket=b)['Contents']])";
    assert_eq!(request(&store, keys).await.trim(), "['kept']");
    assert_eq!(store.sweep(&rules, now + 11 * DAY).unwrap(), Swept { versions: 1, ..Swept::default() });
    // The objects that expired on the fourth day have been former versions for ten, and then nothing is behind their marks.
    assert_eq!(store.sweep(&rules, now + 15 * DAY).unwrap(), Swept { versions: 2, ..Swept::default() });
    assert_eq!(store.sweep(&rules, now + 15 * DAY).unwrap(), Swept { versions: 2, ..Swept::default() });
    assert_eq!((store.used(), files(folder.path())), (1024 + 1, 0));
}

fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}
