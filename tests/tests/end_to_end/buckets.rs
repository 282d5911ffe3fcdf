//! Buckets: deployed, used by programs through their variables, kept over every end of Freehold, and gone only where they are named.

use std::process::Command;

use anyhow::{Result, ensure};
use freehold_end_to_end::{App, Installation, eventually};

const BUCKET: &str = r#"
[bucket.uploads]
max_size  = "1Mi"
lifecycle = [{ prefix = "tmp/", expire_days = 1 }]

[service.web.env]
ENDPOINT = "${bucket.uploads.endpoint}"
BUCKET   = "${bucket.uploads.name}"
REGION   = "${bucket.uploads.region}"
KEY_ID   = "${bucket.uploads.access_key_id}"
SECRET   = "${bucket.uploads.secret_access_key}"
"#;

/// How a program reaches its bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bucket {
    endpoint: String,
    name: String,
    region: String,
    key_id: String,
    secret: String,
}

impl Bucket {
    fn of(freehold: &Installation) -> Result<Self> {
        let read = |name: &str| freehold.get("acme.localhost", &format!("/env/{name}")).map(|(_, text)| text);
        Ok(Self {
            endpoint: read("ENDPOINT")?,
            name: read("BUCKET")?,
            region: read("REGION")?,
            key_id: read("KEY_ID")?,
            secret: read("SECRET")?,
        })
    }

    /// What boto3 prints, with the client as `s3` and the bucket's name as `b`.
    fn ask(&self, python: &str) -> Result<String> {
        let before = "import boto3, sys\nfrom botocore.config import Config\n\
                      s3 = boto3.client('s3', config=Config(retries={'total_max_attempts': 3}, connect_timeout=5))\n";
        let output = Command::new("python3")
            .args(["-c", &format!("{before}b = '{}'\n{python}", self.name)])
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", &self.region)
            .env("AWS_DEFAULT_REGION", &self.region)
            .env("AWS_ACCESS_KEY_ID", &self.key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn kept(&self) -> Result<String> {
        self.ask("print(s3.get_object(Bucket=b, Key='a/../b')['Body'].read().decode())")
    }
}

#[test]
fn buckets_are_deployed_and_used_outlast_every_end_and_go_only_where_they_are_named() -> Result<()> {
    if !Command::new("python3").args(["-c", "import boto3"]).output()?.status.success() {
        println!(
            "skipped: buckets_are_deployed_and_used_outlast_every_end_and_go_only_where_they_are_named: boto3 is missing"
        );
        return Ok(());
    }
    let mut freehold = Installation::start()?;
    let app = App::small_and(BUCKET)?;
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("up to 1Mi, 1 lifecycle rule"), "{}", plan.stdout);
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "succeeded");
    let bucket = Bucket::of(&freehold)?;
    bucket.ask("s3.put_object(Bucket=b, Key='a/../b', Body=b'kept')")?;
    assert_eq!(bucket.kept()?, "kept");
    let full = bucket.ask("s3.put_object(Bucket=b, Key='c', Body=bytes(2 << 20))").unwrap_err().to_string();
    assert!(full.contains("QuotaExceeded"), "{full}");
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");

    // Another tenant's key opens nothing of it.
    freehold.deploy(&app.argument(), &["--tenant", "other"])?;
    let others = |name: &str| freehold.get("other.localhost", &format!("/env/{name}")).map(|(_, text)| text);
    let stranger = Bucket { key_id: others("KEY_ID")?, secret: others("SECRET")?, ..bucket.clone() };
    let refused = stranger.kept().unwrap_err().to_string();
    assert!(refused.contains("InvalidAccessKeyId"), "{refused}");

    // Killed, and stopped.
    freehold.kill()?;
    freehold.up()?;
    assert_eq!(eventually("the bucket", || bucket.kept().ok()), "kept");
    freehold.down()?;
    freehold.up()?;
    assert_eq!(eventually("the bucket", || bucket.kept().ok()), "kept");

    // A new secret: the old one is nobody's any more.
    freehold.run(["secret", "rotate", "bucket.uploads", "--tenant", "acme"])?.succeeded()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let rotated = Bucket::of(&freehold)?;
    assert_ne!(rotated.secret, bucket.secret);
    assert_eq!(rotated.kept()?, "kept");
    let old = bucket.kept().unwrap_err().to_string();
    assert!(old.contains("SignatureDoesNotMatch"), "{old}");

    // More room takes no other bucket; and what holds data goes only where it is named.
    app.redefine("\"1Mi\"", "\"8Mi\"")?;
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "succeeded");
    rotated.ask("s3.put_object(Bucket=b, Key='c', Body=bytes(2 << 20))")?;
    let destroy = ["destroy", "--tenant", "acme", "--confirm", "acme"];
    freehold.run(destroy)?.failed_with(1, "FH0809")?;
    assert_eq!(rotated.kept()?, "kept");
    freehold.run(destroy.into_iter().chain(["--no-dump"]))?.succeeded()?;
    assert!(rotated.kept().is_err());
    let stacks: Vec<_> = std::fs::read_dir(freehold.data().join("local/stacks"))?.collect::<Result<_, _>>()?;
    assert_eq!(stacks.len(), 1, "the other tenant's");
    Ok(())
}
