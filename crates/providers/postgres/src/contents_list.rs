//! What of a dump is restored into a copy of the template that the dumped database was a copy of: all that the template doesn't have.
//!
//! `pg_dump` writes down what somebody else owns in there, too: the template's schemas, rights on the objects of its extensions, the
//! extensions themselves. The owner of a database can restore none of that, and need not: the copy has it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, BufWriter, Read, Result, Write};

use crate::body::RoleNames;
use crate::quote::Identifier;

/// Whom the schema `public` belongs to: the owner of the database, whoever that is.
const OWNER_OF_PUBLIC: &str = "pg_database_owner";

/// Writes the lines of `pg_restore --list` that are to be restored. `present` are the extensions of the template.
pub(crate) fn select(list: impl Read, present: &[String], names: &RoleNames, into: impl Write) -> Result<()> {
    let present: BTreeSet<&str> = present.iter().map(String::as_str).collect();
    let mut into = BufWriter::new(into);
    for line in BufReader::new(list).split(b'\n') {
        let line = line?;
        if is_restored(&String::from_utf8_lossy(&line), &present, names) {
            into.write_all(&line)?;
            into.write_all(b"\n")?;
        }
    }
    into.flush()
}

/// `215; 1259 16402 TABLE public notes acme__owner`: what stands at the end is whose it is; extensions are nobody's.
fn is_restored(line: &str, present: &BTreeSet<&str>, names: &RoleNames) -> bool {
    // Before its kind an entry has three numbers.
    let Some(entry) = line.splitn(4, ' ').nth(3).filter(|_| !line.starts_with(';')) else { return false };
    match entry.strip_prefix("EXTENSION - ").or_else(|| entry.strip_prefix("COMMENT - EXTENSION ")) {
        Some(extension) => !present.contains(extension.trim_end()),
        None => entry.ends_with(' ') || ends_with_owner(entry, names),
    }
}

fn ends_with_owner(entry: &str, names: &RoleNames) -> bool {
    let owners = names.all().map(Identifier::as_str);
    let mut owners = owners.into_iter().chain([OWNER_OF_PUBLIC]);
    owners.any(|owner| entry.strip_suffix(owner).is_some_and(|before| before.ends_with(' ')))
}

#[cfg(test)]
mod tests {
    use freehold_graph::Value;

    use super::*;

    #[test]
    fn what_the_template_has_is_left_out_and_all_else_is_restored() {
        let role = |role: &str| (role.to_owned(), Value::text(format!("acme__{role}")));
        let names = RoleNames::of(&Value::Map(["owner", "migrator", "app"].map(role).into())).unwrap();
        let restored = [
            "2; 3079 16385 EXTENSION - pgcrypto ",
            "3012; 0 0 COMMENT - EXTENSION pgcrypto ",
            "215; 1259 16402 TABLE public notes acme__owner",
            "3013; 0 16402 TABLE DATA public notes acme__owner",
            "216; 1259 16402 TABLE public of EXTENSION - pg_partman acme__migrator",
            "3014; 0 0 ACL - SCHEMA public pg_database_owner",
        ];
        let left = [
            ";",
            "; Archive created at 2026-12-01 02:00:00 UTC",
            "3; 3079 16386 EXTENSION - pg_partman ",
            "3015; 0 0 COMMENT - EXTENSION pg_partman ",
            "8; 2615 16387 SCHEMA - partman postgres",
            "3016; 0 0 ACL - SCHEMA partman postgres",
            "3017; 0 16390 TABLE DATA partman part_config postgres",
        ];
        let list = restored.iter().chain(&left).copied().collect::<Vec<_>>().join("\n");
        let mut selected = Vec::new();
        select(list.as_bytes(), &["pg_partman".to_owned()], &names, &mut selected).unwrap();
        assert_eq!(String::from_utf8(selected).unwrap().lines().collect::<Vec<_>>(), restored);
    }
}
