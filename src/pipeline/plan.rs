//! Which loads an object is: the parts that its definitions find in it, beside those that the ledger knows.
//!
//! A definition may have changed since, so that the same rows are in a part of another name. What has begun goes on under the name that it has, and
//! what is loaded is not loaded once more.

use std::sync::Arc;

use crate::data_access::postgres::KnownPart;
use crate::domain::{Dataset, Datasets, ObjectVersion};
use crate::error::{Error, Result};
use crate::services::object_parts::{FoundPart, ObjectCopy};

/// A part that is to be loaded, as the object or the ledger names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedPart {
    pub(super) name: String,
    pub(super) dataset: String,
    pub(super) source: Option<String>,
    /// Whether it was to be loaded once, and no source reads it any more.
    pub(super) is_orphan: bool,
}

/// What is to be loaded of an object, and a copy of it where that is needed.
pub(super) struct Plan {
    pub(super) parts: Vec<PlannedPart>,
    pub(super) copy: Option<Arc<ObjectCopy>>,
}

impl PlannedPart {
    /// A part that a source of the dataset reads; the whole object has no name.
    pub(super) fn new(name: &str, dataset: &Dataset, source: Option<&str>) -> Self {
        let source = source.map(str::to_owned);
        Self { name: name.to_owned(), dataset: dataset.name.clone(), source, is_orphan: false }
    }

    /// A part whose last load says how it is read; if it has none, nobody reads it any more, and it is reported under this dataset.
    pub(super) fn known(KnownPart { name, load }: &KnownPart, dataset: &str) -> Self {
        let (is_orphan, name) = (load.is_none(), name.clone());
        let (dataset, source) =
            load.as_ref().map_or((dataset.to_owned(), None), |load| (load.dataset.clone(), load.source.clone()));
        Self { name, dataset, source, is_orphan }
    }

    /// Whether the rows of a part with another name may be the same.
    fn overlaps(&self, known: &KnownPart) -> bool {
        self.name != known.name && known.may_be_of(&self.dataset) && overlap(&known.name, &self.name)
    }
}

impl From<FoundPart> for PlannedPart {
    fn from(FoundPart { name, dataset, source }: FoundPart) -> Self {
        Self { name, dataset, source: Some(source), is_orphan: false }
    }
}

