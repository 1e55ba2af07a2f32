//! The rules of the source tree that no compiler holds: documentation, direction, size, words.
//!
//! Each test lists every violation with its place. The rules themselves are the tables at the top.

mod scanner;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use scanner::{Target, code, functions, paths, shipped, tokens, use_tree};

/// Which modules of `mosaik/src` a module may use. What a lower module offers, higher ones may use:
/// `id, wire ← rt ← transport ← discovery ← tickets ← declare ← {streams, groups}`, `groups ← collections`,
/// `network` on top. `id` uses `wire` for the encoding of tickets.
const DIRECTION: [(&str, &str); 16] = [
    ("wire", ""),
    ("id", "wire"),
    ("metrics", ""),
    ("rt", "id wire metrics"),
    ("transport", "id wire rt metrics"),
    ("discovery", "id wire rt transport metrics"),
    ("tickets", "id rt discovery"),
    ("declare", "id wire tickets"),
    (
        "streams",
        "id wire rt transport discovery tickets declare metrics",
    ),
    (
        "groups",
        "id wire rt transport discovery tickets declare metrics",
    ),
    (
        "collections",
        "id wire rt transport discovery tickets declare groups metrics",
    ),
    ("explain", "id discovery streams groups"),
    (
        "network",
        "id wire rt transport discovery tickets declare streams groups collections explain metrics",
    ),
    ("sim", "id rt transport network"),
    (
        "cli",
        "id wire rt transport discovery tickets declare streams groups collections explain network metrics",
    ),
    ("__private", "tickets declare groups collections"),
];

/// What a `proto` may use besides its sibling protos and std.
const PROTO_MODULES: [&str; 2] = ["id", "wire"];
const PROTO_CRATES: [&str; 3] = ["bytes", "serde", "thiserror"];
/// Words that a `proto` has no use for: it neither waits nor reads a clock.
const PROTO_WORDS: [&str; 4] = ["async", "await", "Instant", "SystemTime"];

const MAX_FILE_LINES: usize = 800;
const MAX_FN_LINES: usize = 70;

/// Folders whose sources are held to the rules; the programs that must fail to compile are not.
const SOURCES: [&str; 5] = ["mosaik", "mosaik-macros", "examples", "tests", "ui-tests"];
const EXEMPT: &str = "ui-tests/fail";

/// Lints that the workspace asks for.
const LINTS: [&str; 5] = [
    "unsafe_code = \"forbid\"",
    "missing_docs = \"warn\"",
    "missing_debug_implementations = \"warn\"",
    "unreachable_pub = \"warn\"",
    "unused_qualifications = \"warn\"",
];

/// Where every package in `Cargo.lock` comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_file_says_what_it_is_for() {
    let mut wrong = Violations::new("open the file with a `//!` line that says what it is for");
    for file in rust_files(&SOURCES) {
        if !read(&file).starts_with("//!") {
            wrong.add(&file, 1, "no documentation");
        }
    }
    wrong.check();
}

#[test]
fn modules_use_only_what_is_below_them() {
    let direction = BTreeMap::from(DIRECTION);
    let known = top_modules();
    let exports = root_exports(&known);
    let mut wrong = Violations::new("see the dependency direction in ARCHITECTURE.md");
    for file in rust_files(&["mosaik/src"]) {
        let module = module_path(&file);
        let Some(top) = module.first().filter(|top| *top != "bin") else {
            continue;
        };
        let Some(allowed) = direction.get(top.as_str()) else {
            wrong.add(&file, 1, "this module has no place in `DIRECTION` yet");
            continue;
        };
        for used in paths(&shipped(&read(&file)), &module) {
            let Target::Crate(path) = &used.target else {
                continue;
            };
            let Some(first) = path.first() else {
                wrong.add(&file, used.line, "takes everything from the crate's root");
                continue;
            };
            let target = if known.contains(first) {
                Some(first.as_str())
            } else {
                exports.get(first).map(String::as_str)
            };
            match target {
                Some(target) if target == top || target == EXTERNAL => {}
                Some(target) if allowed.split(' ').any(|a| a == target) => {}
                Some(target) => {
                    let what = format!("`{top}` must not use `{target}` ({used})");
                    wrong.add(&file, used.line, &what);
                }
                None => {
                    let what = format!("`{used}` is neither a module nor exported at the root");
                    wrong.add(&file, used.line, &what);
                }
            }
        }
    }
    wrong.check();
}

#[test]
fn no_command_is_called_like_a_method_of_its_handle() {
    let reserved = read(&root().join("mosaik-macros/src/group/method.rs"));
    let mut wrong = Violations::new("add the name to `RESERVED` in mosaik-macros");
    for (file, handle) in [
        ("mosaik/src/groups/group.rs", "impl<M> Group<M> {"),
        (
            "mosaik/src/groups/group_client.rs",
            "impl<M> GroupClient<M> {",
        ),
    ] {
        let file = root().join(file);
        let source = read(&file);
        let (_, common) = source.split_once(handle).expect("the handle");
        let mut methods = 0;
        for (at, line) in common.lines().enumerate() {
            let public = line.strip_prefix("    pub fn ");
            let Some(rest) = public.or(line.strip_prefix("    pub async fn ")) else {
                continue;
            };
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            methods += 1;
            if !reserved.contains(&format!("\"{name}\",")) {
                wrong.add(&file, at, &format!("`{name}` is not reserved"));
            }
        }
        assert!(methods > 8, "{methods} methods found");
    }
    wrong.check();
}

