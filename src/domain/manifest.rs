//! Control totals: what the sender says about a file, in a manifest beside it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_with::rust::maps_duplicate_key_is_error;

use super::dataset::Dataset;
use super::expression::nearest;
use super::object::{LONGEST_KEY, ObjectKey, ObjectVersion};
use super::types::stated_number;
use super::violation::quoted;

/// How many parts of an object a message names.
const MOST_PARTS_SHOWN: usize = 10;
const SUFFIX: &str = ".manifest.json";

/// Returns the key of the manifest of a file; `None` if that key would be too long for S3, so that the file cannot have
/// one.
#[must_use]
pub fn manifest_key(file: &ObjectVersion) -> Option<ObjectKey> {
    let key = format!("{}{SUFFIX}", file.key);
    (file.local || key.len() <= LONGEST_KEY).then(|| key.into())
}

/// Returns the key of the file that a manifest belongs to; `None` if the key is not that of a manifest.
#[must_use]
pub fn file_of_manifest(key: &ObjectKey) -> Option<ObjectKey> {
    key.as_str().strip_suffix(SUFFIX).map(ObjectKey::from)
}

/// Chooses the versions of a manifest that may belong to a version of its file that another one has followed: the last one before the file
/// and any of the same second, because most senders write the manifest first, and the last one before the next version, because others write it
/// afterwards or correct it. `manifests` are the times at which they were written, from the newest to the oldest, `file` is the time of the
/// version of the file, and `next` is the time of the version that followed. All times are in whole seconds, so any manifest of the same second
/// as the file may have been there.
#[must_use]
pub fn written_for(manifests: &[DateTime<Utc>], file: DateTime<Utc>, next: DateTime<Utc>) -> Vec<usize> {
    let places = || manifests.iter().enumerate();
    let at_once = places().filter(|(_, written)| **written == file);
    let before = places().find(|(_, written)| **written < file);
    let later = places().find(|(_, written)| file < **written && **written <= next);
    at_once.chain(before).chain(later).map(|(place, _)| place).collect()
}

/// What a manifest says of a file: `{"row_count": 4, "sums": {"cash": "930000.00"}, "sha256": "…"}`, each of them optional. For an object
/// with several parts `{"parts": {"NAME": {"row_count": 4, "sums": {…}}}, "sha256": "…"}`, where the hash is that of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Records after the header, good or bad.
    pub row_count: Option<i64>,
    /// Sums over all records, by column, without redundant zeros.
    pub sums: BTreeMap<String, String>,
    /// The hash of the file as it was sent, packed or not, in lowercase hexadecimal digits.
    pub sha256: Option<String>,
    /// How the parts that it names differ from those that the object has.
    pub other_parts: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text<'a> {
    row_count: Option<i64>,
    #[serde(default, borrow, with = "maps_duplicate_key_is_error")]
    sums: BTreeMap<String, &'a RawValue>,
    sha256: Option<String>,
    #[serde(default, borrow, with = "maps_duplicate_key_is_error")]
    parts: BTreeMap<String, PartText<'a>>,
}

/// What a manifest says of a part of an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartText<'a> {
    row_count: Option<i64>,
    #[serde(default, borrow, with = "maps_duplicate_key_is_error")]
    sums: BTreeMap<String, &'a RawValue>,
}

impl Text<'_> {
    /// The figures of a part, and how the parts that are named differ from those that the object has.
    fn of_part(mut self, part: &str, parts: &[String]) -> Result<(Self, Option<String>), String> {
        let states_whole = self.row_count.is_some() || !self.sums.is_empty();
        if self.parts.is_empty() {
            if states_whole && parts.len() > 1 {
                let form = "{\"parts\": {\"NAME\": {\"row_count\": …, \"sums\": {…}}}}";
                return Err(format!("the file has several parts; state the figures of each: {form}"));
            }
            return Ok((self, None));
        }
        if part.is_empty() {
            return Err("it names parts, and the file is loaded as a whole; state row_count and sums themselves".into());
        }
        if states_whole {
            return Err("row_count and sums stand beside parts; state them within each part".into());
        }
        let unknown = self.parts.keys().filter(|name| !parts.contains(name)).count();
        let own = self.parts.remove(part);
        let other_parts = match (&own, unknown) {
            (None, _) => {
                Some("the manifest does not name this part; add it, or load the object without a manifest".to_owned())
            }
            (_, 0) => None,
            (_, count) => {
                let has: Vec<String> = parts.iter().take(MOST_PARTS_SHOWN).map(|name| quoted(name)).collect();
                let more = if parts.len() > has.len() { ", …" } else { "" };
                let has = has.join(", ");
                Some(format!("the manifest names {count} parts that the file does not have; it has {has}{more}"))
            }
        };
        if let Some(PartText { row_count, sums }) = own {
            (self.row_count, self.sums) = (row_count, sums);
        }
        Ok((self, other_parts))
    }
}

