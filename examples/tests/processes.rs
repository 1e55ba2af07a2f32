//! The examples that are several processes, as their documentation says to start them.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A program of this crate's `examples`, which are built with the tests.
fn example(name: &str) -> Command {
    let mut path = std::env::current_exe().expect("a test has a path");
    // From `target/debug/deps/…`.
    path.pop();
    path.pop();
    Command::new(path.join("examples").join(name))
}

/// A network that no other test of this machine uses.
fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name} {} {number}", std::process::id())
}

/// Ends with the test, however that ends.
struct Running(Option<Child>);

impl Running {
    fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = piped.stderr(Stdio::piped()).spawn();
        Self(Some(child.expect("an example that was built")))
    }

    fn output(mut self) -> Output {
        let child = self
            .0
            .take()
            .expect("it runs until it is asked for its output");
        child.wait_with_output().expect("what it printed")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[test]
fn three_order_books_are_one() {
    let network = unique("order book");
    let orders = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/orders.txt");
    let start = |_| Running::start(example("order_book").arg(&orders).args([&network, "once"]));
    let running: Vec<Running> = (0..3).map(start).collect();
    let mut books = Vec::new();
    let mut placed = 0;
    for one in running {
        let output = one.output();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let (all, book) = text.split_once(" orders are placed, ").expect("a summary");
        assert!(all.ends_with("all 120"), "{all}");
        let (mine, book) = book.split_once(" of them from here\n").expect("a count");
        placed += mine.parse::<u32>().expect("a number");
        books.push(book.to_owned());
    }
    assert_eq!(placed, 120, "each was placed by one of them");
    assert!(books[0].contains(" trades of ") && books[0].contains("  -- the last at "));
    assert!(books.iter().all(|book| *book == books[0]), "{books:#?}");
}
