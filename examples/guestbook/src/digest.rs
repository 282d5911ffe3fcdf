//! The daily digest, on the standard output.

use crate::database::{Database, DatabaseError, Day};
use crate::settings::Digest;

/// Prints it.
pub async fn print(settings: &Digest) -> Result<(), DatabaseError> {
    let day = Database::new(settings.database.clone())?.day().await?;
    print!("{}", text(&day, settings.public_url.as_deref()));
    Ok(())
}

fn text(day: &Day, url: Option<&str>) -> String {
    let entries = counted(day.entries, "new entry", "new entries");
    let visitors = counted(day.visitors, "visitor", "visitors");
    let mut text = format!("Guestbook, last 24 hours: {entries} by {visitors}, {} altogether\n", day.altogether);
    for (author, count) in &day.authors {
        text.push_str(&format!("  {count:>5}  {}\n", author.escape_debug()));
    }
    if let Some(url) = url {
        text.push_str(&format!("{url}\n"));
    }
    text
}

fn counted(count: i64, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_counts_and_names_who_wrote_most() {
        let authors = vec![("Ada".to_owned(), 2), ("Eve\u{1b}[2J".to_owned(), 1)];
        let day = Day { entries: 3, visitors: 1, altogether: 12, authors };
        let expected = "Guestbook, last 24 hours: 3 new entries by 1 visitor, 12 altogether\n      2  Ada\n      \
                        1  Eve\\u{1b}[2J\nhttp://acme.localhost\n";
        assert_eq!(text(&day, Some("http://acme.localhost")), expected);
    }
}
