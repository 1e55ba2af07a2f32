//! The `mosaik` command: everything is in `mosaik::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mosaik::cli::main()
}
