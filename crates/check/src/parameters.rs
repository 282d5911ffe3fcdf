//! The parameters of PostgreSQL, as real servers of each version list them.
//!
//! The table is made by `scripts/postgres-parameters`. What runs programs, loads libraries, names files, says who gets in or how a server
//! replicates and recovers is its operator's ([`Parameter::Operators`]); the others a definition may set.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use freehold_spec::app::PostgresVersion;

const TABLE: &str = include_str!("../data/postgres-parameters.tsv");
/// The versions in the table.
const VERSIONS: [u32; 4] = [15, 16, 17, 18];
/// Enumerations that depend on what a server was built with. The images of clusters have all of it.
const BUILT_WITH: [(&str, &[&str]); 3] =
    [("default_toast_compression", &["lz4"]), ("io_method", &["io_uring"]), ("wal_compression", &["lz4", "zstd"])];
/// What an enumeration that can be on or off takes for these.
const TRUTHS: [&str; 8] = ["on", "off", "true", "false", "yes", "no", "1", "0"];

/// Units with how many of the smallest they are: bytes, microseconds.
const MEMORY: [(&str, f64); 5] =
    [("B", 1.0), ("kB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("TB", 1_099_511_627_776.0)];
const TIME: [(&str, f64); 6] = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("min", 60e6), ("h", 3600e6), ("d", 86_400e6)];

/// What a version has of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parameter {
    /// Its operator alone sets it.
    Operators,
    Truth,
    Text,
    Word(Vec<&'static str>),
    Number {
        least: f64,
        most: f64,
        unit: Option<Unit>,
        /// Whether it may have a fraction in its own unit.
        real: bool,
    },
}

/// The unit that a number without one is in: so many of the smallest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unit {
    of: &'static [(&'static str, f64)],
    /// As PostgreSQL has it: `8kB`.
    word: &'static str,
    size: f64,
}

/// What each version has, by the parameter's name.
type Table = BTreeMap<&'static str, BTreeMap<u32, Parameter>>;

static PARAMETERS: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        let parameter = of_row(field(0), &field);
        let versions = table.entry(field(0)).or_default();
        versions.extend(field(1).split(',').filter_map(|version| Some((version.parse().ok()?, parameter.clone()))));
    }
    table
});

fn of_row(name: &str, field: &dyn Fn(usize) -> &'static str) -> Parameter {
    match (field(2), field(3)) {
        ("app", "bool") => Parameter::Truth,
        ("app", "string") => Parameter::Text,
        ("app", "enum") => {
            let more = BUILT_WITH.iter().find_map(|(of, words)| (*of == name).then_some(*words)).unwrap_or_default();
            let words: Vec<&str> = field(7).split(',').collect();
            let missing = more.iter().copied().filter(|word| !words.contains(word));
            Parameter::Word(words.iter().copied().chain(missing).collect())
        }
        ("app", kind @ ("integer" | "real")) => Parameter::Number {
            least: field(5).parse().unwrap_or(f64::MIN),
            most: field(6).parse().unwrap_or(f64::MAX),
            unit: Unit::of(field(4)),
            real: kind == "real",
        },
        _ => Parameter::Operators,
    }
}

impl Unit {
    /// `kB`, `8kB`, `min`; `None` for a number that has none.
    fn of(word: &'static str) -> Option<Self> {
        let name = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = word.strip_suffix(name)?;
        let times: f64 = if digits.is_empty() { 1.0 } else { digits.parse().ok()? };
        [&MEMORY[..], &TIME[..]].into_iter().find_map(|of| {
            let size = of.iter().find_map(|(known, size)| (*known == name).then_some(size * times))?;
            Some(Self { of, word, size })
        })
    }
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// There is none of this name; which versions have it, if any.
    Unknown(Vec<u32>),
    /// It is the operator's.
    Operators,
    /// It has no such value, and what it may have.
    Value(String),
}

/// The names of those that a definition may set.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let is_ours = |versions: &BTreeMap<u32, Parameter>| !versions.values().any(|one| *one == Parameter::Operators);
    PARAMETERS.iter().filter(move |(_, versions)| is_ours(versions)).map(|(name, _)| *name)
}

