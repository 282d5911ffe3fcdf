//! Texts that stand where a secret belongs and are none: placeholders, and keys for tests.

/// Words that nobody means, wherever they stand in a value.
const WORDS: [&str; 3] = ["fixme", "tbd", "todo"];
/// The same, and so long that they are none by chance: `mychangeme`, `PLACEHOLDER1`. After them comes no letter: `replacement` is a word.
const LONG: [&str; 7] =
    ["changeit", "changeme", "changethis", "placeholder", "replaceme", "replacethis", "yoursecrethere"];
/// The same in two words.
const PAIRS: [(&str, &str); 6] = [
    ("change", "me"),
    ("change", "this"),
    ("insert", "your"),
    ("replace", "me"),
    ("replace", "this"),
    ("replace", "with"),
];
/// What `your` is followed by in a value that is still to come: `your-key-here`.
const YOURS: [&str; 8] = ["api", "client", "key", "own", "password", "private", "secret", "token"];
/// Beyond this, in bytes, it is a text of its own: a certificate, a JSON document.
const LONGEST: usize = 256;

/// How keys begin that a provider takes for tests only.
const TEST_KEYS: [&str; 7] = ["sk_test_", "pk_test_", "rk_test_", "whsec_test_", "test_sk_", "test_pk_", "rzp_test_"];

/// Whether a value was meant to be replaced: `changeme`, `sk_test_placeholder_update_before_billing`, `REPLACE_WITH_SEALED_SECRET`,
/// `your-key-here`, `<the key>`, `xxx`, `TODO`.
pub fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    if text.len() > LONGEST {
        return false;
    }
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let crossed_out = |word: &str| word.len() >= 3 && word.chars().all(|c| c == 'x');
    let unmeant = |word: &str| {
        let ends = |long: &str| word.split(long).skip(1).any(|rest| !rest.starts_with(char::is_alphabetic));
        WORDS.contains(&word) || crossed_out(word) || LONG.into_iter().any(ends)
    };
    let figureless: Vec<&str> = words.iter().map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    let pairs = || figureless.iter().zip(figureless.iter().skip(1));
    (text.starts_with('<') && text.ends_with('>'))
        || words.iter().any(|word| unmeant(word))
        || pairs().any(|(one, next)| PAIRS.contains(&(*one, *next)) || (*one == "your" && YOURS.contains(next)))
        || crossed_out(&words.concat())
}

/// How a key begins that only works for tests, if it does: `sk_test_`.
pub fn test_key(text: &str) -> Option<&'static str> {
    TEST_KEYS.into_iter().find(|beginning| text.trim().starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_teams_write_for_now_is_recognised_and_keys_are_not() {
        for text in [
            "changeme",
            "CHANGE-ME",
            "sk_test_placeholder_update_before_billing",
            "REPLACE_WITH_SEALED_SECRET",
            "your-key-here",
            "your_api_key",
            "<the key>",
            "xxx",
            "xxxx-xxxx",
            "sk_live_xxxxxxxx",
            "TODO",
            "todo: ask Ada",
            "please-change-me-now",
            " insert your token ",
            "changeme123",
            "mychangeme",
            "replaceme2",
            "PLACEHOLDER1",
            "change-me-2",
            "CHANGE_ME1",
            "yoursecrethere!",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in [
            "sk_live_51Hxxt0dOQ",
            "correct horse battery staple",
            "AtodoB",
            "d41d8cd98f00b204e9800998ecf8427e",
            "nothing to change",
            "bear your cross",
            "replacement",
            "exchange-media",
            "exchangemedia",
            "todo2",
            "placeholders",
            "",
        ] {
            assert!(!is_placeholder(text), "{text}");
        }
        assert!(!is_placeholder(&format!("{{\"note\": \"TODO\", \"key\": \"{}\"}}", "k".repeat(LONGEST))));
    }

    #[test]
    fn keys_for_tests_are_known_by_how_they_begin() {
        assert_eq!(test_key("sk_test_51H"), Some("sk_test_"));
        assert_eq!(test_key(" pk_test_51H"), Some("pk_test_"));
        assert_eq!(test_key("sk_live_test_1"), None);
    }
}
