//! The changes that writes make, kept for those who follow a collection.

/// Collects the changes that writes make, if anybody wants them. If nobody does, none is even put together.
#[derive(Debug)]
pub struct Changes<C>(Option<Vec<C>>);

impl<C> Default for Changes<C> {
    fn default() -> Self {
        Self::ignored()
    }
}

impl<C> Changes<C> {
    /// Keeps changes.
    pub(crate) fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Keeps none: nobody follows.
    pub(crate) fn ignored() -> Self {
        Self(None)
    }

    /// Whether changes are kept.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a change, if any are kept.
    pub(crate) fn tell(&mut self, change: impl FnOnce() -> C) {
        if let Some(kept) = &mut self.0 {
            kept.push(change());
        }
    }

    /// The changes since it was asked last, in the order in which they were made.
    pub(crate) fn take(&mut self) -> Vec<C> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
