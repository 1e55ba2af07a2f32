//! What the attribute macros accept, and what they say to what they do not.
//!
//! `pass/` has a program for each accepted form, which runs, those in `together/` as one; `fail/` has one for each
//! diagnostic, with the expected output beside it. `TRYBUILD=overwrite cargo test -p mosaik-ui-tests` writes those anew;
//! read them before you keep them.
