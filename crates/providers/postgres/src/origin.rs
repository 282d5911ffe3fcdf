//! What a database is made of: the template that it is a copy of, its collation, its encoding. All of it is chosen once.
//!
//! A template is a database that the server's operator has prepared with extensions that only a superuser creates. It is known by its name
//! ([`freehold_graph::expand::names::template`]) and by being marked as a template (`IS_TEMPLATE`), which takes CREATEDB; so it is never a
//! tenant's. Its copy belongs to the stack's owner from its first moment: no superuser of ours ever enters a database that a tenant could.

use freehold_engine::ProviderError;
use freehold_graph::{Value, extension};
use freehold_problem::{Code, Problem};

use crate::body;
use crate::catalog::DatabaseRow;
use crate::failure::Doing;
use crate::mark::PREFIX;
use crate::quote::{Identifier, Literal};
use crate::session::Session;

/// What a server with no template of ours has a new database made of.
const EMPTY: &str = "template0";
/// How texts are encoded unless somebody says otherwise.
const UTF8: &str = "UTF8";

/// What a body says of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    template: Option<Identifier>,
    /// `en_US.UTF-8`, `icu:de-AT`
    collation: Option<String>,
    encoding: Option<String>,
    /// Extensions that the template has.
    pub(crate) prepared: Vec<String>,
}

impl Origin {
    pub(crate) fn of(body: &Value) -> Result<Self, ProviderError> {
        let text = |field: &str| body.get(field).and_then(Value::as_text).map(str::to_owned);
        let template = text("template").map(|name| body::identifier(&name)).transpose()?;
        let prepared = body.get("prepared").and_then(Value::as_list).unwrap_or_default();
        Ok(Self {
            template,
            collation: text("collation"),
            encoding: text("encoding"),
            prepared: prepared.iter().filter_map(Value::as_text).map(str::to_owned).collect(),
        })
    }

    /// Whether it is a copy of a template.
    pub(crate) fn is_copy(&self) -> bool {
        self.template.is_some()
    }

    /// The end of a CREATE DATABASE.
    pub(crate) fn options(&self) -> String {
        let mut sql = match &self.template {
            Some(template) => format!("TEMPLATE {template}"),
            None => format!("TEMPLATE {EMPTY}"),
        };
        match (&self.encoding, &self.template) {
            (Some(encoding), _) => sql.push_str(&format!(" ENCODING {}", Literal(encoding))),
            (None, None) => sql.push_str(&format!(" ENCODING '{UTF8}'")),
            // As its template's.
            (None, Some(_)) => {}
        }
        match self.collation.as_deref().map(|collation| collation.strip_prefix("icu:").ok_or(collation)) {
            Some(Ok(tag)) => {
                sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {} LC_COLLATE 'C' LC_CTYPE 'C'", Literal(tag)));
            }
            Some(Err(locale)) => {
                let locale = Literal(locale);
                sql.push_str(&format!(" LOCALE_PROVIDER libc LC_COLLATE {locale} LC_CTYPE {locale}"));
            }
            // The server's own locale is for one encoding, C for all of them.
            None if self.template.is_none() && self.encoding.as_deref().is_some_and(|encoding| encoding != UTF8) => {
                sql.push_str(" LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'");
            }
            None => {}
        }
        sql
    }

    /// What a database has of it, in the form of the desired body.
    pub(crate) fn comparable(&self, row: &DatabaseRow, extensions: Option<&[String]>) -> Vec<(&'static str, Value)> {
        let mut fields = Vec::new();
        if let Some(wanted) = &self.collation {
            // Languages are the same in capitals and in small letters; PostgreSQL may write them otherwise.
            let is = if row.collation.eq_ignore_ascii_case(wanted) { wanted } else { &row.collation };
            fields.push(("collation", Value::text(is.clone())));
        }
        if self.encoding.is_some() {
            fields.push(("encoding", Value::text(row.encoding.clone())));
        }
        if let Some(template) = &self.template {
            // Nothing remembers it: what it was copied for is there, or isn't.
            fields.push(("template", Value::text(template.as_str())));
        }
        if !self.prepared.is_empty() {
            let is_there = |name: &&String| extensions.is_none_or(|extensions| extensions.contains(*name));
            let there: Vec<&str> = self.prepared.iter().filter(is_there).map(String::as_str).collect();
            fields.push(("prepared", Value::from(there)));
        }
        fields
    }

