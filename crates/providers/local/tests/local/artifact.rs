//! Artifacts: packed, taken in, refused, collected.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use freehold_graph::ArtifactHash;
use freehold_problem::Code;
use freehold_provider_local::artifact::pack;
use freehold_provider_local::{ArtifactError, ArtifactStore};
use tempfile::TempDir;

use crate::world::make_executable;

struct Fixture {
    folder: TempDir,
    store: ArtifactStore,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("target/release")).unwrap();
    std::fs::create_dir_all(source.join("static/deep")).unwrap();
    std::fs::write(source.join("target/release/app"), "#!/bin/sh\n").unwrap();
    make_executable(&source.join("target/release/app")).unwrap();
    std::fs::write(source.join("static/deep/a.css"), "a {}").unwrap();
    symlink("deep/a.css", source.join("static/b.css")).unwrap();
    let store = ArtifactStore::open(&folder.path().join("artifacts")).unwrap();
    Fixture { folder, store }
}

impl Fixture {
    fn source(&self) -> std::path::PathBuf {
        self.folder.path().join("source")
    }

    fn packed(&self) -> (ArtifactHash, Vec<u8>) {
        let packed = pack(&self.source(), &["target/release/app".to_owned(), "static".to_owned()]).unwrap();
        let mut stream = Vec::new();
        packed.write_to(&mut stream).unwrap();
        (packed.hash, stream)
    }

    /// The names in the store's directory.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("artifacts")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[tokio::test]
async fn an_artifact_arrives_as_it_was_packed_and_read_only() -> anyhow::Result<()> {
    let fixture = fixture();
    let (hash, stream) = fixture.packed();
    fixture.store.receive(&hash, std::io::Cursor::new(stream.clone())).await?;
    fixture.store.receive(&hash, std::io::Cursor::new(stream)).await?;
    let path = fixture.store.path(&hash).unwrap();
    let mode = |name: &str| std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("app"), mode("static/deep/a.css"), mode("static")), (0o555, 0o444, 0o555));
    assert_eq!(std::fs::read_to_string(path.join("static/b.css"))?, "a {}");
    assert_eq!(fixture.names(), [hash.digits()]);
    // The same files give the same hash, wherever they are; other contents, names or rights another one.
    assert_eq!(pack(&path, &["app".to_owned(), "static".to_owned()])?.hash, hash);
    std::fs::write(fixture.source().join("static/deep/a.css"), "b {}")?;
    assert_ne!(fixture.packed().0, hash);
    Ok(())
}

