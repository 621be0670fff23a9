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
    pub(super) fn known(KnownPart { name, load, .. }: &KnownPart, dataset: &str) -> Self {
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

/// Whether loads that have ended are no reason to leave a part out: the object is asked for again, has come back to this content, or was put once more
/// after it could not be read.
pub(super) fn is_again(known: &[KnownPart], asked: bool) -> bool {
    asked || known.iter().any(|part| part.is_returned() || part.is_resent())
}

/// The parts to load, if the definitions find these and the ledger knows those. `dataset` is that of parts which nobody reads any more.
pub(super) fn merged(found: &[PlannedPart], known: &[KnownPart], again: bool, dataset: &str) -> Vec<PlannedPart> {
    let is_found = |part: &KnownPart| found.iter().any(|planned| planned.name == part.name);
    let is_known = |planned: &PlannedPart| known.iter().any(|part| part.name == planned.name);
    // Nothing of a part without a load is in the table.
    let holds = |part: &&KnownPart| part.load.is_some() && !is_found(part) && (part.is_open() || !again);
    let held: Vec<&KnownPart> = known.iter().filter(holds).collect();
    let is_free = |planned: &&PlannedPart| is_known(planned) || !held.iter().any(|part| planned.overlaps(part));
    let mut parts: Vec<PlannedPart> = found.iter().filter(is_free).cloned().collect();
    let is_left = |part: &&KnownPart| {
        part.is_listed
            && !is_found(part)
            && match part.load {
                None => !found.iter().any(|planned| planned.overlaps(part)),
                Some(_) => part.is_open() || parts.is_empty() && !again,
            }
    };
    let left: Vec<PlannedPart> = known.iter().filter(is_left).map(|part| PlannedPart::known(part, dataset)).collect();
    parts.extend(left);
    parts
}

/// The parts to load of an object that its dataset reads as a whole, if it was begun or loaded in parts; none if nothing but the whole is loaded.
pub(super) fn in_parts(whole: PlannedPart, known: &[KnownPart], again: bool) -> Vec<PlannedPart> {
    let is_part = |part: &&KnownPart| {
        !part.name.is_empty() && part.load.is_some() && (part.is_open() || !again && part.is_listed)
    };
    let is_own = |part: &&KnownPart| part.may_be_of(&whole.dataset);
    let parts: Vec<&KnownPart> = known.iter().filter(is_part).filter(|part| part.is_open() || is_own(part)).collect();
    let has_own = parts.iter().any(is_own);
    let planned = parts.iter().map(|part| PlannedPart::known(part, &whole.dataset)).collect();
    if has_own || parts.is_empty() { planned } else { [vec![whole], planned].concat() }
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
        KnownPart { name: name.into(), load, is_listed: true }
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

    /// What is loaded of an object in which these parts are found, if the ledger knows those.
    fn plan(all: &[&str], known: &[KnownPart], asked: bool) -> String {
        names(&merged(&found(all), known, is_again(known, asked), "deal"))
    }

    #[test]
    fn rows_are_loaded_once_under_whatever_names_their_parts_have() {
        use PartState::{Ended, Held, Left, Resent, Returned};
        for (state, again, parts) in [
            (Some(Held), false, "\"c\" \"a\""),
            (Some(Left), false, "\"c\" \"a\""),
            (Some(Left), true, "\"c\" \"a\""),
            (Some(Ended), false, "\"c\""),
            (Some(Ended), true, "\"a/D\" \"c\""),
            (Some(Returned), false, "\"a/D\" \"c\""),
            (Some(Resent), false, "\"a/D\" \"c\""),
            (None, false, "\"a/D\" \"c\""),
        ] {
            assert_eq!(plan(&["a/D", "c"], &[known("a", state)], again), parts, "{state:?}");
        }
        // Where nothing else is left, what has ended is reported; a part that nothing reads any more fails.
        assert_eq!(plan(&["a/D"], &[known("a", Some(Ended))], false), "\"a\"");
        assert_eq!(plan(&["c"], &[known("a", None)], false), "\"c\" \"a\"?");
        // A part that is found is loaded under its name, whatever overlaps it.
        assert_eq!(plan(&["a/D"], &[known("a", Some(Ended)), known("a/D", Some(Ended))], false), "\"a/D\"");
        // A part that could not be read comes beside one that is loaded.
        assert_eq!(plan(&["a", "b"], &[known("a", Some(Ended)), known("b", Some(Resent))], false), "\"a\" \"b\"");
        // Rows of another dataset are other rows.
        let mut other = found(&["a/D"]);
        other[0].dataset = "fee".into();
        assert_eq!(names(&merged(&other, &[known("a", Some(Left))], false, "deal")), "\"a/D\" \"a\"");
        // Names of older definitions count, and are not reported.
        let old = KnownPart { is_listed: false, ..known("a", Some(Ended)) };
        assert_eq!(plan(&["a/D", "c"], &[old], false), "\"c\"");
    }

    #[test]
    fn an_object_that_was_begun_in_parts_goes_on_in_parts() {
        use PartState::{Ended, Held, Left, Resent, Returned};
        let plan = |known: &[KnownPart], asked: bool, dataset: &str| {
            let whole = PlannedPart { dataset: dataset.into(), ..found(&[""]).remove(0) };
            names(&in_parts(whole, known, is_again(known, asked)))
        };
        for (state, again, parts) in [
            (Some(Held), true, "\"a\""),
            (Some(Left), false, "\"a\""),
            (Some(Ended), false, "\"a\""),
            (Some(Ended), true, ""),
            (Some(Returned), false, ""),
            (Some(Resent), false, ""),
            (None, false, ""),
        ] {
            assert_eq!(plan(&[known("a", state)], again, "deal"), parts, "{state:?}");
        }
        assert_eq!(plan(&[known("", Some(Left))], false, "deal"), "", "it is a whole");
        assert_eq!(plan(&[known("a", Some(Ended)), known("b", Some(Resent))], false, "deal"), "");
        // What another dataset has begun goes on beside the whole.
        assert_eq!(plan(&[known("a", Some(Left))], false, "fee"), "\"\" \"a\"");
        assert_eq!(plan(&[known("a", Some(Ended))], false, "fee"), "");
    }
}
