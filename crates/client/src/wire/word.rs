//! Words of closed sets, open for those of a later release.

/// Makes an enum of words: text on the wire, and in the document a string that is one of them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$of])* $variant,)+
            /// A word of a later release; kept and shown as it is.
            Other(String),
        }

        impl $name {
            /// The word as it is on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer).map(|word| Self::from(word.as_str()))
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let meanings = concat!($("`", $word, "` ",)+ "and what later releases add.");
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(meanings))
                    .enum_values(Some([$($word),+]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

pub(super) use words;

#[cfg(test)]
mod tests {
    use crate::wire::{Purpose, StackState};

    #[test]
    fn a_word_of_a_later_release_is_kept_and_said_again_as_it_was() {
        for (text, state) in [("\"ready\"", StackState::Ready), ("\"on-ice\"", StackState::Other("on-ice".to_owned()))]
        {
            assert_eq!(serde_json::from_str::<StackState>(text).unwrap(), state);
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
        }
        for (text, purpose) in [
            ("\"rollback to 3\"", Purpose::Rollback { to: 3 }),
            ("\"destroy\"", Purpose::Destroy),
            ("\"rollback to the moon\"", Purpose::Other("rollback to the moon".to_owned())),
        ] {
            assert_eq!(serde_json::from_str::<Purpose>(text).unwrap(), purpose);
            assert_eq!(serde_json::to_string(&purpose).unwrap(), text);
        }
    }
}
