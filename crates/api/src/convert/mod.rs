//! Between what is sent and what the platform works with: a function for each type, and nothing else. A field that is added on one side and
//! not on the other doesn't compile.

mod event;
mod operation;
mod plan;
mod problem;
mod request;
mod secret;
mod stack;
mod target;

use freehold::wire;
use freehold_platform::view;

/// What is sent for a value of the platform's.
pub(crate) trait IntoWire {
    /// The type in `/api/v1`.
    type Wire;

    fn into_wire(self) -> Self::Wire;
}

/// What a request means to the platform.
pub(crate) trait IntoDomain {
    /// The platform's type.
    type Domain;

    fn into_domain(self) -> Self::Domain;
}

impl<T: IntoWire> IntoWire for Option<T> {
    type Wire = Option<T::Wire>;

    fn into_wire(self) -> Self::Wire {
        self.map(T::into_wire)
    }
}

impl<T: IntoWire> IntoWire for Vec<T> {
    type Wire = Vec<T::Wire>;

    fn into_wire(self) -> Self::Wire {
        self.into_iter().map(T::into_wire).collect()
    }
}

impl<T: IntoWire> IntoWire for view::Page<T> {
    type Wire = wire::Page<T::Wire>;

    fn into_wire(self) -> Self::Wire {
        wire::Page { items: self.items.into_wire(), next: self.next }
    }
}

/// All of a list that has no pages.
pub(crate) fn whole<T: IntoWire>(items: Vec<T>) -> wire::Page<T::Wire> {
    wire::Page { items: items.into_wire(), next: None }
}
