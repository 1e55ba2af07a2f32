//! Compiles `fail/`, and compiles and runs `pass/`.

#[test]
fn stream() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/stream/*.rs");
    cases.compile_fail("fail/stream/*.rs");
}

#[test]
fn group() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/group/*.rs");
    cases.compile_fail("fail/group/*.rs");
}

#[test]
fn replicated() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/replicated/*.rs");
    cases.compile_fail("fail/replicated/*.rs");
}