/// What is wrong with a parameter and its value; of a server whose version isn't said, what is wrong in every one.
pub(crate) fn fault(name: &str, value: &str, version: Option<PostgresVersion>) -> Option<Fault> {
    let Some(versions) = PARAMETERS.get(name) else { return Some(Fault::Unknown(Vec::new())) };
    if versions.values().any(|parameter| *parameter == Parameter::Operators) {
        return Some(Fault::Operators);
    }
    let meant = VERSIONS.iter().filter(|known| version.is_none_or(|version| version.0 == **known));
    let meant: Vec<&Parameter> = meant.filter_map(|version| versions.get(version)).collect();
    if meant.is_empty() {
        return Some(Fault::Unknown(versions.keys().copied().collect()));
    }
    let mut faults = meant.iter().map(|parameter| parameter.refusal(value));
    let first = faults.next().flatten()?;
    faults.all(|fault| fault.is_some()).then_some(Fault::Value(first))
}

impl Parameter {
    /// What it may be, where a value isn't.
    fn refusal(&self, value: &str) -> Option<String> {
        match self {
            Self::Operators | Self::Text => None,
            Self::Truth => {
                let fits = TRUTHS.iter().any(|truth| truth.eq_ignore_ascii_case(value));
                (!fits).then(|| "true or false".to_owned())
            }
            Self::Word(words) => {
                let may_be_off = words.contains(&"on") || words.contains(&"off");
                let known = words.iter().chain(TRUTHS.iter().filter(|_| may_be_off));
                let fits = known.into_iter().any(|word| word.eq_ignore_ascii_case(value));
                (!fits).then(|| format!("one of {}", words.join(", ")))
            }
            Self::Number { least, most, unit, real } => {
                let number = number(value, unit.as_ref());
                // Where it is whole, PostgreSQL rounds what a larger unit makes of it.
                let bare = value.trim().parse::<i64>().is_err() && value.trim().parse::<f64>().is_ok();
                let fits = number.is_some_and(|number| {
                    let number = if *real { number } else { number.round() };
                    (*least..=*most).contains(&number) && (*real || !bare || unit.is_some())
                });
                (!fits).then(|| {
                    let kind = if *real { "a number" } else { "a whole number" };
                    let within = format!("{kind} from {least} to {most}");
                    match unit {
                        Some(unit) => {
                            let units: Vec<&str> = unit.of.iter().map(|(word, _)| *word).collect();
                            format!("{within} of {}, or with a unit: {}", unit.word, units.join(", "))
                        }
                        None => within,
                    }
                })
            }
        }
    }
}

/// A value in the parameter's own unit; `None` if it is no number, or has another kind of unit.
fn number(value: &str, unit: Option<&Unit>) -> Option<f64> {
    let value = value.trim();
    let end = value.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(value.len());
    let (digits, word) = (value.get(..end)?.trim(), value.get(end..)?.trim());
    let digits: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite())?;
    match (word, unit) {
        ("", _) => Some(digits),
        (word, Some(unit)) => {
            let size = unit.of.iter().find_map(|(known, size)| (*known == word).then_some(size))?;
            Some(digits * size / unit.size)
        }
        (_, None) => None,
    }
}

