//! Values that are replaced while the process runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

/// A value that is replaced as a whole. Clones are the same value.
pub(crate) struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// As it is now. Not to be held across an await: the value before is not freed until it is let go.
    pub(crate) fn get(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    pub(crate) fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What it holds may be secret.
impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live(…)")
    }
}