    /// Looks whether a database could be made of it.
    ///
    /// # Errors
    /// There is no such template, or the server doesn't load what an extension needs.
    pub(crate) async fn check(
        &self,
        session: &mut Session,
        name: &Identifier,
        doing: &Doing,
    ) -> Result<(), ProviderError> {
        if let Some(template) = &self.template {
            check_template(session, template, name, doing).await?;
        }
        for extension in &self.prepared {
            if let Some(library) = extension::library(extension)
                && !is_loaded(session, library, doing).await?
            {
                let message = format!(
                    "extension {extension} of database {} needs a library that the server doesn't load",
                    name.as_str()
                );
                return Err(ProviderError::from(
                    Problem::new(Code::ExtensionNotPrepared, message)
                        .help(format!("add {library} to shared_preload_libraries of the server, and restart it")),
                ));
            }
        }
        Ok(())
    }

    /// What is wrong with a database that was just made, if anything is: then it is of no use to anybody.
    pub(crate) fn refusal(&self, row: &DatabaseRow, extensions: &[String], name: &Identifier) -> Option<Problem> {
        let missing: Vec<&str> =
            self.prepared.iter().filter(|name| !extensions.contains(*name)).map(String::as_str).collect();
        if !missing.is_empty() {
            let template = self.template.as_ref().map_or("", Identifier::as_str);
            let message = format!(
                "the template {template} of database {} has no extension {}",
                name.as_str(),
                missing.join(", ")
            );
            return Some(Problem::new(Code::ExtensionNotPrepared, message).help(format!(
                "let a superuser create it there: CREATE EXTENSION \"{}\"",
                missing.first().copied().unwrap_or_default()
            )));
        }
        let wanted = self.collation.as_ref()?;
        if row.collation.eq_ignore_ascii_case(wanted) {
            return None;
        }
        let message =
            format!("PostgreSQL calls the collation {wanted} of database {} {}", name.as_str(), row.collation);
        Some(Problem::new(Code::NoSuchCollation, message).help(format!("write `collation = \"{}\"`", row.collation)))
    }
}

async fn check_template(
    session: &mut Session,
    template: &Identifier,
    name: &Identifier,
    doing: &Doing,
) -> Result<(), ProviderError> {
    const SQL: &str = "
        SELECT d.datistemplate, d.datallowconn, COALESCE(starts_with(shobj_description(d.datdba, 'pg_authid'), $2), false)
        FROM pg_database d WHERE d.datname = $1";
    let found: Option<(bool, bool, bool)> = sqlx::query_as(SQL)
        .bind(template.as_str())
        .bind(PREFIX)
        .fetch_optional(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    let refused = |why: &str| {
        let message = format!("database {} is to be a copy of {}, {why}", name.as_str(), template.as_str());
        Err(ProviderError::from(Problem::new(Code::ExtensionNotPrepared, message).help(format!(
            "let a superuser prepare it: CREATE DATABASE {template}, CREATE EXTENSION in it, then ALTER DATABASE {template} IS_TEMPLATE true \
             ALLOW_CONNECTIONS false"
        ))))
    };
    match found {
        None => refused("which isn't on its server"),
        Some((_, _, true)) => refused("which is a stack's"),
        Some((false, _, false)) => refused("which isn't marked as a template"),
        // A session in it hinders every copy, and whoever may connect reads what is in it.
        Some((true, true, false)) => refused("which lets sessions in"),
        Some((true, false, false)) => Ok(()),
    }
}

/// Whether the server loads a library at its start. Which ones it loads only superusers may read; but each has settings, which everybody
/// sees.
async fn is_loaded(session: &mut Session, library: &str, doing: &Doing) -> Result<bool, ProviderError> {
    // pg_cron's are called cron.…
    let prefix = format!("{}.", if library == "pg_cron" { "cron" } else { library });
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_settings WHERE starts_with(name, $1))")
        .bind(prefix)
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(fields: &[(&str, &str)]) -> String {
        let body = Value::map(fields.iter().map(|(field, text)| (*field, Value::text(*text))));
        Origin::of(&body).unwrap().options()
    }

    #[test]
    fn a_database_of_which_nothing_is_said_is_made_as_it_always_was() {
        assert_eq!(options(&[]), "TEMPLATE template0 ENCODING 'UTF8'");
    }

    #[test]
    fn what_is_said_is_quoted() {
        assert_eq!(
            options(&[("collation", "de'AT"), ("encoding", "LATIN1")]),
            "TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'de''AT' LC_CTYPE 'de''AT'"
        );
        assert_eq!(
            options(&[("collation", "icu:de-AT"), ("template", "a\"b")]),
            "TEMPLATE \"a\"\"b\" LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        assert!(options(&[("encoding", "LATIN1")]).ends_with("LC_COLLATE 'C' LC_CTYPE 'C'"));
    }
}