#[test]
fn protocols_decide_and_nothing_else() {
    let crates = dependencies();
    let mut wrong = Violations::new("keep clocks, tasks, sockets and other modules out of `proto`");
    for file in rust_files(&["mosaik/src"]) {
        let module = module_path(&file);
        if module.get(1).is_none_or(|part| part != "proto") {
            continue;
        }
        let tokens = shipped(&read(&file));
        for token in &tokens {
            if PROTO_WORDS.contains(&token.text.as_str()) {
                wrong.add(&file, token.line, &format!("`{}`", token.text));
            }
        }
        for used in paths(&tokens, &module) {
            let fine = match &used.target {
                Target::Crate(path) => {
                    let first = path.first().map(String::as_str).unwrap_or_default();
                    PROTO_MODULES.contains(&first) || path.starts_with(&module[..2])
                }
                Target::Other(root) => {
                    !crates.contains(root) || PROTO_CRATES.contains(&root.as_str())
                }
            };
            if !fine {
                wrong.add(&file, used.line, &format!("uses `{used}`"));
            }
        }
    }
    wrong.check();
}

#[test]
fn files_and_functions_stay_small() {
    let mut wrong = Violations::new("split it by concern");
    for file in rust_files(&SOURCES) {
        let source = read(&file);
        let lines = source.lines().count();
        if lines > MAX_FILE_LINES {
            let what = format!("{lines} lines, at most {MAX_FILE_LINES}");
            wrong.add(&file, lines, &what);
        }
        // Tests may tell a long story.
        if file.starts_with(root().join("tests/tests")) {
            continue;
        }
        for (name, line, lines) in functions(&shipped(&source)) {
            if lines > MAX_FN_LINES {
                let what = format!("`fn {name}` has {lines} lines, at most {MAX_FN_LINES}");
                wrong.add(&file, line, &what);
            }
        }
    }
    wrong.check();
}

#[test]
fn every_channel_is_bounded() {
    let mut wrong = Violations::new("give the channel a named, documented bound");
    for file in rust_files(&["mosaik", "mosaik-macros", "examples"]) {
        for token in tokens(&code(&read(&file))) {
            if token.text.starts_with("unbounded") {
                wrong.add(&file, token.line, &format!("`{}`", token.text));
            }
        }
    }
    wrong.check();
}

/// Which branch of a `select!` that is ready goes first must not be left to a lot that no seed decides. The
/// command line is not simulated.
#[test]
fn every_select_has_an_order() {
    let mut wrong = Violations::new("write `biased;`, and what is rare first");
    for file in rust_files(&["mosaik/src"]) {
        if file.starts_with(root().join("mosaik/src/cli")) {
            continue;
        }
        for window in tokens(&code(&read(&file))).windows(4) {
            let text = |n: usize| window[n].text.as_str();
            if text(0) == "select" && text(1) == "!" && text(3) != "biased" {
                wrong.add(&file, window[0].line, "`select!` without `biased`");
            }
        }
    }
    wrong.check();
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // In two parts, so that this file does not find itself.
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("shared", "/design"),
        concat!("bash", "_jobs"),
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
    ];
    let mut wrong = Violations::new("say it without naming a place that readers do not have");
    for file in tracked() {
        // A file that is gone or not text has nothing to say.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (n, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                wrong.add(&file, n + 1, &format!("mentions `{word}`"));
            }
            let source = line.strip_prefix("source = ").map(|s| s.trim_matches('"'));
            if file.ends_with("Cargo.lock") && source.is_some_and(|source| source != REGISTRY) {
                wrong.add(&file, n + 1, "comes from another registry than everybody's");
            }
        }
    }
    wrong.check();
}

#[test]
fn every_crate_holds_to_the_lints() {
    let mut wrong = Violations::new("keep the workspace's lints");
    let workspace = root().join("Cargo.toml");
    let text = read(&workspace);
    for lint in LINTS.iter().filter(|lint| !text.contains(**lint)) {
        wrong.add(&workspace, 1, &format!("`{lint}` is missing"));
    }
    for member in SOURCES {
        let manifest = root().join(member).join("Cargo.toml");
        if !section(&read(&manifest), "lints").contains(&"workspace = true".into()) {
            wrong.add(&manifest, 1, "no `[lints] workspace = true`");
        }
    }
    wrong.check();
}

