//! The page of each code: what happened, why it matters, an example, the fix. They are part of the program.

use freehold_problem::Code;

macro_rules! pages {
    ($($name:ident $code:literal $status:ident $title:literal)+) => {
        /// The page of a code, as Markdown; empty for a later release's.
        pub const fn page(code: Code) -> &'static str {
            match code {
                $(Code::$name => {
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/", $code, ".md"))
                })+
                Code::Newer(_) => "",
            }
        }
    };
}

freehold_problem::codes!(pages);
