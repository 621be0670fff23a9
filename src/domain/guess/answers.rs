//! The answers that a person gave.

use std::collections::{BTreeMap, BTreeSet};

use super::question::{Asked, Question};

/// Answers by the id of their question.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    given: BTreeMap<String, String>,
}

/// What a question is about: a column, or the whole table.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The part of the file, empty for a whole object.
    pub part: &'a str,
    /// The header, as it was sent.
    pub header: Option<&'a str>,
    /// The place of the column, from 1.
    pub position: usize,
    /// Which of several columns with this header it is, from 1; 0 if it is the only one.
    pub nth: usize,
}

impl About<'_> {
    /// The id of a question of this kind.
    #[must_use]
    pub fn id(&self, kind: &str) -> String {
        let id = match (self.header, self.position, self.nth) {
            (None, 0, _) => kind.to_owned(),
            (None, position, _) => format!("{kind}:{position}"),
            (Some(header), position, _) if header.trim().is_empty() => format!("{kind}:{position}"),
            (Some(header), _, nth) if nth < 2 => format!("{kind}:{header}"),
            (Some(header), _, nth) => format!("{kind}:{header}#{nth}"),
        };
        if self.part.is_empty() { id } else { format!("{}/{id}", self.part) }
    }

    /// Other ids by which a person may name the same question.
    fn aliases(&self, kind: &str) -> Vec<String> {
        let mut all = vec![self.id(kind)];
        if let Some(header) = self.header {
            all.push(format!("{kind}:{}", header.trim()));
            all.push(format!("{kind}:{header}"));
        }
        if self.position > 0 {
            all.push(format!("{kind}:{}", self.position));
        }
        let with_part = |id: &String| format!("{}/{id}", self.part);
        let full: Vec<String> = all.iter().map(with_part).collect();
        all.extend(full);
        all
    }
}

impl Answers {
    /// Reads answers such as `zone:traded_time=Asia/Shanghai`.
    ///
    /// # Errors
    /// A message for one without an `=`, or without a kind.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for text in texts {
            // A header may have an equals sign; an answer has none.
            let (id, answer) = text
                .rsplit_once('=')
                .filter(|(id, answer)| !id.is_empty() && !answer.trim().is_empty())
                .ok_or_else(|| format!("{text:?} is not an answer; write ID=VALUE, such as zone:time=Europe/Paris"))?;
            given.insert(id.trim().to_owned(), answer.trim().to_owned());
        }
        Ok(Self { given })
    }

    /// The same with one more.
    pub fn add(&mut self, id: &str, answer: &str) {
        self.given.insert(id.trim().to_owned(), answer.trim().to_owned());
    }

    /// The answer to the question of that kind, if it was given.
    #[must_use]
    pub fn get(&self, kind: &str, about: About<'_>) -> Option<&str> {
        about.aliases(kind).iter().find_map(|id| self.given.get(id.trim())).map(String::as_str)
    }

    /// A question with its answer, as `understood` reads it; an answer that is not one leaves it open.
    #[must_use]
    pub fn ask(
        &self,
        kind: &str,
        about: About<'_>,
        question: Question,
        understood: impl Fn(&str) -> Option<String>,
    ) -> Asked {
        let answer = self.get(kind, about).and_then(understood);
        Asked { question, answer }
    }

    /// The ids that were answered and that none of `known` asked.
    #[must_use]
    pub fn unused(&self, known: &BTreeSet<String>) -> Vec<&str> {
        // A header may have slashes in it, and so may the name of a part before it.
        let is_name = |id: &str| id.starts_with("name:") || id.contains("/name:");
        let plain = |id: &str| id.rsplit_once('/').map_or(id, |(_, plain)| plain).trim().to_owned();
        let known: BTreeSet<String> = known.iter().flat_map(|id| [id.trim().to_owned(), plain(id)]).collect();
        self.given
            .keys()
            .filter(|id| !is_name(id) && !known.contains(id.trim()) && !known.contains(&plain(id)))
            .map(String::as_str)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_by_nobody_and_its_header_may_have_slashes() {
        let ids = ["name:Qty/Nom.", "a/b.csv/name:Qty/Nom.", "zone:Ts"].map(|id| format!("{id}=none"));
        assert_eq!(Answers::parse(&ids).unwrap().unused(&BTreeSet::new()), ["zone:Ts"]);
    }

    #[test]
    fn an_answer_is_found_by_the_id_of_its_question() {
        let answers =
            Answers::parse(&["zone: Time =Europe/Paris".into(), "century:3=20".into(), "a/b.csv/zone:Ts=none".into()])
                .unwrap();
        let about = |header, position, part| About { part, header, position, nth: 0 };
        assert_eq!(answers.get("zone", about(Some(" Time "), 2, "")), Some("Europe/Paris"));
        assert_eq!(answers.get("century", about(None, 3, "")), Some("20"));
        assert_eq!(answers.get("zone", about(Some("Ts"), 3, "a/b.csv")), Some("none"));
        assert_eq!(answers.get("zone", about(Some("Ts"), 3, "")), None);
        assert!(Answers::parse(&["zone".into()]).is_err() && Answers::parse(&["=x".into()]).is_err());
    }

    #[test]
    fn ids_name_the_part_and_the_header_or_the_position() {
        let of = |part, header, position, nth| About { part, header, position, nth }.id("zone");
        assert_eq!(of("", Some("Time"), 1, 0), "zone:Time");
        assert_eq!(of("", Some("Cur."), 5, 2), "zone:Cur.#2");
        assert_eq!(of("", Some(""), 5, 2), "zone:5");
        assert_eq!(of("a.csv", None, 5, 0), "a.csv/zone:5");
        assert_eq!(of("", None, 0, 0), "zone");
    }
}