#[test]
fn every_feature_is_explained_in_the_crate_documentation() {
    let lib = root().join("mosaik/src/lib.rs");
    let docs: Vec<_> = read(&lib)
        .lines()
        .filter(|line| line.starts_with("//!"))
        .map(ToOwned::to_owned)
        .collect();
    let mut wrong = Violations::new("say under `# Features` what the feature is for");
    let manifest = read(&root().join("mosaik/Cargo.toml"));
    for line in section(&manifest, "features") {
        let Some((feature, _)) = line.split_once('=') else {
            continue;
        };
        let quoted = format!("`{}`", feature.trim());
        if feature.trim() != "default" && !docs.iter().any(|line| line.contains(&quoted)) {
            wrong.add(&lib, 1, &format!("no word about the feature {quoted}"));
        }
    }
    wrong.check();
}

#[test]
fn every_page_of_the_book_is_listed_and_compiled() {
    let summary = read(&root().join("book/src/SUMMARY.md"));
    let doctests = ["examples", "tests"].map(|name| read(&root().join(name).join("src/lib.rs")));
    let mut wrong = Violations::new("list the page in SUMMARY.md, include it in examples or tests");
    for page in files_below(&root().join("book/src"), "md") {
        let name = page.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if name == "SUMMARY.md" {
            continue;
        }
        if !summary.contains(&format!("({name})")) {
            wrong.add(&page, 1, "not in SUMMARY.md");
        }
        let included = format!("book/src/{name}");
        if !doctests.iter().any(|file| file.contains(&included)) {
            wrong.add(&page, 1, "its examples are not compiled");
        }
    }
    wrong.check();
}

/// Collects what is wrong, and fails with all of it.
struct Violations {
    remedy: &'static str,
    text: String,
}

impl Violations {
    fn new(remedy: &'static str) -> Self {
        Self {
            remedy,
            text: String::new(),
        }
    }

    fn add(&mut self, file: &Path, line: usize, what: &str) {
        let file = file.strip_prefix(root()).unwrap_or(file).display();
        writeln!(self.text, "  {file}:{line}: {what}").expect("a string takes everything");
    }

    #[track_caller]
    fn check(self) {
        assert!(self.text.is_empty(), "{}:\n{}", self.remedy, self.text);
    }
}

/// The workspace.
fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().expect("a member is in a workspace").into()
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The `.rs` files in these folders, but for those that are exempt.
fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let exempt = root().join(EXEMPT);
    let files = folders
        .iter()
        .flat_map(|folder| files_below(&root().join(folder), "rs"));
    let files: Vec<_> = files.filter(|file| !file.starts_with(&exempt)).collect();
    assert!(!files.is_empty(), "no sources in {folders:?}");
    files
}

/// All files of an extension in a folder and what is below it, in order.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let items = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
        for item in items {
            let path = item.expect("a folder can be listed").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// All files that are, or would be, under version control.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output();
    let listed = listed.ok().filter(|output| output.status.success());
    match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            .map(|name| root().join(name))
            .collect(),
        // A tree without git, such as an unpacked archive.
        None => ["rs", "toml", "md", "lock", "stderr"]
            .iter()
            .flat_map(|extension| files_below(&root(), extension))
            .collect(),
    }
}

/// The lines of a section of a manifest.
fn section(manifest: &str, name: &str) -> Vec<String> {
    let header = format!("[{name}]");
    let lines = manifest.lines().skip_while(|line| line.trim() != header);
    let lines = lines.skip(1).take_while(|line| !line.starts_with('['));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The crates that `mosaik` depends on, as Rust spells them.
fn dependencies() -> BTreeSet<String> {
    let manifest = read(&root().join("mosaik/Cargo.toml"));
    let lines = section(&manifest, "dependencies");
    let names = lines
        .iter()
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    names.map(|name| name.replace('-', "_")).collect()
}

/// The modules at the root of `mosaik/src`.
fn top_modules() -> BTreeSet<String> {
    let files = rust_files(&["mosaik/src"]);
    let tops = files
        .iter()
        .filter_map(|file| module_path(file).first().cloned());
    tops.collect()
}

/// Stands for another crate among the root's exports.
const EXTERNAL: &str = "another crate";

/// What the root exports, and the module that each comes from.
fn root_exports(known: &BTreeSet<String>) -> BTreeMap<String, String> {
    let lib = shipped(&read(&root().join("mosaik/src/lib.rs")));
    let mut exports = BTreeMap::new();
    let mut i = 0;
    while i < lib.len() {
        i += 1;
        if lib[i - 1].text == "use" {
            let mut trees = Vec::new();
            use_tree(&lib, &mut i, &[], &mut trees);
            for (path, _) in trees {
                let (Some(first), Some(last)) = (path.first(), path.last()) else {
                    continue;
                };
                let from = Some(first).filter(|first| known.contains(*first));
                let from = from.map_or(EXTERNAL, String::as_str);
                exports.insert(last.clone(), from.to_owned());
            }
        }
    }
    exports
}

/// The module of a file of `mosaik/src`; empty for the root.
fn module_path(file: &Path) -> Vec<String> {
    let below = file.strip_prefix(root().join("mosaik/src"));
    let below = below.expect("a file of mosaik").with_extension("");
    let mut parts: Vec<_> = below
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        parts.pop();
    }
    parts
}
