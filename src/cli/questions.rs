//! The questions of `guess`, on a terminal.

use std::fmt::Write as _;
use std::io::BufRead as _;

use crate::domain::guess::question::Question;

/// Asks a person; `None` if nothing was answered.
pub(super) fn ask(question: &Question) -> Option<String> {
    use std::io::Write as _;
    let text = format!("{}\n  (empty leaves it open) > ", shown(question, ""));
    // Nobody is left to ask when standard error is closed.
    let mut out = anstream::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    Some(line.trim().to_owned()).filter(|answer| !answer.is_empty())
}

/// The questions that nobody has answered, for people.
pub(super) fn open_questions(open: &[&Question]) -> String {
    let mut text = String::new();
    if !open.is_empty() {
        text.push_str("\nOpen questions; answer them with --answer ID=VALUE:\n");
    }
    for question in open {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", shown(question, "  "));
    }
    text
}

/// A question with the values that raise it and its answers.
fn shown(question: &Question, indent: &str) -> String {
    let Question { id, why, values, answers } = question;
    let example =
        if values.is_empty() { String::new() } else { format!("\n{indent}  for example {}", values.join(", ")) };
    format!("{indent}{id}\n{indent}  {why}{example}\n{indent}  answers: {}", answers.join(", "))
}
