//! Processes of the command, each as if in a terminal of its own.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{self, ChildStdin, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use mosaik_tests::{DEADLINE, unique};
use tempfile::TempDir;

/// The command, built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo tells this test of its package would make dependencies build anew, each time.
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(describes_package) {
                cargo.env_remove(variable);
            }
        }
        let build = cargo
            .args(["build", "--workspace", "--bin", "mosaik"])
            .args(["--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(build.status.success(), "the command does not build");
        let messages = String::from_utf8(build.stdout).expect("cargo prints text");
        let executable = messages
            .lines()
            .map(|line| serde_json::from_str(line).expect("cargo prints JSON"))
            .find_map(|message: serde_json::Value| message["executable"].as_str().map(Into::into));
        executable.expect("cargo says where the command is")
    })
}

/// Whether cargo sets a variable to describe the package whose test it runs.
fn describes_package(variable: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    let names = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "OUT_DIR",
    ];
    names.contains(&variable) || prefixes.iter().any(|p| variable.starts_with(p))
}

/// A place of its own for the processes of a test: they find nobody else.
pub(crate) struct World {
    pub(crate) runtime: TempDir,
    pub(crate) network: String,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            runtime: tempfile::tempdir().expect("a temporary folder"),
            network: unique(name),
        }
    }

    /// Starts `mosaik` with `args`, and what every node of a test is told.
    pub(crate) fn start(&self, args: &[&str]) -> Mosaik {
        let network = ["--network", &self.network];
        let node = ["--offline", "--bind", "127.0.0.1:0"];
        Mosaik::start(self, &[args, &network, &node].concat())
    }

    pub(crate) fn beacon(&self) -> (Mosaik, String) {
        let mut beacon = self.start(&["beacon"]);
        let ticket = beacon.out.line().expect("a ticket");
        assert!(ticket.starts_with("mosaik1"), "{ticket}");
        (beacon, ticket)
    }
}

/// A running command. Killed when dropped.
pub(crate) struct Mosaik {
    process: process::Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
}

impl Mosaik {
    pub(crate) fn start(world: &World, args: &[&str]) -> Self {
        Self::start_with(world, args, &[])
    }

    /// Starts it with these environment variables and no others of its own.
    pub(crate) fn start_with(world: &World, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program());
        for variable in [
            "NETWORK",
            "BOOTSTRAP",
            "OFFLINE",
            "SHARED_SECRET",
            "GROUP_KEY",
        ] {
            command.env_remove(format!("MOSAIK_{variable}"));
        }
        let mut process = command
            .envs(variables.iter().copied())
            .args(args)
            .env_remove("RUST_LOG")
            .env("XDG_RUNTIME_DIR", world.runtime.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        Self {
            stdin: process.stdin.take(),
            out: Lines::of(process.stdout.take().expect("a piped stdout")),
            err: Lines::of(process.stderr.take().expect("a piped stderr")),
            process,
        }
    }

    /// Gives it `input` and no more.
    pub(crate) fn feed(&mut self, input: impl Into<Vec<u8>>) {
        let mut stdin = self.stdin.take().expect("an input that is open");
        let input = input.into();
        // It may end before it has read everything.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }

    /// Waits for its end: the exit code.
    #[track_caller]
    pub(crate) fn code(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child to wait for") {
                return status.code().expect("an exit code, not a signal");
            }
            if began.elapsed() > DEADLINE {
                panic!("runs on after {DEADLINE:?}; it said {:#?}", self.err.seen);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status();
        assert!(sent.expect("`kill` runs").success());
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("a process to wait for");
    }
}

impl Drop for Mosaik {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// What a process prints.
pub(crate) struct Lines {
    pub(crate) lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        // Bounded, so that a test that stops reading closes the pipe once it drops this.
        let (sender, lines) = mpsc::sync_channel(256);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let seen = Vec::new();
        Self { lines, seen }
    }

    /// The next line, `None` at the end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("no line within {DEADLINE:?} after {:#?}", self.seen)
            }
        }
    }

    /// The next line that holds `text`.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        while let Some(line) = self.line() {
            if line.contains(text) {
                return line;
            }
        }
        panic!("no `{text}` in {:#?}", self.seen);
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }
}
