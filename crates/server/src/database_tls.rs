//! How the programs of stacks protect their connections to a database server: as the URL says by which Freehold reaches it.
//!
//! | the URL says | programs |
//! |---|---|
//! | `sslmode=disable` | `disable` |
//! | nothing, `allow`, `prefer` | where the server offers TLS as `verify-full` with an authority, else as `require` |
//! | `require` | `require`; with an authority `verify-ca`, as libpq reads it |
//! | `verify-ca`, `verify-full` | the same with an authority; without one, which programs could not find, `require` |
//!
//! The authority is the file that `sslrootcert` names, on the platform's machine.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use freehold_graph::expand::{Authority, ServerTls};
use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The most of a file that is read. An authority has a few certificates.
const LARGEST: u64 = 256 << 10;
/// How a parameter of the URL is written that names the authority's file.
const AUTHORITY: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The file that a database URL names as the authority.
pub(crate) fn authority_file(url: &str) -> Option<PathBuf> {
    let (_, query) = url.trim().split_once('?')?;
    let mut pairs = query.rsplit('&').filter_map(|pair| pair.split_once('='));
    let (_, file) = pairs.find(|(name, _)| AUTHORITY.contains(name))?;
    let file = percent_decode_str(file).decode_utf8().ok()?;
    Some(PathBuf::from(file.into_owned())).filter(|file| !file.as_os_str().is_empty())
}

/// The certificates in a file, and nothing else that may be in it.
///
/// # Errors
/// Why there are none.
pub(crate) fn certificates(file: &Path) -> Result<String, String> {
    let failed = |why: String| format!("the certificate authority {} can't be read: {why}", file.display());
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| failed(error.to_string()))?;
    opened.take(LARGEST).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    let blocks = text.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
    let pem: String = blocks.map(|(inside, _)| format!("{BEGIN}{inside}{END}\n")).collect();
    if pem.is_empty() { Err(failed("it has no certificates in PEM".to_owned())) } else { Ok(pem) }
}

/// What programs are told: `offered` says whether the server offers TLS, where that is known.
pub(crate) fn of_programs(
    admin: &PgConnectOptions,
    authority: Option<Authority>,
    offered: Option<bool>,
) -> Option<ServerTls> {
    match (admin.get_ssl_mode(), authority, offered) {
        (PgSslMode::Disable, _, _) => Some(ServerTls::Disable),
        (PgSslMode::Allow | PgSslMode::Prefer, _, Some(false)) => Some(ServerTls::Disable),
        (PgSslMode::Allow | PgSslMode::Prefer, None, None) => None,
        (PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::VerifyFull, Some(authority), _) => {
            Some(ServerTls::VerifyFull(authority))
        }
        (PgSslMode::Require | PgSslMode::VerifyCa, Some(authority), _) => Some(ServerTls::VerifyCa(authority)),
        (
            PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull,
            None,
            _,
        ) => Some(ServerTls::Require),
    }
}

/// What programs on this machine are told of a server whose URL was given. Nothing, where it says nothing and nobody has asked the server.
pub(crate) fn stated(admin: &PgConnectOptions, url: &str, offered: Option<bool>) -> Option<ServerTls> {
    let file = authority_file(url).and_then(|file| std::path::absolute(file).ok());
    of_programs(admin, file.map(|file| Authority::File(file.display().to_string())), offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> PgConnectOptions {
        format!("postgresql://ada:x@db.example.org/postgres{query}").parse().unwrap()
    }

    #[test]
    fn the_file_of_an_authority_is_read_from_the_url() {
        assert_eq!(authority_file("postgresql://h/d"), None);
        assert_eq!(authority_file("postgresql://h/d?sslmode=require&sslrootcert="), None);
        let file = authority_file("postgresql://h/d?sslmode=verify-full&sslrootcert=/etc/a%20b/ca.pem");
        assert_eq!(file, Some(PathBuf::from("/etc/a b/ca.pem")));
    }

    #[test]
    fn of_a_file_only_the_certificates_are_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let (first, second) = (format!("{BEGIN}\nMIIB\n{END}\n"), format!("{BEGIN}\nMIIC\n{END}\n"));
        let key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";
        std::fs::write(&file, format!("# ours\n{first}{key}{second}")).unwrap();
        assert_eq!(certificates(&file).unwrap(), format!("{first}{second}"));
        std::fs::write(&file, key).unwrap();
        assert!(certificates(&file).unwrap_err().contains("no certificates"));
        assert!(certificates(&folder.path().join("none")).unwrap_err().contains("none can't be read"));
    }

    #[test]
    fn programs_verify_a_server_wherever_its_authority_is_known() {
        let file = || Authority::File("/etc/ca.pem".to_owned());
        for (query, authority, offered, expected) in [
            ("", None, None, None),
            ("", None, Some(true), Some(ServerTls::Require)),
            ("", None, Some(false), Some(ServerTls::Disable)),
            ("", Some(file()), Some(true), Some(ServerTls::VerifyFull(file()))),
            ("?sslmode=disable", Some(file()), Some(true), Some(ServerTls::Disable)),
            ("?sslmode=require", None, Some(true), Some(ServerTls::Require)),
            ("?sslmode=require", Some(file()), None, Some(ServerTls::VerifyCa(file()))),
            ("?sslmode=verify-ca", Some(file()), None, Some(ServerTls::VerifyCa(file()))),
            ("?sslmode=verify-full", Some(file()), None, Some(ServerTls::VerifyFull(file()))),
            ("?sslmode=verify-full", None, None, Some(ServerTls::Require)),
        ] {
            assert_eq!(of_programs(&options(query), authority, offered), expected, "{query} {offered:?}");
        }
    }
}
