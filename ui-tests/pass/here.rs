//! What a program of several asks of itself alone.

/// What the file that says this declares.
macro_rules! here {
    () => {
        mosaik::declarations()
            .into_iter()
            .filter(|declaration| declaration.location().file == file!())
            .collect::<::std::vec::Vec<_>>()
    };
}