#[test]
fn what_can_not_be_packed_is_named() {
    let fixture = fixture();
    let refusal = |entries: &[&str]| {
        pack(&fixture.source(), &entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap_err()
    };
    assert!(matches!(refusal(&["nothing"]), ArtifactError::Missing { entry } if entry == "nothing"));
    assert!(matches!(refusal(&["static", "./static"]), ArtifactError::SameName { name } if name == "static"));
    symlink("/etc/passwd", fixture.source().join("static/outside")).unwrap();
    assert!(matches!(refusal(&["static"]), ArtifactError::Unfit { path, .. } if path == "static/outside"));
}

#[test]
fn a_stream_that_is_not_what_was_announced_leaves_nothing() {
    let fixture = fixture();
    let (hash, stream) = fixture.packed();
    let other: ArtifactHash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert!(matches!(fixture.store.take_in(&other, stream.as_slice()), Err(ArtifactError::OtherContent { .. })));
    for length in [0, 100, 700, stream.len() / 2] {
        assert!(fixture.store.take_in(&hash, &stream[..length]).is_err(), "{length}");
    }
    assert!(fixture.store.take_in(&hash, [7u8; 5000].as_slice()).is_err());
    assert_eq!(fixture.names(), Vec::<String>::new());
}

/// A tar stream with one entry, whose path is written as it is.
fn hostile(kind: tar::EntryType, path: &str, target: Option<&str>, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let name = &mut header.as_old_mut().name;
    name[..path.len()].copy_from_slice(path.as_bytes());
    if let Some(target) = target {
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut stream = header.as_bytes().to_vec();
    stream.extend([0u8; 1024]);
    stream
}

#[test]
fn hostile_streams_are_refused_and_write_nothing_outside() {
    use tar::EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
    let fixture = fixture();
    let any: ArtifactHash = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    let outside = fixture.folder.path().join("outside");
    let absolute = outside.display().to_string();
    let streams = [
        hostile(Regular, &absolute, None, 0),
        hostile(Regular, "../outside", None, 0),
        hostile(Regular, "a/../../outside", None, 0),
        hostile(Symlink, "link", Some("/etc"), 0),
        hostile(Symlink, "link", Some("/usr/../etc/shadow"), 0),
        hostile(Symlink, "link", Some("/proc/self/root"), 0),
        hostile(Symlink, "link", Some("../.."), 0),
        hostile(Symlink, "a/link", Some("../b/../../.."), 0),
        hostile(Link, "hard", Some("/etc/passwd"), 0),
        hostile(Char, "null", None, 0),
        hostile(Block, "disk", None, 0),
        hostile(Fifo, "pipe", None, 0),
        hostile(Regular, "huge", None, 1 << 40),
    ];
    for stream in streams {
        let error = fixture.store.take_in(&any, stream.as_slice()).unwrap_err();
        assert!(matches!(error, ArtifactError::Unfit { .. }), "{error}");
    }
    // Other rights than its caller's.
    for mode in [0o4755, 0o2755] {
        let mut header = tar::Header::new_gnu();
        header.set_path("su").unwrap();
        header.set_size(0);
        header.set_mode(mode);
        header.set_cksum();
        let stream = [header.as_bytes().as_slice(), &[0; 1024]].concat();
        assert!(matches!(fixture.store.take_in(&any, stream.as_slice()), Err(ArtifactError::Unfit { .. })));
    }
    // A link, and then a file through it.
    let mut through = hostile(Symlink, "dir", Some("static"), 0);
    through.truncate(512);
    through.extend(hostile(Regular, "dir/file", None, 0));
    assert!(matches!(
        fixture.store.take_in(&any, through.as_slice()),
        Err(ArtifactError::File { .. } | ArtifactError::Unfit { .. } | ArtifactError::OtherContent { .. })
    ));
    let mut behind = hostile(Symlink, "dir", Some("static"), 0);
    behind.truncate(512);
    behind.extend(hostile(Symlink, "dir/link", Some("x"), 0));
    assert!(matches!(fixture.store.take_in(&any, behind.as_slice()), Err(ArtifactError::Unfit { .. })));
    assert!(!outside.exists());
    assert_eq!(fixture.names(), Vec::<String>::new());
}

#[test]
fn an_artifact_is_removed_as_a_whole_and_removing_it_again_is_fine() -> anyhow::Result<()> {
    let fixture = fixture();
    let (hash, stream) = fixture.packed();
    fixture.store.take_in(&hash, stream.as_slice())?;
    assert_eq!(fixture.store.all()?, BTreeSet::from([hash.clone()]));
    let hidden = fixture.store.hide(&hash)?.expect("it is there");
    assert!(!fixture.store.has(&hash));
    hidden.put_back()?;
    assert!(fixture.store.has(&hash));
    fixture.store.remove(&hash)?;
    fixture.store.remove(&hash)?;
    assert!(!fixture.store.has(&hash));
    assert_eq!(fixture.names(), Vec::<String>::new());
    Ok(())
}

/// Packs the fixture's folder; what comes of it, as text.
fn refused(fixture: &Fixture, entry: &str) -> String {
    match pack(&fixture.source(), &[entry.to_owned()]) {
        Ok(_) => "packed".to_owned(),
        Err(error) => format!("{} {error} {}", error.code(), error.help().unwrap_or_default()),
    }
}

#[test]
fn nothing_outside_of_the_apps_folder_gets_into_an_artifact() -> anyhow::Result<()> {
    let fixture = fixture();
    let secret = fixture.folder.path().join("secret");
    std::fs::create_dir(&secret)?;
    std::fs::write(secret.join("shadow"), "root:x")?;
    let source = fixture.source();
    symlink(secret.join("shadow"), source.join("config"))?;
    symlink(&secret, source.join("data"))?;
    symlink("../../secret", source.join("static/near"))?;
    let absolute = secret.join("shadow").display().to_string();
    for entry in ["config", "data", "data/shadow", "../secret", "static/../../secret", &absolute, "static", "."] {
        let refused = refused(&fixture, entry);
        assert!(refused.starts_with("FH0615"), "{entry}: {refused}");
    }
    assert!(refused(&fixture, "config").contains(&format!("leads to {absolute}")));
    // A link inside is followed.
    symlink("target/release/app", source.join("app"))?;
    assert_eq!(refused(&fixture, "app"), "packed");
    Ok(())
}

#[test]
fn pipes_devices_and_programs_with_other_rights_are_refused() -> anyhow::Result<()> {
    let fixture = fixture();
    let source = fixture.source();
    anyhow::ensure!(std::process::Command::new("mkfifo").arg(source.join("pipe")).status()?.success(), "mkfifo");
    assert!(refused(&fixture, "pipe").contains("neither a file nor a folder nor a link"));
    std::fs::write(source.join("su"), "#!/bin/sh\n")?;
    std::fs::set_permissions(source.join("su"), std::fs::Permissions::from_mode(0o4755))?;
    assert!(refused(&fixture, "su").contains("setuid"));
    Ok(())
}

#[test]
fn a_python_environment_keeps_its_links_to_the_system_and_any_other_is_named() -> anyhow::Result<()> {
    let fixture = fixture();
    let bin = fixture.source().join("venv/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir(fixture.source().join("venv/lib"))?;
    symlink("/usr/bin/python3", bin.join("python3"))?;
    symlink("python3", bin.join("python"))?;
    symlink("lib", fixture.source().join("venv/lib64"))?;
    let packed = pack(&fixture.source(), &["venv".to_owned()])?;
    let mut stream = Vec::new();
    packed.write_to(&mut stream)?;
    fixture.store.take_in(&packed.hash, stream.as_slice())?;
    let path = fixture.store.path(&packed.hash).unwrap();
    assert_eq!(std::fs::read_link(path.join("venv/bin/python3"))?, Path::new("/usr/bin/python3"));
    symlink("/root/.local/share/uv/python/bin/python3", bin.join("python3.12"))?;
    let refused = refused(&fixture, "venv");
    assert!(refused.contains("venv/bin/python3.12") && refused.contains("/root/.local/share/uv"), "{refused}");
    assert!(refused.contains("/usr/bin/python3 -m venv"), "{refused}");
    Ok(())
}

#[test]
fn what_a_crash_left_half_done_is_removed_at_the_next_start() -> anyhow::Result<()> {
    let fixture = fixture();
    let root = fixture.folder.path().join("artifacts");
    std::fs::create_dir_all(root.join(".incoming-1/sub"))?;
    std::fs::set_permissions(root.join(".incoming-1/sub"), std::fs::Permissions::from_mode(0o555))?;
    ArtifactStore::open(&root)?;
    assert_eq!(fixture.names(), Vec::<String>::new());
    Ok(())
}

/// A file system of one megabyte, for as long as it is held.
struct SmallDisk<'a>(&'a Path);

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_as_such_and_nothing_is_left_on_it() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no small file system can be mounted");
        return Ok(());
    }
    let fixture = fixture();
    let place = fixture.folder.path().join("small");
    std::fs::create_dir(&place)?;
    let mount = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
    anyhow::ensure!(std::process::Command::new("mount").args(mount).arg(&place).status()?.success(), "mount");
    let _disk = SmallDisk(&place);
    let store = ArtifactStore::open(&place.join("artifacts"))?;
    std::fs::write(fixture.source().join("static/large"), vec![1u8; 3 << 20])?;
    let (hash, stream) = fixture.packed();
    let error = store.take_in(&hash, stream.as_slice()).unwrap_err();
    assert_eq!(error.code(), Code::DiskFull, "{error}");
    assert_eq!(std::fs::read_dir(place.join("artifacts"))?.count(), 0);
    Ok(())
}
