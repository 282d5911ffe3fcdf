//! Files with secrets, as teams have them: lines of `NAME=VALUE` (dotenv), or a JSON object. No message shows a value.

use std::collections::BTreeMap;

/// The values by name.
///
/// # Errors
/// All that can't be read, a line for each.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
    if text.trim_start().starts_with('{') { json(text) } else { dotenv(text) }
}

fn json(text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| vec![format!("line {}: the JSON can't be read", error.line())])?;
    let mut mistakes = Vec::new();
    let mut values = BTreeMap::new();
    for (name, value) in fields {
        match value.as_str() {
            Some(text) => {
                values.insert(name, text.to_owned());
            }
            None => mistakes.push(format!("{name} is no text")),
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}

fn dotenv(text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
    let (mut values, mut mistakes) = (BTreeMap::new(), Vec::new());
    let mut lines = (1_usize..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            mistakes.push(format!("line {number} has no ="));
            continue;
        };
        let (name, mut value) = (name.trim().to_owned(), value.trim_start().to_owned());
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let value = match quote {
            None => Some(value.split(" #").next().unwrap_or_default().trim_end().to_owned()),
            // It may go on in the next lines.
            Some(quote) => loop {
                if let Some(read) = quoted(&value, quote) {
                    break Some(read);
                }
                let Some((_, more)) = lines.next() else { break None };
                value.push('\n');
                value.push_str(more);
            },
        };
        match value {
            None => mistakes.push(format!("line {number}: the quotes of {name} are not closed")),
            Some(_) if name.is_empty() => mistakes.push(format!("line {number} has no name")),
            Some(_) if values.contains_key(&name) => mistakes.push(format!("line {number}: {name} is there twice")),
            Some(value) => {
                values.insert(name, value);
            }
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}

/// What stands in quotes, which begin the text; `None` where they aren't closed. In double ones a backslash means something.
fn quoted(text: &str, quote: char) -> Option<String> {
    let mut value = String::new();
    let mut characters = text.chars().skip(1);
    while let Some(character) = characters.next() {
        match character {
            end if end == quote => return Some(value),
            '\\' if quote == '"' => match characters.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_dotenv_file_is_read_as_teams_write_it() {
        let text = "# of Ada\n\nA=plain # said\nexport B = 'as # it \\n is'\nC=\"two\\nlines \\\"q\\\"\"\nD=\nE=a=b#c\nF=\"-----BEGIN\nkey\n-----END\"\n";
        let expected = [
            pair("A", "plain"),
            pair("B", "as # it \\n is"),
            pair("C", "two\nlines \"q\""),
            pair("D", ""),
            pair("E", "a=b#c"),
            pair("F", "-----BEGIN\nkey\n-----END"),
        ];
        assert_eq!(read(text), expected);
        assert_eq!(read(" {\"A\": \"x\", \"B\": \"\"}"), [pair("A", "x"), pair("B", "")]);
    }

    #[test]
    fn what_can_not_be_read_is_told_without_a_value() {
        let mistakes = parse("hunter2\nA=1\nA=s3cret\n=x\nB=\"hunter2\n").unwrap_err();
        let expected = [
            "line 1 has no =",
            "line 3: A is there twice",
            "line 4 has no name",
            "line 5: the quotes of B are not closed",
        ];
        assert_eq!(mistakes, expected);
        assert_eq!(parse("{\"A\": 1, \"B\": [\"s3cret\"]}").unwrap_err(), ["A is no text", "B is no text"]);
        assert_eq!(parse("{\"A\": \"hunter2").unwrap_err(), ["line 1: the JSON can't be read"]);
    }
}
