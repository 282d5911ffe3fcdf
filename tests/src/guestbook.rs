//! The example `guestbook` as an image: its program linked statically, and its folder `static` beside it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use freehold_testkit::cache;
use freehold_testkit::kubernetes::Image;

use crate::app::App;

/// A static program needs nothing of the image, and resolves names with what is built into it.
const FLAGS: &str = "-C target-feature=+crt-static";
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Where the guestbook's definition is.
pub fn folder() -> String {
    format!("{}/../examples/guestbook", env!("CARGO_MANIFEST_DIR"))
}

/// Its definition in a folder of its own, to be changed.
///
/// # Errors
/// It can't be read or written.
pub fn copy() -> Result<App> {
    App::with(&fs::read_to_string(Path::new(&folder()).join("freehold.toml"))?)
}

/// Its image. The program is built by the first that asks, and kept in the cache folder: a second build takes a moment.
///
/// # Errors
/// It can't be built.
pub fn image() -> Result<Image> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let program = program.as_ref().map_err(|reason| anyhow!("the guestbook's image: {reason}"))?;
    let mut image = Image::of_program(program)?;
    for file in fs::read_dir(Path::new(&folder()).join("static"))? {
        let file = file?;
        image = image.file(&format!("/static/{}", file.file_name().to_string_lossy()), &file.path());
    }
    Ok(image)
}

fn build() -> Result<PathBuf> {
    let target = cache().join("guestbook-image");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--target", PLATFORM, "--target-dir"])
        .arg(&target)
        .current_dir(folder())
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(target.join(PLATFORM).join("release/guestbook"))
}
