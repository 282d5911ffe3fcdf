//! The page's style, script and icon: read once, at the start, from the folder `static`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axum::extract::{Path as Name, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{App, answer};

const NAMES: [(&str, &str); 3] = [
    ("guestbook.css", "text/css; charset=utf-8"),
    ("guestbook.js", "text/javascript; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
];

/// Why the files are not there.
#[derive(Debug, Error)]
pub enum FilesError {
    #[error(
        "{path} can't be read: {cause}; start guestbook where the folder static is, or put that beside the program"
    )]
    Read { path: PathBuf, cause: std::io::Error },
}

struct File {
    kind: &'static str,
    content: Vec<u8>,
    tag: String,
}

/// The files by name.
pub struct Files(BTreeMap<&'static str, File>);

impl Files {
    /// Reads them from the working directory, else from beside the program.
    pub fn load() -> Result<Self, FilesError> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("static"));
        let here = PathBuf::from("static");
        let folder = if here.is_dir() { here } else { beside().filter(|folder| folder.is_dir()).unwrap_or(here) };
        NAMES.into_iter().map(|(name, kind)| Ok((name, read(&folder, name, kind)?))).collect::<Result<_, _>>().map(Self)
    }
}

fn read(folder: &Path, name: &str, kind: &'static str) -> Result<File, FilesError> {
    let path = folder.join(name);
    let content = std::fs::read(&path).map_err(|cause| FilesError::Read { path, cause })?;
    let digest: String = Sha256::digest(&content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(File { kind, content, tag: format!("\"{digest}\"") })
}

pub async fn file(State(app): State<App>, Name(name): Name<String>, headers: HeaderMap) -> Response {
    let Some(file) = app.files.0.get(name.as_str()) else {
        return answer::not_found().await.into_response();
    };
    let answer_headers = [
        (header::CONTENT_TYPE, file.kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, file.tag.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == file.tag.as_bytes());
    if known {
        return (StatusCode::NOT_MODIFIED, answer_headers).into_response();
    }
    (answer_headers, file.content.clone()).into_response()
}