/// A parameter with a size, in bytes.
pub(crate) fn bytes(name: &str, value: &str) -> Option<f64> {
    let newest = PARAMETERS.get(name)?.values().next_back()?;
    match newest {
        Parameter::Number { unit: Some(unit), .. } if std::ptr::eq(unit.of, &MEMORY[..]) => {
            Some(number(value, Some(unit))? * unit.size)
        }
        Parameter::Number { .. } | Parameter::Operators | Parameter::Truth | Parameter::Text | Parameter::Word(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, value: &str) -> Option<String> {
        match fault(name, value, Some(PostgresVersion(18))) {
            Some(Fault::Value(why)) => Some(why),
            Some(other) => panic!("{name}: {other:?}"),
            None => None,
        }
    }

    #[test]
    fn values_are_read_as_postgresql_reads_them() {
        for (name, good) in [
            ("work_mem", "32MB"),
            ("work_mem", "1.5 GB"),
            ("work_mem", "4096"),
            ("shared_buffers", "16"),
            ("statement_timeout", "5min"),
            ("statement_timeout", "0"),
            ("random_page_cost", "1.1"),
            ("random_page_cost", "1e0"),
            ("autovacuum_work_mem", "-1"),
            ("jit", "off"),
            ("jit", "TRUE"),
            ("synchronous_commit", "remote_apply"),
            ("synchronous_commit", "off"),
            ("wal_compression", "zstd"),
            ("timezone", "Europe/Vienna"),
            ("autovacuum_vacuum_scale_factor", "0.05"),
            ("max_wal_size", "4GB"),
        ] {
            assert_eq!(value(name, good), None, "{name} = {good}");
        }
        for (name, bad) in [
            ("work_mem", "32mb"),
            ("work_mem", "5min"),
            ("work_mem", "1kB"),
            ("work_mem", "lots"),
            ("work_mem", "9999999TB"),
            ("work_mem", "NaN"),
            ("max_connections", "1.5"),
            ("max_connections", "100 kB"),
            ("max_connections", "0"),
            ("random_page_cost", "-1"),
            ("jit", "maybe"),
            ("synchronous_commit", "sometimes"),
            ("autovacuum_vacuum_scale_factor", "200"),
        ] {
            assert!(value(name, bad).is_some(), "{name} = {bad}");
        }
        assert_eq!(
            value("shared_buffers", "1kB").unwrap(),
            "a whole number from 16 to 1073741823 of 8kB, or with a unit: B, kB, MB, GB, TB"
        );
    }

    #[test]
    fn what_leads_out_of_the_server_is_its_operators() {
        for name in [
            "archive_command",
            "shared_preload_libraries",
            "session_preload_libraries",
            "local_preload_libraries",
            "ssl_key_file",
            "ssl_passphrase_command",
            "listen_addresses",
            "dynamic_library_path",
            "extension_control_path",
            "log_directory",
            "log_filename",
            "data_directory",
            "hba_file",
            "ident_file",
            "restore_command",
            "recovery_end_command",
            "archive_cleanup_command",
            "archive_library",
            "primary_conninfo",
            "jit_provider",
            "unix_socket_directories",
            "krb_server_keyfile",
            "external_pid_file",
            "oauth_validator_libraries",
            "config_file",
            "port",
            "fsync",
            "full_page_writes",
            "allow_system_table_mods",
            "wal_level",
            "synchronous_standby_names",
            "event_source",
            "cluster_name",
            "session_replication_role",
            "search_path",
        ] {
            assert_eq!(fault(name, "x", None), Some(Fault::Operators), "{name}");
        }
        for (name, _) in PARAMETERS.iter() {
            let dangerous = ["command", "librar", "directory", "directories", "_file", "preload"];
            let harmless = [
                "max_files_per_process",
                "temp_file_limit",
                "log_temp_files",
                "file_copy_method",
                "file_extend_method",
            ];
            if dangerous.iter().any(|word| name.contains(word))
                && !harmless.contains(name)
                && *name != "log_replication_commands"
            {
                assert_eq!(fault(name, "x", None), Some(Fault::Operators), "{name}");
            }
        }
    }

    #[test]
    fn versions_have_what_they_have() {
        let fault = |name, version| fault(name, "1", version);
        assert_eq!(fault("io_workers", Some(PostgresVersion(17))), Some(Fault::Unknown(vec![18])));
        assert_eq!(fault("io_workers", Some(PostgresVersion(18))), None);
        assert_eq!(fault("io_workers", None), None, "a target may have it");
        assert_eq!(fault("old_snapshot_threshold", Some(PostgresVersion(18))), Some(Fault::Unknown(vec![15, 16])));
        assert_eq!(fault("worked_mem", None), Some(Fault::Unknown(Vec::new())));
        assert!(names().any(|name| name == "work_mem") && names().all(|name| name != "archive_command"));
    }

    #[test]
    fn sizes_are_told_in_bytes() {
        assert_eq!(bytes("shared_buffers", "1GB"), Some(1_073_741_824.0));
        assert_eq!(bytes("shared_buffers", "16384"), Some(134_217_728.0));
        assert_eq!(bytes("max_connections", "100"), None);
    }
}
