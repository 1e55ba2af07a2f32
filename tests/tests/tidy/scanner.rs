//! Reads Rust as far as the rules need: paths, functions, words, without comments, literals and tests.

use std::fmt;

/// A path in source code.
pub(crate) struct Used {
    pub(crate) target: Target,
    pub(crate) line: usize,
}

pub(crate) enum Target {
    /// In this crate, from its root.
    Crate(Vec<String>),
    /// Of this name, which may be a crate.
    Other(String),
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Crate(path) => write!(f, "crate::{}", path.join("::")),
            Target::Other(root) => f.write_str(root),
        }
    }
}

/// A word or sign of source code.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphanumeric() || c == '_')
    }
}

/// Every path in `tokens`, imported or spelled out, as seen from `module`.
pub(crate) fn paths(tokens: &[Token], module: &[String]) -> Vec<Used> {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut i = 0;
    while i < tokens.len() {
        let here = || inline.iter().map(|(name, _)| name.clone());
        match text(i) {
            "mod" if text(i + 2) == "{" => {
                inline.push((text(i + 1).into(), depth));
                i += 2;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.pop_if(|(_, at)| *at == depth);
            }
            "use" => {
                let module: Vec<_> = module.iter().cloned().chain(here()).collect();
                let mut trees = Vec::new();
                i += 1;
                use_tree(tokens, &mut i, &[], &mut trees);
                found.extend(trees.into_iter().map(|(path, line)| Used {
                    target: resolve(&path, &module),
                    line,
                }));
                continue;
            }
            _ if tokens[i].is_word() && text(i + 1) == "::" => {
                let module: Vec<_> = module.iter().cloned().chain(here()).collect();
                let line = tokens[i].line;
                let mut path = vec![text(i).to_owned()];
                while text(i + 1) == "::" && tokens.get(i + 2).is_some_and(Token::is_word) {
                    path.push(text(i + 2).into());
                    i += 2;
                }
                let target = resolve(&path, &module);
                found.push(Used { target, line });
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Parses the tree behind `use` into its paths, and moves behind it.
pub(crate) fn use_tree(
    tokens: &[Token],
    i: &mut usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) {
    let text = |i: usize| tokens.get(i).map_or(";", |token| token.text.as_str());
    let line = |i: usize| tokens.get(i).map_or(0, |token| token.line);
    let mut path = prefix.to_vec();
    loop {
        match text(*i) {
            "{" => {
                *i += 1;
                while !["}", ";"].contains(&text(*i)) {
                    use_tree(tokens, i, &path, found);
                    if text(*i) == "," {
                        *i += 1;
                    }
                }
                *i += 1;
                return;
            }
            "::" => *i += 1,
            ";" | "," | "}" => return,
            part => {
                path.push(part.into());
                let at = line(*i);
                *i += 1;
                if text(*i) == "::" {
                    continue;
                }
                if text(*i) == "as" {
                    *i += 2;
                }
                found.push((path, at));
                return;
            }
        }
    }
}

/// What a path means in `module`.
fn resolve(path: &[String], module: &[String]) -> Target {
    let mut base = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("self" | "super") => module.to_vec(),
        first => return Target::Other(first.unwrap_or_default().into()),
    };
    let mut rest = path.iter().peekable();
    while let Some(part) = rest.next_if(|part| ["crate", "self", "super"].contains(&part.as_str()))
    {
        if part == "super" {
            base.pop();
        }
        // `b::self` in a tree means `b` itself and stays; only leading ones are steps.
    }
    base.extend(rest.cloned());
    Target::Crate(base)
}

/// Name, first line and number of lines of every function with a body.
pub(crate) fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let name = tokens.get(i + 1).filter(|name| name.is_word());
        let Some(name) = name.filter(|_| token.text == "fn") else {
            continue;
        };
        let Some(open) = end_of_head(tokens, i) else {
            continue;
        };
        if tokens[open].text == "{" {
            let last = tokens[closing(tokens, open)].line;
            found.push((name.text.clone(), token.line, last - token.line + 1));
        }
    }
    found
}

/// The `{` or `;` that ends an item's head which begins at `start`.
fn end_of_head(tokens: &[Token], start: usize) -> Option<usize> {
    let mut i = start;
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "(" | "[" => i = closing(tokens, i),
            "{" | ";" => return Some(i),
            _ => {}
        }
        i += 1;
    }
    None
}

/// The bracket that closes the one at `open`, or the last token.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

/// The tokens of a source but for what only tests have.
pub(crate) fn shipped(source: &str) -> Vec<Token> {
    let all = tokens(&code(source));
    let is = |at: usize, words: &[&str]| {
        let there = all.iter().skip(at).map(|token| token.text.as_str());
        there.take(words.len()).eq(words.iter().copied())
    };
    let mut kept = Vec::new();
    let mut i = 0;
    while i < all.len() {
        if is(i, &["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
            return Vec::new();
        }
        if !is(i, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            kept.push(all[i].clone());
            i += 1;
            continue;
        }
        while is(i, &["#", "["]) {
            i = closing(&all, i + 1) + 1;
        }
        let Some(end) = end_of_head(&all, i) else {
            break;
        };
        i = closing(&all, end).max(end) + 1;
        if all[end].text == ";" {
            i = end + 1;
        }
    }
    kept
}

/// Words and signs of a code without comments and literals.
pub(crate) fn tokens(code: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (n, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, after) = rest.split_at(len);
            found.push(Token {
                text: text.into(),
                line: n + 1,
            });
            rest = after.trim_start();
        }
    }
    found
}

