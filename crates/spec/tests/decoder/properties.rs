//! What holds for every text.

use freehold_spec::{Schedule, decode};
use proptest::prelude::*;

use super::{BROKEN, CLUSTER, GUESTBOOK};

/// Decodes, and checks what has to hold of the mistakes.
fn examine(source: &str) {
    if let Err(errors) = decode(source) {
        assert!(!errors.is_empty());
        for error in errors {
            assert!(source.get(error.span.start..error.span.end).is_some(), "{error:?} is outside of {source:?}");
            assert_ne!(error.kind, freehold_spec::DecodeErrorKind::Internal);
            assert!(!error.message.is_empty());
        }
    }
}

/// Lines that look like those of a definition.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\[{1,2}(app|service|service\\.web|service\\.web\\.env|route\\.a|job\\.b|tier\\.c|stage\\.d|x|\"ä\")\\]{1,2}",
        "(name|command|env|paths|port|host|build|generate|a\\.b|\"\"|é) ?= ?(\"[^\"\\\\\n]{0,12}\"|'x'|[0-9]{1,3}|\\[[^\n]{0,8}\\]|\\{[^\n]{0,12}\\}|true|1979-05-27|1\\.5|)",
        "(A|B|PORT) = \"[a-z ]{0,3}\\$?\\$\\{[a-z.]{0,16}\\}?[^\"\\\\\n]{0,5}\"",
        "[^\n]{0,12}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_decoder_panic(source in "\\PC{0,200}") {
        examine(&source);
    }

    #[test]
    fn no_lines_make_the_decoder_panic(lines in prop::collection::vec(line(), 0..20)) {
        examine(&lines.join("\n"));
        examine(&lines.join("\r\n"));
    }

    #[test]
    fn a_definition_with_a_piece_cut_out_is_still_examined(from in 0usize..2000, length in 0usize..60, which in 0usize..3) {
        let source = [BROKEN, GUESTBOOK, CLUSTER][which];
        let from = source.floor_char_boundary(from);
        let to = source.floor_char_boundary(from + length);
        examine(&format!("{}{}", &source[..from], &source[to..]));
    }

    #[test]
    fn a_definition_with_something_inserted_is_still_examined(at in 0usize..2000, what in "[\\[\\]{}\"'=.,#$\n\\\\ä0]{1,3}") {
        let at = GUESTBOOK.floor_char_boundary(at);
        examine(&format!("{}{what}{}", &GUESTBOOK[..at], &GUESTBOOK[at..]));
    }

    #[test]
    fn no_text_makes_the_schedule_panic(text in "[0-9a-z*/,\\- ]{0,20}", after: i64) {
        if let Ok(schedule) = Schedule::parse(&text) && let Some(next) = schedule.next_after(after) {
            prop_assert!(next > after);
            prop_assert_eq!(next % 60, 0);
        }
    }

    #[test]
    fn between_now_and_the_next_time_there_is_no_other(
        minute in 0u8..60, hour in 0u8..24, day in 1u8..29, after in -4_000_000_000i64..8_000_000_000, inside in 0.0f64..1.0
    ) {
        let schedule = Schedule::parse(&format!("{minute} {hour} {day} * *")).unwrap();
        let next = schedule.next_after(after).unwrap();
        let between = after + ((next - after) as f64 * inside) as i64;
        prop_assert_eq!(schedule.next_after(between.min(next - 1)).unwrap(), next);
    }
}
