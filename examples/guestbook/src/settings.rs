//! What the program is told by its environment. Everything that is missing or wrong is reported at once.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use tokio_postgres::Config;

use crate::fault::Fault;

/// All that is wrong with the environment.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the environment is incomplete:\n  {}", .0.join("\n  "))]
pub struct SettingsError(Vec<String>);

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What `guestbook serve` needs.
#[derive(Clone)]
pub struct Serve {
    /// `HOST`, `127.0.0.1` unless set.
    pub host: IpAddr,
    /// `PORT`.
    pub port: u16,
    /// `DATABASE_URL`: a role that reads and writes and can't change the schema.
    pub database: Config,
    /// `PUBLIC_URL`: where the world reaches this program; without a slash at its end.
    pub public_url: String,
    /// `SESSION_KEY`: signs the session's cookie.
    pub session_key: Vec<u8>,
    /// `RELEASE`: a label that `/version` shows, so that one deploy can be told from another.
    pub release: Option<String>,
    /// `GUESTBOOK_FAULT`.
    pub fault: Fault,
}

/// What `guestbook migrate` needs.
pub struct Migrate {
    /// `DATABASE_URL`: a role that may change the schema.
    pub database: Config,
    /// `GUESTBOOK_FAULT`.
    pub fault: Fault,
}

/// What `guestbook digest` needs.
pub struct Digest {
    /// `DATABASE_URL`.
    pub database: Config,
    /// `PUBLIC_URL`, printed below the digest where it is set.
    pub public_url: Option<String>,
}

/// Reads settings by name.
pub struct Settings<F> {
    variable: F,
}

/// What was found to be wrong so far.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    /// The value; where there is none, the reason is kept.
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.0.push(problem)).ok()
    }
}

impl<F: Fn(&str) -> Option<String>> Settings<F> {
    pub fn new(variable: F) -> Self {
        Self { variable }
    }

    /// An empty variable counts as one that isn't set.
    fn optional(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str) -> Result<String, String> {
        self.optional(name).ok_or_else(|| format!("{name} is not set"))
    }

    /// `LOG_LEVEL`: `debug`, `info` (the default), `warn` or `error`.
    pub fn log_level(&self) -> Result<Level, String> {
        match self.optional("LOG_LEVEL").as_deref() {
            None | Some("info") => Ok(Level::Info),
            Some("debug") => Ok(Level::Debug),
            Some("warn") => Ok(Level::Warn),
            Some("error") => Ok(Level::Error),
            Some(other) => Err(format!("LOG_LEVEL is {other:?}; it can be debug, info, warn or error")),
        }
    }

    /// `GUESTBOOK_FAULT`.
    pub fn fault(&self) -> Result<Fault, String> {
        self.optional("GUESTBOOK_FAULT").map_or(Ok(Fault::None), |text| text.parse())
    }

    fn port(&self) -> Result<u16, String> {
        let text = self.required("PORT")?;
        text.parse().map_err(|_| format!("PORT is {text:?}, which is not a port"))
    }

    fn host(&self) -> Result<IpAddr, String> {
        let text = self.optional("HOST").unwrap_or_else(|| "127.0.0.1".to_owned());
        text.parse().map_err(|_| format!("HOST is {text:?}, which is not an IP address"))
    }

    fn database(&self) -> Result<Config, String> {
        // The value stays out of the message: there is a password in it.
        let mut config: Config =
            self.required("DATABASE_URL")?.parse().map_err(|_| "DATABASE_URL is not a PostgreSQL URL".to_owned())?;
        config.application_name("guestbook").connect_timeout(Duration::from_secs(3));
        Ok(config)
    }

    fn public_url(&self) -> Result<String, String> {
        let url = self.required("PUBLIC_URL")?;
        match url.starts_with("http://") || url.starts_with("https://") {
            true => Ok(url.trim_end_matches('/').to_owned()),
            false => Err(format!("PUBLIC_URL is {url:?}; it begins with http:// or https://")),
        }
    }

    fn session_key(&self) -> Result<Vec<u8>, String> {
        let key = self.required("SESSION_KEY")?.into_bytes();
        if key.len() < 16 { Err("SESSION_KEY is shorter than 16 bytes".to_owned()) } else { Ok(key) }
    }

    pub fn serve(&self) -> Result<Serve, SettingsError> {
        let mut problems = Problems::default();
        let found = (
            problems.take(self.host()),
            problems.take(self.port()),
            problems.take(self.database()),
            problems.take(self.public_url()),
            problems.take(self.session_key()),
            problems.take(self.fault()),
            problems.take(self.log_level()),
        );
        let (Some(host), Some(port), Some(database), Some(public_url), Some(session_key), Some(fault), Some(_)) = found
        else {
            return Err(SettingsError(problems.0));
        };
        let release = self.optional("RELEASE");
        Ok(Serve { host, port, database, public_url, session_key, release, fault })
    }

    pub fn migrate(&self) -> Result<Migrate, SettingsError> {
        let mut problems = Problems::default();
        let found = (problems.take(self.database()), problems.take(self.fault()), problems.take(self.log_level()));
        match found {
            (Some(database), Some(fault), Some(_)) => Ok(Migrate { database, fault }),
            _ => Err(SettingsError(problems.0)),
        }
    }

    pub fn digest(&self) -> Result<Digest, SettingsError> {
        let mut problems = Problems::default();
        match problems.take(self.database()) {
            Some(database) => Ok(Digest { database, public_url: self.optional("PUBLIC_URL") }),
            None => Err(SettingsError(problems.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &'static [(&str, &str)]) -> Settings<impl Fn(&str) -> Option<String>> {
        Settings::new(|name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn everything_that_is_missing_is_reported_at_once() {
        let error = settings(&[("PORT", "http"), ("SESSION_KEY", "short")]).serve().err().unwrap();
        let text = error.to_string();
        for expected in
            ["PORT is \"http\"", "DATABASE_URL is not set", "PUBLIC_URL is not set", "SESSION_KEY is shorter"]
        {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_complete_environment_is_accepted() {
        let settings = settings(&[
            ("PORT", "8080"),
            ("DATABASE_URL", "postgresql://app:pass%2Fword@127.0.0.1:5432/acme__guestbook"),
            ("PUBLIC_URL", "http://acme.localhost:7080/"),
            ("SESSION_KEY", "0123456789abcdef"),
        ]);
        let serve = settings.serve().unwrap();
        assert_eq!(serve.host.to_string(), "127.0.0.1");
        assert_eq!(serve.public_url, "http://acme.localhost:7080");
        assert_eq!(serve.fault, Fault::None);
    }

    #[test]
    fn a_password_never_stands_in_a_message() {
        let error = settings(&[("DATABASE_URL", "postgresql://app:hunter2@127.0.0.1:port/x")]).migrate().err().unwrap();
        assert!(!error.to_string().contains("hunter2"));
    }
}