/// A source with spaces in place of its comments and of its string and character literals.
pub(crate) fn code(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let end = literal_end(&chars, i);
        if end == i {
            out.push(chars[i]);
            i += 1;
            continue;
        }
        let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
        out.extend(chars[i..end.min(chars.len())].iter().map(blank));
        i = end;
    }
    out
}

/// Where the comment or literal that begins at `i` ends; `i` itself if none does.
fn literal_end(chars: &[char], i: usize) -> usize {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let find = |from: usize, wanted: &[char]| {
        let rest = chars.get(from..).unwrap_or_default();
        let found = rest.windows(wanted.len()).position(|w| w == wanted);
        found.map_or(chars.len(), |n| from + n + wanted.len())
    };
    let in_word = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
    match (at(i), at(i + 1)) {
        ('/', '/') => find(i, &['\n']).saturating_sub(1).max(i + 2),
        ('/', '*') => {
            let (mut depth, mut end) = (1, i + 2);
            while depth > 0 && end < chars.len() {
                match (at(end), at(end + 1)) {
                    ('/', '*') => (depth, end) = (depth + 1, end + 2),
                    ('*', '/') => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
            }
            end
        }
        ('r', '"' | '#') if !in_word || matches!(at(i.saturating_sub(1)), 'b' | 'c') => {
            let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            if at(i + 1 + hashes) != '"' {
                return i;
            }
            let mut close = vec!['"'];
            close.extend(std::iter::repeat_n('#', hashes));
            find(i + 2 + hashes, &close)
        }
        ('"', _) => {
            let mut end = i + 1;
            while end < chars.len() && at(end) != '"' {
                end += if at(end) == '\\' { 2 } else { 1 };
            }
            end + 1
        }
        ('\'', '\\') => find(i + 3, &['\'']),
        ('\'', _) if at(i + 2) == '\'' => i + 3,
        _ => i,
    }
}

#[test]
fn the_scanner_finds_paths() {
    #[track_caller]
    fn check(module: &str, source: &str, expected: &[&str]) {
        let module: Vec<_> = module.split("::").map(ToOwned::to_owned).collect();
        let found = paths(&shipped(source), &module);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{source}");
    }
    check("a", "use crate::b;", &["crate::b"]);
    check(
        "a",
        "pub(crate) use crate::{b::{self, C as D}, e::*};",
        &["crate::b::self", "crate::b::C", "crate::e::*"],
    );
    check(
        "a::b",
        "use super::{c, super::d};\nuse self::e;",
        &["crate::a::c", "crate::d", "crate::a::b::e"],
    );
    check("a", "use ::iroh::X; use iroh::Y;", &["iroh", "iroh"]);
    check(
        "a",
        "fn f(x: crate::b::C<crate::d::E>) {}",
        &["crate::b::C", "crate::d::E"],
    );
    check(
        "a",
        "mod m { use super::super::b; }\nuse super::c;",
        &["crate::b", "crate::c"],
    );
    check(
        "a",
        "let x = tokio::spawn(y); y.tokio::z;",
        &["tokio", "tokio"],
    );
    check(
        "a",
        "// crate::b\n/* crate::c /* crate::d */ */ \"crate::e\"",
        &[],
    );
    check(
        "a",
        "let s = r#\"crate::b \" \"#; let c = '\"'; crate::c::d();",
        &["crate::c::d"],
    );
    check(
        "a",
        "fn f<'a>(x: &'a str) { let q = '\\''; crate::b::c(x) }",
        &["crate::b::c"],
    );
    check(
        "a",
        "#[cfg(test)]\nmod tests { use crate::b; }\nuse crate::c;",
        &["crate::c"],
    );
    check(
        "a",
        "#[cfg(test)]\n#[expect(dead_code)]\nfn f(x: [u8; 2]) -> A { crate::b::c() }\nuse crate::d;",
        &["crate::d"],
    );
    check("a", "#![cfg(test)]\nuse crate::b;", &[]);
    check(
        "a",
        "#[cfg(any(test, feature = \"sim\"))]\nuse crate::b;",
        &["crate::b"],
    );
}

#[test]
fn the_scanner_measures_functions() {
    let source = "fn one() {}\n\nimpl A {\n    const fn two(\n        f: fn(u8) -> u8,\n    ) -> [u8; 1] {\n        \
                  let brace = '{';\n        \"}\";\n    }\n    fn none();\n}\n";
    let found = functions(&shipped(source));
    assert_eq!(found, [("one".to_owned(), 1, 1), ("two".to_owned(), 4, 6)]);
}
