//! Identifiers and literals for the few statements that take no parameters (roles, databases).

/// An identifier, in quotes. NUL can't occur in one and is left out.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A literal, in quotes that hold whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let text = text.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_a_name_do_not_end_it() {
        assert_eq!(identifier("plain"), r#""plain""#);
        assert_eq!(identifier(r#"a"; DROP ROLE x; --"#), r#""a""; DROP ROLE x; --""#);
        assert_eq!(identifier("a\0b"), r#""ab""#);
    }

    #[test]
    fn quotes_and_backslashes_in_a_literal_do_not_end_it() {
        assert_eq!(literal("SCRAM-SHA-256$4096:ab=$cd="), "'SCRAM-SHA-256$4096:ab=$cd='");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }
}
