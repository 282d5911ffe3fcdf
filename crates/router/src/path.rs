//! Paths that two programs may read in two ways.
//!
//! A route may have rules for some paths only, and then whatever goes through has to be below them for the service, too. Services
//! resolve `..` and decode what is encoded, some of it more than RFC 3986 says. So a path is not rewritten here, where it could come out
//! other than the service would read it; one with a segment that anybody could take for `.` or `..` is refused.
//!
//! An empty segment is a segment: `//public` is not below `/public`, and `/public//a` is, whether slashes are merged or not. An encoded
//! slash (`group%2Fproject`) is let through, since services use it in names, and counts as a separator in the search for dots.

/// What is wrong with a path, if anything is.
pub(crate) fn objection(path: &str) -> Option<&'static str> {
    // Almost all paths have none of these.
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\')) {
        return None;
    }
    let mut rest = path.as_bytes();
    // Whether the segment is made of dots so far, how many, and whether a path parameter (`..;x`) has begun.
    let (mut dots, mut other, mut parameter) = (0_u32, false, false);
    loop {
        let (letter, after) = next(rest);
        match letter {
            None | Some(b'/' | b'\\') => {
                if !other && (1..=2).contains(&dots) {
                    return Some("the path has a segment `.` or `..`");
                }
                (dots, other, parameter) = (0, false, false);
            }
            Some(0) => return Some("the path contains a zero byte"),
            Some(_) if parameter => {}
            Some(b';') => parameter = true,
            Some(b'.') => dots += 1,
            Some(_) => other = true,
        }
        letter?;
        rest = after;
    }
}

/// A path as a service may read it that decodes what is encoded, merges slashes, takes `\` for one, and cuts parameters (`;x`) off.
/// `None`: all of them read it as it stands.
pub(crate) fn as_read(path: &str) -> Option<String> {
    let plain = |byte: u8| !matches!(byte, b'%' | b'\\' | b';');
    if path.bytes().all(plain) && !path.contains("//") {
        return None;
    }
    let mut rest = path.as_bytes();
    let mut read = Vec::with_capacity(path.len());
    let mut parameter = false;
    while let (Some(letter), after) = next(rest) {
        rest = after;
        match letter {
            b'/' | b'\\' => {
                parameter = false;
                if read.last() != Some(&b'/') {
                    read.push(b'/');
                }
            }
            b';' => parameter = true,
            _ if parameter => {}
            letter => read.push(letter),
        }
    }
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// The next letter, decoded, and what follows it.
fn next(bytes: &[u8]) -> (Option<u8>, &[u8]) {
    match bytes {
        [b'%', high, low, rest @ ..] => match (hexadecimal(*high), hexadecimal(*low)) {
            (Some(high), Some(low)) => (Some(high << 4 | low), rest),
            _ => (Some(b'%'), bytes.get(1..).unwrap_or_default()),
        },
        [letter, rest @ ..] => (Some(*letter), rest),
        [] => (None, bytes),
    }
}

fn hexadecimal(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_could_lead_out_of_a_folder_is_refused() {
        for path in [
            "/public/../admin",
            "/public/..",
            "/..",
            "/./admin",
            "/public/.",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public/%2e/admin",
            "/public/..%2fadmin",
            "/public%2f..%2fadmin",
            "/public/..\\admin",
            "/public\\..\\admin",
            "/public/..%5cadmin",
            "/public/..;/admin",
            "/public/..;a=b/admin",
            "/public/%2e%2e%3b/admin",
            "/public//../admin",
            "/public/a%00/../b",
            "/public/a%00",
        ] {
            assert!(objection(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_path_is_read_as_the_most_generous_service_would() {
        for (path, read) in [
            ("/%61dmin", "/admin"),
            ("//admin", "/admin"),
            ("/admin%2Fx", "/admin/x"),
            ("/admin;x=1/y", "/admin/y"),
            ("/admin\\x", "/admin/x"),
            ("/a%", "/a%"),
        ] {
            assert_eq!(as_read(path).as_deref(), Some(read), "{path}");
        }
        assert_eq!(as_read("/admin/x.html"), None);
    }

    #[test]
    fn names_with_dots_and_encoded_letters_are_let_through() {
        for path in [
            "/",
            "*",
            "/index.html",
            "/.well-known/acme",
            "/a/...",
            "/a..b",
            "/..a",
            "/group%2Fproject",
            "/a%20b.c",
            "/100%",
            "/%zz",
            "/a;v=1.0",
            "//a",
            "/%252e%252e/a",
        ] {
            assert_eq!(objection(path), None, "{path}");
        }
    }
}
