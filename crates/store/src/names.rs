//! The names of the store's database and roles. Two platforms on one server need different ones.

use crate::error::StoreError;

/// The names of the store's database and roles on its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreNames {
    /// The store's database.
    pub database: String,
    /// Owns the schema; used for migrations only.
    pub owner: String,
    /// Works under forced row-level security.
    pub tenant: String,
    /// Works on queue, leases and journal.
    pub engine: String,
    /// Makes the stacks' databases and roles. Has nothing in the store's own database.
    pub provisioner: String,
}

impl Default for StoreNames {
    fn default() -> Self {
        Self {
            database: "freehold".to_owned(),
            owner: "freehold_owner".to_owned(),
            tenant: "freehold_tenant".to_owned(),
            engine: "freehold_engine".to_owned(),
            provisioner: "freehold_provisioner".to_owned(),
        }
    }
}

impl StoreNames {
    /// The default names with something behind each: `freehold_tenant_blue`.
    ///
    /// # Errors
    /// [`StoreError::Name`] if that makes no names.
    pub fn with_suffix(suffix: &str) -> Result<Self, StoreError> {
        let names = Self::default();
        let longer = |name: String| format!("{name}_{suffix}");
        let names = Self {
            database: longer(names.database),
            owner: longer(names.owner),
            tenant: longer(names.tenant),
            engine: longer(names.engine),
            provisioner: longer(names.provisioner),
        };
        names.check()?;
        Ok(names)
    }

    /// All of them.
    pub fn all(&self) -> [&str; 5] {
        [&self.database, &self.owner, &self.tenant, &self.engine, &self.provisioner].map(String::as_str)
    }

    /// Whether all of them are plain names that need no quotes.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for name in self.all() {
            let plain = name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
            if !plain || name.len() > 63 || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                return Err(StoreError::Name(name.to_owned()));
            }
        }
        Ok(())
    }

    /// A migration's text with these names in the place of the default ones.
    pub(crate) fn put_into(&self, sql: &str) -> String {
        let default = Self::default();
        sql.replace(&default.owner, &self.owner)
            .replace(&default.tenant, &self.tenant)
            .replace(&default.engine, &self.engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_that_needs_quotes_is_refused() {
        assert!(StoreNames::with_suffix("blue_2").is_ok());
        for odd in ["a b", "a\"b", "A", "é", &"x".repeat(60)] {
            assert!(matches!(StoreNames::with_suffix(odd), Err(StoreError::Name(_))), "{odd}");
        }
    }

    #[test]
    fn suffixed_names_replace_the_default_ones_once() {
        let names = StoreNames::with_suffix("b").unwrap();
        assert_eq!(
            names.put_into("TO freehold_tenant, freehold_engine; freehold.tenant_id"),
            "TO freehold_tenant_b, freehold_engine_b; freehold.tenant_id"
        );
    }
}
