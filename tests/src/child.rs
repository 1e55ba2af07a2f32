//! Child processes: real peers that can be killed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
};

use crate::DEADLINE;

/// A running program of this package. Killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts the program of this package called `name`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, args: &[&str]) -> Self {
        Self::run(&program(name), args)
    }

    /// Starts the running program once more.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn again(args: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a running program");
        Self::run(&program, args)
    }

    fn run(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args);
        Self::command(command)
    }

    /// Starts a program.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn command(mut command: Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process =
            started.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = process.stdout.take().expect("a piped stdout");
        let (sender, lines) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, lines }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line that it prints; `None` once it has ended.
    ///
    /// # Panics
    /// When nothing comes within [`DEADLINE`].
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?}"),
        }
    }

    /// The first line that holds `text`, skipping others.
    ///
    /// # Panics
    /// When none comes, or the program ends before.
    pub fn expect(&self, text: &str) -> String {
        let mut seen = vec![];
        while let Some(line) = self.line() {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("ended without `{text}`, but with {seen:#?}");
    }

    /// Writes a line to its input.
    ///
    /// # Panics
    /// When it does not read any more.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().expect("a piped stdin");
        writeln!(stdin, "{line}").expect("a program that reads");
    }

    /// Kills it at once, as `kill -9` does.
    ///
    /// # Panics
    /// When the operating system refuses.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("a process to wait for");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// Cargo puts the programs of a package beside the `deps` folder that its tests run from.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test");
    let folder = test.parent().and_then(|deps| deps.parent());
    let folder = folder.expect("a folder of programs");
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