impl Manifest {
    /// Reads a manifest for a file of `dataset`, or for a part of an object that has these `parts`. A sum is a JSON number or, safe from
    /// rounding on its way, text.
    ///
    /// # Errors
    /// A message that says what is wrong and what to write.
    pub fn parse(bytes: &[u8], dataset: &Dataset, part: &str, parts: &[String]) -> Result<Self, String> {
        // Some programs put a byte order mark at the beginning of everything that they write.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text: Text<'_> = serde_json::from_slice(bytes).map_err(|error| {
            // The text may contain anything, so only the position of the error is reported.
            format!(
                "it is not JSON of the form {{\"row_count\": …, \"sums\": {{…}}, \"sha256\": …}} (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        let states_parts = !text.parts.is_empty();
        let (text, other_parts) = text.of_part(part, parts)?;
        let numbers = dataset.columns.iter().filter(|column| column.kind.digits().is_some());
        let numbers: Vec<&str> = numbers.map(|column| column.name.as_str()).collect();
        let mut sums = BTreeMap::new();
        for (column, sum) in text.sums {
            if !numbers.contains(&column.as_str()) {
                let hint = match nearest(&column, &numbers) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("known are {}", numbers.join(", ")),
                };
                return Err(match dataset.column(&column) {
                    Some(known) => {
                        format!("sums: column {column} has type {}, which has no exact sum", known.kind.rule())
                    }
                    // A name that is not that of a column could be anything, so it is not repeated.
                    None => format!("sums: it has a member that is not named as a number column; {hint}"),
                });
            }
            let sum = stated_number(sum.get().trim_matches('"'))
                .ok_or_else(|| format!("the sum of {column} is not a plain decimal number of at most 60 digits"))?;
            sums.insert(column, sum);
        }
        let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !text.sha256.iter().all(is_hash) {
            return Err("sha256 is not the 64 hexadecimal digits of a hash".into());
        }
        if text.row_count.is_none() && sums.is_empty() && text.sha256.is_none() && !states_parts {
            return Err("it states none of row_count, sums and sha256".into());
        }
        let sha256 = text.sha256.map(|hash| hash.to_ascii_lowercase());
        Ok(Self { row_count: text.row_count, sums, sha256, other_parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Datasets;

    fn object(key: ObjectKey, local: bool) -> ObjectVersion {
        let (bucket, version, version_id, size, sequencer, modified) = Default::default();
        ObjectVersion { bucket, key, version, version_id, size, sequencer, modified, local }
    }

    fn parse(text: &str) -> Result<Manifest, String> {
        let definition = include_str!("../../datasets/asset.toml");
        let datasets = Datasets::parse([("asset.toml", definition)]).unwrap();
        Manifest::parse(text.as_bytes(), datasets.get("asset").unwrap(), "", &[String::new()])
    }

    fn parse_for(part: &str, text: &str) -> Result<Manifest, String> {
        let definition = include_str!("../../datasets/asset.toml");
        let datasets = Datasets::parse([("asset.toml", definition)]).unwrap();
        let parts = ["a.csv", "b.csv"].map(String::from);
        Manifest::parse(text.as_bytes(), datasets.get("asset").unwrap(), part, &parts)
    }

    #[test]
    fn each_part_of_an_object_has_its_own_figures() {
        let text = r#"{"parts": {"a.csv": {"row_count": 4}, "b.csv": {"sums": {"cash": 1}}}}"#;
        let (a, b) = (parse_for("a.csv", text).unwrap(), parse_for("b.csv", text).unwrap());
        assert_eq!((a.row_count, a.sums.len(), a.other_parts), (Some(4), 0, None));
        assert_eq!((b.row_count, b.sums["cash"].as_str(), b.other_parts), (None, "1", None));
        let differs = |part, text| parse_for(part, text).unwrap().other_parts.unwrap();
        assert!(differs("b.csv", r#"{"parts": {"a.csv": {"row_count": 4}}}"#).contains("does not name this part"));
        let lacking = r#"{"parts": {"a.csv": {"row_count": 4}, "7261": {"row_count": 1}}}"#;
        assert_eq!(
            differs("a.csv", lacking),
            "the manifest names 1 parts that the file does not have; it has \"a.csv\", \"b.csv\""
        );
    }

    #[test]
    fn figures_of_an_object_with_several_parts_say_of_which() {
        assert!(parse_for("a.csv", r#"{"row_count": 4}"#).unwrap_err().contains("has several parts"));
        assert!(
            parse_for("a.csv", r#"{"row_count": 4, "parts": {"a.csv": {}}}"#).unwrap_err().contains("beside parts")
        );
        assert!(parse(r#"{"parts": {"a.csv": {"row_count": 4}}}"#).unwrap_err().contains("loaded as a whole"));
        assert!(parse_for("a.csv", &format!(r#"{{"sha256": "{}"}}"#, "a".repeat(64))).is_ok());
    }

    #[test]
    fn a_sum_is_a_number_or_text_and_loses_nothing() {
        let manifest = parse(r#"{"sums": {"cash": 12345678901234567890.10, "market_value": "0.10"}}"#).unwrap();
        assert_eq!(manifest.sums["cash"], "12345678901234567890.1");
        assert_eq!(manifest.sums["market_value"], "0.1");
    }

    #[test]
    fn the_reason_is_reported_if_a_manifest_cannot_be_understood() {
        assert!(parse("[]").unwrap_err().contains("not JSON of the form"));
        assert!(parse(r#"{"rows": 4}"#).unwrap_err().contains("row_count"));
        assert_eq!(
            parse(r#"{"sums": {"cahs": 1}}"#).unwrap_err(),
            "sums: it has a member that is not named as a number column; did you mean cash?"
        );
        assert!(!parse(r#"{"sums": {"7261": 1}}"#).unwrap_err().contains("7261"));
        assert!(!parse(r#"{"sha256": "7261"}"#).unwrap_err().contains("7261"));
        assert!(parse(r#"{"sums": {"account_id": 1}}"#).is_err());
        assert!(parse(r#"{"sums": {"cash": "1e400"}}"#).unwrap_err().contains("sum of cash"));
        assert!(parse(r#"{"sums": {"cash": 1, "cash": 2}}"#).unwrap_err().contains("not JSON of the form"));
        assert!(parse("\u{feff}{\"row_count\": 4}").is_ok());
        assert_eq!(parse("{}").unwrap_err(), "it states none of row_count, sums and sha256");
    }

    #[test]
    fn the_manifest_of_a_version_existed_when_it_was_written_or_came_before_the_next() {
        let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap();
        let chosen = |newest_first: &[i64], file, next| {
            let manifests: Vec<_> = newest_first.iter().copied().map(at).collect();
            let places = written_for(&manifests, at(file), at(next)).into_iter();
            places.map(|place| newest_first[place]).collect::<Vec<_>>()
        };
        // Each manifest is written before its file: for the first version at 2, for the second at 4.
        assert_eq!(chosen(&[3, 1], 2, 4), [1, 3]);
        assert_eq!(chosen(&[5, 3, 1], 4, 6), [3, 5]);
        // Each manifest is written after its file.
        assert_eq!(chosen(&[4, 2], 1, 3), [2]);
        assert_eq!(chosen(&[6, 4, 2], 3, 5), [2, 4]);
        // One manifest for all versions, and one that was written after the next version.
        assert_eq!(chosen(&[1], 5, 6), [1]);
        assert_eq!(chosen(&[9, 1], 5, 6), [1]);
        assert!(chosen(&[9], 5, 6).is_empty());
        // A manifest of the same second may have been there or not.
        assert_eq!(chosen(&[2, 2, 1, 1], 2, 2), [2, 2, 1]);
        assert_eq!(chosen(&[4, 3, 1], 2, 4), [1, 4]);
    }

    #[test]
    fn the_key_of_a_manifest_leads_to_its_file_and_back() {
        let file = object("incoming/trades/1.csv".into(), false);
        let key = manifest_key(&file).unwrap();
        assert_eq!(key.as_str(), "incoming/trades/1.csv.manifest.json");
        assert_eq!((file_of_manifest(&key), file_of_manifest(&file.key)), (Some(file.key.clone()), None));
    }

    #[test]
    fn only_an_object_whose_key_leaves_room_has_a_manifest() {
        let of = |length, local| manifest_key(&object("k".repeat(length).into(), local)).is_some();
        assert_eq!((of(1010, false), of(1011, false), of(1011, true)), (true, false, true));
    }
}
