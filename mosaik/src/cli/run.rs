//! From the arguments to the exit code.

use std::{io, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use super::{
    args::{Cli, Command, Group},
    beacon, export, groups, import, output, peers, publish, recover,
    signal::{INTERRUPTED, Interrupt},
    subscribe, wait,
};

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It did what it was asked for.
    Done,
    /// A signal came first.
    Interrupted,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.command.verbosity());
    match run(cli.command) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            output::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<End> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // The command runs on this thread, which serves no other task, and may block on its output.
    let end = runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        match command {
            Command::Publish(args) => Box::pin(publish::run(args, &interrupt)).await,
            Command::Subscribe(args) => Box::pin(subscribe::run(args, &interrupt)).await,
            Command::Beacon(args) => Box::pin(beacon::run(args, &interrupt)).await,
            Command::Peers(args) => Box::pin(peers::run(args, &interrupt)).await,
            Command::Groups(args) => Box::pin(groups::run(args, &interrupt)).await,
            Command::Group(Group::Show(args)) => Box::pin(groups::show(args, &interrupt)).await,
            Command::Group(Group::Wait(args)) => Box::pin(wait::run(args, &interrupt)).await,
            Command::Group(Group::Export(args)) => Box::pin(export::run(args, &interrupt)).await,
            Command::Group(Group::Import(args)) => Box::pin(import::run(args, &interrupt)).await,
            Command::Group(Group::Recover(args)) => Box::pin(recover::run(args, &interrupt)).await,
        }
    });
    // A thread that reads standard input cannot be interrupted, so it is not waited for.
    runtime.shutdown_background();
    end
}

fn log(verbosity: u8) {
    let filter = match verbosity {
        0 => EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("error,mosaik=warn")),
        1 => EnvFilter::new("warn,mosaik=info"),
        2 => EnvFilter::new("info,mosaik=debug"),
        _ => EnvFilter::new("debug,mosaik=trace"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
}
