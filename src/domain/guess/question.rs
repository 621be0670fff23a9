//! What no program can know from a file.

use serde::Serialize;

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// `KIND:HEADER`, with `PART/` before it where a file has parts.
    pub id: String,
    /// Why the file does not tell.
    pub why: String,
    /// The values that raise it.
    pub values: Vec<String>,
    /// The possible answers. Of zones and years there are more.
    pub answers: Vec<String>,
}

/// A question and what is known of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// The answer that was given.
    pub answer: Option<String>,
}

impl Asked {
    /// Checks whether nobody has answered it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.answer.is_none()
    }
}