/// Whether parts with these names may have the same rows: one of them is the whole object, or a section of the other.
fn overlap(one: &str, other: &str) -> bool {
    let is_within = |outer: &str, inner: &str| {
        outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    is_within(one, other) || is_within(other, one)
}

/// The parts to load, if the definitions find these and the ledger knows those. `dataset` is that of parts which nobody reads any more.
pub(super) fn merged(mut parts: Vec<PlannedPart>, known: &[KnownPart], again: bool, dataset: &str) -> Vec<PlannedPart> {
    let is_found = |parts: &[PlannedPart], part: &KnownPart| parts.iter().any(|planned| planned.name == part.name);
    let counts = |part: &&KnownPart| part.is_open() || !again && !part.is_resent();
    let renamed: Vec<&KnownPart> = known.iter().filter(counts).filter(|part| !is_found(&parts, part)).collect();
    let is_known = |planned: &PlannedPart| known.iter().any(|part| part.name == planned.name);
    parts.retain(|planned| is_known(planned) || !renamed.iter().any(|part| planned.overlaps(part)));
    let has_none = parts.is_empty();
    let is_left = |part: &&KnownPart| !is_found(&parts, part) && (has_none || part.is_wanted());
    let left: Vec<PlannedPart> = known.iter().filter(is_left).map(|part| PlannedPart::known(part, dataset)).collect();
    parts.extend(left);
    parts
}

/// The parts to load of an object that its dataset reads as a whole, and that was begun or loaded in parts; none if it is loaded as a whole.
pub(super) fn in_parts(known: &[KnownPart], again: bool, dataset: &str) -> Vec<PlannedPart> {
    let counts = |part: &&KnownPart| {
        part.may_be_of(dataset) && !part.is_resent() && (part.is_wanted() || part.is_open() || !again)
    };
    let parts: Vec<&KnownPart> = known.iter().filter(counts).collect();
    if parts.iter().all(|part| part.name.is_empty()) {
        return Vec::new();
    }
    parts.into_iter().map(|part| PlannedPart::known(part, dataset)).collect()
}

/// Refuses to load rows once more that are known by their places or as copies of a content, if these are in a part of another name now.
pub(super) fn check_names(
    object: &ObjectVersion,
    known: &[KnownPart],
    planned: &[PlannedPart],
    datasets: &Datasets,
) -> Result<()> {
    let is_planned = |known: &KnownPart| planned.iter().any(|planned| planned.name == known.name);
    for part in planned.iter().filter(|part| known.iter().all(|known| known.name != part.name)) {
        let dataset = datasets.get(&part.dataset).map_err(Error::configuration)?;
        let Some(before) = known.iter().find(|known| known.is_loaded() && part.overlaps(known) && !is_planned(known))
        else {
            continue;
        };
        if !dataset.is_known_by_place() && dataset.content.is_none() {
            continue;
        }
        let of = |name: &str| if name.is_empty() { "as a whole".to_owned() } else { format!("as part {name:?}") };
        return Err(Error::configuration(format!(
            "{}: it was loaded {} before and would be loaded {} now, so that its rows would come once more; dataset {} knows rows by their places \
             in a part. Load it under a definition that reads it as before, or undo its load first (small-etl undo)",
            object.display_name(),
            of(&before.name),
            of(&part.name),
            dataset.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_access::postgres::{KnownLoad, PartState};

    fn known(name: &str, state: Option<PartState>) -> KnownPart {
        let load =
            state.map(|state| KnownLoad { dataset: "deal".into(), source: Some("s".into()), state, is_loaded: true });
        KnownPart { name: name.into(), load }
    }

    fn found(names: &[&str]) -> Vec<PlannedPart> {
        let part = |name: &&str| FoundPart { name: (*name).into(), dataset: "deal".into(), source: "s".into() };
        names.iter().map(|name| part(name).into()).collect()
    }

    /// The names of the parts to load; a question mark is behind one that nobody reads.
    fn names(parts: &[PlannedPart]) -> String {
        let name = |part: &PlannedPart| format!("{:?}{}", part.name, if part.is_orphan { "?" } else { "" });
        parts.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_part_and_a_section_of_it_may_have_the_same_rows() {
        for (one, other, same) in [
            ("", "Deals", true),
            ("a.csv", "a.csv/Deals", true),
            ("a.csv", "a.csv2", false),
            ("a.csv/Deals", "a.csv/Fees", false),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (same, same), "{one} {other}");
        }
    }

    #[test]
    fn rows_are_loaded_once_under_whatever_names_their_parts_have() {
        use PartState::{Ended, Held, Left, Resent, Returned};
        for (state, again, plan) in [
            (Some(Held), false, "\"c\""),
            (Some(Left), false, "\"c\" \"a\""),
            (Some(Left), true, "\"c\" \"a\""),
            (Some(Returned), false, "\"c\" \"a\""),
            (Some(Ended), false, "\"c\""),
            (Some(Ended), true, "\"a/D\" \"c\""),
            (Some(Resent), false, "\"a/D\" \"c\""),
            (None, false, "\"c\" \"a\"?"),
        ] {
            assert_eq!(names(&merged(found(&["a/D", "c"]), &[known("a", state)], again, "deal")), plan, "{state:?}");
        }
        // Where nothing else is left, what has ended is reported.
        assert_eq!(names(&merged(found(&["a/D"]), &[known("a", Some(Ended))], false, "deal")), "\"a\"");
        // A part that is found is loaded under its name, whatever overlaps it.
        let both = [known("a", Some(Ended)), known("a/D", Some(Ended))];
        assert_eq!(names(&merged(found(&["a/D"]), &both, false, "deal")), "\"a/D\"");
        // Rows of another dataset are other rows.
        let mut other = found(&["a/D"]);
        other[0].dataset = "fee".into();
        assert_eq!(names(&merged(other, &[known("a", Some(Left))], false, "deal")), "\"a/D\" \"a\"");
    }

    #[test]
    fn an_object_that_was_begun_in_parts_goes_on_in_parts() {
        use PartState::{Ended, Held, Left, Resent};
        for (state, again, plan) in [
            (Some(Held), true, "\"a\""),
            (Some(Left), false, "\"a\""),
            (Some(Ended), false, "\"a\""),
            (Some(Ended), true, ""),
            (Some(Resent), false, ""),
            (None, false, "\"a\"?"),
        ] {
            assert_eq!(names(&in_parts(&[known("a", state)], again, "deal")), plan, "{state:?}");
        }
        assert_eq!(names(&in_parts(&[known("", Some(Left))], false, "deal")), "", "it is a whole");
        assert_eq!(names(&in_parts(&[known("a", Some(Left))], false, "fee")), "", "another dataset read it");
    }
}
