//! What was probably meant: the nearest of the words that may stand somewhere.

/// Nothing that may stand anywhere is longer, and comparing takes time and memory by the product of the lengths.
const LONGEST_WORD: usize = 100;

/// How many candidates are looked at: of so many, none is what was meant for sure.
const MOST_CANDIDATES: usize = 500;

/// The candidate that is nearest to `word`, if one is near enough to be what was meant: a third of the longer word
/// may differ (a swap of two neighbours counts once), or one of them is a part of the other.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase();
    let near = candidates.into_iter().take(MOST_CANDIDATES).filter_map(|candidate| {
        let other = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&word, &other);
        let longer = word.chars().count().max(other.chars().count());
        (distance * 3 <= longer.max(3) || contains(&word, &other)).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// How many names a help lists.
const LISTED: usize = 20;

/// Names, for a help that lists them: `dev, production and 3 more`.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut text = names.by_ref().take(LISTED).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => {}
        more => text.push_str(&format!(" and {more} more")),
    }
    text
}

/// Whether one is a part of the other, and not so short that it is a part of everything.
fn contains(one: &str, other: &str) -> bool {
    one.len().min(other.len()) >= 3 && (one.contains(other) || other.contains(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_or_a_missing_letter_is_near() {
        assert_eq!(nearest("comand", ["command", "build", "port"]), Some("command"));
        assert_eq!(nearest("prot", ["command", "build", "port"]), Some("port"));
        assert_eq!(nearest("Port", ["command", "build", "port"]), Some("port"));
    }

    #[test]
    fn a_name_with_a_prefix_more_is_near() {
        assert_eq!(nearest("WEB_URL", ["DATABASE_URL", "APP_WEB_URL", "PORT"]), Some("APP_WEB_URL"));
    }

    #[test]
    fn something_else_is_not_near() {
        assert_eq!(nearest("colour", ["command", "build", "port"]), None);
        assert_eq!(nearest("", ["command"]), None);
        assert_eq!(nearest(&"command".repeat(100), ["command"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
